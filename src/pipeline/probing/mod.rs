//! The loop that probes the targets: each at its own place in its interval, none twice at once, a
//! hung one in nobody's way.
//!
//! [`Schedule`] says which target is due; [`attempts`] makes one probe of
//! several attempts; this file starts probes and takes their results in.

mod attempts;
mod schedule;

pub use attempts::longest;

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until},
};

use crate::{
    limits,
    model::{Check, ProbeRecord, Target, TargetState},
    probe::Prober,
    store::{Change, StoreError},
    supervise::{StopSignal, Supervisor, TaskContext, TaskReport},
    telemetry::{Telemetry, events::ProbingEvents},
    time::Clock,
};

use self::schedule::Schedule;
use super::{Sink, Targets, recorder::Recorder};

/// The task's name; its probes are children of it.
pub const TASK: &str = "probing";
/// Requests that may wait.
const REQUESTS_MAX: usize = 256;
/// How often a waiting loop says that it is alive.
const BEAT: Duration = Duration::from_secs(5);

/// What the loop works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where results go.
    pub sink: Sink,
    /// What is probed, and how it fares.
    pub targets: Arc<Targets>,
    /// Who probes.
    pub prober: Prober,
    /// Who runs the probes.
    pub supervisor: Supervisor,
    /// The time.
    pub clock: Clock,
}

/// Somebody who waits for a probe's result.
type Waiter = oneshot::Sender<ProbeRecord>;

enum Request {
    Check { name: String, waiter: Waiter },
    Replaced { gone: Vec<String> },
}

/// What others need of the loop; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    recorder: Recorder,
}

/// Why a target could not be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Too many wait already.
    #[error("too many checks wait already: try again")]
    Busy,
    /// The target went away, or the loop did, while the check was under way.
    #[error("the target was removed while it was checked")]
    Gone,
}

impl Handle {
    /// Probes a target now, or waits for the probe that is under way.
    pub async fn check(&self, name: &str) -> Result<ProbeRecord, CheckError> {
        let (waiter, result) = oneshot::channel();
        let request = Request::Check { name: name.to_owned(), waiter };
        self.requests.try_send(request).map_err(|_| CheckError::Busy)?;
        result.await.map_err(|_| CheckError::Gone)
    }

    /// Puts `targets` in the place of all there were; what changed, a line each.
    pub async fn replace(&self, targets: Vec<Target>) -> Vec<String> {
        let replaced = self.recorder.targets.replace(targets, |name| self.recorder.recall(name));
        // Fails only where the loop is gone for good: then nothing is probed any more.
        let _gone = self.requests.send(Request::Replaced { gone: replaced.gone }).await;
        replaced.changes
    }

    /// Takes in what an agent probed, in its order, and `with`: all of it or nothing, durable when this
    /// returns.
    pub async fn take_in(&self, records: Vec<ProbeRecord>, with: Change) -> Result<(), StoreError> {
        self.recorder.record_all(records, with).await
    }

    /// Nobody knows any more how these targets fare, for this reason: their series end.
    pub async fn set_stale(&self, names: &[String], reason: &str) -> Result<(), StoreError> {
        let now = self.recorder.clock.now();
        let events = self.recorder.targets.set_stale(names, reason, now);
        self.recorder.moved(events).await?;
        self.recorder.end(names).await
    }

    /// What the last probes of these targets found holds again.
    pub async fn set_fresh(&self, names: &[String]) -> Result<(), StoreError> {
        let now = self.recorder.clock.now();
        self.recorder.moved(self.recorder.targets.set_fresh(names, now)).await
    }

    /// How many probes there were since the start.
    pub fn probes(&self) -> u64 {
        self.recorder.events.probes()
    }

    /// Says that targets are past the limit and not watched.
    pub fn left_out(&self, count: usize) {
        if count > 0 {
            self.recorder.events.left_out(count as u64);
        }
    }
}

/// The loop; [`Probing::run`] is what the supervisor starts, and starts again.
#[derive(Clone, Debug)]
pub struct Probing {
    parts: Parts,
    recorder: Recorder,
    requests: Arc<Mutex<mpsc::Receiver<Request>>>,
    /// Bound what runs at once: spawned processes are dear, connections are cheap.
    spawned: Arc<Semaphore>,
    connected: Arc<Semaphore>,
}

/// What makes the loop work.
enum Event {
    Due,
    Request(Request),
    Finished(Arc<Target>, Option<Box<ProbeRecord>>),
    Beat,
    Stop,
}

/// What the loop knows while it runs.
struct State {
    schedule: Schedule,
    /// Who waits for the probe of a target that is under way.
    running: HashMap<String, Vec<Waiter>>,
    results: mpsc::Sender<(Arc<Target>, Option<Box<ProbeRecord>>)>,
    stop: StopSignal,
}

