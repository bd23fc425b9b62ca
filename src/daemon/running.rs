//! The third stage: everything runs.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use crate::{
    access::{Access, Limiter},
    config::{Config, Overrides},
    control::{self, ControlSocket},
    model::PageRequest,
    monitor::{Admin, Caller, Failure, Monitor, Parts, ReloadRequest, Reloaded, Settings},
    pipeline::{
        BEAT_WITHIN, RuleBook, Sink, Targets, collecting, evaluating, probing, upkeep::Upkeep,
    },
    probe::{OwnDoors, Prober},
    store::Store,
    supervise::{Phase, Policy, Supervisor, TaskSpec},
    telemetry::{LogHandle, Telemetry, events::ControlEvents},
    time::{Clock, Timestamp},
    web,
};

use super::{
    banner,
    clock_watch::ClockWatch,
    life::Recovered,
    reload,
    stop::{self, End},
    systemd,
};

/// How often systemd's status line is written anew.
pub(super) const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Listeners are bound, loops spawned, systemd told.
pub(super) struct Running {
    pub(super) overrides: Overrides,
    pub(super) config: Config,
    pub(super) log: LogHandle,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) supervisor: Supervisor,
    pub(super) monitor: Monitor,
    pub(super) controls: Controls,
    pub(super) access: Access,
    pub(super) web: Web,
    pub(super) prober: Prober,
    http: SocketAddr,
    signals: Signals,
    reloads: mpsc::Receiver<ReloadRequest>,
    /// What is wrong with the configuration that was refused last, until one is taken.
    refused: Option<String>,
}

/// What changes the loops while they run.
pub(super) struct Controls {
    pub(super) collecting: collecting::Controls,
    pub(super) evaluating: tokio::sync::watch::Sender<Duration>,
    pub(super) cleanup: tokio::sync::watch::Sender<Duration>,
}

/// The signals that the daemon hears.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Ends at the next signal to stop.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Event::Stop) {}
    }

    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hang_up.recv() => Event::Reload(None),
        }
    }
}

/// What makes the running process act.
pub(super) enum Event {
    Stop,
    CriticalEnd(String),
    RestartNeeded(String),
    Reload(Option<ReloadRequest>),
    Watchdog,
    Status,
}

/// What of the listeners a reload changes.
#[derive(Clone)]
pub(super) struct Web {
    pub(super) tls: Option<web::Tls>,
    pub(super) http: Limiter,
    pub(super) socket: Limiter,
}

impl Web {
    fn new(config: &Config) -> anyhow::Result<Self> {
        let tls = config.http.tls.clone().map(web::Tls::new).transpose();
        Ok(Self {
            tls: tls.context("cannot use [http.tls_server_config]")?,
            http: Limiter::new("http", config.limits.http),
            socket: Limiter::new("socket", config.limits.socket),
        })
    }
}

/// What is bound before anything is spawned.
struct Doors {
    socket: Arc<ControlSocket>,
    http: web::Door,
    access: Access,
    limiter: Limiter,
}

/// The one that systemd passed, else our own.
fn control_socket(config: &Config) -> anyhow::Result<ControlSocket> {
    let Some(listener) = systemd::control_listener()? else {
        return Ok(ControlSocket::bind(&config.socket, config.socket_group.as_deref())?);
    };
    let socket = ControlSocket::inherited(listener)?;
    let (passed, configured) = (socket.path().display(), config.socket.display());
    if socket.path() != config.socket {
        bail!("systemd listens on {passed} and the configuration says {configured}: make them one");
    }
    Ok(socket)
}

/// The loops before they are spawned.
struct Loops {
    collecting: collecting::Collecting,
    probing: probing::Probing,
    evaluating: evaluating::Evaluating,
    upkeep: Upkeep,
}

