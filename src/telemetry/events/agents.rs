//! What happens between the service and users' agents.

use prometheus::{IntCounter, IntGauge};
use tracing::{info, warn};

use crate::telemetry::Telemetry;

/// The events of agents, as the service sees them; cheap to clone.
#[derive(Clone, Debug)]
pub struct AgentEvents {
    here: IntGauge,
    taken: IntCounter,
    dropped: IntCounter,
}

impl AgentEvents {
    /// Registers its metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            here: telemetry.int_gauge("balefire_agents", "Users' agents that report."),
            taken: telemetry
                .counter("balefire_agent_probes_total", "Probe results that agents told."),
            dropped: telemetry.counter(
                "balefire_agent_probes_dropped_total",
                "Probe results that agents told of targets which they do not declare.",
            ),
        }
    }

    /// An agent reports from now on.
    pub fn came(&self, uid: u32, user: &str) {
        self.here.inc();
        info!(uid, "the agent of {user} reports");
    }

    /// … and no more.
    pub fn left(&self, uid: u32, user: &str) {
        self.here.dec();
        info!(uid, "the agent of {user} went");
    }

    /// It did not come back in time.
    pub fn stale(&self, uid: u32, reason: &str) {
        warn!(uid, "{reason}");
    }

    /// Results came in, of which some could not be taken.
    pub fn took_in(&self, taken: usize, dropped: usize) {
        self.taken.inc_by(taken as u64);
        self.dropped.inc_by(dropped as u64);
    }
}
