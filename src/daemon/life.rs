//! The first two stages of the process' life.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path};

use anyhow::Context;
use tokio::task::spawn_blocking;

use crate::{
    config::{Config, Overrides},
    model::{AuditRecord, PageRequest},
    pipeline::default_rules,
    store::{Change, Store},
    telemetry::{LogHandle, Telemetry, log},
    time::Clock,
};

use super::running::Running;

/// The configuration is checked and logging is set up; nothing is opened.
pub(super) struct Prepared {
    overrides: Overrides,
    config: Config,
    telemetry: Telemetry,
    log: LogHandle,
}

/// The store is open, and the rules are there.
pub(super) struct Recovered {
    pub(super) overrides: Overrides,
    pub(super) config: Config,
    pub(super) telemetry: Telemetry,
    pub(super) log: LogHandle,
    pub(super) clock: Clock,
    pub(super) store: Store,
}

impl Prepared {
    /// Sets logging up.
    pub(super) fn new(overrides: Overrides, config: Config) -> anyhow::Result<Self> {
        let telemetry = Telemetry::new();
        let handle = log::init(&config.log, log::is_under_journal())?;
        handle.publish(&telemetry);
        Ok(Self { overrides, config, telemetry, log: handle })
    }

    /// Opens the store and replays its log.
    pub(super) async fn recover(self) -> anyhow::Result<Recovered> {
        let Self { overrides, config, telemetry, log } = self;
        make_state_dir(&config.state_dir)?;
        let clock = Clock::System;
        let (dir, options) = (config.state_dir.join("store"), config.storage.clone());
        let (own_clock, own_telemetry) = (clock.clone(), telemetry.clone());
        let opened =
            spawn_blocking(move || Store::open(&dir, options, own_clock, &own_telemetry)).await;
        let (store, _recovery) = opened.context("opening the store panicked")??;
        seed_rules(&store, &config, &clock).await?;
        Ok(Recovered { overrides, config, telemetry, log, clock, store })
    }
}

impl Recovered {
    /// Binds the listeners, spawns the loops, and tells systemd.
    pub(super) async fn start(self) -> anyhow::Result<Running> {
        Running::start(self).await
    }
}

/// What is kept is nobody else's business: mode 0700.
pub(super) fn make_state_dir(dir: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| {
        format!("cannot make the state directory {}: name another with --state-dir", dir.display())
    })
}

/// A new store gets the default rules. An audit says that a store is not new: a default rule that
/// somebody deleted stays deleted.
async fn seed_rules(store: &Store, config: &Config, clock: &Clock) -> anyhow::Result<()> {
    let first = PageRequest { size: 1, token: String::new() };
    if !store.rules().is_empty() || !store.audit(&first)?.items.is_empty() {
        return Ok(());
    }
    let now = clock.now();
    let changes = default_rules(config.alerting.cooldown, now).into_iter().flat_map(|rule| {
        let audit = AuditRecord {
            time: now,
            actor: "balefire".to_owned(),
            action: "rule.create".to_owned(),
            subject: rule.id.clone(),
            after: rule.condition.clone(),
            ..AuditRecord::default()
        };
        [Change::PutRule(rule), Change::AddAudit(audit)]
    });
    store.commit(changes.collect()).await.context("cannot store the default rules")
}
