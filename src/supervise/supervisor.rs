//! Who runs, and how all of it stops.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Phase, StopSwitch, TaskContext, TaskReport, TaskSpec,
    task::{Keeper, Task, run_child},
};
use crate::{
    telemetry::{Telemetry, events::SuperviseEvents},
    time::Clock,
};

/// How long an aborted task has to let go; one that blocks its thread never does.
const ABORT_GRACE: Duration = Duration::from_millis(100);

const PHASES: [Phase; 3] = [Phase::Intake, Phase::Work, Phase::Base];

/// Holds every task by name; cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    events: SuperviseEvents,
    tasks: Mutex<BTreeMap<&'static str, Arc<Task>>>,
    /// How many children run for each owner; owners without any are not held.
    children: Mutex<BTreeMap<&'static str, usize>>,
    gates: [Gate; PHASES.len()],
    critical_end: watch::Sender<Option<String>>,
}

/// What a phase's tasks and their children have in common.
#[derive(Debug, Default)]
struct Gate {
    stop: StopSwitch,
    abort: CancellationToken,
    tracker: TaskTracker,
}

/// Counts a child for as long as it lives, however it ends.
struct ChildCount {
    inner: Arc<Inner>,
    owner: &'static str,
}

impl Supervisor {
    /// No tasks yet.
    pub fn new(clock: Clock, telemetry: &Telemetry) -> Self {
        Self(Arc::new(Inner {
            clock,
            events: SuperviseEvents::new(telemetry),
            tasks: Mutex::default(),
            children: Mutex::default(),
            gates: PHASES.map(|_| Gate::default()),
            critical_end: watch::Sender::new(None),
        }))
    }

    /// Starts a task; `start` makes its future, again for each restart. An `Err` or a panic is the
    /// reason that is reported; `Ok` before the stop signal counts as an end by itself, too.
    ///
    /// # Panics
    /// Where a task of that name is there already: names stand in the source.
    pub fn spawn<F, Fut>(&self, spec: TaskSpec, start: F)
    where
        F: Fn(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let inner = &self.0;
        let gate = inner.gate(spec.phase);
        let name = spec.name;
        let task = Arc::new(Task::new(spec, inner.clock.clone()));
        let twin = inner.tasks.lock().insert(name, Arc::clone(&task));
        assert!(twin.is_none(), "task names are unique: {name}");
        let keeper = Keeper {
            task,
            stop: gate.stop.signal(),
            abort: gate.abort.clone(),
            events: inner.events.clone(),
            critical_end: inner.critical_end.clone(),
        };
        gate.tracker.spawn(keeper.keep(start));
    }

    /// A short piece of work (a connection, a probe) on behalf of the task `owner`, which bounds how
    /// many there are. It ends with its owner's phase: whoever takes longer hands it the owner's stop signal, and
    /// what still runs when the phase's time is up is aborted. Panics are counted and logged.
    pub fn spawn_child<Fut>(&self, owner: &'static str, work: Fut) -> JoinHandle<()>
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let phase = self.0.tasks.lock().get(owner).map_or(Phase::Work, |task| task.spec.phase);
        let gate = self.0.gate(phase);
        let count = ChildCount::new(Arc::clone(&self.0), owner);
        let abort = gate.abort.clone();
        gate.tracker.spawn(async move {
            let events = &count.inner.events;
            run_child(work, abort, |message| events.task_panicked(owner, message)).await;
        })
    }

    /// How every task fares, sorted by name.
    pub fn reports(&self) -> Vec<TaskReport> {
        self.0.tasks.lock().values().map(|task| task.report()).collect()
    }

    /// Whether every watched task has beaten lately: the condition for feeding the watchdog.
    pub fn is_alive(&self) -> bool {
        self.0.tasks.lock().values().all(|task| task.is_alive())
    }

    /// Ends when a critical task has ended by itself; says which and why.
    pub async fn critical_end(&self) -> String {
        let mut end = self.0.critical_end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(word) => word.clone().unwrap_or_default(),
            // The sender lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops all tasks phase by phase within `deadline`; what is left then is aborted, and named.
    ///
    /// A phase may take half of the time that is left, and the last one all of it, so that a task that hangs early
    /// does not take the time in which the store is closed.
    pub async fn stop(&self, deadline: Duration) -> Result<(), Vec<&'static str>> {
        let began = Instant::now();
        let end = began + deadline;
        let mut left = BTreeSet::new();
        for phase in PHASES {
            let now = Instant::now();
            let share = if phase == Phase::Base { end } else { now + (end - now) / 2 };
            left.extend(self.stop_phase(phase, share).await);
        }
        if left.is_empty() {
            self.0.events.all_stopped(began.elapsed());
            return Ok(());
        }
        Err(left.into_iter().collect())
    }

    /// Stops one phase until `end`; names what had to be aborted.
    async fn stop_phase(&self, phase: Phase, end: Instant) -> BTreeSet<&'static str> {
        let gate = self.0.gate(phase);
        gate.stop.stop();
        gate.tracker.close();
        if tokio::time::timeout_at(end, gate.tracker.wait()).await.is_ok() {
            return BTreeSet::new();
        }
        let left = self.0.left_in(phase);
        for name in &left {
            self.0.events.task_aborted(name);
        }
        gate.abort.cancel();
        // Who has not let go after the grace is named already; the process ends without it.
        let _ = tokio::time::timeout(ABORT_GRACE, gate.tracker.wait()).await;
        left
    }
}

impl Inner {
    fn gate(&self, phase: Phase) -> &Gate {
        &self.gates[phase as usize]
    }

    /// The tasks of a phase that have not ended, or whose children have not.
    fn left_in(&self, phase: Phase) -> BTreeSet<&'static str> {
        let tasks = self.tasks.lock();
        let running = tasks.values().filter(|task| task.spec.phase == phase && !task.is_stopped());
        let mut left: BTreeSet<_> = running.map(|task| task.spec.name).collect();
        let phase_of = |owner| tasks.get(owner).map_or(Phase::Work, |task| task.spec.phase);
        left.extend(self.children.lock().keys().filter(|owner| phase_of(*owner) == phase));
        left
    }
}

impl ChildCount {
    fn new(inner: Arc<Inner>, owner: &'static str) -> Self {
        *inner.children.lock().entry(owner).or_default() += 1;
        inner.events.children_changed(owner, 1);
        Self { inner, owner }
    }
}

impl Drop for ChildCount {
    fn drop(&mut self) {
        self.inner.events.children_changed(self.owner, -1);
        let mut children = self.inner.children.lock();
        if let Some(count) = children.get_mut(self.owner) {
            *count -= 1;
            if *count == 0 {
                children.remove(self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests;