impl Running {
    /// Binds, builds, spawns, tells.
    pub(super) async fn start(recovered: Recovered) -> anyhow::Result<Self> {
        // First of all, so that a signal during the start is not lost.
        let signals = Signals::new().context("cannot listen to signals")?;
        let Recovered { overrides, config, telemetry, log, clock, store } = recovered;
        let socket = Arc::new(control_socket(&config)?);
        check_tokens(&config, &store, clock.now())?;
        let listener = Arc::new(listen(&config).await?);
        let http = listener.local_addr().context("cannot tell the HTTP address")?;
        let access = Access::new(config.access.clone());
        let web = Web::new(&config)?;
        let hosts = web::Hosts::new(http, &config.http.external_hosts);
        let door = web::Door { listener, hosts, tls: web.tls.clone(), limiter: web.http.clone() };
        let limiter = web.socket.clone();
        let doors = Doors { socket, http: door, access: access.clone(), limiter };

        let (reload, reloads) = mpsc::channel(1);
        let admin = Admin {
            reload,
            log: log.clone(),
            state_dir: config.state_dir.display().to_string(),
            config_file: config
                .file
                .as_ref()
                .map(|file| file.display().to_string())
                .unwrap_or_default(),
            http_address: http.to_string(),
        };
        let base =
            Base { store: store.clone(), clock: clock.clone(), telemetry: telemetry.clone() };
        let (loops, controls, parts) = build(&base, &config, admin);
        let (supervisor, prober) = (parts.supervisor.clone(), parts.prober.clone());
        let monitor = Monitor::new(parts, settings(&config));

        spawn_listeners(&supervisor, &monitor, &base, doors);
        prober.set_own_doors(own_doors(&config, http));
        prober.set_spawn_socket(config.probing.spawn_socket.clone());
        spawn_loops(&supervisor, loops);
        declare(&monitor).await?;
        // Only now: what agents left is told to be stale once, and is to be there then.
        spawn_agents(&supervisor, &monitor, config.storage.history_retention);

        let running = Self {
            overrides,
            config,
            log,
            clock,
            store,
            supervisor,
            monitor,
            controls,
            access,
            web,
            prober,
            http,
            signals,
            reloads,
            refused: None,
        };
        systemd::ready(&running.status_line());
        let url = url(&running.config, running.http);
        banner::print(&running.config, &running.monitor, &url);
        Ok(running)
    }

    /// Acts on what happens until it is time to stop; then stops. The result is the exit status.
    pub(super) async fn until_stopped(mut self) -> ExitCode {
        let watchdog = systemd::watchdog_interval();
        let mut watchdog_ticks = interval(watchdog.unwrap_or(STATUS_INTERVAL));
        watchdog_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut status_ticks = interval(STATUS_INTERVAL);
        let mut clock_watch = ClockWatch::new(self.clock.clone());
        loop {
            let event = tokio::select! {
                biased;
                event = self.signals.next() => event,
                reason = self.supervisor.critical_end() => Event::CriticalEnd(reason),
                reason = self.store.restart_needed() => Event::RestartNeeded(reason),
                Some(request) = self.reloads.recv() => Event::Reload(Some(request)),
                _ = watchdog_ticks.tick(), if watchdog.is_some() => Event::Watchdog,
                _ = status_ticks.tick() => Event::Status,
            };
            match event {
                Event::Stop => {
                    return stop::stop(
                        self.supervisor,
                        Some(self.store),
                        self.signals,
                        End::Wanted,
                    )
                    .await;
                }
                Event::CriticalEnd(reason) => {
                    error!("stopping: {reason}");
                    return stop::stop(
                        self.supervisor,
                        Some(self.store),
                        self.signals,
                        End::Failed,
                    )
                    .await;
                }
                Event::RestartNeeded(reason) => {
                    error!("stopping, to be started anew: {reason}");
                    return stop::stop(
                        self.supervisor,
                        Some(self.store),
                        self.signals,
                        End::Restart,
                    )
                    .await;
                }
                Event::Reload(request) => self.reload(request).await,
                Event::Watchdog if self.supervisor.is_alive() => systemd::alive(),
                Event::Watchdog => error!("a task is late: systemd is not told that we are alive"),
                Event::Status => {
                    clock_watch.look();
                    systemd::status(&self.status_line());
                }
            }
        }
    }

