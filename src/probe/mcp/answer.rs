//! One POST's answer over streamable HTTP: a JSON text, a stream of events, or a refusal.

use std::ops::ControlFlow;

use http::{StatusCode, header, response::Parts};
use rmcp::{RoleClient, service::RxJsonRpcMessage};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    limits,
    probe::fault::{Fault, first_line},
};

use super::sse::SseParser;

/// Characters of an answer that is no JSON-RPC, for the error message.
const PREVIEW_CHARS_MAX: usize = 120;

/// What a server sends.
pub(super) type Message = RxJsonRpcMessage<RoleClient>;

/// Whether an answer is a stream of server-sent events.
pub(super) fn is_sse(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// An answer while it comes in.
#[derive(Debug)]
pub(super) struct Answer {
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
    /// The answer to `message`, whose messages go to `sender`.
    pub(super) fn new(message: &Value, sender: mpsc::Sender<Message>) -> Self {
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

    /// Takes the next piece of the body in, until the response that is waited for is there.
    pub(super) fn read(&mut self, head: &Parts, piece: &[u8]) -> ControlFlow<()> {
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
    pub(super) fn finish(mut self, head: &Parts) -> Result<Option<String>, Fault> {
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
