//! What happens on the control socket.

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use tracing::{debug, error, warn};

use crate::telemetry::Telemetry;

/// The events of `control`; cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlEvents {
    connections: IntGauge,
    refused: IntCounterVec,
    requests: IntCounterVec,
    panics: IntCounter,
    accept_failures: IntCounter,
}

impl ControlEvents {
    /// Registers the metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        let refused = telemetry.counter_vec(
            "balefire_grpc_refused_total",
            "Connections and requests on the control socket that were refused.",
            &["reason"],
        );
        for reason in ["peer", "role", "connections", "rate", "under_way", "identities"] {
            // So that the counters stand at zero before the first refusal.
            let _ = refused.with_label_values(&[reason]);
        }
        Self {
            connections: telemetry
                .int_gauge("balefire_grpc_connections", "Open connections to the control socket."),
            refused,
            requests: telemetry.counter_vec(
                "balefire_grpc_requests_total",
                "Requests over the control socket.",
                &["service"],
            ),
            panics: telemetry.counter(
                "balefire_grpc_panics_total",
                "Panics while a request was answered: defects in Balefire.",
            ),
            accept_failures: telemetry.counter(
                "balefire_grpc_accept_failures_total",
                "Times the system gave no connection, for want of descriptors perhaps.",
            ),
        }
    }

    /// A connection is open.
    pub fn connected(&self, uid: u32) {
        self.connections.inc();
        debug!(uid, "control connection opened");
    }

    /// … and closed.
    pub fn disconnected(&self) {
        self.connections.dec();
    }

    /// A request came in for `service` (`balefire.v1.SystemService` …); only names that are served.
    pub fn requested(&self, service: &str) {
        self.requests.with_label_values(&[service]).inc();
    }

    /// Somebody asked for what they may not: for want of any role (`peer`), or of the right one (`role`).
    pub fn call_refused(&self, uid: u32, call: &str, has_role: bool, why: &str) {
        let reason = if has_role { "role" } else { "peer" };
        self.refused.with_label_values(&[reason]).inc();
        warn!(uid, call, "request refused: {why}");
    }

    /// A user asked for too much: more than `bound`. Logged where that is news.
    pub fn call_limited(&self, uid: u32, bound: &str, why: &str, is_news: bool) {
        self.refused.with_label_values(&[bound]).inc();
        if is_news {
            warn!(uid, "request refused: {why}");
        }
    }

    /// A connection was closed at once because there are too many.
    pub fn connection_refused(&self, open_max: usize) {
        self.refused.with_label_values(&["connections"]).inc();
        warn!(open_max, "control connection closed: too many are open");
    }

    /// The system gave no connection.
    pub fn accept_failed(&self, reason: &std::io::Error) {
        self.accept_failures.inc();
        warn!(%reason, "control connection not accepted");
    }

    /// Answering a request panicked; the daemon lives on.
    pub fn panicked(&self, path: &str, reason: &str) {
        self.panics.inc();
        error!(path, reason, "a request panicked");
    }
}
