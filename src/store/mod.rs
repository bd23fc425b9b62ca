//! The history: series and their samples, and the small state (rules, alerts, probes, audit).
//!
//! # How it keeps its word
//! What is acknowledged is durable: one thread (`commit`) writes each group of commits as one frame of
//! the write-ahead log (`wal`), waits for `fdatasync`, and answers then. Everything recent is in
//! memory (`head`, `small`, `history`, held together by `state`); now and then `seal` moves samples
//! older than the open window into write-once partitions of two hours in sled (`partition`, over the
//! narrow trait of `engine`), of which `compact` makes longer ones and rollups (`tiers`, `rollup`), long
//! history likewise, copies the small state into a catalog there, and replaces the log by a
//! checkpoint. A start (`recovery`) reads the checkpoint and the log after it and opens no database.
//! `retention` removes whole partitions.
//!
//! # Where to start reading
//! `keys` has every name and key on disk, `record` every value, `docs/format/` both in prose. A
//! sample's way in is [`Store::append`], `commit`, `head`; its way out is `select`.
//!
//! # What it must not know
//! Who writes, what an alert means, what `PromQL` is beyond the trait [`Queryable`](crate::promql::Queryable). It reads no clock
//! but the one it is handed.

mod backup;
mod chunk;
mod commit;
mod compact;
mod deferred;
mod engine;
mod erase;
mod error;
mod head;
mod history;
mod inner;
mod inventory;
mod keys;
mod layout;
mod lock;
mod partition;
mod quarantine;
mod record;
mod recovery;
mod restore;
mod retention;
mod rollup;
mod room;
mod seal;
mod select;
mod small;
mod state;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tiers;
mod types;
mod verify;
mod wal;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    commit::{Commit, Committer, Key, Request, Row},
    deferred::Deferred,
    engine::sled::SledEngine,
    head::{Head, Hold},
    history::{About, Entry, Kind, Wanted},
    inner::{Inner, Parts, change_of, probe_of},
    lock::Lock,
    partition::{Asked, Handles},
    state::State,
    sync::Rhythm,
    wal::WalOptions,
};
use crate::{
    access::Token,
    limits,
    model::{
        Accumulator, Agent, AgentMark, AlertInstance, AuditEntry, Batch, Event, InvalidPage,
        Labels, Matcher, Metadata, Page, PageRequest, ProbeRecord, Rule, Sample, SeriesSample,
        TargetState, Transition,
    },
    telemetry::{Telemetry, events::StoreEvents},
    time::{Clock, Timestamp},
};

pub use backup::{Backup, BackupPart};
pub use erase::Erased;
pub use error::StoreError;
pub use inventory::{HeadSize, Inventory, KindSize, TierSize};
pub use restore::{Restoring, prove_opens};
pub use retention::{CleanUp, DataKind, Freed};
pub use rollup::Tier;
pub use room::RoomFor;
pub use types::{AppendSummary, Change, Options, Recovery, Rejection, SeriesHandle, Stats};
pub use verify::{Problem, Step, Verification, verify};

/// The store; cheap to clone, shared by all. When the last one is dropped, what is queued is still
/// committed and the directory is let go.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

/// A consistent view; nothing changes in it, and it holds up no writer.
#[derive(Clone, Debug)]
pub struct Snapshot {
    head: Arc<Head>,
    state: State,
    events: StoreEvents,
    /// Keeps the head from changing what this sees.
    _hold: Option<Hold>,
}

impl Store {
    /// Opens or creates the store in `dir` and replays its log. Blocking.
    ///
    /// Registers the store's metrics: one store for each `telemetry`.
    pub fn open(
        dir: &Path,
        options: Options,
        clock: Clock,
        telemetry: &Telemetry,
    ) -> Result<(Self, Recovery), StoreError> {
        let wal = WalOptions::new(dir.join(keys::WAL));
        let parts = Parts { engine: Box::new(SledEngine), wal, clock, options };
        Self::open_with(dir, parts, StoreEvents::new(telemetry))
    }

