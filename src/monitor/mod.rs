//! The API: every question and command, plain data in and out.
//!
//! Transports (`control`, `web`) translate to and from these types and know nothing else; the loops
//! and the store do the work. One file per kind of question: [`intake`](self), `queries`, `targets`, `agents`,
//! `health`, `rules`, `alerts`, `status`, `admin`, `audit`, `tokens`. The types stand in `views`, the one error in
//! `failure`.

mod admin;
mod agents;
mod alerts;
mod audit;
mod cardinality;
mod events;
mod export;
mod failure;
mod health;
mod import;
mod intake;
mod queries;
mod rules;
mod scrape;
mod slices;
mod status;
mod storage;
mod targets;
mod tokens;
mod views;

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{
    sync::{Mutex, Semaphore},
    task::spawn_blocking,
    time::Instant,
};

use crate::{
    error_code::ErrorCode,
    limits,
    model::{Labels, Target},
    pipeline::{ProbeDefaults, RuleBook, Targets, collecting, probing},
    probe::Prober,
    store::Store,
    supervise::Supervisor,
    telemetry::{Telemetry, events::AgentEvents},
    time::{Clock, Timestamp},
};

pub use crate::{
    exposition::{ExportFormat, ExportSummary, ImportFormat},
    model::{DiskSummary as DiskUsage, HostSummary as SystemInfo},
    pipeline::observe::Observation,
};
pub use admin::{Admin, ReloadRequest, Reloaded};
pub use agents::{AgentAction, AgentRequest, AgentStream};
pub use cardinality::{Cardinality, Count};
pub use events::{EventStream, FirstEvent, Heard};
pub use failure::{Failure, Violation};
pub use import::Import;
pub use queries::QueryOptions;
pub use storage::{BackupStream, VerifyStep, VerifyStream};
pub use tokens::{CreatedToken, NewToken};
pub use views::{
    AlertView, Caller, Collected, Discovery, ExportPiece, ExportRequest, ExportStream, HealthCheck,
    HealthReport, ImportProblem, ImportProgress, NewRule, ObservationSource, Overview, RuleChange,
    RuleView, SeriesSummary, Status, TargetView, TimeRange,
};

/// What the answers come from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The history.
    pub store: Store,
    /// The targets and how they fare.
    pub targets: Arc<Targets>,
    /// How the rules fare.
    pub rules: RuleBook,
    /// Collects now.
    pub collecting: collecting::Handle,
    /// Probes now.
    pub probing: probing::Handle,
    /// Checks URLs that are no targets.
    pub prober: Prober,
    /// The components.
    pub supervisor: Supervisor,
    /// Own metrics.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
    /// What only the process can do.
    pub admin: Admin,
}

/// The settings that answers depend on; a reload changes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The cooldown of rules that name none.
    pub cooldown: Duration,
    /// Upper bounds of histograms made from single observations, in order.
    pub histogram_buckets: Vec<f64>,
    /// Labels of everything that leaves this host.
    pub external_labels: Labels,
    /// The configured targets.
    pub targets: Vec<Target>,
    /// How discovered targets are probed.
    pub probe: ProbeDefaults,
    /// The home below which the clients' files are read; `None` where nothing is discovered.
    pub discover_below: Option<PathBuf>,
    /// From one evaluation to the next; a backtest is never finer.
    pub evaluation_interval: Duration,
}

/// Answers every question; cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor {
    parts: Arc<Parts>,
    settings: Arc<RwLock<Arc<Settings>>>,
    /// Bounds the queries that run at once …
    queries: Arc<Semaphore>,
    /// … and those who listen to events.
    listeners: Arc<Semaphore>,
    /// Held while sums of observations are read, added to and written back; when that was last.
    observing: Arc<Mutex<Timestamp>>,
    /// Held while the targets are put together and handed over.
    declaring: Arc<Mutex<()>>,
    /// The users' agents.
    agents: Arc<parking_lot::Mutex<agents::Links>>,
    /// Held while what follows from an agent's coming and going is done.
    agents_changing: Arc<Mutex<()>>,
    agent_events: AgentEvents,
    /// What was refused lately.
    refusals: Arc<parking_lot::Mutex<audit::Refusals>>,
    /// Tokens that were used lately; held while one is made or revoked.
    tokens: Arc<tokens::Tokens>,
    started: Timestamp,
    /// The same moment on the clock that nobody moves.
    started_at: Instant,
}

impl Monitor {
    /// Answers from these parts; the daemon's uptime counts from now.
    pub fn new(parts: Parts, settings: Settings) -> Self {
        let links = agents::Links::recalled(parts.store.agents(), parts.clock.now());
        Self {
            agents: Arc::new(parking_lot::Mutex::new(links)),
            agents_changing: Arc::default(),
            agent_events: AgentEvents::new(&parts.telemetry),
            started: parts.clock.now(),
            started_at: Instant::now(),
            parts: Arc::new(parts),
            settings: Arc::new(RwLock::new(Arc::new(settings))),
            queries: Arc::new(Semaphore::new(limits::QUERIES_CONCURRENT_MAX)),
            listeners: Arc::new(Semaphore::new(limits::EVENT_SUBSCRIBERS_MAX)),
            observing: Arc::default(),
            declaring: Arc::default(),
            refusals: Arc::default(),
            tokens: Arc::default(),
        }
    }

    /// Answers by these settings from now on. The targets follow with [`Monitor::declare_targets`].
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write() = Arc::new(settings);
    }

    /// From one evaluation of the rules to the next.
    pub fn evaluation_interval(&self) -> Duration {
        self.settings().evaluation_interval
    }

    /// Labels of everything that leaves this host.
    pub fn external_labels(&self) -> Labels {
        self.settings().external_labels.clone()
    }

    /// The configuration file; empty where there is none.
    pub fn config_file(&self) -> &str {
        &self.parts.admin.config_file
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.read().clone()
    }

    /// Asks the store, off the async threads and within the bound on what is asked at once.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let place = self.queries.clone().acquire_owned().await;
        let store = self.parts.store.clone();
        let done = spawn_blocking(move || {
            let _place = place;
            work(&store)
        });
        done.await.map_err(|error| {
            Failure::new(ErrorCode::Internal, format!("the store panicked: {error}"))
        })
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}
