//! Why an attempt failed, in words that help whoever has to mend it.

use std::{io, path::PathBuf, time::Duration};

use crate::{error_code::ErrorCode, limits};

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("spawn failed: `{program}`: {source}{}", spawn_advice(.source))]
    Spawn { program: String, source: io::Error },
    #[error(
        "cannot reach {}: {source}: `systemctl enable --now balefire-spawn.socket`, or set \
         `[probe] spawn_socket`",
        .socket.display()
    )]
    SpawnSocket { socket: PathBuf, source: io::Error },
    #[error("spawn failed: {0}")]
    SpawnRefused(String),
    #[error("spawn failed: the working directory {0:?} does not exist: mend `cwd`")]
    WorkingDirectory(PathBuf),
    #[error("{how} before it answered {awaiting}")]
    Exited { how: String, awaiting: &'static str },
    #[error("closed its output before it answered {awaiting}{}", noise_note(*.noise))]
    Closed { awaiting: &'static str, noise: u64 },
    #[error(
        "no answer to {awaiting} within {}{}",
        seconds(*.within),
        noise_note(*.noise)
    )]
    Silent { awaiting: &'static str, within: Duration, noise: u64 },
    #[error(
        "wrote more than {} bytes before it answered {awaiting}{}",
        limits::PROBE_ANSWER_BYTES_MAX,
        noise_note(*.noise)
    )]
    Flooded { awaiting: &'static str, noise: u64 },
    #[error("{method} was answered with error {code}: {message}")]
    Rpc { method: &'static str, code: i32, message: String },
    #[error("{method} was answered with something that is not its result: {detail}")]
    Unexpected { method: &'static str, detail: String },
    #[error("no version of MCP in common: the server speaks {}", .supported.join(", "))]
    NoCommonVersion { supported: Vec<String> },
    #[error("{challenge}")]
    AuthRequired { challenge: String },
    #[error("legacy HTTP+SSE transport: not supported yet; offer streamable HTTP or stdio")]
    LegacySse,

    #[error("invalid address {address:?}: {problem}")]
    Address { address: String, problem: &'static str },
    #[error("invalid header {0:?}: header names are ASCII, values have no line breaks")]
    Header(String),
    #[error("resolving {host:?} failed: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("connecting to {address} failed: {source}")]
    Connect { address: String, source: io::Error },
    #[error("TLS with {host:?} failed: {source}")]
    Tls { host: String, source: io::Error },
    #[error("no trusted certificates on this system, so https cannot be checked: {0}")]
    NoRoots(String),
    #[error("HTTP exchange failed: {}", chain(.0))]
    Exchange(#[from] hyper::Error),
    #[error("answered HTTP {status}, expected {}", list(.expected))]
    Status { status: u16, expected: Vec<u16> },
    #[error("{method} was answered with HTTP {status}{}", preview_note(.preview))]
    McpStatus { method: &'static str, status: u16, preview: String },
    #[error("answered more than {} redirects of its own", super::http::REDIRECTS_MAX)]
    Redirects,
    #[error("no answer within {} (during {during})", seconds(*.within))]
    Timeout { during: &'static str, within: Duration },
    #[error("gRPC health: {0}")]
    GrpcHealth(String),
    #[error("Balefire's own doors are not known yet")]
    NoDoors,
    #[error("only its user's agent can check it")]
    NotOurs,
}

impl Fault {
    /// What kind of failure it is; the `outcome` label of the attempt counter.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::WorkingDirectory(_) | Self::Address { .. } | Self::Header(_) => {
                ErrorCode::InvalidArgument
            }
            Self::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorCode::NotFound
            }
            Self::AuthRequired { .. } => ErrorCode::PermissionDenied,
            Self::Flooded { .. } | Self::Redirects => ErrorCode::ResourceExhausted,
            Self::Silent { .. } | Self::Timeout { .. } => ErrorCode::DeadlineExceeded,
            Self::LegacySse | Self::NoCommonVersion { .. } => ErrorCode::Unimplemented,
            Self::NoDoors | Self::NotOurs | Self::NoRoots(_) | Self::SpawnSocket { .. } => {
                ErrorCode::FailedPrecondition
            }
            _ => ErrorCode::Unavailable,
        }
    }

    /// Whether the other era of MCP would fail in the same way, so that it need not be tried.
    pub(super) fn settles_both_eras(&self) -> bool {
        matches!(
            self,
            Self::Spawn { .. }
                | Self::SpawnSocket { .. }
                | Self::SpawnRefused(_)
                | Self::WorkingDirectory(_)
                | Self::AuthRequired { .. }
                | Self::LegacySse
                | Self::Address { .. }
                | Self::Header(_)
                | Self::Resolve { .. }
                | Self::Connect { .. }
                | Self::Tls { .. }
                | Self::NoRoots(_)
        )
    }
}

fn spawn_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => ": install it or mend `command`",
        io::ErrorKind::PermissionDenied => ": make it executable or mend `command`",
        _ => "",
    }
}

/// A time as people say it: whole seconds, or tenths.
fn seconds(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    match tenths % 10 {
        0 => format!("{}s", tenths / 10),
        rest => format!("{}.{rest}s", tenths / 10),
    }
}

fn noise_note(noise: u64) -> String {
    if noise == 0 {
        return String::new();
    }
    format!("; the server wrote {noise} bytes that are not JSON-RPC")
}

fn preview_note(preview: &str) -> String {
    if preview.is_empty() { String::new() } else { format!(": {preview}") }
}

/// An error with what is behind it: hyper keeps the reason there.
fn chain(error: &hyper::Error) -> String {
    let sources = std::iter::successors(std::error::Error::source(error), |e| e.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

fn list(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
}

/// The first line of `text`, at most `max` characters of it, without control characters: foreign
/// text that goes into an error message.
pub(super) fn first_line(text: &str, max: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded() {
        for (millis, text) in [(9_997, "10s"), (8_597, "8.6s"), (250, "0.3s"), (60_000, "60s")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn foreign_text_is_one_short_line() {
        assert_eq!(first_line("\n  <html>\x1b[31m\nmore", 8), "<html>[3");
        assert_eq!(first_line("", 8), "");
    }
}
