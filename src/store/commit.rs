//! The committer: the one thread that changes anything.
//!
//! It takes what is queued as one group, puts the samples into the head under an epoch that nobody
//! sees yet and the changes into its own clone of the state, writes one frame of the log, waits for
//! the disk, publishes state and epoch, and only then answers. A group that fails is taken back. What
//! nobody waits for ([`deferred`](super::deferred)) joins the next group. Sealing and clean-up send their edits
//! through the same queue.

use std::{
    collections::HashMap,
    fmt, fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    AppendSummary, Change, Rejection, StoreError,
    deferred::Deferred,
    head::{Admission, Bounds, Epoch, Head, Hold, Open, Series},
    keys,
    record::{ChangeRecord, Kind},
    small::{News, metadata_record},
    state::State,
    sync::{Rhythm, Waited},
    wal::{self, Wal, WalOptions, group::Group},
};
use crate::{
    limits,
    model::{AuditOutcome, HistogramSample, Labels, Metadata, Sample, hex},
    telemetry::events::{Audited, StoreEvents},
    time::{Clock, Timestamp},
};

/// A group is closed when it holds so many samples.
const GROUP_SAMPLES: usize = 200_000;
/// Series whose samples were refused, told one by one.
const REJECTIONS_MAX: usize = 100;

/// The published state.
pub(super) type Published = Arc<RwLock<State>>;
/// An edit of the state by sealing or clean-up.
pub(super) type Edit = Box<dyn FnOnce(&mut State) + Send>;

/// What the committer is asked for.
pub(super) enum Request {
    /// Samples and changes, all or none.
    Commit(Commit),
    /// The same, which may wait for so long: nobody waits for it.
    Defer(Commit, Duration),
    /// An edit that is not logged; answered by the state after it.
    Edit { edit: Edit, reply: oneshot::Sender<State> },
    /// An edit, and a new segment; answered by what came before that segment.
    Rotate { edit: Edit, reply: oneshot::Sender<Result<Rotated, StoreError>> },
    /// The end.
    Close,
}

/// Everything that came before a segment.
#[derive(Debug)]
pub(super) struct Rotated {
    /// The segment.
    pub(super) number: u64,
    pub(super) state: State,
    /// Bytes of the log that came before.
    pub(super) log_bytes: u64,
    /// Keeps the head from changing what `state` sees.
    pub(super) _hold: Hold,
}

/// Samples and changes that become durable together.
#[derive(Default)]
pub(super) struct Commit {
    pub(super) rows: Vec<Row>,
    pub(super) histograms: Vec<(Key, HistogramSample)>,
    pub(super) metadata: Vec<Metadata>,
    pub(super) changes: Vec<Change>,
    /// `None` where nobody waits.
    pub(super) reply: Option<oneshot::Sender<Result<AppendSummary, StoreError>>>,
}

impl Commit {
    /// How many samples it is worth: a histogram counts by its buckets.
    pub(super) fn weight(&self) -> usize {
        let histograms = self.histograms.iter().map(|(_, sample)| sample.weight());
        self.rows.len() + histograms.sum::<usize>()
    }
}

/// A sample on its way in.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) series: Key,
    pub(super) sample: Sample,
}

/// The series of a sample.
#[derive(Clone)]
pub(super) enum Key {
    /// One that was live a moment ago.
    Known(Arc<Series>),
    /// Perhaps a new one.
    Named(Labels),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.labels().fmt(f)
    }
}

impl Key {
    pub(super) fn labels(&self) -> &Labels {
        match self {
            Self::Known(series) => series.labels(),
            Self::Named(labels) => labels,
        }
    }
}

/// The committer's own.
pub(super) struct Committer {
    pub(super) queue: mpsc::Receiver<Request>,
    pub(super) head: Arc<Head>,
    pub(super) published: Published,
    pub(super) wal: Wal,
    /// Bytes of the log that no checkpoint has replaced.
    pub(super) log_bytes: Arc<AtomicU64>,
    pub(super) clock: Clock,
    /// How long samples are kept.
    pub(super) retention: Duration,
    /// How late a sample may be.
    pub(super) window: Duration,
    /// When the log is synced.
    pub(super) rhythm: Rhythm,
    /// What may wait.
    pub(super) deferred: Deferred,
    /// The number of the newest event, for those who wait for the next.
    pub(super) newest_event: watch::Sender<u64>,
    pub(super) events: StoreEvents,
}

