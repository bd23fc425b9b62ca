//! Carries rmcp's messages over streamable HTTP: a POST for each, its answer read to the response
//! that belongs to it, as JSON or as server-sent events.
//!
//! This stands on our own client instead of rmcp's worker, so that every part is timed and bounded,
//! and nothing goes on behind the probe's back: no stream is opened that was not asked for.

use std::{io, ops::ControlFlow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, response::Parts};
use parking_lot::Mutex;
use rmcp::{RoleClient, service::TxJsonRpcMessage, transport::Transport};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    limits,
    probe::{
        fault::Fault,
        http::{Address, Ask, Trust, exchange},
        report::Report,
    },
};

use super::{
    answer::{Answer, Message, is_sse},
    sse::SseParser,
};

/// Messages that wait for rmcp; a server that sends more of them beside its response loses some.
const QUEUE_MAX: usize = 64;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Where a request of the modern era carries its version.
const VERSION_META: &str = "io.modelcontextprotocol/protocolVersion";

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
