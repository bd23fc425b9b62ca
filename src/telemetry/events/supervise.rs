//! What happens to tasks.

use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};
use tracing::{error, info, warn};

use crate::telemetry::Telemetry;

/// The events of `supervise`; cheap to clone.
#[derive(Clone, Debug)]
pub struct SuperviseEvents {
    restarts: IntCounterVec,
    panics: IntCounterVec,
    aborted: IntCounterVec,
    ticks_missed: IntCounterVec,
    children: IntGaugeVec,
}

impl SuperviseEvents {
    /// Registers the metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self {
            restarts: telemetry.counter_vec(
                "balefire_task_restarts_total",
                "Times a task was started again after it had ended by itself.",
                &["task"],
            ),
            panics: telemetry.counter_vec(
                "balefire_task_panics_total",
                "Panics in a task or in a child of it: defects in Balefire.",
                &["task"],
            ),
            aborted: telemetry.counter_vec(
                "balefire_task_aborted_total",
                "Times a task or children of it did not stop in time.",
                &["task"],
            ),
            ticks_missed: telemetry.counter_vec(
                "balefire_ticks_missed_total",
                "Ticks that were left out because the work before them took too long.",
                &["task"],
            ),
            children: telemetry.int_gauge_vec(
                "balefire_task_children",
                "Short pieces of work that run on behalf of a task.",
                &["task"],
            ),
        }
    }

    /// A task runs for the first time; its counters stand at zero from here on.
    pub fn task_started(&self, task: &'static str) {
        let _ = self.restarts.with_label_values(&[task]);
        let _ = self.panics.with_label_values(&[task]);
        tracing::debug!(task, "task started");
    }

    /// A task ended by itself and is started again after `pause`.
    pub fn task_restarts(&self, task: &'static str, reason: &str, pause: Duration) {
        self.restarts.with_label_values(&[task]).inc();
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        warn!(task, reason, pause_ms, "task ended by itself and is started again");
    }

    /// A task or a child of it panicked.
    pub fn task_panicked(&self, task: &'static str, message: &str) {
        self.panics.with_label_values(&[task]).inc();
        error!(task, panic = message, "task panicked: this is a defect in Balefire");
    }

    /// A task ended by itself that the daemon cannot be without.
    pub fn critical_task_ended(&self, task: &'static str, reason: &str) {
        error!(task, reason, "critical task ended by itself, stopping");
    }

    /// A task that was told to stop ended with an error.
    pub fn task_stopped_badly(&self, task: &'static str, reason: &str) {
        warn!(task, reason, "task failed while it stopped");
    }

    /// A task or children of it did not stop in time.
    pub fn task_aborted(&self, task: &'static str) {
        self.aborted.with_label_values(&[task]).inc();
        warn!(task, "task did not stop in time and is aborted");
    }

    /// All tasks have stopped.
    pub fn all_stopped(&self, took: Duration) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        info!(took_ms, "all tasks have stopped");
    }

    /// `balefire_ticks_missed_total` of one task.
    pub fn ticks_missed(&self, task: &str) -> IntCounter {
        self.ticks_missed.with_label_values(&[task])
    }

    /// `child` more (or fewer) children of a task run.
    pub fn children_changed(&self, task: &str, by: i64) {
        self.children.with_label_values(&[task]).add(by);
    }
}
