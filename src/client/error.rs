//! Why a call had no answer.

use std::{error::Error, io, path::PathBuf};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The error of a connection on which nobody says anything.
pub(super) const SILENT: io::ErrorKind = io::ErrorKind::TimedOut;

/// Why no socket could be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens on any candidate.
    #[error("no balefire daemon answers on {}", list(.tried))]
    NotRunning {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The socket is there, but this user may not use it.
    #[error("permission denied on {}", .socket.display())]
    PermissionDenied {
        /// The socket.
        socket: PathBuf,
    },
    /// Anything else the system said.
    #[error("cannot connect to {}", .socket.display())]
    Failed {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
}

/// Why a call had no answer, for whoever shows it to a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No daemon is reachable.
    #[error("{reason}; start one with `balefired`, or `systemctl start balefire`")]
    NotRunning {
        /// Where it was looked for, or how the connection broke.
        reason: String,
    },
    /// The connection went away under the call.
    #[error(
        "the connection to the daemon broke, and nobody knows whether this was carried out: look \
         (`balefire status`), then try again"
    )]
    Broken,
    /// The socket is there, and nobody behind it says anything.
    #[error("{reason}; `systemctl status balefire` tells why")]
    Silent {
        /// Where, and for how long.
        reason: String,
    },
    /// This user may not talk to the daemon.
    #[error(
        "{reason}; ask for membership of the group (`sudo usermod -aG balefire $USER`, then log in \
         again), or run a daemon of your own with `balefired`"
    )]
    PermissionDenied {
        /// What said so.
        reason: String,
    },
    /// The daemon answered, and the answer is an error.
    #[error("{}", refusal(.message, .violations))]
    Refused {
        /// The gRPC status code.
        code: Code,
        /// What was wrong, where, and what to do.
        message: String,
        /// Field and description of each field that is wrong.
        violations: Vec<(String, String)>,
    },
}

/// The daemon's message, with the fields that it does not name itself.
fn refusal(message: &str, violations: &[(String, String)]) -> String {
    let mut text = message.to_owned();
    for (field, description) in violations {
        if !message.contains(field.as_str()) {
            text.push_str("; ");
            text.push_str(field);
            text.push_str(": ");
            text.push_str(description);
        }
    }
    text
}

impl ClientError {
    /// Whether the daemon says that what was asked about does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: Code::NotFound, .. })
    }

    /// Whether the same call may be answered later: a daemon that is away comes back, one that has too much
    /// to do will have less.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::PermissionDenied { .. } => false,
            Self::Refused { code: Code::ResourceExhausted, .. } => true,
            _ => self.is_unreachable(),
        }
    }

    /// Whether the call came to nobody who could say yes or no.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::NotRunning { .. }
            | Self::Broken
            | Self::Silent { .. }
            | Self::PermissionDenied { .. } => true,
            // A role that is missing is a "no" of a daemon that was reached.
            Self::Refused { code, .. } => *code == Code::Unavailable,
        }
    }
}

impl From<&ConnectError> for ClientError {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::NotRunning { .. } => Self::NotRunning { reason: error.to_string() },
            ConnectError::PermissionDenied { .. } => {
                Self::PermissionDenied { reason: error.to_string() }
            }
            ConnectError::Failed { error: cause, .. } => {
                Self::NotRunning { reason: format!("{error}: {cause}") }
            }
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        if let Some(error) = connect_error(&status) {
            return error.into();
        }
        if let Some(reason) = silence(&status) {
            return Self::Silent { reason };
        }
        if is_broken_transport(&status) {
            return Self::Broken;
        }
        let message = match status.code() {
            Code::DeadlineExceeded | Code::Cancelled if status.message().is_empty() => {
                "the daemon did not answer in time".to_owned()
            }
            _ => status.message().to_owned(),
        };
        Self::Refused { code: status.code(), message, violations: violations(&status) }
    }
}

/// The connector's own error, where the status wraps one.
fn connect_error(status: &Status) -> Option<&ConnectError> {
    causes(status).find_map(|cause| cause.downcast_ref())
}

/// What is said of a daemon that says nothing, where the status wraps that.
fn silence(status: &Status) -> Option<String> {
    let silent = |error: &&io::Error| error.kind() == SILENT;
    let found = causes(status).find_map(|cause| cause.downcast_ref::<io::Error>().filter(silent));
    found.map(ToString::to_string)
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |cause| {
        let cause = *cause;
        cause.source()
    })
}

/// Whether the status was made on this side, because the connection went away under the call.
fn is_broken_transport(status: &Status) -> bool {
    let made_here = status.source().is_some();
    made_here && matches!(status.code(), Code::Unavailable | Code::Unknown)
}

fn violations(status: &Status) -> Vec<(String, String)> {
    let Some(bad) = status.get_details_bad_request() else {
        return Vec::new();
    };
    bad.field_violations.into_iter().map(|v| (v.field, v.description)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_socket_names_the_group() {
        let denied = ConnectError::PermissionDenied { socket: "/run/x.sock".into() };
        let text = ClientError::from(&denied).to_string();
        assert!(text.contains("usermod -aG balefire") && text.contains("/run/x.sock"), "{text}");
    }

    #[test]
    fn an_answer_that_is_an_error_keeps_code_and_message() {
        let error = ClientError::from(Status::not_found("no target \"x\""));
        assert_eq!(error.to_string(), "no target \"x\"");
        assert!(matches!(error, ClientError::Refused { code: Code::NotFound, .. }));
    }

    #[test]
    fn fields_are_named_once() {
        let violations = vec![("end".to_owned(), "before start".to_owned())];
        assert_eq!(refusal("end: before start", &violations), "end: before start");
        assert_eq!(refusal("bad range", &violations), "bad range; end: before start");
    }
}
