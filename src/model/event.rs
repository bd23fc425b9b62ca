//! What happens, for those who listen.

use crate::time::Timestamp;

use super::{TargetState, Transition};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A target went from one state to another.
    TargetChanged {
        /// When.
        time: Timestamp,
        /// Which.
        name: String,
        /// From this state …
        from: TargetState,
        /// … to this.
        to: TargetState,
        /// Why.
        reason: String,
    },
    /// An alert went from one state to another.
    AlertTransition(Transition),
    /// The configuration was applied anew.
    ConfigReloaded {
        /// When.
        time: Timestamp,
        /// What changed, a line each.
        changes: Vec<String>,
    },
}

impl Event {
    /// When it happened.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::TargetChanged { time, .. } | Self::ConfigReloaded { time, .. } => *time,
            Self::AlertTransition(transition) => transition.time,
        }
    }
}
