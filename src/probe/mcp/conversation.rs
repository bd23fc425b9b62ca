//! What is said to an MCP server, whatever carries it: the greeting of its era, `ping`, `tools/list`.

use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, ClientRequest, Implementation, ListToolsRequest,
        PaginatedRequestParams, PingRequest, ProtocolVersion, ServerPeerInfo, ServerResult,
    },
    service::{ClientInitializeError, Peer, RunningService, ServiceError},
    transport::Transport,
};

use crate::probe::{
    fault::{Fault, first_line},
    report::{Deadline, Report},
};

use super::era::{Dialect, Era};

/// Pages of `tools/list` that are fetched; a cursor that never ends is not followed for ever.
const TOOL_PAGES_MAX: u32 = 32;
/// Characters of a foreign error message that are passed on.
const MESSAGE_CHARS_MAX: usize = 300;
/// What part of the time left `ping` may take: silence there is no verdict yet.
const PING_SHARE: f64 = 0.3;

type Client = RunningService<RoleClient, ClientConfig>;

/// How to speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// In which era.
    pub(super) era: Era,
    /// Until when.
    pub(super) deadline: Deadline,
    /// Whether to ask `ping`, which exists in the legacy era only.
    pub(super) ping: bool,
}

/// A conversation that came to nothing.
#[derive(Debug)]
pub(super) struct Broken {
    /// Why.
    pub(super) fault: Fault,
    /// Whether the server showed that it speaks this era, so that the other need not be tried.
    pub(super) era_proven: bool,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self { fault, era_proven: false }
    }
}

/// Greets the server, asks what shows that it works, and says good-bye.
pub(super) async fn converse<T>(
    transport: T,
    plan: &Plan,
    report: &mut Report,
) -> Result<Dialect, Broken>
where
    T: Transport<RoleClient> + 'static,
{
    let client = report.time(plan.era.phase(), greet(transport, plan)).await.map_err(|fault| {
        let era_proven = proves_modern(plan.era, &fault);
        Broken { fault, era_proven }
    })?;
    let asked = question(&client, plan, report).await;
    // Ends rmcp's task, and with it the transport; it is at our disposal at once.
    let _ = plan.deadline.bound(client.cancel()).await;
    asked.map_err(|fault| Broken { fault, era_proven: true })
}

async fn greet<T>(transport: T, plan: &Plan) -> Result<Client, Fault>
where
    T: Transport<RoleClient> + 'static,
{
    let lifecycle = match plan.era {
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Modern => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    };
    let awaiting = plan.era.greeting();
    // Boxed, since rmcp's future is tens of kilobytes.
    let opening = Box::pin(ourselves().serve_with_lifecycle(transport, lifecycle));
    match plan.deadline.bound(opening).await {
        Some(opened) => opened.map_err(|error| greeting_fault(error, awaiting)),
        None => Err(silent(awaiting, plan.deadline)),
    }
}

/// Who we are, and that we offer nothing.
fn ourselves() -> ClientConfig {
    let us = Implementation::new("balefire", env!("CARGO_PKG_VERSION"));
    ClientConfig::new(ClientCapabilities::default(), us)
        .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
}

async fn question(client: &Client, plan: &Plan, report: &mut Report) -> Result<Dialect, Fault> {
    let info = client.peer_info();
    let info = info.as_deref();
    note_identity(info, report);
    let mut pinged = Ok(());
    if plan.era == Era::Legacy && plan.ping {
        let deadline = plan.deadline.share(PING_SHARE);
        pinged = report.time("ping", ping(client, deadline)).await;
    }
    let lists_tools = info.is_some_and(|info| info.capabilities.tools.is_some());
    if lists_tools {
        let tools = report.time("list", count_tools(client, plan.deadline.rest())).await?;
        report.answer.tool_count = Some(tools);
    } else if let Err(fault @ (Fault::Silent { .. } | Fault::Closed { .. })) = pinged {
        // There is nothing to confirm it with; an error would at least have been an answer.
        return Err(fault);
    }
    let server_version = Some(report.answer.server_version.clone());
    Ok(Dialect { era: plan.era, pings: plan.ping && pinged.is_ok(), server_version })
}

