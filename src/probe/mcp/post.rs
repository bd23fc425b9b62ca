//! Carries rmcp's messages over streamable HTTP: a POST for each, its answer read to the response
//! that belongs to it, as JSON or as server-sent events.
//!
//! This stands on our own client instead of rmcp's worker, so that every part is timed and bounded,
//! and nothing goes on behind the probe's back: no stream is opened that was not asked for.

use std::{io, ops::ControlFlow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response::Parts};
use parking_lot::Mutex;
use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    limits,
    probe::{
        fault::{Fault, first_line},
        http::{Address, Ask, Trust, exchange},
        report::Report,
    },
};

use super::sse::SseParser;

/// Messages that wait for rmcp; a server that sends more of them beside its response loses some.
const QUEUE_MAX: usize = 64;
/// Characters of an answer that is no JSON-RPC, for the error message.
const PREVIEW_CHARS_MAX: usize = 120;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Where a request of the modern era carries its version.
const VERSION_META: &str = "io.modelcontextprotocol/protocolVersion";

type Message = RxJsonRpcMessage<RoleClient>;

/// An MCP server behind a URL, and what one conversation with it has come to; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: Address,
    headers: HeaderMap,
    trust: Arc<Trust>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What a session of the legacy era goes by.
    session: Option<HeaderValue>,
    /// The version that `initialize` agreed on.
    version: Option<HeaderValue>,
    /// How the first request was dialled, and the last status.
    first: Option<Report>,
    status: Option<u16>,
    /// Why a request failed: rmcp would tell less.
    fault: Option<Fault>,
}

impl Endpoint {
    pub(super) fn new(address: Address, headers: HeaderMap, trust: Arc<Trust>) -> Self {
        Self(Arc::new(Inner { address, headers, trust, state: Mutex::default() }))
    }

    /// A transport to it.
    pub(super) fn transport(&self) -> PostTransport {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        PostTransport { endpoint: self.clone(), sender: Some(sender), receiver }
    }

    /// Why the conversation failed, where a request knows.
    pub(super) fn take_fault(&self) -> Option<Fault> {
        self.0.state.lock().fault.take()
    }

    /// How the first request was dialled.
    pub(super) fn take_first(&self) -> Option<Report> {
        self.0.state.lock().first.take()
    }

    /// The last HTTP status.
    pub(super) fn status(&self) -> Option<u16> {
        self.0.state.lock().status
    }

    /// Tells the server that the session is over, where there is one.
    pub(super) async fn close_session(&self) {
        if self.0.state.lock().session.is_none() {
            return;
        }
        let ask = self.ask(Method::DELETE, &Value::Null);
        // A server that wants to keep its session keeps it; it was told.
        let drop_body = |_: &Parts, _: &[u8]| ControlFlow::Break(());
        let _ = exchange(ask, &self.0.trust, &mut Report::new(), drop_body).await;
    }