impl Committer {
    /// Works until the end is asked for or nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut next = None;
        loop {
            let waited = match next.take() {
                Some(request) => Waited::Request(request),
                None => self.rhythm.wait(&mut self.queue, self.deferred.until()),
            };
            match waited {
                Waited::Request(Request::Close) | Waited::Closed => break,
                Waited::Request(request) => next = self.answer(request),
                Waited::Due => self.catch_up(),
            }
        }
        self.commit_deferred();
        self.sync();
    }

    /// Does what is asked for; returns a request that was taken from the queue meanwhile.
    fn answer(&mut self, request: Request) -> Option<Request> {
        match request {
            Request::Commit(first) => return self.commit_group(first),
            Request::Defer(commit, within) => {
                self.deferred.add(commit, within);
                self.catch_up();
            }
            Request::Edit { edit, reply } => {
                self.commit_deferred();
                let mut state = self.published.read().clone();
                edit(&mut state);
                self.publish(state.clone());
                // Whoever asked may have gone.
                let _ = reply.send(state);
            }
            Request::Rotate { edit, reply } => {
                self.commit_deferred();
                let _ = reply.send(self.rotate(edit));
            }
            Request::Close => {}
        }
        None
    }

    /// Does what has waited long enough.
    fn catch_up(&mut self) {
        if self.deferred.is_due() {
            self.commit_deferred();
        }
        if self.rhythm.is_due() {
            self.sync();
        }
    }

    /// Commits what was deferred: what came first stands first.
    fn commit_deferred(&mut self) {
        let group = self.deferred.take();
        if !group.is_empty() {
            self.commit(group);
        }
    }

    /// Makes durable what was acknowledged before it was.
    fn sync(&mut self) {
        if self.rhythm.is_behind()
            && let Err(error) = self.wal.sync()
        {
            self.events.commit_failed(&error);
        }
        self.rhythm.synced();
    }

    /// Commits what was deferred and what is queued; returns the request that ended the group, if one did.
    fn commit_group(&mut self, first: Commit) -> Option<Request> {
        let mut samples = first.weight();
        let mut group = self.deferred.take();
        group.push(first);
        let mut next = None;
        while samples < GROUP_SAMPLES {
            match self.queue.try_recv() {
                Ok(Request::Commit(commit) | Request::Defer(commit, _)) => {
                    samples += commit.weight();
                    group.push(commit);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.commit(group);
        next
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "measures how long the disk takes, no logic on it"
    )]
    fn commit(&mut self, group: Vec<Commit>) {
        let began = std::time::Instant::now();
        if self.wal.is_done() {
            self.begin_segment();
        }
        let mut work = Work::new(self);
        let answers: Vec<_> =
            group.into_iter().map(|mut commit| (work.apply(&mut commit), commit.reply)).collect();
        let Work { state, group, touched, audited, .. } = work;
        match self.make_durable(&group) {
            Ok(()) => {
                self.publish(state);
                for entry in &audited {
                    tell_audit(&self.events, entry);
                }
                self.tell(answers.iter().map(|(summary, _)| summary), began.elapsed());
                for (summary, reply) in answers {
                    let _ = reply.map(|reply| reply.send(Ok(summary)));
                }
            }
            Err(error) => {
                take_back(&self.head, &touched, state.epoch);
                self.events.commit_failed(&error);
                for reply in answers.into_iter().filter_map(|(_, reply)| reply) {
                    let _ = reply.send(Err(again(&error)));
                }
            }
        }
    }

    fn tell<'a>(&self, summaries: impl Iterator<Item = &'a AppendSummary>, took: Duration) {
        let sum = |all: (u64, u64, u64), s: &AppendSummary| {
            self.events.metadata_dropped(s.metadata_dropped);
            (all.0 + s.accepted, all.1 + s.duplicates, all.2 + s.rejected)
        };
        self.events.head(self.head.series_count());
        self.events.committed(summaries.fold((0, 0, 0), sum), took);
    }

    /// Shows readers the new state; the old one is taken apart when they can read again.
    fn publish(&self, state: State) {
        let newest = state.history.newest_event();
        let old = std::mem::replace(&mut *self.published.write(), state);
        drop(old);
        self.newest_event.send_if_modified(|told| std::mem::replace(told, newest) != newest);
    }

    /// Begins a segment, which has to name all series anew: so between two groups, not within one.
    /// Where that fails, the open one goes on, and the next group tries again.
    fn begin_segment(&mut self) {
        self.sync();
        match self.wal.rotate() {
            Ok(()) => self.head.recycle(),
            Err(error) => self.events.commit_failed(&error),
        }
    }

    fn make_durable(&mut self, group: &Group) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let bytes = if self.rhythm.sync_now() {
            let bytes = self.wal.append(group)?;
            self.rhythm.synced();
            bytes
        } else {
            self.wal.write(group)?
        };
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.events.written("log", bytes);
        Ok(())
    }

    /// Edits the state and begins a segment.
    fn rotate(&mut self, edit: Edit) -> Result<Rotated, StoreError> {
        self.sync();
        self.wal.rotate()?;
        self.head.recycle();
        let mut state = self.published.read().clone();
        edit(&mut state);
        state.epoch += 1;
        self.publish(state.clone());
        let hold = self.head.epochs.hold(state.epoch);
        let log_bytes = self.log_bytes.load(Ordering::Relaxed);
        Ok(Rotated { number: self.wal.number(), state, log_bytes, _hold: hold })
    }
}

