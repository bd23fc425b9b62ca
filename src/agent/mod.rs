//! A user's agent: finds and probes that user's targets, and reports them to the system's service.
//!
//! A confined service can neither read nor run what belongs to a person. The agent can, and keeps nothing but a
//! file of adoptions: what it finds goes to the service by way of [`Link`], one stream on the control socket.
//! [`Agent`] says what is watched, and does what the service asks for. Knows no storage and no configuration
//! file.

mod adoptions;
mod link;

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

use crate::{
    discover, limits,
    model::{Target, TargetStatus},
    pipeline::{
        Outbox, ProbeDefaults, Targets, adopted_name, adoption_of, bounded, declared, probing,
    },
    probe,
    supervise::TaskContext,
    wire::{
        agent::{is_name, target_to_wire},
        v1,
    },
};

use adoptions::Adoptions;

pub use link::Link;

/// How often the clients' files are read again: nobody tells when they change.
const DISCOVER_INTERVAL: Duration = Duration::from_mins(1);
/// How long that may take.
const DISCOVER_MAX: Duration = Duration::from_secs(30);
/// How often a waiting loop says that it is alive.
const BEAT: Duration = Duration::from_secs(5);

/// What the agent was told to watch; a reload changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The configured targets.
    pub targets: Vec<Target>,
    /// How targets are probed that say nothing else.
    pub probe: ProbeDefaults,
    /// The home below which the clients' files are read; `None` where nothing is discovered.
    pub discover_below: Option<PathBuf>,
}

/// What the agent works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What is watched, and how it fares.
    pub targets: Arc<Targets>,
    /// Probes.
    pub probing: probing::Handle,
    /// What probes found and the service has not yet.
    pub outbox: Outbox,
    /// Where adoptions are kept: a file of the agent's own.
    pub adoptions: PathBuf,
}

/// What is watched; cheap to clone.
#[derive(Clone, Debug)]
pub struct Agent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    targets: Arc<Targets>,
    probing: probing::Handle,
    outbox: Outbox,
    adoptions: Arc<Adoptions>,
    settings: RwLock<Arc<Settings>>,
    /// Held while the targets are put together and handed over.
    declaring: tokio::sync::Mutex<()>,
    /// Rises with each change of the targets.
    version: watch::Sender<u64>,
    /// What was wrong with the clients' files last.
    problems: Mutex<Vec<String>>,
}

impl Agent {
    /// An agent that watches nothing yet.
    pub fn new(parts: Parts, settings: Settings) -> std::io::Result<Self> {
        let Parts { targets, probing, outbox, adoptions } = parts;
        Ok(Self(Arc::new(Inner {
            targets,
            probing,
            outbox,
            adoptions: Arc::new(Adoptions::open(adoptions)?),
            settings: RwLock::new(Arc::new(settings)),
            declaring: tokio::sync::Mutex::default(),
            version: watch::Sender::new(1),
            problems: Mutex::default(),
        })))
    }

    /// Watches by these settings, from the next [`Agent::declare`] on.
    pub fn set_settings(&self, settings: Settings) {
        *self.0.settings.write() = Arc::new(settings);
    }

    /// Puts together what is to be watched and hands it to the probing loop; what changed, a line each.
    pub async fn declare(&self) -> Result<Vec<String>, String> {
        let inner = &self.0;
        let _declaring = inner.declaring.lock().await;
        let settings = inner.settings.read().clone();
        let below = settings.discover_below.clone();
        let found = spawn_blocking(move || below.map(|home| discover::discover(&home)));
        let found = timeout(DISCOVER_MAX, found).await.map_err(|_| {
            let seconds = DISCOVER_MAX.as_secs();
            format!("the clients' files were not read within {seconds} s: does the disk hang?")
        })?;
        let found = found.map_err(|error| format!("discovery panicked: {error}"))?;
        let found = found.unwrap_or_default();
        self.tell_problems(
            found
                .problems
                .iter()
                .map(|problem| format!("{}: {}", problem.file.display(), problem.message)),
        );
        let adopted = inner.adoptions.all();
        let mut targets = declared(&settings.targets, found.targets, &settings.probe, &adopted);
        let all = targets.len();
        targets.retain(|target| is_name(&target.name));
        let unnamed = all - targets.len();
        let (targets, left_out) = bounded(targets, limits::AGENT_TARGETS_MAX);
        let changes = inner.probing.replace(targets).await;
        if !changes.is_empty() {
            inner.probing.left_out(left_out + unnamed);
            inner.version.send_modify(|version| *version += 1);
        }
        Ok(changes)
    }

