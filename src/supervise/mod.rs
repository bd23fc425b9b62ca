//! Named tasks: who runs, who is late, who is started again, in which order they stop.
//!
//! Only this module spawns. It knows no word of the domain.
//!
//! Each task has a name, a [`Policy`] and a [`Phase`]. A *critical* task that ends before it was
//! told to stops the daemon; any other is started again after a growing pause. A task reports through
//! its [`Heartbeat`]; the watchdog is fed only while every watched task has beaten lately.

use std::{future::Future, sync::Arc, time::Duration};

use crate::time::Timestamp;

/// What happens when a task ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The daemon stops with a failing status.
    Critical,
    /// The task is started again, after a pause that doubles from 100 ms to 30 s.
    Restart,
}

/// When a task is told to stop: all tasks of a phase end before the next phase is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// First: what lets work in (listeners, tickers).
    Intake,
    /// Then: what works it off.
    Work,
    /// Last: what the others lean on.
    Base,
}

/// What a task is.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Unique; the component's name in `status`.
    pub name: &'static str,
    /// What happens when it ends by itself.
    pub policy: Policy,
    /// When it is told to stop.
    pub phase: Phase,
    /// The longest time between two beats; `None` for a task that waits for others.
    pub beat_within: Option<Duration>,
}

/// What a running task holds of its supervisor.
#[derive(Clone, Debug)]
pub struct TaskContext {
    /// Says when to stop.
    pub stop: StopSignal,
    /// Says that the task is alive and how its work goes.
    pub heartbeat: Heartbeat,
}

/// Says when to stop; cheap to clone.
#[derive(Clone, Debug)]
pub struct StopSignal(/* private */);

impl StopSignal {
    /// Ends when the task shall stop.
    pub async fn stopped(&self) {
        todo!()
    }
    /// Whether it shall stop.
    pub fn is_stopped(&self) -> bool {
        todo!()
    }
}

/// How a task says that it is alive.
#[derive(Clone, Debug)]
pub struct Heartbeat(/* private */);

impl Heartbeat {
    /// Alive, nothing to say.
    pub fn beat(&self) {
        todo!()
    }
    /// A piece of work went well.
    pub fn succeeded(&self) {
        todo!()
    }
    /// A piece of work failed; the task goes on.
    pub fn failed(&self, error: impl Into<String>) {
        let _ = error.into();
        todo!()
    }
}

/// How a task fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It runs and beats.
    Running,
    /// It has not beaten for longer than it may.
    Late,
    /// It ended and waits for its next start.
    Restarting,
    /// It was told to stop and has.
    Stopped,
}

/// A task and how it fares.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// Its name.
    pub name: &'static str,
    /// How it fares.
    pub state: TaskState,
    /// Whether it runs, beats, and did its last piece of work well.
    pub healthy: bool,
    /// When its work last went well.
    pub last_success: Option<Timestamp>,
    /// Why its last piece of work failed, or why it ended; empty where neither is so.
    pub error: String,
}

/// Holds every task by name; cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<()>);

impl Supervisor {
    /// No tasks yet.
    pub fn new(clock: crate::time::Clock, telemetry: &crate::telemetry::Telemetry) -> Self {
        let _ = (clock, telemetry);
        todo!()
    }

    /// Starts a task; `start` makes its future, again for each restart. An `Err` or a panic is the
    /// reason that is reported; `Ok` before the stop signal counts as an end by itself, too.
    pub fn spawn<F, Fut>(&self, spec: TaskSpec, start: F)
    where
        F: Fn(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let _ = (spec, start);
        todo!()
    }

    /// A short piece of work (a connection, a probe) of the task that owns `stop`, bounded by the caller; it is aborted at the
    /// end of the stop deadline. Panics are counted and logged.
    pub fn spawn_child<Fut>(&self, owner: &'static str, work: Fut) -> tokio::task::JoinHandle<()>
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let _ = (owner, work);
        todo!()
    }

    /// How every task fares, sorted by name.
    pub fn reports(&self) -> Vec<TaskReport> {
        todo!()
    }

    /// Whether every watched task has beaten lately: the condition for feeding the watchdog.
    pub fn is_alive(&self) -> bool {
        todo!()
    }

    /// Ends when a critical task has ended by itself; says which and why.
    pub async fn critical_end(&self) -> String {
        todo!()
    }

    /// Stops all tasks phase by phase within `deadline`; what is left then is aborted, and named.
    pub async fn stop(&self, deadline: Duration) -> Result<(), Vec<&'static str>> {
        let _ = deadline;
        todo!()
    }
}
