//! The history: series and their samples, and the small state (rules, alerts, probes, audit).
//!
//! # How it keeps its word
//! What is acknowledged is durable: one thread (`commit`) writes each group of commits as one frame of
//! the write-ahead log (`wal`), waits for `fdatasync`, and answers then. Everything recent is in
//! memory (`head`, `small`, `history`, held together by `state`); now and then `seal` moves samples
//! older than the open window into write-once partitions of two hours in sled (`partition`, over the
//! narrow trait of `engine`), of which `compact` makes longer ones and rollups (`tiers`, `rollup`), long
//! history likewise, copies the small state into a catalog there, and replaces the log by a
//! checkpoint. A start (`recovery`) reads the checkpoint and the log after it and opens no database. `retention` removes whole partitions.
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
mod engine;
mod erase;
mod error;
mod head;
mod history;
mod inventory;
mod keys;
mod layout;
mod lock;
mod partition;
mod record;
mod recovery;
mod restore;
mod retention;
mod rollup;
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
mod verify;
mod wal;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    commit::{Commit, Committer, Key, Published, Request, Rotated, Row},
    engine::{Engine, sled::SledEngine},
    head::{Epoch, Head, Hold},
    history::{Entry, Kind, Wanted},
    lock::Lock,
    partition::Handles,
    state::State,
    sync::Rhythm,
    wal::WalOptions,
};
use crate::{
    limits,
    model::{
        Accumulator, AlertInstance, AuditEntry, AuditRecord, Batch, InvalidPage, Labels, Matcher,
        Metadata, Page, PageRequest, ProbeRecord, Rule, Sample, SeriesSample, TargetState,
        Transition,
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
pub use verify::{Problem, Step, Verification, verify};

/// How the store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long samples are kept as they came. A partition goes as a whole, so some stay a day longer.
    pub retention: Duration,
    /// How long rollups of five minutes are kept; no shorter than samples.
    pub retention_5m: Duration,
    /// How long rollups of an hour are kept; no shorter than those of five minutes.
    pub retention_1h: Duration,
    /// How long probes, transitions and audit entries are kept.
    pub history_retention: Duration,
    /// Bytes on disk above which the oldest partitions go before their time, samples as they came
    /// first; `None`: as many as there are.
    pub size_max: Option<u64>,
    /// How much later than others of its series a sample may come.
    pub out_of_order_window: Duration,
    /// Series that are taken at once.
    pub series_max: usize,
    /// How much of what was acknowledged a power cut may take; zero: nothing, each commit is synced
    /// before it is acknowledged.
    pub power_cut_loses_up_to: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(30 * 24),
            retention_5m: Duration::from_hours(180 * 24),
            retention_1h: Duration::from_hours(730 * 24),
            history_retention: Duration::from_hours(90 * 24),
            size_max: None,
            out_of_order_window: Duration::from_hours(2),
            series_max: limits::SERIES_MAX,
            power_cut_loses_up_to: Duration::ZERO,
        }
    }
}

/// The store; cheap to clone, shared by all. When the last one is dropped, what is queued is still
/// committed and the directory is let go.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    options: Options,
    clock: Clock,
    events: StoreEvents,
    handles: Arc<Handles>,
    head: Arc<Head>,
    published: Published,
    wal: WalOptions,
    /// Bytes of the log that no checkpoint has replaced.
    log_bytes: Arc<AtomicU64>,
    /// What the head may forget when no reader sees it there any more.
    cut_due: Mutex<Option<Cut>>,
    /// `None` while it is being dropped.
    queue: Option<mpsc::Sender<Request>>,
    /// Whether the end was asked for.
    closing: AtomicBool,
    /// The committer; `None` once it has ended.
    committer: Mutex<Option<JoinHandle<()>>>,
    /// Held while sealing, compacting or cleaning up: one at a time.
    maintenance: Mutex<()>,
    /// Whether a backup is under way: one at a time.
    backing_up: AtomicBool,
    /// Set when compaction is to end at the next series.
    stopping: AtomicBool,
    /// Why only a restart helps.
    restart: watch::Sender<Option<String>>,
    /// Let go by `close`.
    lock: Mutex<Option<Lock>>,
}

