//! Named tasks: who runs, who is late, who is started again, in which order they stop.
//!
//! Only this module spawns. It knows no word of the domain.
//!
//! Each task has a name, a [`Policy`] and a [`Phase`]. A *critical* task that ends before it was
//! told to stops the daemon; any other is started again after a growing pause. A task reports through
//! its [`Heartbeat`]; the watchdog is fed only while every watched task has beaten lately. A loop
//! that works at intervals takes its beat from a [`Ticker`].
//!
//! Start with [`Supervisor`]; `task.rs` holds one task's life.

mod backoff;
mod heartbeat;
mod stop;
mod supervisor;
mod task;
mod ticker;

use std::time::Duration;

pub use heartbeat::Heartbeat;
pub use stop::{StopSignal, StopSwitch};
pub use supervisor::Supervisor;
pub use ticker::{Tick, Ticker, spread_offset};

use crate::{telemetry::events::SuperviseEvents, time::Timestamp};

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
    name: &'static str,
    events: SuperviseEvents,
}

impl TaskContext {
    /// Ticks every `interval`, at this task's own place in it; ticks that are missed are counted
    /// for the task.
    pub fn ticker(&self, interval: Duration) -> Ticker {
        Ticker::spread(self.name, interval, self.heartbeat.now())
            .counting(self.events.ticks_missed(self.name))
    }

    /// The context of a task that a test runs by hand, with the switch that stops it.
    #[cfg(feature = "testing")]
    pub fn detached(name: &'static str, clock: crate::time::Clock) -> (StopSwitch, Self) {
        let switch = StopSwitch::default();
        let events = SuperviseEvents::new(&crate::telemetry::Telemetry::new());
        let context =
            Self { stop: switch.signal(), heartbeat: Heartbeat::new(clock), name, events };
        (switch, context)
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
    /// It has ended for good: it was told to stop, or is critical and ended by itself.
    Stopped,
}

impl TaskState {
    /// The word: `running`, `late`, `restarting`, `stopped`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Late => "late",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
        }
    }
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
