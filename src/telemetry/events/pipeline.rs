//! What the loops report.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGaugeVec};
use tracing::{debug, error, info, warn};

use crate::telemetry::Telemetry;

/// Upper bounds, in seconds, for work that takes from a millisecond to a minute.
const SECONDS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

/// The events of the collecting loop; cheap to clone.
#[derive(Clone, Debug)]
pub struct CollectingEvents {
    duration: Histogram,
    samples: IntCounter,
    refused: IntCounter,
    healthy: IntGaugeVec,
}

impl CollectingEvents {
    /// Registers its metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            duration: telemetry.histogram(
                "balefire_collect_duration_seconds",
                "How long a collecting pass took, storing included.",
                &SECONDS,
            ),
            samples: telemetry.counter(
                "balefire_collect_samples_total",
                "Samples that collecting passes stored.",
            ),
            refused: telemetry.counter(
                "balefire_collect_refused_samples_total",
                "Samples that the store refused.",
            ),
            healthy: telemetry.int_gauge_vec(
                "balefire_component_healthy",
                "1 where the component beats and its last piece of work went well.",
                &["component"],
            ),
        }
    }

    /// A pass is over and durable.
    pub fn passed(&self, stored: u64, refused: u64, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        self.samples.inc_by(stored);
        self.refused.inc_by(refused);
        debug!(stored, refused, took_ms = took.as_millis(), "collected the host");
    }

    /// How a component fares.
    pub fn component(&self, name: &str, healthy: bool) {
        self.healthy.with_label_values(&[name]).set(i64::from(healthy));
    }
}

/// The events of the probing loop; cheap to clone.
#[derive(Clone, Debug)]
pub struct ProbingEvents {
    probes: IntCounterVec,
    duration: Histogram,
    skipped: IntCounter,
    unwritten: IntCounter,
    overflowed: IntCounter,
    left_out: IntCounter,
}

impl ProbingEvents {
    /// Registers its metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            probes: telemetry.counter_vec(
                "balefire_probes_total",
                "Probes made, by what they found.",
                &["state"],
            ),
            duration: telemetry.histogram(
                "balefire_probe_duration_seconds",
                "How long the last attempt of a probe took.",
                &SECONDS,
            ),
            skipped: telemetry.counter(
                "balefire_probes_skipped_total",
                "Probes left out because the one before still ran.",
            ),
            unwritten: telemetry.counter(
                "balefire_probes_unwritten_total",
                "Probe results that could not be stored.",
            ),
            overflowed: telemetry.counter(
                "balefire_probes_dropped_total",
                "Probe results that an agent dropped because too many waited for the service.",
            ),
            left_out: telemetry
                .counter("balefire_targets_left_out_total", "Targets past the limit, not watched."),
        }
    }

    /// A probe is over.
    pub fn probed(&self, state: &str, took: Duration) {
        self.probes.with_label_values(&[state]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// How many probes there were since the start.
    pub fn probes(&self) -> u64 {
        self.duration.get_sample_count()
    }

    /// A probe was due while the one before still ran.
    pub fn skipped(&self, target: &str) {
        self.skipped.inc();
        warn!(target, "probe left out: the one before still runs");
    }

    /// A target is in another state than before.
    pub fn changed(&self, target: &str, from: &str, to: &str, reason: &str) {
        if to == "unhealthy" {
            error!(name: "target_down", target, from, to, reason, "target is {to}: {reason}");
        } else if from == "unhealthy" {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            info!(name: "target_up", target, from, to, reason, "target is {to} again{why}");
        } else if reason.is_empty() {
            info!(target, from, to, "target is {to}");
        } else {
            warn!(target, from, to, reason, "target is {to}: {reason}");
        }
    }

    /// A result could not be stored.
    pub fn unwritten(&self, target: &str, reason: &str) {
        self.unwritten.inc();
        error!(target, "probe result not stored: {reason}");
    }

    /// A result went for a newer one: too many wait for the service.
    pub fn overflowed(&self) {
        self.overflowed.inc();
        let dropped = self.overflowed.get();
        if dropped.is_power_of_two() {
            warn!(
                dropped,
                "the service is away for too long: the oldest probe results are dropped"
            );
        }
    }

    /// There are more targets than are watched.
    pub fn left_out(&self, count: u64) {
        self.left_out.inc_by(count);
        error!(count, "too many targets: the last are not watched");
    }
}

/// The events of the evaluating loop; cheap to clone.
#[derive(Clone, Debug)]
pub struct EvaluatingEvents {
    duration: Histogram,
    failures: IntCounter,
    transitions: IntCounterVec,
    notifications: IntCounter,
    suppressed: IntCounter,
}

impl EvaluatingEvents {
    /// Registers its metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            duration: telemetry.histogram(
                "balefire_rule_evaluation_duration_seconds",
                "How long an evaluation of all rules took, storing included.",
                &SECONDS,
            ),
            failures: telemetry.counter(
                "balefire_rule_evaluation_failures_total",
                "Evaluations of single rules that failed.",
            ),
            transitions: telemetry.counter_vec(
                "balefire_alert_transitions_total",
                "Alerts that changed their state, by the new one.",
                &["to"],
            ),
            notifications: telemetry
                .counter("balefire_alert_notifications_total", "Alerts that told somebody."),
            suppressed: telemetry.counter(
                "balefire_alert_suppressed_total",
                "Firings that told nobody, for their cooldown lasted.",
            ),
        }
    }

    /// All rules were evaluated.
    pub fn passed(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }

    /// A rule could not be evaluated.
    pub fn failed(&self, rule: &str, reason: &str) {
        self.failures.inc();
        warn!(rule, "rule {rule} could not be evaluated: {reason}");
    }

    /// An alert changed its state.
    pub fn transition(&self, rule: &str, alert: &str, to: &str, notified: bool) {
        self.transitions.with_label_values(&[to]).inc();
        if notified {
            self.notifications.inc();
        } else if to == "firing" {
            self.suppressed.inc();
        }
        match (to, notified) {
            ("firing", true) => {
                error!(name: "alert_firing", rule, alert, "alert {rule} is firing: {alert}");
            }
            ("resolved", true) => {
                info!(name: "alert_resolved", rule, alert, "alert {rule} is resolved: {alert}");
            }
            _ => debug!(rule, alert, to, "alert changed its state"),
        }
    }
}