    async fn reload(&mut self, request: Option<ReloadRequest>) {
        systemd::reloading();
        let result = reload::reload(self).await;
        self.refused = result.as_ref().err().map(ToString::to_string);
        systemd::ready(&self.status_line());
        match &result {
            Ok(Reloaded { changes, .. }) => {
                let what = if changes.is_empty() { "as it was".into() } else { changes.join("; ") };
                info!(changes = changes.len(), "configuration reloaded: {what}");
            }
            Err(failure) => error!("configuration not reloaded, the old one stays: {failure}"),
        }
        if let Some(request) = request {
            // Whoever asked may have gone meanwhile.
            let _gone = request.send(result);
            return;
        }
        let caller = Caller { actor: "signal:HUP".to_owned(), ..Caller::default() };
        // The store tells where it cannot write.
        let _unwritten = self.monitor.note_reload(&caller, &result).await;
    }

    fn status_line(&self) -> String {
        let page = PageRequest::largest();
        let targets = self.monitor.targets(&page).map(|page| page.items).unwrap_or_default();
        let probed = targets.iter().filter(|view| view.target.probed);
        let healthy = probed.clone().filter(|view| view.status.state.is_healthy()).count();
        let (probed, firing) = (probed.count(), self.monitor.status().active_alerts);
        // One line is what systemd shows; the rest is in the journal.
        let refused = self.refused.as_deref().and_then(|problems| problems.lines().next());
        let refused = refused.map(|problem| format!("; configuration not reloaded: {problem}"));
        format!(
            "{healthy} of {probed} targets healthy, alerts firing: {firing}; {}{}",
            url(&self.config, self.http),
            refused.unwrap_or_default()
        )
    }
}

/// What everything leans on.
struct Base {
    store: Store,
    clock: Clock,
    telemetry: Telemetry,
}

/// Builds the loops and what answers questions; nothing runs yet.
fn build(base: &Base, config: &Config, admin: Admin) -> (Loops, Controls, Parts) {
    let Base { store, clock, telemetry } = base;
    let (store, clock, telemetry) = (store.clone(), clock.clone(), telemetry.clone());
    let supervisor = Supervisor::new(clock.clone(), &telemetry);
    let (targets, rules) = (Arc::new(Targets::default()), RuleBook::new());
    let prober = Prober::new(&telemetry);

    let parts = collecting::Parts {
        store: store.clone(),
        targets: targets.clone(),
        supervisor: supervisor.clone(),
        telemetry: telemetry.clone(),
        clock: clock.clone(),
        hostname: hostname(),
    };
    let (collecting, collecting_handle, collecting_controls) =
        collecting::Collecting::new(parts, &config.collect);
    let parts = probing::Parts {
        sink: Sink::Store(store.clone()),
        targets: targets.clone(),
        prober: prober.clone(),
        supervisor: supervisor.clone(),
        clock: clock.clone(),
    };
    let (probing, probing_handle) = probing::Probing::new(parts, &telemetry);
    let parts = evaluating::Parts {
        store: store.clone(),
        rules: rules.clone(),
        collecting: collecting_handle.clone(),
        clock: clock.clone(),
    };
    let (evaluating, evaluating_control) =
        evaluating::Evaluating::new(parts, &telemetry, config.alerting.interval);
    let (upkeep, cleanup) = Upkeep::new(store.clone(), clock.clone(), config.cleanup_interval);

    let controls =
        Controls { collecting: collecting_controls, evaluating: evaluating_control, cleanup };
    let parts = Parts {
        store,
        targets,
        rules,
        collecting: collecting_handle,
        probing: probing_handle,
        prober,
        supervisor,
        telemetry,
        clock,
        admin,
    };
    (Loops { collecting, probing, evaluating, upkeep }, controls, parts)
}

/// What answers depend on, as configured.
pub(super) fn settings(config: &Config) -> Settings {
    Settings {
        cooldown: config.alerting.cooldown,
        histogram_buckets: config.alerting.histogram_buckets.clone(),
        external_labels: config.external_labels.clone(),
        targets: config.probing.targets.clone(),
        probe: config.probing.defaults.clone(),
        discover_below: config.probing.home.clone().filter(|_| config.probing.discover),
        evaluation_interval: config.alerting.interval,
    }
}