    fn open_with(
        dir: &Path,
        parts: Parts,
        events: StoreEvents,
    ) -> Result<(Self, Recovery), StoreError> {
        let lock = Lock::take(dir)?;
        backup::remove_leftovers(dir)?;
        let handles = Arc::new(Handles::new(parts.engine));
        let head = Head::new(parts.options.series_max);
        let found = recovery::recover(dir, &parts.wal, &handles, head, parts.clock.now())?;
        let wal = recovery::open_log(dir, &parts.wal, &found, &events)?;
        events.recovered(found.recovery.samples_replayed, found.recovery.torn_bytes);
        found.recovery.quarantined.iter().for_each(|what| events.quarantined(what));
        let newest_event = watch::Sender::new(found.state.history.newest_event());
        let published = Arc::new(RwLock::new(found.state));
        let log_bytes = Arc::new(AtomicU64::new(found.log_bytes));
        let (sender, queue) = mpsc::channel(limits::COMMIT_QUEUE_MAX);
        let committer = Committer {
            queue,
            head: Arc::clone(&found.head),
            published: Arc::clone(&published),
            wal,
            log_bytes: Arc::clone(&log_bytes),
            clock: parts.clock.clone(),
            retention: parts.options.retention,
            window: parts.options.out_of_order_window,
            rhythm: Rhythm::new(parts.options.power_cut_loses_up_to)
                .map_err(StoreError::io("start the committer of", dir))?,
            deferred: Deferred::default(),
            newest_event: newest_event.clone(),
            events: events.clone(),
        };
        let thread = std::thread::Builder::new().name("store-commit".to_owned());
        let committer = thread.spawn(|| committer.run());
        let committer = committer.map_err(StoreError::io("start the committer of", dir))?;
        let store = Self(Arc::new(Inner {
            dir: dir.to_owned(),
            options: parts.options,
            clock: parts.clock,
            events,
            handles,
            head: found.head,
            published,
            newest_event,
            wal: parts.wal,
            log_bytes,
            cut_due: Mutex::default(),
            catalog_at: Mutex::default(),
            queue: Some(sender),
            closing: AtomicBool::new(false),
            committer: Mutex::new(Some(committer)),
            maintenance: Mutex::default(),
            backing_up: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            failing: Mutex::default(),
            restart: watch::Sender::new(None),
            lock: Mutex::new(Some(lock)),
        }));
        Ok((store, found.recovery))
    }

    /// Stores samples and metadata; returns when they are durable (fdatasync).
    pub async fn append(&self, batch: Batch) -> Result<AppendSummary, StoreError> {
        self.append_and_commit(batch, Vec::new()).await
    }