/// What the head may forget.
#[derive(Debug)]
struct Cut {
    /// When all readers are of this epoch or later …
    epoch: Epoch,
    /// … samples before this instant,
    floor: Timestamp,
    /// which are so many.
    samples: u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The committer ends when nobody can ask it any more.
        self.queue = None;
        self.join();
    }
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Samples that were replayed from the write-ahead log.
    pub samples_replayed: u64,
    /// Bytes of a torn last record that were cut off: they were never acknowledged.
    pub torn_bytes: u64,
    /// Files that could not be read and were put aside, in words.
    pub quarantined: Vec<String>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppendSummary {
    /// Samples that are durable now.
    pub accepted: u64,
    /// Samples that repeat a stored one exactly.
    pub duplicates: u64,
    /// Samples that were refused.
    pub rejected: u64,
    /// Why; at most 100 of them.
    pub rejections: Vec<Rejection>,
}

/// Samples of one series that were refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// The series.
    pub labels: Labels,
    /// How many.
    pub samples: u64,
    /// Why, and what to do.
    pub reason: String,
}

/// One durable change of the small state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A rule is new or different.
    PutRule(Rule),
    /// A rule is gone, with its instances.
    DeleteRule(String),
    /// All instances that a rule has now.
    PutInstances {
        /// The rule.
        rule_id: String,
        /// Its instances.
        instances: Vec<AlertInstance>,
    },
    /// An alert changed its state.
    AddTransition(Transition),
    /// Somebody changed something.
    AddAudit(AuditRecord),
    /// A target was probed.
    AddProbe(ProbeRecord),
    /// The state a target is in.
    PutTargetState {
        /// The target.
        name: String,
        /// Its state.
        state: TargetState,
        /// Since when.
        since: Timestamp,
    },
    /// A target is gone, with its probes.
    DeleteTarget(String),
    /// A discovered target may be probed.
    PutAdoption(String),
    /// … and no more.
    DeleteAdoption(String),
    /// What observations have come to.
    PutAccumulator(Accumulator),
}

/// A short way to a series: finds it without looking at its labels, for as long as it is live.
#[derive(Clone, Debug)]
pub struct SeriesHandle(Key);

impl SeriesHandle {
    /// A handle that has not looked for its series; samples find that by its labels, and make it.
    pub fn new(labels: Labels) -> Self {
        Self(Key::Named(labels))
    }

    /// Names the series.
    pub fn labels(&self) -> &Labels {
        self.0.labels()
    }

    /// Whether it has found its series.
    pub fn is_found(&self) -> bool {
        matches!(self.0, Key::Known(_))
    }
}

/// Sizes, for `status` and `store stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series in the open window, or in the fullest partition where that has more.
    pub series: u64,
    /// Samples as they came, in all; rollups do not count.
    pub samples: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The oldest sample.
    pub oldest: Option<Timestamp>,
    /// The newest sample.
    pub newest: Option<Timestamp>,
}

/// A consistent view; nothing changes in it, and it holds up no writer.
#[derive(Clone, Debug)]
pub struct Snapshot {
    head: Arc<Head>,
    state: State,
    events: StoreEvents,
    /// Keeps the head from changing what this sees.
    _hold: Hold,
}

impl Inner {
    /// What is stored now.
    fn state(&self) -> State {
        self.published.read().clone()
    }

    fn queue(&self) -> &mpsc::Sender<Request> {
        self.queue.as_ref().expect("the queue is there until the store is dropped")
    }

    /// Has the committer change the state; returns it as it is then. Blocking.
    fn edit(&self, edit: impl FnOnce(&mut State) + Send + 'static) -> Result<State, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Edit { edit: Box::new(edit), reply })?;
        answer.blocking_recv().map_err(|_| self.no_committer())
    }