fn spawn_listeners(supervisor: &Supervisor, monitor: &Monitor, base: &Base, doors: Doors) {
    let Doors { socket, http, access, limiter } = doors;
    let app = control::App {
        monitor: monitor.clone(),
        access,
        limiter,
        clock: base.clock.clone(),
        events: ControlEvents::new(&base.telemetry),
    };
    let spec = task("control", Policy::Restart, Phase::Intake);
    supervisor.spawn(spec, move |context| control::serve(socket.clone(), app.clone(), context));

    let app = web::AppState::new(monitor.clone(), base.telemetry.clone(), base.clock.clone());
    let own = supervisor.clone();
    let spec = task("web", Policy::Restart, Phase::Intake);
    supervisor
        .spawn(spec, move |context| web::serve(http.clone(), app.clone(), context, own.clone()));
}

/// What agents leave is kept for as long as all other history.
fn spawn_agents(supervisor: &Supervisor, monitor: &Monitor, keep: Duration) {
    let monitor = monitor.clone();
    let spec = task("agents", Policy::Restart, Phase::Intake);
    supervisor.spawn(spec, move |context| monitor.clone().watch_agents(context, keep));
}

fn spawn_loops(supervisor: &Supervisor, loops: Loops) {
    let Loops { collecting, probing, evaluating, upkeep } = loops;
    let spec = task("collecting", Policy::Restart, Phase::Intake);
    supervisor.spawn(spec, move |context| collecting.clone().run(context));
    let spec = task(probing::TASK, Policy::Restart, Phase::Intake);
    supervisor.spawn(spec, move |context| probing.clone().run(context));
    let spec = task("evaluating", Policy::Critical, Phase::Work);
    supervisor.spawn(spec, move |context| evaluating.clone().run(context));
    let spec = task("upkeep", Policy::Restart, Phase::Base);
    supervisor.spawn(spec, move |context| upkeep.clone().run(context));
}

pub(super) fn task(name: &'static str, policy: Policy, phase: Phase) -> TaskSpec {
    TaskSpec { name, policy, phase, beat_within: Some(BEAT_WITHIN) }
}

/// Where others can reach us somebody must be able to show who they are: refuses to start where there
/// never was a token. Where the last one has expired, it says so: to be down would help nobody.
fn check_tokens(config: &Config, store: &Store, now: Timestamp) -> anyhow::Result<()> {
    let listen = config.http.listen;
    if listen.ip().is_loopback() {
        return Ok(());
    }
    let tokens = store.tokens();
    ensure!(
        !tokens.is_empty(),
        "{listen} can be reached from elsewhere, and there is no token to come with: let it listen on \
         127.0.0.1:{} (`[http] listen`) and restart it, make one with `balefire token create NAME --scope \
         viewer`, then let it listen elsewhere",
        listen.port()
    );
    if tokens.iter().all(|token| token.is_expired(now)) {
        warn!(
            "all tokens have expired: from elsewhere nobody can ask until `balefire token create` made one"
        );
    }
    Ok(())
}

/// Where HTTP is, for people.
fn url(config: &Config, http: SocketAddr) -> String {
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{http}")
}

/// An address that somebody asked for, or nothing; the default one, or any free one.
async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let wanted = config.http.listen;
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && !config.http.explicit => {
            let any = SocketAddr::new(wanted.ip(), 0);
            TcpListener::bind(any).await.with_context(|| format!("cannot listen on {any}"))
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot listen on {wanted}: choose another address with --listen or `[http] listen`"
            )
        }),
    }
}

/// Balefire's own front doors, for the probe of itself.
fn own_doors(config: &Config, http: SocketAddr) -> OwnDoors {
    let beside =
        std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("balefire-mcp")));
    OwnDoors {
        socket: config.socket.clone(),
        http: Some(url(config, http)),
        shim: beside.filter(|shim| shim.is_file()),
    }
}

async fn declare(monitor: &Monitor) -> anyhow::Result<()> {
    let declared = monitor.declare_targets().await;
    let (_changes, problems) =
        declared.map_err(|failure: Failure| anyhow::anyhow!(failure.message))?;
    for (file, problem) in problems {
        tracing::warn!("{file}: {problem}");
    }
    Ok(())
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
