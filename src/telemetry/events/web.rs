//! What happens on the HTTP listener.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::Telemetry;

/// Upper bounds in seconds: a status page takes a fraction of a millisecond, a heavy query minutes.
const DURATION_BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// The events of `web`; cheap to clone.
#[derive(Clone, Debug)]
pub struct WebEvents {
    connections: IntGauge,
    connections_refused: IntCounter,
    connections_failed: IntCounter,
    accepts_failed: IntCounter,
    requests: IntCounterVec,
    requests_refused: IntCounterVec,
    handshakes_failed: IntCounter,
    certificates: IntCounterVec,
    durations: HistogramVec,
}

/// Counts one open connection, until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl WebEvents {
    /// Registers the metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            connections: telemetry.int_gauge("balefire_http_connections", "Open HTTP connections."),
            connections_refused: telemetry.counter(
                "balefire_http_connections_refused_total",
                "HTTP connections closed at once because there were too many.",
            ),
            connections_failed: telemetry.counter(
                "balefire_http_connections_failed_total",
                "HTTP connections that ended in an error, such as a head that took too long.",
            ),
            accepts_failed: telemetry.counter(
                "balefire_http_accepts_failed_total",
                "HTTP connections that could not be accepted, for want of a descriptor mostly.",
            ),
            requests: telemetry.counter_vec(
                "balefire_http_requests_total",
                "HTTP requests by route and status.",
                &["route", "code"],
            ),
            requests_refused: telemetry.counter_vec(
                "balefire_http_requests_refused_total",
                "HTTP requests refused: for their Host, Origin, token or role, or because there were too many.",
                &["reason"],
            ),
            handshakes_failed: telemetry.counter(
                "balefire_http_tls_handshakes_failed_total",
                "TLS handshakes that failed or took too long.",
            ),
            certificates: telemetry.counter_vec(
                "balefire_http_certificate_changes_total",
                "Changes of the certificate's files, by what came of them.",
                &["outcome"],
            ),
            durations: telemetry.histogram_vec(
                "balefire_http_request_duration_seconds",
                "Time to answer an HTTP request, by route.",
                &DURATION_BUCKETS,
                &["route"],
            ),
        }
    }

    /// A connection is open.
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// A connection was one too many.
    pub fn connection_refused(&self, max: usize) {
        self.connections_refused.inc();
        tracing::warn!(max, "too many HTTP connections; one more was closed");
    }

    /// A connection ended in an error: the client's matter, mostly.
    pub fn connection_failed(&self, error: &str) {
        self.connections_failed.inc();
        tracing::debug!(error, "HTTP connection failed");
    }

    /// The listener could not accept a connection.
    pub fn accept_failed(&self, error: &str) {
        self.accepts_failed.inc();
        tracing::warn!(error, "could not accept an HTTP connection");
    }

    /// A request may not be made; `who` asked. Logged where that is news.
    pub fn request_refused(&self, reason: &str, who: &str, why: &str, is_news: bool) {
        self.requests_refused.with_label_values(&[reason]).inc();
        if is_news {
            tracing::warn!(reason, who, "HTTP request refused: {why}");
        }
    }

    /// A client did not get through the TLS handshake.
    pub fn handshake_failed(&self, reason: &str) {
        self.handshakes_failed.inc();
        tracing::debug!(reason, "TLS handshake failed");
    }

    /// Another certificate is shown from now on.
    pub fn certificate_loaded(&self) {
        self.certificates.with_label_values(&["loaded"]).inc();
        tracing::info!("the certificate of HTTP has changed: the new one is in use");
    }

    /// The files have changed, and cannot be used.
    pub fn certificate_refused(&self, reason: &str) {
        self.certificates.with_label_values(&["refused"]).inc();
        tracing::error!("the new certificate of HTTP cannot be used, the old one stays: {reason}");
    }

    /// A request was answered.
    pub fn request_answered(&self, route: &str, code: u16, took: Duration) {
        self.requests.with_label_values(&[route, &code.to_string()]).inc();
        self.durations.with_label_values(&[route]).observe(took.as_secs_f64());
    }
}