    /// Has the committer change the state and begin a segment of the log. Blocking.
    fn rotate(
        &self,
        edit: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<Rotated, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Rotate { edit: Box::new(edit), reply })?;
        answer.blocking_recv().map_err(|_| self.no_committer())?
    }

    /// Makes durable what came before a segment, and removes the segments before. Blocking.
    fn write_checkpoint(&self, rotated: &Rotated) -> Result<(), StoreError> {
        let Rotated { number, state, .. } = rotated;
        let bytes = recovery::write_checkpoint(&self.wal, *number, &self.head, state)?;
        self.events.written("checkpoint", bytes);
        self.log_bytes.fetch_sub(rotated.log_bytes, Ordering::Relaxed);
        commit::remove_before(&self.wal, *number, &self.events);
        Ok(())
    }

    /// Has the committer change the state, and replaces the log by a checkpoint. Blocking.
    fn checkpoint(&self, edit: impl FnOnce(&mut State) + Send + 'static) -> Result<(), StoreError> {
        let rotated = self.rotate(edit)?;
        self.write_checkpoint(&rotated)
    }

    /// What is stored now, kept as it is.
    fn snapshot(&self) -> Snapshot {
        // Held while it is the published one: a hold on a later epoch would come too late.
        let published = self.published.read();
        let hold = self.head.epochs.hold(published.epoch);
        let state = published.clone();
        Snapshot { head: Arc::clone(&self.head), state, events: self.events.clone(), _hold: hold }
    }

    /// The head may forget what partitions hold when no reader is left that does not see those.
    fn cut_later(&self, state: &State, samples: u64) {
        let mut due = self.cut_due.lock();
        let samples = samples + due.take().map_or(0, |cut| cut.samples);
        *due = Some(Cut { epoch: state.epoch, floor: state.sealed, samples });
    }

    /// Has the head forget what is due, where no reader is left that sees it there.
    fn cut_unseen(&self) {
        let mut due = self.cut_due.lock();
        let published = self.published.read().epoch;
        let seen_by_all = self.head.epochs.seen_by_all(published);
        if let Some(cut) = due.take_if(|cut| seen_by_all >= cut.epoch) {
            self.head.cut(cut.floor);
            self.events.head(self.head.series_count());
        }
    }

    fn ask(&self, request: Request) -> Result<(), StoreError> {
        self.queue().blocking_send(request).map_err(|_| self.no_committer())
    }

    /// Finds out whether an error is one that only a restart helps against.
    fn judge(&self, error: &StoreError) {
        if error.needs_restart() {
            self.restart.send_replace(Some(error.to_string()));
        }
    }

    /// Why there is no committer that answers.
    fn no_committer(&self) -> StoreError {
        let closed = self.closing.load(Ordering::Acquire);
        if closed { StoreError::Closed } else { StoreError::CommitterDied }
    }

    fn ask_to_close(&self) -> Result<(), StoreError> {
        // A committer that died before is told as such.
        if self.queue().is_closed() {
            return Err(self.no_committer());
        }
        self.closing.store(true, Ordering::Release);
        self.ask(Request::Close)
    }

    fn join(&self) {
        if let Some(committer) = self.committer.lock().take() {
            // A panic of the committer was seen by all who waited for it.
            let _ = committer.join();
        }
    }

    /// Entries of the history, newest first, as one page.
    fn page<T>(
        &self,
        wanted: Wanted<'_>,
        page: &PageRequest,
        read: impl Fn(&Entry) -> Option<T>,
    ) -> Result<Page<T>, InvalidPage> {
        let before = page.before()?.unwrap_or(u64::MAX);
        let wanted = Wanted { before, count: page.size() + 1, ..wanted };
        let mut entries = self.entries(wanted);
        let more = entries.len() > page.size();
        entries.truncate(page.size());
        let last = entries.last().filter(|_| more);
        let next = last.map_or_else(String::new, |entry| entry.sequence.to_string());
        Ok(Page { items: entries.iter().filter_map(|entry| read(entry)).collect(), next })
    }

    /// Where sealed history cannot be read, that is reported, and what could be read is served.
    fn entries(&self, wanted: Wanted<'_>) -> Vec<Arc<Entry>> {
        let state = self.state();
        state.history.read(wanted, &mut |error| self.events.quarantined(&error.to_string()))
    }
}

