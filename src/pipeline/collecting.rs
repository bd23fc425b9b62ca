//! The loop that collects the host, the targets' states and Balefire's own metrics.

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::spawn_blocking,
    time::Instant,
};

use crate::{
    collect::Collectors,
    exposition,
    model::{Batch, HostSummary, SeriesSample},
    store::{AppendSummary, Store},
    supervise::{Supervisor, TaskContext},
    telemetry::{
        Telemetry,
        events::{CollectEvents, CollectingEvents},
    },
    time::{Clock, Timestamp},
};

use super::{Targets, probe_metadata, rhythm::Rhythm};

/// Requests to collect now that may wait.
const REQUESTS_MAX: usize = 16;

/// `[collect]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// From one pass to the next.
    pub interval: Duration,
    /// Names of the collectors that run, from the table in `collect`.
    pub collectors: Vec<&'static str>,
}

/// What the loop works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where samples go.
    pub store: Store,
    /// The targets whose states are recorded.
    pub targets: Arc<Targets>,
    /// The components whose health is recorded.
    pub supervisor: Supervisor,
    /// Own metrics.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
    /// The `instance` of host metrics.
    pub hostname: String,
}

/// A pass that was asked for: how many samples it stored, and when, or why not.
type Reply = oneshot::Sender<Result<(u64, Timestamp), String>>;

/// What others need of the loop; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Reply>,
    latest: Arc<RwLock<Latest>>,
    passed: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Latest {
    host: Arc<Vec<SeriesSample>>,
    summary: HostSummary,
}

impl Handle {
    /// Collects now; returns when the samples are durable.
    pub async fn collect_now(&self) -> Result<(u64, Timestamp), String> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .try_send(reply)
            .map_err(|_| "too many requests to collect wait already: try again".to_owned())?;
        answer.await.map_err(|_| "the collecting loop was started anew: try again".to_owned())?
    }

    /// Ends when there has been a pass since the start, stored or not.
    pub async fn first_pass(&self) {
        // The loop holds the sender for as long as there is a handle to it.
        let mut passed = self.passed.clone();
        let _passed = passed.wait_for(|passed| *passed).await;
    }

    /// The samples of the last pass over the host.
    pub fn host(&self) -> Arc<Vec<SeriesSample>> {
        self.latest.read().host.clone()
    }

    /// The host in short, as of the last pass.
    pub fn summary(&self) -> HostSummary {
        self.latest.read().summary.clone()
    }
}

/// The loop; [`Collecting::run`] is what the supervisor starts, and starts again.
#[derive(Clone, Debug)]
pub struct Collecting {
    parts: Parts,
    events: CollectingEvents,
    collector_events: CollectEvents,
    interval: watch::Receiver<Duration>,
    collectors: watch::Receiver<Vec<&'static str>>,
    requests: Arc<Mutex<mpsc::Receiver<Reply>>>,
    latest: Arc<RwLock<Latest>>,
    passed: watch::Sender<bool>,
}

/// Changes how the loop works.
#[derive(Debug)]
pub struct Controls {
    interval: watch::Sender<Duration>,
    collectors: watch::Sender<Vec<&'static str>>,
}

impl Controls {
    /// From now on.
    pub fn apply(&self, options: &Options) {
        self.interval.send_if_modified(|interval| {
            std::mem::replace(interval, options.interval) != options.interval
        });
        self.collectors.send_if_modified(|names| {
            let changed = *names != options.collectors;
            names.clone_from(&options.collectors);
            changed
        });
    }
}

/// What makes the loop work.
enum Event {
    Tick,
    Request(Reply),
    Collectors,
    Stop,
}

impl Collecting {
    /// A loop, what others need of it, and what changes it.
    pub fn new(parts: Parts, options: &Options) -> (Self, Handle, Controls) {
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let (interval, interval_now) = watch::channel(options.interval);
        let (collectors, collectors_now) = watch::channel(options.collectors.clone());
        let (passed, has_passed) = watch::channel(false);
        let latest = Arc::new(RwLock::new(Latest::default()));
        let collecting = Self {
            events: CollectingEvents::new(&parts.telemetry),
            collector_events: CollectEvents::new(&parts.telemetry),
            parts,
            interval: interval_now,
            collectors: collectors_now,
            requests: Arc::new(Mutex::new(received)),
            latest: latest.clone(),
            passed,
        };
        (
            collecting,
            Handle { requests, latest, passed: has_passed },
            Controls { interval, collectors },
        )
    }

