//! What the prober reports.

use prometheus::IntCounterVec;

use crate::telemetry::Telemetry;

/// The events of `probe`; cheap to clone.
#[derive(Clone, Debug)]
pub struct ProbeEvents {
    attempts: IntCounterVec,
    processes: IntCounterVec,
    dialects: IntCounterVec,
}

impl ProbeEvents {
    /// Registers the counters.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            attempts: telemetry.counter_vec(
                "balefire_probe_attempts_total",
                "Attempts to check a target, by how they ended.",
                &["kind", "outcome"],
            ),
            processes: telemetry.counter_vec(
                "balefire_probe_processes_total",
                "Spawned servers, by what it took to stop them.",
                &["ended"],
            ),
            dialects: telemetry.counter_vec(
                "balefire_probe_dialects_learned_total",
                "How often the era of MCP that a target speaks was learned.",
                &["era"],
            ),
        }
    }

    /// An attempt has ended; `error` is empty where it went well.
    pub fn attempt_ended(&self, target: &str, kind: &str, outcome: &str, error: &str) {
        self.attempts.with_label_values(&[kind, outcome]).inc();
        tracing::debug!(target_name = target, kind, outcome, error, "probe attempt ended");
    }

    /// A spawned server is gone; `ended` says what it took: `by_itself`, `terminated`, `killed`.
    pub fn process_ended(&self, program: &str, ended: &str) {
        self.processes.with_label_values(&[ended]).inc();
        tracing::debug!(program, ended, "spawned server is gone");
    }

    /// A target's era of MCP was learned.
    pub fn dialect_learned(&self, target: &str, era: &str) {
        self.dialects.with_label_values(&[era]).inc();
        tracing::debug!(target_name = target, era, "learned which era of MCP a target speaks");
    }
}
