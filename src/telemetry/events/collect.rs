//! What happens while the host's metrics are collected.

use prometheus::IntCounterVec;

use crate::telemetry::Telemetry;

/// The events of `collect`; cheap to clone.
#[derive(Clone, Debug)]
pub struct CollectEvents {
    failures: IntCounterVec,
    series_dropped: IntCounterVec,
}

impl CollectEvents {
    /// Registers the counters.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            failures: telemetry.counter_vec(
                "balefire_collector_failures_total",
                "Passes in which a collector failed.",
                &["collector"],
            ),
            series_dropped: telemetry.counter_vec(
                "balefire_collector_series_dropped_total",
                "Series that a collector had to leave out.",
                &["collector"],
            ),
        }
    }

    /// A collector failed; logged where it did not fail in the pass before.
    pub fn failed(&self, collector: &str, error: &str, is_news: bool) {
        self.failures.with_label_values(&[collector]).inc();
        if is_news {
            tracing::warn!(collector, error, "collector failed; its metrics are missing");
        }
    }

    /// A collector works again.
    pub fn recovered(&self, collector: &str) {
        tracing::info!(collector, "collector works again");
    }

    /// A collector found more than it may tell.
    pub fn series_dropped(&self, collector: &str, count: u64) {
        let dropped = self.series_dropped.with_label_values(&[collector]);
        if dropped.get() == 0 {
            tracing::warn!(collector, count, "too many series; some are left out from now on");
        }
        dropped.inc_by(count);
    }
}
