//! The committer: the one thread that changes anything.
//!
//! It takes what is queued as one group, works on its own clone of the state, writes one frame of the
//! log, waits for the disk, publishes the clone, and only then answers. A group that fails leaves the
//! published state as it was. Sealing and clean-up send their edits through the same queue.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use super::{
    AppendSummary, Change, Rejection, StoreError,
    head::{Admission, Bounds},
    keys,
    record::{CommitRecord, LabelsRecord, LogRecord, SeriesRecord},
    small::metadata_record,
    state::State,
    wal::{self, Wal, WalOptions},
};
use crate::{
    limits,
    model::{Batch, Labels},
    telemetry::events::StoreEvents,
    time::Clock,
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
    /// An edit that is not logged; answered by the state after it.
    Edit { edit: Edit, reply: oneshot::Sender<State> },
    /// An edit, and a new segment that begins with a checkpoint.
    Checkpoint { edit: Edit, reply: oneshot::Sender<Result<(), StoreError>> },
    /// The end.
    Close,
}

/// Samples and changes that become durable together.
pub(super) struct Commit {
    pub(super) batch: Batch,
    pub(super) changes: Vec<Change>,
    pub(super) reply: oneshot::Sender<Result<AppendSummary, StoreError>>,
}

/// The committer's own.
pub(super) struct Committer {
    pub(super) queue: mpsc::Receiver<Request>,
    pub(super) published: Published,
    pub(super) wal: Wal,
    pub(super) options: WalOptions,
    /// Series that the open segment has named.
    pub(super) named: HashSet<u32>,
    pub(super) clock: Clock,
    /// How long samples are kept.
    pub(super) retention: Duration,
    pub(super) events: StoreEvents,
}

