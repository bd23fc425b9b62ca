//! A user's agent, as the service knows it.

use crate::time::Timestamp;

use super::Target;

/// A user's agent: what it watches, and since when it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// The user, as the kernel says.
    pub uid: u32,
    /// What its targets are named with: the user's name, or the number where there is none.
    pub user: String,
    /// Its targets, as they are named here: `ada/time`.
    pub targets: Vec<Target>,
    /// Since when nothing was heard of it; `None` while it reports.
    pub gone_since: Option<Timestamp>,
}

/// How far the probes of an agent are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentMark {
    /// The user.
    pub uid: u32,
    /// Names the run of the agent in which the number counts.
    pub instance: String,
    /// The highest sequence number that is durable.
    pub sequence: u64,
}
