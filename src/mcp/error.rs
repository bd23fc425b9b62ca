//! Why a tool has no answer, in words for the agent that called it.

use crate::{client::ClientError, limits};

/// Why a tool has no answer. Each text says what was wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ToolError {
    /// An argument is wrong.
    #[error("{field}: {problem}")]
    Argument {
        /// Its path: `start_time`, `metrics[3].tags.host`.
        field: String,
        /// What is wrong with it, and what to write instead.
        problem: String,
    },
    /// The daemon is away, or refused.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The daemon's answer has a hole where there must be none.
    #[error("the daemon's answer has no {0}: its version does not fit this shim's, update both")]
    Incomplete(&'static str),
    /// Too many calls at once.
    #[error(
        "{} calls are under way already: wait for one of them, then try again",
        limits::TOOL_CALLS_MAX
    )]
    Busy,
    /// The caller gave up.
    #[error("the call was cancelled")]
    Cancelled,
    /// The answer took too long.
    #[error("the daemon did not answer within {} s: ask for less, or try again", limits::HTTP_REQUEST_TIMEOUT.as_secs())]
    TimedOut,
}

impl ToolError {
    /// An argument is wrong.
    pub(super) fn argument(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Argument { field: field.into(), problem: problem.into() }
    }
}
