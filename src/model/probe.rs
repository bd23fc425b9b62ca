//! One check of one target.

use std::time::Duration;

use crate::time::Timestamp;

use super::TargetState;

/// One check of one target, with all its attempts; what the history keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeRecord {
    /// The target's name.
    pub target: String,
    /// What the last attempt showed.
    pub state: TargetState,
    /// When the first attempt began.
    pub started_at: Timestamp,
    /// How long the last attempt took.
    pub duration: Duration,
    /// Every attempt, in order; never empty.
    pub attempts: Vec<ProbeAttempt>,
    /// What the last attempt learned.
    pub answer: ProbeAnswer,
    /// Why the last attempt failed; empty where it did not.
    pub error: String,
    /// The last lines that a spawned server wrote to its standard error, where it failed.
    pub stderr_tail: String,
}

/// One try within a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeAttempt {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Why it failed; empty where it did not.
    pub error: String,
}

/// What an attempt learned of the target, be it little.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeAnswer {
    /// The parts of the attempt, timed apart, in order.
    pub phases: Vec<ProbePhase>,
    /// The HTTP status, where there was one.
    pub status_code: Option<u16>,
    /// The MCP version agreed on; empty where there is none.
    pub protocol_version: String,
    /// What the server calls itself.
    pub server_name: String,
    /// The version it says it has.
    pub server_version: String,
    /// How many tools it lists.
    pub tool_count: Option<u32>,
    /// What it needs before it lets us in; `Some` means up, authorisation needed.
    pub auth_required: Option<String>,
}

/// A part of an attempt: `connect`, `tls`, `first_byte`, `spawn`, `initialize` …
#[derive(Clone, Debug, PartialEq)]
pub struct ProbePhase {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub duration: Duration,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeFailure {
    /// In words: what was tried, what happened.
    pub error: String,
    /// The last lines of a spawned server's standard error.
    pub stderr_tail: String,
    /// What was learned before it failed.
    pub answer: ProbeAnswer,
}
