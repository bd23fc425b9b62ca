//! The two eras of MCP, and what is remembered of each target's dialect.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{limits, telemetry::events::ProbeEvents};

/// How a server wants to be greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum Era {
    /// 2026-07-28 and later: stateless, `server/discover`.
    Modern,
    /// 2024-11-05 to 2025-11-25: `initialize` and sessions.
    Legacy,
}

impl Era {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Modern => Self::Legacy,
            Self::Legacy => Self::Modern,
        }
    }

    /// The method that opens the conversation.
    pub(super) fn greeting(self) -> &'static str {
        match self {
            Self::Modern => "server/discover",
            Self::Legacy => "initialize",
        }
    }

    /// The name of the phase that the greeting takes.
    pub(super) fn phase(self) -> &'static str {
        match self {
            Self::Modern => "discover",
            Self::Legacy => "initialize",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }
}

/// What is known of how a target speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Its era.
    pub(super) era: Era,
    /// Whether it answers `ping`; where it does not, `tools/list` is asked at once.
    pub(super) pings: bool,
    /// The version that the server says it has; `None` where the dialect is but a guess.
    pub(super) server_version: Option<String>,
}

/// After this many failures in a row a dialect is learned anew.
const FAILURES_MAX: u32 = 2;

#[derive(Debug)]
struct Memory {
    dialect: Dialect,
    failures: u32,
}

/// The dialects of all targets, by name.
#[derive(Debug, Default)]
pub(in crate::probe) struct Dialects(Mutex<HashMap<String, Memory>>);

impl Dialects {
    /// What is known of `target`.
    pub(super) fn recall(&self, target: &str) -> Option<Dialect> {
        self.0.lock().get(target).map(|memory| memory.dialect.clone())
    }

    /// `target` was understood in `dialect`.
    pub(super) fn learn(&self, target: &str, dialect: Dialect, events: &ProbeEvents) {
        let mut memories = self.0.lock();
        let before = memories.get(target).map(|memory| &memory.dialect);
        let version = before.and_then(|before| before.server_version.as_ref());
        if version.is_some_and(|version| Some(version) != dialect.server_version.as_ref()) {
            // A new version may speak otherwise: next time both eras are open.
            memories.remove(target);
            return;
        }
        if before.map(|before| before.era) != Some(dialect.era) {
            events.dialect_learned(target, dialect.era.name());
        }
        remember(&mut memories, target, Memory { dialect, failures: 0 });
    }

    /// `target` was not understood, but what it did hints at `era`: next time that one has all the
    /// time there is. One more failure, and both are tried again.
    pub(super) fn guess(&self, target: &str, era: Era) {
        let dialect = Dialect { era, pings: true, server_version: None };
        let memory = Memory { dialect, failures: FAILURES_MAX - 1 };
        remember(&mut self.0.lock(), target, memory);
    }

    /// `target` was not understood.
    pub(super) fn fail(&self, target: &str) {
        let mut memories = self.0.lock();
        if let Some(memory) = memories.get_mut(target) {
            memory.failures += 1;
            if memory.failures >= FAILURES_MAX {
                memories.remove(target);
            }
        }
    }
}

fn remember(memories: &mut HashMap<String, Memory>, target: &str, memory: Memory) {
    if memories.len() >= limits::TARGETS_MAX {
        // Targets come and go; whoever is forgotten is learned again.
        memories.clear();
    }
    memories.insert(target.to_owned(), memory);
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Telemetry;

    use super::*;

    fn dialect(version: &str) -> Dialect {
        Dialect { era: Era::Legacy, pings: true, server_version: Some(version.to_owned()) }
    }

    fn learned(versions: &[&str]) -> Dialects {
        let events = ProbeEvents::new(&Telemetry::new());
        let dialects = Dialects::default();
        for version in versions {
            dialects.learn("a", dialect(version), &events);
        }
        dialects
    }

    #[test]
    fn a_dialect_outlives_one_failure_but_not_two() {
        let dialects = learned(&["1"]);
        dialects.fail("a");
        assert_eq!(dialects.recall("a"), Some(dialect("1")));
        dialects.fail("a");
        assert_eq!(dialects.recall("a"), None);
    }

    #[test]
    fn a_success_forgives_a_failure() {
        let dialects = learned(&["1"]);
        dialects.fail("a");
        dialects.learn("a", dialect("1"), &ProbeEvents::new(&Telemetry::new()));
        dialects.fail("a");
        assert!(dialects.recall("a").is_some());
    }

    #[test]
    fn a_guess_is_tried_once() {
        let dialects = learned(&[]);
        dialects.guess("a", Era::Legacy);
        assert_eq!(dialects.recall("a").map(|dialect| dialect.era), Some(Era::Legacy));
        dialects.fail("a");
        assert_eq!(dialects.recall("a"), None);
        dialects.guess("a", Era::Legacy);
        dialects.learn("a", dialect("1"), &ProbeEvents::new(&Telemetry::new()));
        assert_eq!(dialects.recall("a"), Some(dialect("1")));
    }

    #[test]
    fn a_new_version_is_learned_anew() {
        assert_eq!(learned(&["1", "2"]).recall("a"), None);
        assert_eq!(learned(&["1", "2", "2"]).recall("a"), Some(dialect("2")));
    }
}