fn note_identity(info: Option<&ServerPeerInfo>, report: &mut Report) {
    let Some(info) = info else { return };
    report.answer.protocol_version = first_line(info.protocol_version.as_str(), 64);
    if let Some(server) = &info.server_info {
        report.answer.server_name = first_line(&server.name, 256);
        report.answer.server_version = first_line(&server.version, 64);
    }
}

async fn ping(client: &Peer<RoleClient>, deadline: Deadline) -> Result<(), Fault> {
    let request = ClientRequest::PingRequest(PingRequest::default());
    ask(client, "ping", request, deadline).await.map(drop)
}

async fn count_tools(client: &Peer<RoleClient>, deadline: Deadline) -> Result<u32, Fault> {
    let mut count = 0;
    let mut cursor = None;
    for _ in 0..TOOL_PAGES_MAX {
        let page = PaginatedRequestParams::default().with_cursor(cursor.take());
        let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(page));
        let result = ask(client, "tools/list", request, deadline).await?;
        let (tools, next) = tools_of(result)?;
        count += tools;
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(count)
}

/// How many tools a page has, and where the next begins.
fn tools_of(result: ServerResult) -> Result<(u32, Option<String>), Fault> {
    let counted = |tools: usize| u32::try_from(tools).unwrap_or(u32::MAX);
    match result {
        ServerResult::ListToolsResult(page) => Ok((counted(page.tools.len()), page.next_cursor)),
        // A tool that rmcp finds odd is the clients' matter; that the list came is what counts.
        ServerResult::CustomResult(custom) if custom.0["tools"].is_array() => {
            let next = custom.0["nextCursor"].as_str().map(str::to_owned);
            Ok((counted(custom.0["tools"].as_array().map_or(0, Vec::len)), next))
        }
        other => Err(unexpected("tools/list", &other)),
    }
}

async fn ask(
    client: &Peer<RoleClient>,
    method: &'static str,
    request: ClientRequest,
    deadline: Deadline,
) -> Result<ServerResult, Fault> {
    match deadline.bound(client.send_request(request)).await {
        Some(answer) => answer.map_err(|error| request_fault(error, method)),
        None => Err(silent(method, deadline)),
    }
}

fn silent(awaiting: &'static str, deadline: Deadline) -> Fault {
    Fault::Silent { awaiting, within: deadline.whole(), noise: 0 }
}

fn greeting_fault(error: ClientInitializeError, method: &'static str) -> Fault {
    match error {
        ClientInitializeError::JsonRpcError(error) => rpc(method, error.code.0, &error.message),
        ClientInitializeError::ConnectionClosed(_)
        | ClientInitializeError::TransportError { .. } => {
            Fault::Closed { awaiting: method, noise: 0 }
        }
        ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
            let supported = server_supported.iter().map(|v| first_line(v.as_str(), 64)).collect();
            Fault::NoCommonVersion { supported }
        }
        ClientInitializeError::ExpectedInitResult(Some(result)) => unexpected(method, &result),
        other => unexpected(method, &other),
    }
}

fn request_fault(error: ServiceError, method: &'static str) -> Fault {
    match error {
        ServiceError::McpError(error) => rpc(method, error.code.0, &error.message),
        ServiceError::TransportSend(_)
        | ServiceError::TransportClosed
        | ServiceError::Cancelled { .. } => Fault::Closed { awaiting: method, noise: 0 },
        other => unexpected(method, &other),
    }
}

fn rpc(method: &'static str, code: i32, message: &str) -> Fault {
    Fault::Rpc { method, code, message: first_line(message, MESSAGE_CHARS_MAX) }
}

fn unexpected(method: &'static str, got: &impl std::fmt::Debug) -> Fault {
    Fault::Unexpected { method, detail: first_line(&format!("{got:?}"), MESSAGE_CHARS_MAX) }
}

/// Whether a failed greeting shows all the same that the server is of the modern era: the codes that
/// only 2026-07-28 knows (`HeaderMismatch`, `MissingRequiredClientCapability`), or a list of versions
/// without any that has `initialize`.
fn proves_modern(era: Era, fault: &Fault) -> bool {
    let modern = |version: &String| version.as_str() >= ProtocolVersion::NO_INITIALIZE.as_str();
    match fault {
        _ if era == Era::Legacy => false,
        Fault::Rpc { code: -32020 | -32021, .. } => true,
        Fault::NoCommonVersion { supported } => {
            !supported.is_empty() && supported.iter().all(modern)
        }
        _ => false,
    }
}