/// A change that a stored entry holds; entries in memory were encoded by us, sealed ones have a CRC.
fn change_of(entry: &Entry) -> Option<Change> {
    record::decode_change(&entry.record().ok()?).ok()?
}

fn probe_of(entry: &Entry) -> Option<ProbeRecord> {
    match change_of(entry)? {
        Change::AddProbe(probe) => Some(probe),
        _ => None,
    }
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
        let found = recovery::recover(dir, &parts.wal, &handles, head)?;
        let wal = recovery::open_log(dir, &parts.wal, &found, &events)?;
        events.recovered(found.recovery.samples_replayed, found.recovery.torn_bytes);
        found.recovery.quarantined.iter().for_each(|what| events.quarantined(what));
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
            wal: parts.wal,
            log_bytes,
            cut_due: Mutex::default(),
            queue: Some(sender),
            closing: AtomicBool::new(false),
            committer: Mutex::new(Some(committer)),
            maintenance: Mutex::default(),
            backing_up: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
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
        if batch.samples.len() > limits::BATCH_SAMPLES_MAX {
            return Err(StoreError::BatchTooLarge(batch.samples.len()));
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
        self.send(rows, batch.metadata, changes).await
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
        self.send(samples.into_iter().map(row).collect(), Vec::new(), Vec::new()).await
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

    async fn send(
        &self,
        rows: Vec<Row>,
        metadata: Vec<Metadata>,
        changes: Vec<Change>,
    ) -> Result<AppendSummary, StoreError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Commit(Commit { rows, metadata, changes, reply });
        self.0.queue().send(request).await.map_err(|_| self.0.no_committer())?;
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

    /// What is known of a metric name.
    pub fn metadata(&self, name: &str) -> Option<Metadata> {
        self.0.state().small.metadata.get(name).map(|metadata| (**metadata).clone())
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
        let wanted = Wanted { subject: rule_id, ..Wanted::range(Kind::Transition, start, end) };
        self.0.page(wanted, page, |entry| match change_of(entry)? {
            Change::AddTransition(transition) => Some((entry.sequence, transition)),
            _ => None,
        })
    }

    /// The audit, newest first. Older entries are read from disk.
    pub fn audit(&self, page: &PageRequest) -> Result<Page<AuditEntry>, InvalidPage> {
        let all = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        self.0.page(Wanted::range(Kind::Audit, all.0, all.1), page, |entry| {
            match change_of(entry)? {
                Change::AddAudit(record) => Some(AuditEntry { sequence: entry.sequence, record }),
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
        let wanted = Wanted { subject: Some(target), ..Wanted::range(Kind::Probe, start, end) };
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

    /// What the observations of a histogram or summary have come to.
    pub fn accumulator(&self, labels: &Labels) -> Option<Accumulator> {
        self.0.state().small.accumulators.get(labels).map(|found| (**found).clone())
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
        seal::seal(&self.0).inspect_err(|error| self.0.judge(error))
    }

    /// Makes one partition out of others, if any is due: a longer one, or one of rollups. Tells whether
    /// there was one; then there may be another. Blocking, for a minute where series are many.
    pub fn compact_next(&self) -> Result<bool, StoreError> {
        compact::compact_next(&self.0)
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
        retention::clean_up(&self.0).inspect_err(|error| self.0.judge(error))
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

/// What a store is made of.
struct Parts {
    engine: Box<dyn Engine>,
    wal: WalOptions,
    clock: Clock,
    options: Options,
}
