//! What the protocol sees: the table of tools behind rmcp's handler.

use std::sync::Arc;

use http::{HeaderValue, header, request::Parts};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        Extensions, Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
        ServerConfig, Tool as Definition,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{limits, wire::near};

use super::{
    args::Offer,
    error::ToolError,
    tools::{Context, Row, TOOLS},
};

/// How long clients may keep the list of tools: it never changes while the shim runs.
const TOOLS_TTL_MS: u64 = 3_600_000;

const INSTRUCTIONS: &str = "Balefire watches this host and its MCP servers: metrics, health checks, alerts. \
    Start with system_overview; health_check checks now, query_metrics reads stored metrics. \
    Times are RFC 3339, Unix seconds or relative (\"-1h\"). An answer that was cut says so in `cut`.";

/// The MCP server; cheap to clone, one for all sessions.
#[derive(Clone, Debug)]
pub(super) struct Shim {
    context: Context,
    offer: Offer,
    /// Bounds the calls under way.
    calls: Arc<Semaphore>,
}

impl Shim {
    /// Offers the tools.
    pub(super) fn new(context: Context, offer: Offer) -> Self {
        Self { context, offer, calls: Arc::new(Semaphore::new(limits::TOOL_CALLS_MAX)) }
    }

    /// The tools for somebody who shows this, or nothing.
    fn offered(&self, shown: Option<&HeaderValue>) -> impl Iterator<Item = &'static Row> + use<> {
        let all = match self.offer {
            Offer::All => true,
            Offer::Reading => false,
            Offer::ByToken => shown.is_some(),
        };
        TOOLS.iter().filter(move |row| row.is_read_only || all)
    }

    fn row(&self, name: &str, shown: Option<&HeaderValue>) -> Result<&'static Row, ErrorData> {
        let found = self.offered(shown).find(|row| row.name == name);
        found.ok_or_else(|| self.unknown_tool(name, shown))
    }

    fn unknown_tool(&self, name: &str, shown: Option<&HeaderValue>) -> ErrorData {
        let is_hidden = TOOLS.iter().any(|row| row.name == name);
        let message = match self.offer {
            Offer::ByToken if is_hidden => format!(
                "tool {name:?} changes things, which over HTTP takes a token: send it as \
                 `Authorization: Bearer`; `balefire token create` makes one"
            ),
            _ if is_hidden => {
                format!("tool {name:?} changes things, and this shim only reads (--read-only)")
            }
            _ => {
                let near = near::hint(name, self.offered(shown).map(|row| row.name));
                format!("unknown tool {name:?}{near}")
            }
        };
        ErrorData::invalid_params(message, None)
    }

    /// What a call works with: over HTTP, for whoever sent it.
    fn context_for(&self, extensions: &Extensions) -> Context {
        let own = self.context.clone();
        if extensions.get::<Parts>().is_none() {
            return own;
        }
        Context { connection: own.connection.on_behalf_of(shown(extensions)), ..own }
    }

    async fn call(
        &self,
        row: &Row,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, ToolError> {
        let _permit = self.calls.try_acquire().map_err(|_| ToolError::Busy)?;
        let own = self.context_for(&context.extensions);
        let called = (row.call)(&own, request.arguments.unwrap_or_default());
        tokio::select! {
            answer = tokio::time::timeout(limits::HTTP_REQUEST_TIMEOUT, called) => {
                answer.unwrap_or(Err(ToolError::TimedOut))
            }
            () = context.ct.cancelled() => Err(ToolError::Cancelled),
        }
    }
}

impl ServerHandler for Shim {
    fn get_info(&self) -> ServerConfig {
        let identity = Implementation::new("balefire", env!("CARGO_PKG_VERSION"))
            .with_title("Balefire")
            .with_description(env!("CARGO_PKG_DESCRIPTION"));
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(identity)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.offered(shown(&context.extensions)).map(|row| (row.define)()).collect();
        let list = ListToolsResult::with_all_items(tools);
        let for_all = self.offer != Offer::ByToken;
        let scope = if for_all { CacheScope::Public } else { CacheScope::Private };
        Ok(list.with_ttl_ms(TOOLS_TTL_MS).with_cache_scope(scope))
    }

    /// Whoever asks: who may call it is found out when they do.
    fn get_tool(&self, name: &str) -> Option<Definition> {
        TOOLS.iter().find(|row| row.name == name).map(|row| (row.define)())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let row = self.row(&request.name, shown(&context.extensions))?;
        let result = match self.call(row, request, &context).await {
            Ok(value) => CallToolResult::structured(value),
            // The agent reads the texts of tool errors; those of protocol errors it rarely sees.
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
        };
        Ok(result.into())
    }
}

/// What a request over HTTP shows of who sent it.
fn shown(extensions: &Extensions) -> Option<&HeaderValue> {
    extensions.get::<Parts>()?.headers.get(header::AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::Connection, time::Clock};

    fn shim(offer: Offer) -> Shim {
        let connection = Connection::open(Some("/nowhere/sock".as_ref()));
        Shim::new(Context { connection, clock: Clock::System }, offer)
    }

    #[tokio::test]
    async fn a_read_only_shim_hides_what_changes_things() {
        let names = |offer, shown: Option<&HeaderValue>| -> Vec<&str> {
            shim(offer).offered(shown).map(|row| row.name).collect()
        };
        let readers = [
            "query_metrics",
            "health_check",
            "system_overview",
            "export_metrics",
            "get_server_status",
        ];
        let token = HeaderValue::from_static("Bearer x");
        assert_eq!(names(Offer::Reading, Some(&token)), readers);
        assert_eq!(names(Offer::ByToken, None), readers);
        assert_eq!(names(Offer::ByToken, Some(&token)).len(), TOOLS.len());
        let refused = shim(Offer::Reading).row("create_alert", Some(&token)).unwrap_err();
        assert!(refused.message.contains("only reads"), "{refused}");
        let refused = shim(Offer::ByToken).row("create_alert", None).unwrap_err();
        assert!(refused.message.contains("takes a token"), "{refused}");
        assert!(shim(Offer::All).row("create_alert", None).is_ok());
    }

    #[tokio::test]
    async fn an_unknown_tool_is_answered_with_one_that_is_near() {
        let refused = shim(Offer::All).row("query_metric", None).unwrap_err();
        assert!(refused.message.contains("near: query_metrics"), "{refused}");
    }
}
