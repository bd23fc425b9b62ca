//! `balefired --agent`: a person's part of a service's work. No store, no socket of its own, no HTTP.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::{
    agent::{Agent, Link, Parts, Settings},
    config::{Config, Overrides},
    pipeline::{Outbox, Sink, Targets, probing},
    probe::Prober,
    supervise::{Phase, Policy, Supervisor},
    telemetry::{LogHandle, Telemetry, log},
    time::Clock,
};

use super::{
    life::make_state_dir,
    running::{Event, STATUS_INTERVAL, Signals, task},
    stop::{self, End},
    systemd,
};

/// The control socket of the system's service.
const SERVICE_SOCKET: &str = "/run/balefire/control.sock";
/// Where adoptions are kept, below the state directory.
const ADOPTIONS: &str = "agent-adoptions";

/// The loops are spawned, systemd is told.
pub(super) struct Running {
    overrides: Overrides,
    config: Config,
    log: LogHandle,
    supervisor: Supervisor,
    agent: Agent,
    link: Link,
    signals: Signals,
    /// What is wrong with the configuration that was refused last, until one is taken.
    refused: Option<String>,
}

impl Running {
    /// Builds, spawns, tells.
    pub(super) async fn start(overrides: Overrides, config: Config) -> anyhow::Result<Self> {
        let signals = Signals::new().context("cannot listen to signals")?;
        let telemetry = Telemetry::new();
        let log = log::init(&config.log, log::is_under_journal())?;
        make_state_dir(&config.state_dir)?;
        let supervisor = Supervisor::new(Clock::System, &telemetry);
        let (probing, parts) = build(&config, &supervisor, &telemetry);
        let agent = Agent::new(parts, settings(&config)).with_context(|| {
            format!("cannot read the adoptions: {}", adoptions(&config).display())
        })?;
        let socket = overrides.socket.clone().unwrap_or_else(|| SERVICE_SOCKET.into());
        let link = Link::new(agent.clone(), &socket, &instance()?);
        declare(&agent).await?;
        spawn(&supervisor, probing, &agent, &link);
        let refused = None;
        let running = Self { overrides, config, log, supervisor, agent, link, signals, refused };
        systemd::ready(&running.status_line());
        Ok(running)
    }

    /// Acts on what happens until it is time to stop; then stops. The result is the exit status.
    pub(super) async fn until_stopped(mut self) -> anyhow::Result<ExitCode> {
        let watchdog = systemd::watchdog_interval();
        let mut watchdog_ticks = interval(watchdog.unwrap_or(STATUS_INTERVAL));
        watchdog_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut status_ticks = interval(STATUS_INTERVAL);
        let mut link_state = self.link.state();
        loop {
            let event = tokio::select! {
                biased;
                event = self.signals.next() => event,
                () = self.link.superseded() => {
                    warn!("another agent of this user reports now: stopping");
                    Event::Stop
                }
                _ = watchdog_ticks.tick(), if watchdog.is_some() => Event::Watchdog,
                _ = status_ticks.tick() => Event::Status,
                // The sender lives in the link.
                Ok(()) = link_state.changed() => Event::Status,
            };
            match event {
                Event::Reload(_) => self.reload().await,
                Event::Watchdog if self.supervisor.is_alive() => systemd::alive(),
                Event::Watchdog => error!("a task is late: systemd is not told that we are alive"),
                Event::Status => systemd::status(&self.status_line()),
                Event::Stop | Event::CriticalEnd(_) | Event::RestartNeeded(_) => break,
            }
        }
        Ok(stop::stop(self.supervisor, None, self.signals, End::Wanted).await)
    }

    /// Reads the configuration again and applies it; where it is wrong the old one stays.
    async fn reload(&mut self) {
        systemd::reloading();
        let applied = self.apply().await;
        if let Err(reason) = &applied {
            error!("configuration not reloaded, the old one stays: {reason:#}");
        }
        self.refused = applied.err().map(|reason| format!("{reason:#}"));
        systemd::ready(&self.status_line());
    }

    async fn apply(&mut self) -> anyhow::Result<()> {
        let new = super::load(&self.overrides)?;
        self.log.reopen();
        if new.log.level != self.config.log.level {
            self.log.set_filter(&new.log.level)?;
        }
        self.agent.set_settings(settings(&new));
        let declared = declare(&self.agent).await;
        let changes = declared.inspect_err(|_| self.agent.set_settings(settings(&self.config)))?;
        self.config = new;
        let what = if changes.is_empty() { "as it was".into() } else { changes.join("; ") };
        info!(changes = changes.len(), "configuration reloaded: {what}");
        Ok(())
    }

    fn status_line(&self) -> String {
        let targets = self.agent.targets();
        let probed = targets.iter().filter(|(target, _)| target.probed);
        let healthy = probed.clone().filter(|(_, status)| status.state.is_healthy()).count();
        let refused = self.refused.as_deref().and_then(|problems| problems.lines().next());
        let refused = refused.map(|problem| format!("; configuration not reloaded: {problem}"));
        format!(
            "{healthy} of {} targets healthy; {}{}",
            probed.count(),
            *self.link.state().borrow(),
            refused.unwrap_or_default()
        )
    }
}

/// The probing loop, whose results wait for the service, and what the agent works with.
fn build(
    config: &Config,
    supervisor: &Supervisor,
    telemetry: &Telemetry,
) -> (probing::Probing, Parts) {
    let (targets, outbox) = (Arc::new(Targets::default()), Outbox::default());
    let parts = probing::Parts {
        sink: Sink::Outbox(outbox.clone()),
        targets: targets.clone(),
        prober: Prober::new(telemetry),
        supervisor: supervisor.clone(),
        clock: Clock::System,
    };
    let (probing, handle) = probing::Probing::new(parts, telemetry);
    (probing, Parts { targets, probing: handle, outbox, adoptions: adoptions(config) })
}

fn spawn(supervisor: &Supervisor, probing: probing::Probing, agent: &Agent, link: &Link) {
    let spec = task(probing::TASK, Policy::Restart, Phase::Intake);
    supervisor.spawn(spec, move |context| probing.clone().run(context));
    let agent = agent.clone();
    let spec = task("discovering", Policy::Restart, Phase::Intake);
    supervisor.spawn(spec, move |context| agent.clone().keep_declaring(context));
    let link = link.clone();
    let spec = task("reporting", Policy::Restart, Phase::Intake);
    supervisor.spawn(spec, move |context| link.clone().run(context));
}

fn settings(config: &Config) -> Settings {
    Settings {
        targets: config.probing.targets.clone(),
        probe: config.probing.defaults.clone(),
        discover_below: config.probing.home.clone().filter(|_| config.probing.discover),
    }
}

fn adoptions(config: &Config) -> PathBuf {
    config.state_dir.join(ADOPTIONS)
}

async fn declare(agent: &Agent) -> anyhow::Result<Vec<String>> {
    agent.declare().await.map_err(anyhow::Error::msg)
}

/// Names this run of the agent: a number that the kernel gives nobody twice.
fn instance() -> anyhow::Result<String> {
    const UUID: &str = "/proc/sys/kernel/random/uuid";
    let uuid =
        fs::read_to_string(Path::new(UUID)).with_context(|| format!("cannot read {UUID}"))?;
    Ok(uuid.trim().to_owned())
}