    /// Applies changes of the small state, all or none; returns when they are durable.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.append_and_commit(Batch::default(), changes).await.map(drop)
    }

    /// Samples and changes, all or none, durable in one go. Samples that may not come in are refused
    /// one by one, and do not keep the rest out.
    pub async fn append_and_commit(
        &self,
        batch: Batch,
        changes: Vec<Change>,
    ) -> Result<AppendSummary, StoreError> {
        let commit = self.commit_of(batch, changes)?;
        self.send(commit).await
    }

    /// Takes samples and changes, all or none, that nobody waits for: they become durable, and are
    /// seen, with the next commit that somebody waits for, or when they have waited `within`, which
    /// counts up to [`limits::COMMIT_DEFERRED_MAX`]. Returns when they are queued. What cannot be stored is
    /// counted as for all others, and nobody else is told.
    pub async fn defer(
        &self,
        batch: Batch,
        changes: Vec<Change>,
        within: Duration,
    ) -> Result<(), StoreError> {
        let request = Request::Defer(self.commit_of(batch, changes)?, within);
        self.0.queue().send(request).await.map_err(|_| self.0.no_committer())
    }

    fn commit_of(&self, batch: Batch, changes: Vec<Change>) -> Result<Commit, StoreError> {
        let count = batch.samples.len() + batch.histograms.len();
        if count > limits::BATCH_SAMPLES_MAX {
            return Err(StoreError::BatchTooLarge(count));
        }
        let known = self.0.head.find_all(batch.samples.iter().map(|sample| &sample.labels));
        let row = |(SeriesSample { labels, sample }, known)| {
            let series = match known {
                Some(series) => Key::Known(series),
                None => Key::Named(labels),
            };
            Row { series, sample }
        };
        let rows = batch.samples.into_iter().zip(known).map(row).collect();
        let histograms = batch.histograms.into_iter();
        let histograms = histograms.map(|one| (Key::Named(one.labels), one.sample)).collect();
        Ok(Commit { rows, histograms, metadata: batch.metadata, changes, reply: None })
    }

    /// Stores samples of series that were found before; returns when they are durable (fdatasync).
    pub async fn append_to(
        &self,
        samples: Vec<(SeriesHandle, Sample)>,
    ) -> Result<AppendSummary, StoreError> {
        if samples.len() > limits::BATCH_SAMPLES_MAX {
            return Err(StoreError::BatchTooLarge(samples.len()));
        }
        let row = |(handle, sample): (SeriesHandle, Sample)| Row { series: handle.0, sample };
        self.send(Commit { rows: samples.into_iter().map(row).collect(), ..Commit::default() })
            .await
    }

    /// Looks for the series of handles that have not found theirs yet.
    pub fn find(&self, handles: &mut [&mut SeriesHandle]) {
        let found = self.0.head.find_all(handles.iter().map(|handle| handle.labels()));
        for (handle, found) in handles.iter_mut().zip(found) {
            if let Some(series) = found {
                handle.0 = Key::Known(series);
            }
        }
    }

    async fn send(&self, mut commit: Commit) -> Result<AppendSummary, StoreError> {
        let (reply, answer) = oneshot::channel();
        commit.reply = Some(reply);
        self.0.queue().send(Request::Commit(commit)).await.map_err(|_| self.0.no_committer())?;
        answer.await.map_err(|_| self.0.no_committer())?
    }

    /// What is stored now, for queries. Selecting from it blocks where it reads partitions.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// The latest sample, not stale, of each matching series that had one since `since`, sorted by
    /// labels; from memory, which holds two hours at least.
    pub fn latest(&self, matchers: &[Matcher], since: Timestamp) -> Vec<SeriesSample> {
        self.snapshot().latest(matchers, since)
    }

    /// The matching series (any of `selectors`; all where there is none) that have samples in the
    /// range, sorted. May read from disk.
    pub fn series(
        &self,
        selectors: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Labels>, StoreError> {
        self.snapshot().series(selectors, (start, end))
    }

    /// The names of the labels of such series as [`Store::series`] tells of. May read from disk.
    pub fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<BTreeSet<String>, StoreError> {
        self.snapshot().texts(Asked::Names, selectors, (start, end))
    }

    /// The values of one of their labels. May read from disk.
    pub fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<BTreeSet<String>, StoreError> {
        self.snapshot().texts(Asked::ValuesOf(name), selectors, (start, end))
    }

    /// What is known of a metric name.
    pub fn metadata(&self, name: &str) -> Option<Metadata> {
        self.0.state().small.metadata.get(name).map(|metadata| (**metadata).clone())
    }

    /// What is known of all metrics, sorted by name.
    pub fn all_metadata(&self) -> Vec<Metadata> {
        let known = self.0.state().small.metadata.clone();
        known.values().map(|metadata| (**metadata).clone()).collect()
    }

    /// The rules, sorted by id.
    pub fn rules(&self) -> Vec<Rule> {
        self.0.state().small.rules.values().map(|rule| (**rule).clone()).collect()
    }

    /// One rule.
    pub fn rule(&self, id: &str) -> Option<Rule> {
        self.0.state().small.rules.get(id).map(|rule| (**rule).clone())
    }

    /// The instances of a rule.
    pub fn instances(&self, rule_id: &str) -> Vec<AlertInstance> {
        self.0.state().small.instances.get(rule_id).map(|all| all.to_vec()).unwrap_or_default()
    }

    /// The transitions of one rule or all in a range, newest first, each with its sequence number.
    /// Older ones are read from disk.
    pub fn transitions(
        &self,
        rule_id: Option<&str>,
        start: Timestamp,
        end: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<(u64, Transition)>, InvalidPage> {
        let about = rule_id.map_or(About::Some, About::Subject);
        let wanted = Wanted { about, ..Wanted::range(Kind::Event, start, end) };
        self.0.page(wanted, page, |entry| match change_of(entry)? {
            Change::AddEvent(Event::AlertTransition(transition)) => {
                Some((entry.sequence, transition))
            }
            _ => None,
        })
    }

    /// The number of the newest event, as it changes; 0 before the first.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.0.newest_event.subscribe()
    }

    /// Whether [`Store::events`] after a number need no disk.
    pub fn has_events_in_memory(&self, after: u64) -> bool {
        self.0.state().history.has_events_in_memory(after)
    }

    /// Up to `count` events with numbers above `after`, oldest first, each with its number: they run from
    /// 1 without gaps, so that one shows what retention removed. Blocking where older ones are read
    /// from disk.
    pub fn events(&self, after: u64, count: usize) -> Vec<(u64, Event)> {
        let tell = &mut |error: &StoreError| self.0.events.quarantined(&error.to_string());
        let entries = self.0.state().history.events(after, count, tell);
        let event = |entry: &Arc<Entry>| match change_of(entry)? {
            Change::AddEvent(event) => Some((entry.sequence, event)),
            _ => None,
        };
        entries.iter().filter_map(event).collect()
    }

    /// The audit, newest first. Older entries are read from disk.
    pub fn audit(&self, page: &PageRequest) -> Result<Page<AuditEntry>, InvalidPage> {
        let all = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        self.0.page(Wanted::range(Kind::Audit, all.0, all.1), page, |entry| {
            match change_of(entry)? {
                Change::AddAudit(record) => {
                    let (sequence, hash) = (entry.sequence, entry.audit_hash());
                    Some(AuditEntry { sequence, record, hash })
                }
                _ => None,
            }
        })
    }

    /// The probes of a target in a range, newest first. Older ones are read from disk.
    pub fn probes(
        &self,
        target: &str,
        start: Timestamp,
        end: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<ProbeRecord>, InvalidPage> {
        let wanted =
            Wanted { about: About::Subject(target), ..Wanted::range(Kind::Probe, start, end) };
        self.0.page(wanted, page, probe_of)
    }

    /// The last probe of a target.
    pub fn last_probe(&self, target: &str) -> Option<ProbeRecord> {
        self.0.state().history.last_probes.get(target).and_then(|entry| probe_of(entry))
    }

    /// The state that a target was in last, and since when.
    pub fn target_state(&self, target: &str) -> Option<(TargetState, Timestamp)> {
        self.0.state().small.targets.get(target).copied()
    }

    /// The discovered targets that may be probed.
    pub fn adoptions(&self) -> Vec<String> {
        self.0.state().small.adoptions.iter().cloned().collect()
    }

    /// The bearer tokens, sorted by id.
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        self.0.state().small.tokens.values().map(Arc::clone).collect()
    }

    /// One bearer token.
    pub fn token(&self, id: &str) -> Option<Arc<Token>> {
        self.0.state().small.tokens.get(id).map(Arc::clone)
    }

    /// The users' agents, in the order of their numbers.
    pub fn agents(&self) -> Vec<Agent> {
        self.0.state().small.agents.values().map(|agent| (**agent).clone()).collect()
    }

    /// How far the probes of a user's agent are durable.
    pub fn agent_mark(&self, uid: u32) -> Option<AgentMark> {
        self.0.state().small.agent_marks.get(&uid).cloned()
    }

    /// What the observations of a histogram or summary have come to.
    pub fn accumulator(&self, labels: &Labels) -> Option<Accumulator> {
        self.0.state().small.accumulators.get(labels).map(|found| (**found).clone())
    }

    /// How many histograms and summaries are being added up.
    pub fn accumulator_count(&self) -> usize {
        self.0.state().small.accumulators.len()
    }

    /// Sizes.
    pub fn stats(&self) -> Stats {
        let state = self.0.state();
        let sealed = || state.tiers.all().map(|(_, partition)| partition.manifest());
        let times = |time: i64| Timestamp::from_millis(time);
        let oldest = sealed().map(|m| times(m.oldest)).chain(self.0.head.oldest(state.sealed));
        let newest = sealed().map(|m| times(m.newest)).chain(self.0.head.newest());
        let history = state.history.partitions.iter().map(|partition| partition.manifest());
        let log = partition::size_of(&self.0.dir.join(keys::WAL));
        let catalog = partition::size_of(&self.0.dir.join(keys::CATALOG));
        let head = self.0.head.series_count() as u64;
        let twice = self.0.cut_due.lock().as_ref().map_or(0, |cut| cut.samples);
        Stats {
            series: sealed().map(|manifest| manifest.series).max().unwrap_or(0).max(head),
            samples: state.tiers.of(Tier::Raw).iter().map(|p| p.manifest().samples).sum::<u64>()
                + self.0.head.samples().saturating_sub(twice),
            disk_bytes: sealed().chain(history).map(|m| m.bytes).sum::<u64>() + log + catalog,
            oldest: oldest.min(),
            newest: newest.max(),
        }
    }

    /// Seals what is old enough into partitions and cuts the log; called every few minutes, it also
    /// closes partitions that nobody reads any more. Returns how many samples were sealed.
    ///
    /// Blocking: async code calls it by `spawn_blocking`, as [`Store::clean_up`] and [`Store::close`].
    pub fn seal(&self) -> Result<u64, StoreError> {
        self.0.upkeep("seal", seal::seal(&self.0))
    }

    /// Makes one partition out of others, if any is due: a longer one, or one of rollups. Tells whether
    /// there was one; then there may be another. Blocking, for a minute where series are many.
    pub fn compact_next(&self) -> Result<bool, StoreError> {
        self.0.upkeep("compact", compact::compact_next(&self.0))
    }

    /// Carries out all compaction that is due; tells how many partitions that made. Sealing and
    /// clean-up get their turn in between. Blocking.
    pub fn compact(&self) -> Result<u64, StoreError> {
        let mut made = 0;
        while self.compact_next()? {
            made += 1;
        }
        Ok(made)
    }

    /// Has compaction end at the next series, for good: the daemon stops. What it was making is dropped.
    pub fn stop_compacting(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Removes what is older than its retention, and what is more than [`Options::size_max`]. Blocking.
    pub fn clean_up(&self) -> Result<CleanUp, StoreError> {
        self.0.upkeep("clean up", retention::clean_up(&self.0))
    }

    /// Ends when only a restart helps, and says why: the engine met a full disk, say, and holds on to
    /// files that are of no use any more. What was acknowledged is safe.
    pub async fn restart_needed(&self) -> String {
        let mut restart = self.0.restart.subscribe();
        let reason = restart.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    /// Commits what is queued and lets go of the directory. Blocking; later writes fail, reading goes
    /// on from memory.
    pub fn close(&self) -> Result<(), StoreError> {
        self.stop_compacting();
        let _alone = self.0.maintenance.lock();
        let asked = self.0.ask_to_close();
        self.0.join();
        self.0.handles.close_idle();
        *self.0.lock.lock() = None;
        asked
    }
}
