//! What an attempt gathers on its way, and how much time it has.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::model::{ProbeAnswer, ProbePhase};

use super::fault::Fault;

/// When an attempt must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    began: Instant,
    at: Instant,
}

impl Deadline {
    /// `timeout` from now.
    pub(super) fn after(timeout: Duration) -> Self {
        let began = Instant::now();
        Self { began, at: began + timeout }
    }

    /// A part of what is left from now, at most to this deadline: for a step that may not use all.
    #[must_use]
    pub(super) fn share(self, part: f64) -> Self {
        Self::after(self.left().mul_f64(part))
    }

    /// The same end, counted from now.
    #[must_use]
    pub(super) fn rest(self) -> Self {
        Self::after(self.left())
    }

    /// This deadline, and some time more.
    #[must_use]
    pub(super) fn and(self, more: Duration) -> Self {
        Self { at: self.at + more, ..self }
    }

    /// What is left of it.
    pub(super) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// How long it was from the beginning.
    pub(super) fn whole(self) -> Duration {
        self.at - self.began
    }

    /// Waits for `work`, but not beyond the deadline.
    pub(super) async fn bound<T>(self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.at, work).await.ok()
    }
}

/// What an attempt gathers on its way, failed or not.
#[derive(Debug)]
pub(super) struct Report {
    /// What was learned.
    pub(super) answer: ProbeAnswer,
    /// The last lines of a spawned server's standard error.
    pub(super) stderr_tail: String,
    /// The phase that is going on.
    pub(super) during: &'static str,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { answer: ProbeAnswer::default(), stderr_tail: String::new(), during: "start" }
    }

    /// Waits for `work` as the phase `name`; it counts only when it succeeds.
    pub(super) async fn time<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        self.during = name;
        let began = Instant::now();
        let done = work.await?;
        self.phase(name, began.elapsed());
        Ok(done)
    }

    /// Notes a phase that was timed elsewhere.
    pub(super) fn phase(&mut self, name: &'static str, duration: Duration) {
        self.answer.phases.push(ProbePhase { name, duration });
    }
}