    /// Says in the log what is wrong with the clients' files, when that is news.
    fn tell_problems(&self, problems: impl Iterator<Item = String>) {
        let problems: Vec<String> = problems.collect();
        let mut before = self.0.problems.lock();
        for problem in problems.iter().filter(|problem| !before.contains(problem)) {
            warn!("{problem}");
        }
        *before = problems;
    }

    /// Looks again and again for what the user declares, until it is told to stop.
    pub async fn keep_declaring(self, context: TaskContext) -> Result<(), String> {
        let mut due = Instant::now() + DISCOVER_INTERVAL;
        loop {
            context.heartbeat.beat();
            tokio::select! {
                () = context.stop.stopped() => return Ok(()),
                () = tokio::time::sleep(BEAT) => continue,
                () = sleep_until(due) => {}
            }
            due = Instant::now() + DISCOVER_INTERVAL;
            match self.declare().await {
                Ok(changes) if changes.is_empty() => context.heartbeat.succeeded(),
                Ok(changes) => info!("{}", changes.join("; ")),
                Err(reason) => context.heartbeat.failed(reason),
            }
        }
    }

    /// All targets and how they fare.
    pub fn targets(&self) -> Vec<(Arc<Target>, TargetStatus)> {
        self.0.targets.list()
    }

    fn to_wire(&self) -> v1::AgentTargets {
        let targets = self.targets().into_iter();
        let targets =
            targets.map(|(target, _)| target_to_wire(&target, probe::endpoint(&target.check)));
        v1::AgentTargets { targets: targets.collect() }
    }

    /// Does what the service asks for; an error is told to whoever asked there.
    async fn carry_out(&self, request: v1::AgentRequest) -> v1::AgentOutcome {
        let name = &request.target;
        let done = match request.action() {
            v1::AgentAction::Check => self.check(name).await,
            v1::AgentAction::Adopt => self.adopt(name).await,
            v1::AgentAction::Forget => self.forget(name).await,
            v1::AgentAction::Unspecified => {
                Err("the agent is older than the service and cannot do that: restart it".to_owned())
            }
        };
        let error = done.err().unwrap_or_default();
        v1::AgentOutcome { request_id: request.request_id, error }
    }

    fn target(&self, name: &str) -> Result<Arc<Target>, String> {
        let found = self.0.targets.get(name).map(|(target, _)| target);
        found.ok_or_else(|| format!("the agent has no target {name:?} any more"))
    }

    async fn check(&self, name: &str) -> Result<(), String> {
        if !self.target(name)?.probed {
            return Err(format!("target {name:?} was discovered, but not adopted"));
        }
        let checked = self.0.probing.check(name).await;
        checked.map(drop).map_err(|error| error.to_string())
    }

    async fn adopt(&self, name: &str) -> Result<(), String> {
        let target = self.target(name)?;
        self.change_adoptions(move |adoptions| adoptions.put(adoption_of(&target))).await
    }

    async fn forget(&self, name: &str) -> Result<(), String> {
        let target = self.target(name)?;
        let is_its = |adoption: &str| adopted_name(adoption) == target.name;
        if !self.0.adoptions.all().iter().any(|adoption| is_its(adoption)) {
            let source = &target.source;
            return Err(format!(
                "target {name:?} was not adopted, but declared by {source}: take it out there"
            ));
        }
        self.change_adoptions(move |adoptions| adoptions.remove_of(&target.name)).await
    }

    async fn change_adoptions(
        &self,
        change: impl FnOnce(&Adoptions) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), String> {
        let adoptions = Arc::clone(&self.0.adoptions);
        let changed = spawn_blocking(move || change(&adoptions)).await;
        let changed =
            changed.map_err(|error| format!("keeping the adoptions panicked: {error}"))?;
        changed.map_err(|error| format!("the agent cannot keep its adoptions: {error}"))?;
        self.declare().await.map(drop)
    }
}