impl Committer {
    /// Works until the end is asked for or nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut next = None;
        while let Some(request) = next.take().or_else(|| self.queue.blocking_recv()) {
            match request {
                Request::Commit(first) => next = self.commit_group(first),
                Request::Edit { edit, reply } => {
                    let mut state = self.published.read().clone();
                    edit(&mut state);
                    self.publish(state.clone());
                    // Whoever asked may have gone.
                    let _ = reply.send(state);
                }
                Request::Checkpoint { edit, reply } => {
                    let _ = reply.send(self.checkpoint(edit));
                }
                Request::Close => return,
            }
        }
    }

    /// Commits what is queued; returns the request that ended the group, if one did.
    fn commit_group(&mut self, first: Commit) -> Option<Request> {
        let mut samples = first.batch.samples.len();
        let mut group = vec![first];
        let mut next = None;
        while samples < GROUP_SAMPLES {
            match self.queue.try_recv() {
                Ok(Request::Commit(commit)) => {
                    samples += commit.batch.samples.len();
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
        let (mut commits, mut answers) = (Vec::new(), Vec::new());
        for commit in group {
            let (record, summary) = work.apply(&commit);
            if record != CommitRecord::default() {
                commits.push(record);
            }
            answers.push((commit.reply, summary));
        }
        let Work { state, named, .. } = work;
        match self.make_durable(commits) {
            Ok(()) => {
                self.named.extend(named);
                self.events.head(state.head.series_count());
                self.publish(state);
                let total =
                    |of: fn(&AppendSummary) -> u64| answers.iter().map(|(_, s)| of(s)).sum();
                let counts =
                    (total(|s| s.accepted), total(|s| s.duplicates), total(|s| s.rejected));
                self.events.committed(counts, began.elapsed());
                for (reply, summary) in answers {
                    let _ = reply.send(Ok(summary));
                }
            }
            Err(error) => {
                self.events.commit_failed(&error);
                for (reply, _) in answers {
                    let _ = reply.send(Err(again(&error)));
                }
            }
        }
    }

    /// Shows readers the new state; the old one is taken apart when they can read again.
    fn publish(&self, state: State) {
        let old = std::mem::replace(&mut *self.published.write(), state);
        drop(old);
    }

    /// Begins a segment, which has to name all series anew: so between two groups, not within one.
    /// Where that fails, the open one goes on, and the next group tries again.
    fn begin_segment(&mut self) {
        match self.wal.rotate(None) {
            Ok(()) => self.named.clear(),
            Err(error) => self.events.commit_failed(&error),
        }
    }

    fn make_durable(&mut self, commits: Vec<CommitRecord>) -> Result<(), StoreError> {
        if commits.is_empty() {
            return Ok(());
        }
        self.wal.append(&LogRecord { commits, checkpoint: None })
    }

    /// Edits the state and begins a segment that holds all of it; older segments are removed.
    fn checkpoint(&mut self, edit: Edit) -> Result<(), StoreError> {
        let mut state = self.published.read().clone();
        edit(&mut state);
        let checkpoint = state.to_checkpoint().map_err(|error| StoreError::Damaged {
            path: self.options.dir.clone(),
            reason: error.to_string(),
        })?;
        let named = checkpoint.series.iter().map(|series| series.id).collect();
        self.wal.rotate(Some(&LogRecord { commits: Vec::new(), checkpoint: Some(checkpoint) }))?;
        self.named = named;
        self.publish(state);
        remove_segments_before(&self.options, self.wal.number(), &self.events);
        Ok(())
    }
}

/// Removes segments that a checkpoint has made superfluous. What cannot be removed is reported and
/// does no harm; the next checkpoint tries again.
pub(super) fn remove_segments_before(options: &WalOptions, number: u64, events: &StoreEvents) {
    let segments = match wal::segments(&options.dir) {
        Ok(segments) => segments,
        Err(error) => return events.left_over(&options.dir, &error),
    };
    for old in segments.into_iter().filter(|old| *old < number) {
        let path = keys::segment(&options.dir, old);
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

/// A group in the making.
struct Work<'a> {
    state: State,
    /// Series that this group is the first to name in the segment.
    named: HashSet<u32>,
    known: &'a HashSet<u32>,
    bounds: Bounds,
}

impl<'a> Work<'a> {
    fn new(committer: &'a Committer) -> Self {
        let state = committer.published.read().clone();
        let now = committer.clock.now();
        let bounds = Bounds {
            oldest: now.minus(committer.retention),
            floor: state.floor,
            latest: now.plus(limits::SAMPLE_FUTURE_MAX),
        };
        Self { state, named: HashSet::new(), known: &committer.named, bounds }
    }

    fn apply(&mut self, commit: &Commit) -> (CommitRecord, AppendSummary) {
        let mut record = CommitRecord::default();
        let summary = self.append(&commit.batch, &mut record);
        for metadata in &commit.batch.metadata {
            if self.state.small.put_metadata(metadata) {
                record.changes.push(metadata_record(metadata));
            }
        }
        for change in &commit.changes {
            let numbered = self.state.history.number(change);
            self.state.history.apply(&numbered);
            self.state.small.apply(change);
            record.changes.push(numbered);
        }
        (record, summary)
    }

    fn append(&mut self, batch: &Batch, record: &mut CommitRecord) -> AppendSummary {
        let mut summary = AppendSummary::default();
        let mut told = HashMap::new();
        let mut last = 0_i64;
        for sample in &batch.samples {
            match self.state.head.append(&sample.labels, sample.sample, self.bounds) {
                Admission::Accepted(id) => {
                    summary.accepted += 1;
                    self.name(id, &sample.labels, record);
                    let time = sample.sample.timestamp.as_millis();
                    record.ids.push(id);
                    record.times.push(time.wrapping_sub(last));
                    record.values.push(sample.sample.value.to_bits());
                    last = time;
                }
                Admission::Duplicate => summary.duplicates += 1,
                Admission::Refused(refusal) => {
                    reject(&mut summary, &mut told, &sample.labels, &refusal);
                }
            }
        }
        summary
    }

    fn name(&mut self, id: u32, labels: &Labels, record: &mut CommitRecord) {
        if !self.known.contains(&id) && self.named.insert(id) {
            let labels = Some(LabelsRecord::from(labels));
            record.series.push(SeriesRecord { id, labels, chunks: Vec::new() });
        }
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