    /// Whether a GET is answered by the `endpoint` event of the HTTP+SSE transport of 2024-11-05.
    pub(super) async fn offers_legacy_sse(&self) -> bool {
        let mut ask = self.ask(Method::GET, &Value::Null);
        ask.headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let mut parser = SseParser::default();
        let mut read = 0;
        let mut found = false;
        let search = |head: &Parts, piece: &[u8]| {
            read += piece.len();
            found = is_sse(head) && parser.feed(piece).iter().any(|event| event.name == "endpoint");
            let enough = found || !is_sse(head) || read > limits::PROBE_ANSWER_BYTES_MAX;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let _ = exchange(ask, &self.0.trust, &mut Report::new(), search).await;
        found
    }

    fn ask(&self, method: Method, message: &Value) -> Ask {
        let mut headers = self.0.headers.clone();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        let state = self.0.state.lock();
        if let Some(session) = &state.session {
            headers.insert(SESSION, session.clone());
        }
        if let Some(version) = &state.version {
            headers.insert(VERSION, version.clone());
        }
        let body = if message.is_null() { Vec::new() } else { message.to_string().into_bytes() };
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        modern_headers(message, &mut headers);
        Ask { method, address: self.0.address.clone(), headers, body: body.into() }
    }

    /// Sends `message` and hands what comes back to `sender`.
    async fn post(&self, message: Value, sender: mpsc::Sender<Message>) -> Result<(), Fault> {
        let mut report = Report::new();
        let mut answer = Answer::new(&message, sender);
        let ask = self.ask(Method::POST, &message);
        let read = |head: &Parts, piece: &[u8]| answer.read(head, piece);
        let exchanged = exchange(ask, &self.0.trust, &mut report, read).await;
        let mut state = self.0.state.lock();
        state.status = report.answer.status_code.or(state.status);
        state.first.get_or_insert(report);
        let head = exchanged?;
        if let Some(session) = head.headers.get(SESSION) {
            state.session = Some(session.clone());
        }
        if let Some(version) = answer.finish(&head)? {
            state.version = HeaderValue::from_str(&version).ok();
        }
        Ok(())
    }
}

/// The headers that 2026-07-28 asks for besides.
fn modern_headers(message: &Value, headers: &mut HeaderMap) {
    let Some(version) = message["params"]["_meta"][VERSION_META].as_str() else { return };
    let method = message["method"].as_str().unwrap_or_default();
    for (name, value) in [(VERSION, version), (METHOD, method)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

fn is_sse(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// An answer while it comes in.
#[derive(Debug)]
struct Answer {
    /// The id of the request; null for what has no response.
    id: Value,
    method: &'static str,
    sender: mpsc::Sender<Message>,
    read: usize,
    body: Vec<u8>,
    events: SseParser,
    answered: bool,
    version: Option<String>,
}

impl Answer {
    fn new(message: &Value, sender: mpsc::Sender<Message>) -> Self {
        let method = match message["method"].as_str() {
            Some("server/discover") => "server/discover",
            Some("initialize") => "initialize",
            Some("ping") => "ping",
            Some("tools/list") => "tools/list",
            _ => "a notification",
        };
        Self {
            id: message["id"].clone(),
            method,
            sender,
            read: 0,
            body: Vec::new(),
            events: SseParser::default(),
            answered: false,
            version: None,
        }
    }

    fn read(&mut self, head: &Parts, piece: &[u8]) -> ControlFlow<()> {
        self.read += piece.len();
        if self.read > limits::PROBE_ANSWER_BYTES_MAX {
            return ControlFlow::Break(());
        }
        if is_sse(head) && head.status.is_success() {
            for event in self.events.feed(piece) {
                self.accept(event.data.as_bytes());
            }
        } else {
            self.body.extend_from_slice(piece);
        }
        if self.answered { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Passes a message on, where it is one.
    fn accept(&mut self, text: &[u8]) {
        let Ok(mut message) = serde_json::from_slice::<Value>(text) else { return };
        let response = message.get("result").is_some() || message.get("error").is_some();
        if response && message["id"].is_null() {
            // Rejections from in front of the server cannot know the id; the POST tells it.
            message["id"] = self.id.clone();
        }
        self.answered |= response && message["id"] == self.id;
        if self.method == "initialize" {
            self.version = message["result"]["protocolVersion"].as_str().map(str::to_owned);
        }
        if let Ok(message) = serde_json::from_value(message) {
            // Full of notifications: they are dropped. A response is what rmcp waits for.
            let _ = self.sender.try_send(message);
        }
    }

    /// Judges the answer as a whole; gives the version that `initialize` agreed on.
    fn finish(mut self, head: &Parts) -> Result<Option<String>, Fault> {
        let awaiting = self.method;
        if let Some(fault) = auth_fault(head) {
            return Err(fault);
        }
        if self.read > limits::PROBE_ANSWER_BYTES_MAX {
            return Err(Fault::Flooded { awaiting, noise: 0 });
        }
        if !self.body.is_empty() {
            let body = std::mem::take(&mut self.body);
            self.accept(&body);
            self.body = body;
        }
        let is_notification = self.id.is_null();
        if self.answered || (is_notification && head.status.is_success()) {
            return Ok(self.version);
        }
        let preview = first_line(&String::from_utf8_lossy(&self.body), PREVIEW_CHARS_MAX);
        Err(Fault::McpStatus { method: awaiting, status: head.status.as_u16(), preview })
    }
}

/// 401, and 403 that asks for another scope: the server is up and wants a token.
fn auth_fault(head: &Parts) -> Option<Fault> {
    let challenge = head.headers.get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map(|value| String::from_utf8_lossy(value.as_bytes()));
    match (head.status, challenge) {
        (StatusCode::UNAUTHORIZED, None) => {
            Some(Fault::AuthRequired { challenge: "HTTP 401 without WWW-Authenticate".to_owned() })
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(challenge)) => {
            Some(Fault::AuthRequired { challenge: first_line(&challenge, 1024) })
        }
        _ => None,
    }
}

/// One conversation's way to the server.
#[derive(Debug)]
pub(super) struct PostTransport {
    endpoint: Endpoint,
    sender: Option<mpsc::Sender<Message>>,
    receiver: mpsc::Receiver<Message>,
}

impl Transport<RoleClient> for PostTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let endpoint = self.endpoint.clone();
        let sender = self.sender.clone();
        async move {
            let sender = sender.ok_or(io::ErrorKind::BrokenPipe)?;
            let message = serde_json::to_value(&message)?;
            endpoint.post(message, sender).await.map_err(|fault| {
                let error = io::Error::other(fault.to_string());
                endpoint.0.state.lock().fault = Some(fault);
                error
            })
        }
    }

    async fn receive(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.sender.take();
        Ok(())
    }
}
