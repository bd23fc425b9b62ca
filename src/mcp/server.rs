//! What the protocol sees: the table of tools behind rmcp's handler.

use std::sync::Arc;

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
        Tool as Definition,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{limits, wire::near};

use super::{
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
    is_read_only: bool,
    /// Bounds the calls under way.
    calls: Arc<Semaphore>,
}

impl Shim {
    /// Offers the tools, or only those that change nothing.
    pub(super) fn new(context: Context, is_read_only: bool) -> Self {
        Self { context, is_read_only, calls: Arc::new(Semaphore::new(limits::TOOL_CALLS_MAX)) }
    }

    fn offered(&self) -> impl Iterator<Item = &'static Row> {
        let is_read_only = self.is_read_only;
        TOOLS.iter().filter(move |row| row.is_read_only || !is_read_only)
    }

    fn row(&self, name: &str) -> Result<&'static Row, ErrorData> {
        self.offered().find(|row| row.name == name).ok_or_else(|| self.unknown_tool(name))
    }

    fn unknown_tool(&self, name: &str) -> ErrorData {
        let is_hidden = TOOLS.iter().any(|row| row.name == name);
        let message = if is_hidden {
            format!(
                "tool {name:?} changes things, and this shim only reads (--read-only or --http)"
            )
        } else {
            let near = near::hint(name, self.offered().map(|row| row.name));
            format!("unknown tool {name:?}{near}")
        };
        ErrorData::invalid_params(message, None)
    }

    async fn call(
        &self,
        row: &Row,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, ToolError> {
        let _permit = self.calls.try_acquire().map_err(|_| ToolError::Busy)?;
        let called = (row.call)(&self.context, request.arguments.unwrap_or_default());
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
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.offered().map(|row| (row.define)()).collect();
        let list = ListToolsResult::with_all_items(tools);
        Ok(list.with_ttl_ms(TOOLS_TTL_MS).with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Definition> {
        self.row(name).ok().map(|row| (row.define)())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let row = self.row(&request.name)?;
        let result = match self.call(row, request, &context).await {
            Ok(value) => CallToolResult::structured(value),
            // The agent reads the texts of tool errors; those of protocol errors it rarely sees.
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
        };
        Ok(result.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::Connection, time::Clock};

    fn shim(is_read_only: bool) -> Shim {
        let connection = Connection::open(Some("/nowhere/sock".as_ref()));
        Shim::new(Context { connection, clock: Clock::System }, is_read_only)
    }

    #[tokio::test]
    async fn a_read_only_shim_hides_what_changes_things() {
        let offered: Vec<&str> = shim(true).offered().map(|row| row.name).collect();
        let readers = [
            "query_metrics",
            "health_check",
            "system_overview",
            "export_metrics",
            "get_server_status",
        ];
        assert_eq!(offered, readers);
        let refused = shim(true).row("create_alert").unwrap_err();
        assert!(refused.message.contains("only reads"), "{refused}");
        assert!(shim(false).row("create_alert").is_ok());
    }

    #[tokio::test]
    async fn an_unknown_tool_is_answered_with_one_that_is_near() {
        let refused = shim(false).row("query_metric").unwrap_err();
        assert!(refused.message.contains("near: query_metrics"), "{refused}");
    }
}