/// Takes back what came with `epoch`.
fn take_back(head: &Head, touched: &[Arc<Series>], epoch: Epoch) {
    for series in touched {
        let mut open = series.lock();
        head.discount(open.take_back(epoch) as u64);
        open.unname();
    }
}

/// Removes files of the log that a checkpoint has made superfluous. What cannot be removed is
/// reported and does no harm; the next checkpoint tries again.
pub(super) fn remove_before(options: &WalOptions, number: u64, events: &StoreEvents) {
    let files = wal::segments(&options.dir).and_then(|segments| {
        let segments = segments.into_iter().map(|n| (n, keys::segment(&options.dir, n)));
        let checkpoints = wal::checkpoints(&options.dir)?.into_iter();
        Ok(segments.chain(checkpoints.map(|n| (n, keys::checkpoint(&options.dir, n)))).collect())
    });
    let files: Vec<_> = match files {
        Ok(files) => files,
        Err(error) => return events.left_over(&options.dir, &error),
    };
    for (_, path) in files.into_iter().filter(|(old, _)| *old < number) {
        if let Err(error) = fs::remove_file(&path) {
            events.left_over(&path, &error);
        }
    }
}

/// An error once more, for each of those whose commits were in the group.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Poisoned(reason) => StoreError::Poisoned(reason.clone()),
        StoreError::NotDurable(reason) => StoreError::NotDurable(reason.clone()),
        other => StoreError::NotDurable(other.to_string()),
    }
}

/// The journal has a copy of each entry of the audit, with its hash: whoever rewrites the one does not
/// rewrite the other.
fn tell_audit(events: &StoreEvents, record: &ChangeRecord) {
    let Some(Kind::Audit(audit)) = &record.kind else { return };
    let outcome = AuditOutcome::ALL.get(audit.outcome as usize).copied().unwrap_or_default();
    events.audited(&Audited {
        sequence: record.sequence,
        hash: &hex(&audit.hash),
        actor: &audit.actor,
        user: &audit.user,
        pid: audit.pid.unwrap_or(0),
        call: &audit.call,
        action: &audit.action,
        subject: &audit.subject,
        outcome: outcome.name(),
    });
}

/// A group in the making.
struct Work<'a> {
    head: &'a Head,
    state: State,
    group: Group,
    /// Entries of the audit, to be told of when they are durable.
    audited: Vec<ChangeRecord>,
    /// Series that samples came to, for the case that the group fails.
    touched: Vec<Arc<Series>>,
    segment: u64,
    /// What every reader sees.
    seen_by_all: Epoch,
    bounds: Bounds,
}

impl<'a> Work<'a> {
    fn new(committer: &'a Committer) -> Self {
        let mut state = committer.published.read().clone();
        let seen_by_all = committer.head.epochs.seen_by_all(state.epoch);
        state.epoch += 1;
        let now = committer.clock.now();
        let bounds = Bounds {
            oldest: now.minus(committer.retention),
            floor: state.floor,
            latest: now.plus(limits::SAMPLE_FUTURE_MAX),
            window: committer.window,
        };
        Self {
            head: &committer.head,
            state,
            group: Group::default(),
            audited: Vec::new(),
            touched: Vec::new(),
            segment: committer.wal.number(),
            seen_by_all,
            bounds,
        }
    }

