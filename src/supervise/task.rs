//! One task's life: run, end, pause, run again, until it is told to stop.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Heartbeat, Policy, StopSignal, TaskContext, TaskReport, TaskSpec, TaskState,
    backoff::{Backoff, SETTLED_AFTER},
};
use crate::{telemetry::events::SuperviseEvents, time::Clock};

/// A task as its supervisor sees it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) spec: TaskSpec,
    heartbeat: Heartbeat,
    life: Mutex<Life>,
}

#[derive(Debug)]
struct Life {
    stage: Stage,
    /// Why the last run ended; empty where none did, or went as it should.
    end: String,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Running { since: Instant },
    Restarting,
    Stopped,
}

impl Task {
    pub(super) fn new(spec: TaskSpec, clock: Clock) -> Self {
        let stage = Stage::Running { since: Instant::now() };
        let life = Mutex::new(Life { stage, end: String::new() });
        Self { spec, heartbeat: Heartbeat::new(clock), life }
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.life.lock().stage, Stage::Stopped)
    }

    /// Whether it may count as alive: it beats, or is about to be started again, or is over.
    pub(super) fn is_alive(&self) -> bool {
        self.state() != TaskState::Late
    }

    pub(super) fn report(&self) -> TaskReport {
        let state = self.state();
        let error = self.error();
        TaskReport {
            name: self.spec.name,
            state,
            healthy: state == TaskState::Running && error.is_empty(),
            last_success: self.heartbeat.last_success(),
            error,
        }
    }

    fn state(&self) -> TaskState {
        let late = self.spec.beat_within.is_some_and(|within| self.heartbeat.silence() > within);
        match self.life.lock().stage {
            Stage::Running { .. } if late => TaskState::Late,
            Stage::Running { .. } => TaskState::Running,
            Stage::Restarting => TaskState::Restarting,
            Stage::Stopped => TaskState::Stopped,
        }
    }

    /// What its work says is wrong, else why it ended, until it has run well again for a while.
    fn error(&self) -> String {
        let life = self.life.lock();
        let settled =
            matches!(life.stage, Stage::Running { since } if since.elapsed() >= SETTLED_AFTER);
        let error = self.heartbeat.error();
        if error.is_empty() && !settled { life.end.clone() } else { error }
    }

    fn runs(&self) {
        self.heartbeat.beat();
        self.life.lock().stage = Stage::Running { since: Instant::now() };
    }

    fn ends(&self, stage: Stage, reason: String) {
        *self.life.lock() = Life { stage, end: reason };
    }
}

/// What keeps a task alive.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) task: Arc<Task>,
    pub(super) stop: StopSignal,
    /// Ends the present run wherever it is.
    pub(super) abort: CancellationToken,
    pub(super) events: SuperviseEvents,
    /// Where a critical task leaves word of its end.
    pub(super) critical_end: watch::Sender<Option<String>>,
}

/// How a run ended.
enum End {
    Returned(Result<(), String>),
    Panicked(String),
    Aborted,
}

impl Keeper {
    /// Runs the task until it is told to stop, or ends for good.
    pub(super) async fn keep<F, Fut>(self, start: F)
    where
        F: Fn(TaskContext) -> Fut + Send,
        Fut: Future<Output = Result<(), String>> + Send,
    {
        let mut backoff = Backoff::new();
        self.events.task_started(self.task.spec.name);
        loop {
            self.task.runs();
            let began = Instant::now();
            // `start` makes the future before the first await: it need not be shareable.
            let run = catch_unwind(AssertUnwindSafe(|| start(self.context())));
            let end = match run {
                Ok(run) => self.run(run).await,
                Err(payload) => End::Panicked(message_of(&*payload)),
            };
            let Some(reason) = self.judge(end) else { return };
            let pause = backoff.pause_after(began.elapsed());
            self.events.task_restarts(self.task.spec.name, &reason, pause);
            self.task.ends(Stage::Restarting, reason);
            tokio::select! {
                () = self.stop.stopped() => return self.task.ends(Stage::Stopped, String::new()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn context(&self) -> TaskContext {
        TaskContext {
            stop: self.stop.clone(),
            heartbeat: self.task.heartbeat.clone(),
            name: self.task.spec.name,
            events: self.events.clone(),
        }
    }

    async fn run(&self, run: impl Future<Output = Result<(), String>> + Send) -> End {
        tokio::select! {
            biased;
            () = self.abort.cancelled() => End::Aborted,
            outcome = AssertUnwindSafe(run).catch_unwind() => match outcome {
                Ok(result) => End::Returned(result),
                Err(payload) => End::Panicked(message_of(&*payload)),
            },
        }
    }

    /// Why the task shall be started again; `None` where it has ended for good.
    fn judge(&self, end: End) -> Option<String> {
        let TaskSpec { name, policy, .. } = self.task.spec;
        let told = self.stop.is_stopped();
        let reason = match end {
            End::Returned(Ok(())) if told => String::new(),
            End::Returned(Ok(())) => "it ended before it was told to".to_owned(),
            End::Returned(Err(error)) => error,
            End::Panicked(message) => {
                self.events.task_panicked(name, &message);
                format!("it panicked: {message}")
            }
            End::Aborted => "it did not stop in time".to_owned(),
        };
        if !told && policy == Policy::Restart {
            return Some(reason);
        }
        if !told {
            self.events.critical_task_ended(name, &reason);
            let word = format!("task {name}: {reason}");
            self.critical_end.send_if_modified(|end| end.is_none() && end.replace(word).is_none());
        } else if !reason.is_empty() && !self.abort.is_cancelled() {
            self.events.task_stopped_badly(name, &reason);
        }
        self.task.ends(Stage::Stopped, reason);
        None
    }
}

/// Runs a child to its end or to `abort`; a panic is told to `on_panic` and goes on to the
/// `JoinHandle`.
pub(super) async fn run_child(
    work: impl Future<Output = ()> + Send,
    abort: CancellationToken,
    on_panic: impl FnOnce(&str),
) {
    let outcome = tokio::select! {
        biased;
        () = abort.cancelled() => Ok(()),
        outcome = AssertUnwindSafe(work).catch_unwind() => outcome,
    };
    if let Err(payload) = outcome {
        on_panic(&message_of(&*payload));
        resume_unwind(payload);
    }
}

/// The text that somebody panicked with.
fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