    /// Collects until it is told to stop.
    pub async fn run(self, context: TaskContext) -> Result<(), String> {
        let requests = self.requests.clone();
        let mut requests = requests.lock().await;
        let mut names = self.collectors.clone();
        let mut rhythm = Rhythm::new(context, self.interval.clone());
        let mut pass = Pass::new(&self, &names.borrow_and_update());
        loop {
            match wait(&mut rhythm, &mut requests, &mut names).await {
                Event::Stop => return Ok(()),
                Event::Collectors => pass.select(&names.borrow_and_update()),
                Event::Tick => drop(pass.run(&rhythm.context).await?),
                Event::Request(reply) => {
                    let result = pass.run(&rhythm.context).await?;
                    // Whoever asked may have gone meanwhile.
                    let _gone = reply.send(result);
                }
            }
        }
    }
}

async fn wait(
    rhythm: &mut Rhythm,
    requests: &mut mpsc::Receiver<Reply>,
    names: &mut watch::Receiver<Vec<&'static str>>,
) -> Event {
    tokio::select! {
        biased;
        tick = rhythm.next() => if tick.is_some() { Event::Tick } else { Event::Stop },
        Some(reply) = requests.recv() => Event::Request(reply),
        Ok(()) = names.changed() => Event::Collectors,
    }
}

/// One pass after the other, with what the collectors keep between them.
struct Pass<'a> {
    owner: &'a Collecting,
    /// Away only while a pass runs on the blocking pool.
    collectors: Option<Collectors>,
    /// Of how many of the host's metrics the store has been told what they mean.
    told: usize,
}

impl<'a> Pass<'a> {
    fn new(owner: &'a Collecting, names: &[&'static str]) -> Self {
        let (hostname, events) = (&owner.parts.hostname, owner.collector_events.clone());
        Self { owner, collectors: Some(Collectors::new(names, hostname, events)), told: 0 }
    }

    fn select(&mut self, names: &[&'static str]) {
        if let Some(collectors) = &mut self.collectors {
            collectors.select(names);
        }
    }

    /// One pass; the inner result is the store's word, the outer error ends the task.
    async fn run(
        &mut self,
        context: &TaskContext,
    ) -> Result<Result<(u64, Timestamp), String>, String> {
        let started = Instant::now();
        let now = self.owner.parts.clock.now();
        let host = self.collect(now).await?;
        let stored = self.store(&host, now).await;
        self.owner.passed.send_replace(true);
        Ok(match stored {
            Ok(summary) => {
                self.owner.events.passed(summary.accepted, summary.rejected, started.elapsed());
                context.heartbeat.succeeded();
                Ok((summary.accepted, now))
            }
            Err(reason) => {
                context.heartbeat.failed(reason.clone());
                Err(reason)
            }
        })
    }

    async fn collect(&mut self, now: Timestamp) -> Result<Arc<Vec<SeriesSample>>, String> {
        let mut collectors = self.collectors.take().ok_or("the pass before did not end")?;
        let (collectors, samples) = spawn_blocking(move || {
            let samples = collectors.collect(now);
            (collectors, samples)
        })
        .await
        .map_err(|error| format!("a collector panicked: {error}"))?;
        let host = Arc::new(samples);
        *self.owner.latest.write() =
            Latest { host: host.clone(), summary: collectors.summary().clone() };
        self.collectors = Some(collectors);
        Ok(host)
    }

    async fn store(
        &mut self,
        host: &[SeriesSample],
        now: Timestamp,
    ) -> Result<AppendSummary, String> {
        let parts = &self.owner.parts;
        for report in parts.supervisor.reports() {
            self.owner.events.component(report.name, report.healthy);
        }
        let mut batch = Batch { samples: host.to_vec(), ..Batch::default() };
        batch.samples.extend(parts.targets.samples(now));
        let own = exposition::from_registry(&parts.telemetry.gather(), now);
        let known = self.collectors.as_ref().map_or(0, Collectors::metadata_len);
        if self.told < known {
            batch.metadata.extend(self.collectors.iter().flat_map(Collectors::metadata));
            batch.metadata.extend(probe_metadata());
            batch.metadata.extend(own.iter().map(|family| family.metadata.clone()));
        }
        let own = own.into_iter().flat_map(|family| family.samples);
        batch.samples.extend(own.map(|own| with_job(&own, &parts.hostname)));
        let summary = parts.store.append(batch).await.map_err(|error| error.to_string())?;
        self.told = self.told.max(known);
        Ok(summary)
    }
}

/// Own metrics, told apart from those of other hosts.
fn with_job(own: &SeriesSample, hostname: &str) -> SeriesSample {
    let labels = own.labels.with("job", "balefire").with("instance", hostname);
    SeriesSample { labels, sample: own.sample }
}