    fn apply(&mut self, commit: &mut Commit) -> AppendSummary {
        let rows = std::mem::take(&mut commit.rows);
        let mut summary = self.append(rows, &commit.histograms);
        for metadata in &commit.metadata {
            match self.state.small.put_metadata(metadata) {
                News::Taken => self.group.change(&metadata_record(metadata)),
                News::TooMany => summary.metadata_dropped += 1,
                News::Known => {}
            }
        }
        for change in &commit.changes {
            let numbered = self.state.history.number(change);
            self.state.history.apply(&numbered);
            self.state.small.apply(change);
            self.group.change(&numbered);
            if matches!(change, Change::AddAudit(_)) {
                self.audited.push(numbered);
            }
        }
        summary
    }

    fn append(&mut self, rows: Vec<Row>, histograms: &[(Key, HistogramSample)]) -> AppendSummary {
        let mut summary = AppendSummary::default();
        let mut told = HashMap::new();
        let mut count = |admission, key: &Key| match admission {
            Admission::Accepted => summary.accepted += 1,
            Admission::Duplicate => summary.duplicates += 1,
            Admission::Refused(refusal) => {
                reject(&mut summary, &mut told, key.labels(), &refusal);
            }
        };
        for Row { series, sample } in rows {
            count(self.admit(&series, &sample), &series);
        }
        for (series, sample) in histograms {
            count(self.admit(series, sample), series);
        }
        self.head.count(summary.accepted);
        summary
    }

    fn admit(&mut self, key: &Key, sample: &impl Incoming) -> Admission {
        if let Key::Known(series) = key
            && let Some(admission) = self.put(Arc::clone(series), sample)
        {
            return admission;
        }
        if let Some(refusal) = self.bounds.refuses(sample.time()) {
            return Admission::Refused(refusal);
        }
        loop {
            let series = match self.head.find_or_make(key.labels()) {
                Ok(series) => series,
                Err(refusal) => return Admission::Refused(refusal),
            };
            // A cut may let a series go that has no samples yet.
            if let Some(admission) = self.put(series, sample) {
                return admission;
            }
        }
    }

    /// Puts a sample into a series; `None` where that is not live any more.
    fn put(&mut self, series: Arc<Series>, sample: &impl Incoming) -> Option<Admission> {
        let mut open = series.lock();
        open.settle(self.seen_by_all);
        let admission = sample.append_to(&mut open, self.state.epoch, &self.bounds)?;
        if admission == Admission::Accepted {
            if !open.name_in(self.segment) {
                self.group.name(series.id(), series.labels());
            }
            sample.log(series.id(), &mut self.group);
            drop(open);
            self.touched.push(series);
        }
        Some(admission)
    }
}

/// What comes into a series and the log: a sample or a histogram.
trait Incoming {
    fn time(&self) -> Timestamp;
    fn append_to(&self, open: &mut Open, epoch: Epoch, bounds: &Bounds) -> Option<Admission>;
    fn log(&self, id: u32, group: &mut Group);
}

impl Incoming for Sample {
    fn time(&self) -> Timestamp {
        self.timestamp
    }

    fn append_to(&self, open: &mut Open, epoch: Epoch, bounds: &Bounds) -> Option<Admission> {
        open.append_live(*self, epoch, bounds)
    }

    fn log(&self, id: u32, group: &mut Group) {
        group.sample(id, *self);
    }
}

impl Incoming for HistogramSample {
    fn time(&self) -> Timestamp {
        self.timestamp
    }

    fn append_to(&self, open: &mut Open, epoch: Epoch, bounds: &Bounds) -> Option<Admission> {
        open.append_histogram(self, epoch, bounds)
    }

    fn log(&self, id: u32, group: &mut Group) {
        group.histogram(id, self);
    }
}

/// Counts a refused sample; the first of each series, up to a hundred, says why.
fn reject(
    summary: &mut AppendSummary,
    told: &mut HashMap<Labels, usize>,
    labels: &Labels,
    refusal: &dyn std::fmt::Display,
) {
    summary.rejected += 1;
    if let Some(at) = told.get(labels) {
        summary.rejections[*at].samples += 1;
    } else if told.len() < REJECTIONS_MAX {
        told.insert(labels.clone(), summary.rejections.len());
        let reason = refusal.to_string();
        summary.rejections.push(Rejection { labels: labels.clone(), samples: 1, reason });
    }
}