impl Probing {
    /// A loop, and what others need of it.
    pub fn new(parts: Parts, telemetry: &Telemetry) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let recorder = Recorder {
            sink: parts.sink.clone(),
            targets: parts.targets.clone(),
            clock: parts.clock.clone(),
            events: ProbingEvents::new(telemetry),
        };
        let handle = Handle { requests: sender, recorder: recorder.clone() };
        let probing = Self {
            parts,
            recorder,
            requests: Arc::new(Mutex::new(requests)),
            spawned: Arc::new(Semaphore::new(limits::PROBES_SPAWNED_MAX)),
            connected: Arc::new(Semaphore::new(limits::PROBES_CONCURRENT_MAX)),
        };
        (probing, handle)
    }

    /// Probes until it is told to stop.
    pub async fn run(self, context: TaskContext) -> Result<(), String> {
        let requests = self.requests.clone();
        let mut requests = requests.lock().await;
        let (results, mut finished) = mpsc::channel(limits::PROBES_CONCURRENT_MAX);
        let mut state = State {
            schedule: Schedule::default(),
            running: HashMap::new(),
            results,
            stop: context.stop.clone(),
        };
        self.follow_book(&mut state);
        loop {
            let event = tokio::select! {
                biased;
                () = context.stop.stopped() => Event::Stop,
                Some((target, record)) = finished.recv() => Event::Finished(target, record),
                Some(request) = requests.recv() => Event::Request(request),
                () = sleep_until(state.schedule.next_due()) => Event::Due,
                () = tokio::time::sleep(BEAT) => Event::Beat,
            };
            context.heartbeat.beat();
            match event {
                Event::Stop => return Ok(()),
                Event::Beat => {}
                Event::Due => self.start_due(&mut state),
                Event::Request(Request::Check { name, waiter }) => {
                    self.check(&mut state, name, waiter);
                }
                Event::Request(Request::Replaced { gone }) => {
                    self.replaced(&mut state, &gone).await;
                }
                Event::Finished(target, record) => {
                    self.finish(&mut state, &target, record, &context).await;
                }
            }
        }
    }

    fn follow_book(&self, state: &mut State) {
        let targets = self.parts.targets.list().into_iter().map(|(target, _)| target);
        let probed = targets.filter(|target| target.probed && !target.check.is_reported());
        state.schedule.follow(probed.map(|target| (target.name.clone(), target.interval)));
        for (name, at) in state.schedule.dues(self.parts.clock.now()) {
            self.parts.targets.set_next_check(&name, at);
        }
    }

    fn start_due(&self, state: &mut State) {
        let now = self.parts.clock.now();
        for name in state.schedule.take_due(Instant::now(), now) {
            if state.running.contains_key(&name) {
                self.recorder.events.skipped(&name);
            } else {
                self.start(state, &name);
            }
            if let Some(at) = state.schedule.due_of(&name, now) {
                self.parts.targets.set_next_check(&name, at);
            }
        }
    }

    fn check(&self, state: &mut State, name: String, waiter: Waiter) {
        if let Some(waiters) = state.running.get_mut(&name) {
            waiters.push(waiter);
        } else if self.start(state, &name) {
            state.running.entry(name).or_default().push(waiter);
        }
        // Else the waiter is dropped, which says that the target is gone.
    }

    /// Starts a probe of its own; false where there is no such target.
    fn start(&self, state: &mut State, name: &str) -> bool {
        let Some((target, _)) = self.parts.targets.get(name) else { return false };
        if target.check.is_reported() {
            return false;
        }
        let places = if target.check.spawns() { &self.spawned } else { &self.connected };
        let (places, results, stop) = (places.clone(), state.results.clone(), state.stop.clone());
        let (prober, clock) = (self.parts.prober.clone(), self.parts.clock.clone());
        state.running.insert(name.to_owned(), Vec::new());
        self.parts.supervisor.spawn_child(TASK, async move {
            let work = async {
                // The semaphore is never closed.
                let _place = places.acquire_owned().await;
                let probe = attempts::probe(&prober, &clock, &target);
                let record = AssertUnwindSafe(probe).catch_unwind().await.ok().map(Box::new);
                // The loop may have been started anew; then the result has no place to go.
                let _gone = results.send((target.clone(), record)).await;
            };
            // Dropping a probe takes down what it spawned.
            tokio::select! {
                () = stop.stopped() => {}
                () = work => {}
            }
        });
        true
    }

    async fn replaced(&self, state: &mut State, gone: &[String]) {
        for name in gone {
            state.schedule.forget(name);
            // Dropping the waiters tells them.
            state.running.remove(name);
        }
        if let Err(error) = self.recorder.end(gone).await {
            self.recorder.events.unwritten(&gone.join(", "), &error.to_string());
        }
        self.follow_book(state);
    }

    async fn finish(
        &self,
        state: &mut State,
        probed: &Target,
        record: Option<Box<ProbeRecord>>,
        context: &TaskContext,
    ) {
        let name = &probed.name;
        // Of a target that was removed, or is checked in another way now, nothing is written.
        if self.parts.targets.get(name).is_none_or(|(target, _)| target.check != probed.check) {
            return;
        }
        let Some(waiters) = state.running.remove(name) else { return };
        let Some(record) = record else {
            context.heartbeat.failed(format!("the probe of {name} panicked"));
            return;
        };
        let record = self.judged(*record);
        self.recorder.events.probed(record.state.name(), record.duration);
        let within = waiters.is_empty().then_some(probed.interval);
        match self.recorder.record(record.clone(), within).await {
            Ok(()) => context.heartbeat.succeeded(),
            Err(error) => {
                self.recorder.events.unwritten(name, &error.to_string());
                context.heartbeat.failed(error.to_string());
            }
        }
        for waiter in waiters {
            let _gone = waiter.send(record.clone());
        }
    }

    /// Balefire that answers is still not well while a part of it is not: the loops judge each other
    /// here.
    fn judged(&self, record: ProbeRecord) -> ProbeRecord {
        let own =
            self.parts.targets.get(&record.target).is_some_and(|(t, _)| t.check == Check::Balefire);
        if !own || record.state != TargetState::Healthy {
            return record;
        }
        let sick = |report: &TaskReport| !report.healthy;
        match self.parts.supervisor.reports().into_iter().find(sick) {
            None => record,
            Some(part) => {
                let error = format!(
                    "{}: {}",
                    part.name,
                    if part.error.is_empty() { "is late" } else { &part.error }
                );
                ProbeRecord { state: TargetState::Degraded, error, ..record }
            }
        }
    }
}
