//! What the faces of one store share, and how its parts ask the committer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Change, Options, Snapshot, StoreError,
    commit::{self, Commit, Published, Request, Rotated},
    engine::Engine,
    head::{Epoch, Head},
    history::{Entry, Wanted},
    lock::Lock,
    partition::{BadChunk, Handles, Partition},
    quarantine, record, recovery,
    state::State,
    wal::WalOptions,
};
use crate::{
    model::{InvalidPage, Page, PageRequest, ProbeRecord},
    telemetry::events::StoreEvents,
    time::{Clock, Timestamp},
};

pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) events: StoreEvents,
    pub(super) handles: Arc<Handles>,
    pub(super) head: Arc<Head>,
    pub(super) published: Published,
    /// The number of the newest event.
    pub(super) newest_event: watch::Sender<u64>,
    pub(super) wal: WalOptions,
    /// When the small state was last copied into the catalog.
    pub(super) catalog_at: Mutex<Option<Timestamp>>,
    /// Bytes of the log that no checkpoint has replaced.
    pub(super) log_bytes: Arc<AtomicU64>,
    /// What the head may forget when no reader sees it there any more.
    pub(super) cut_due: Mutex<Option<Cut>>,
    /// `None` while it is being dropped.
    pub(super) queue: Option<mpsc::Sender<Request>>,
    /// Whether the end was asked for.
    pub(super) closing: AtomicBool,
    /// The committer; `None` once it has ended.
    pub(super) committer: Mutex<Option<JoinHandle<()>>>,
    /// Held while sealing, compacting or cleaning up: one at a time.
    pub(super) maintenance: Mutex<()>,
    /// Whether a backup is under way: one at a time.
    pub(super) backing_up: AtomicBool,
    /// Set when compaction is to end at the next series.
    pub(super) stopping: AtomicBool,
    /// Why upkeep fails, as far as that was told.
    pub(super) failing: Mutex<Failing>,
    /// Why only a restart helps.
    pub(super) restart: watch::Sender<Option<String>>,
    /// Let go by `close`.
    pub(super) lock: Mutex<Option<Lock>>,
}

/// Reasons that are remembered for each sort of work: what comes on top is counted only.
const REASONS_MAX: usize = 16;

/// Why each sort of work fails, as far as that was told since it last went well.
#[derive(Debug, Default)]
pub(super) struct Failing(BTreeMap<&'static str, BTreeSet<String>>);

impl Failing {
    /// Remembers a failure; whether it is to be told.
    pub(super) fn note(&mut self, work: &'static str, gist: String) -> bool {
        let told = self.0.entry(work).or_default();
        told.len() < REASONS_MAX && told.insert(gist)
    }

    /// Forgets failures, for the work went well; whether there were any.
    pub(super) fn clear(&mut self, work: &'static str) -> bool {
        self.0.remove(work).is_some()
    }
}

/// What the head may forget.
#[derive(Debug)]
pub(super) struct Cut {
    /// When all readers are of this epoch or later …
    pub(super) epoch: Epoch,
    /// … samples before this instant,
    pub(super) floor: Timestamp,
    /// which are so many.
    pub(super) samples: u64,
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

impl Inner {
    /// What is stored now.
    pub(super) fn state(&self) -> State {
        self.published.read().clone()
    }

    pub(super) fn queue(&self) -> &mpsc::Sender<Request> {
        self.queue.as_ref().expect("the queue is there until the store is dropped")
    }

    /// Has the committer change the state; returns it as it is then. Blocking.
    pub(super) fn edit(
        &self,
        edit: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<State, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Edit { edit: Box::new(edit), reply })?;
        answer.blocking_recv().map_err(|_| self.no_committer())
    }

    /// Commits changes that upkeep makes. Blocking.
    pub(super) fn commit_changes(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let commit = Commit { changes, reply: Some(reply), ..Commit::default() };
        self.ask(Request::Commit(commit))?;
        answer.blocking_recv().map_err(|_| self.no_committer())?.map(drop)
    }

    /// Has the committer change the state and begin a segment of the log. Blocking.
    pub(super) fn rotate(
        &self,
        edit: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<Rotated, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Rotate { edit: Box::new(edit), reply })?;
        answer.blocking_recv().map_err(|_| self.no_committer())?
    }

    /// Makes durable what came before a segment, and removes the segments before. Blocking.
    pub(super) fn write_checkpoint(&self, rotated: &Rotated) -> Result<(), StoreError> {
        let Rotated { number, state, .. } = rotated;
        let bytes = recovery::write_checkpoint(&self.wal, *number, &self.head, state)?;
        self.events.written("checkpoint", bytes);
        self.log_bytes.fetch_sub(rotated.log_bytes, Ordering::Relaxed);
        commit::remove_before(&self.wal, *number, &self.events);
        Ok(())
    }

    /// Has the committer change the state, and replaces the log by a checkpoint. Blocking.
    pub(super) fn checkpoint(
        &self,
        edit: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<(), StoreError> {
        let rotated = self.rotate(edit)?;
        self.write_checkpoint(&rotated)
    }

    /// What is stored now, to be read below the floor alone while sealing: nothing changes there, so
    /// that nothing need be kept from settling meanwhile.
    pub(super) fn snapshot_to_seal(&self) -> Snapshot {
        Snapshot { _hold: None, ..self.snapshot() }
    }

    /// What is stored now, kept as it is.
    pub(super) fn snapshot(&self) -> Snapshot {
        // Held while it is the published one: a hold on a later epoch would come too late.
        let published = self.published.read();
        let hold = self.head.epochs.hold(published.epoch);
        let state = published.clone();
        Snapshot {
            head: Arc::clone(&self.head),
            state,
            events: self.events.clone(),
            _hold: Some(hold),
        }
    }

    /// The head may forget what partitions hold when no reader is left that does not see those.
    pub(super) fn cut_later(&self, state: &State, samples: u64) {
        let mut due = self.cut_due.lock();
        let samples = samples + due.take().map_or(0, |cut| cut.samples);
        *due = Some(Cut { epoch: state.epoch, floor: state.sealed, samples });
    }

    /// Has the head forget what is due, where no reader is left that sees it there.
    pub(super) fn cut_unseen(&self) {
        let mut due = self.cut_due.lock();
        let published = self.published.read().epoch;
        let seen_by_all = self.head.epochs.seen_by_all(published);
        if let Some(cut) = due.take_if(|cut| seen_by_all >= cut.epoch) {
            self.head.cut(cut.floor);
            self.events.head(self.head.series_count());
        }
    }

    pub(super) fn ask(&self, request: Request) -> Result<(), StoreError> {
        self.queue().blocking_send(request).map_err(|_| self.no_committer())
    }

    /// Tells of damaged chunks, where that was not done before.
    pub(super) fn report_chunks(&self, chunks: &[BadChunk]) {
        let news = chunks.iter().filter_map(|chunk| chunk.news.as_ref());
        news.for_each(|news| self.events.quarantined(news));
    }

    /// Puts damaged chunks aside that a new partition, which nobody knows of yet, does without.
    pub(super) fn keep_chunks(
        &self,
        new: &Partition,
        chunks: &[BadChunk],
    ) -> Result<(), StoreError> {
        self.report_chunks(chunks);
        quarantine::keep_chunks(&self.dir, new.dir(), chunks, self.clock.now())
            .inspect_err(|_| new.doom())
    }

    /// Finds out whether an error is one that only a restart helps against.
    pub(super) fn judge(&self, error: &StoreError) {
        if error.needs_restart() {
            self.restart.send_replace(Some(error.to_string()));
        }
    }

    /// Passes on how a piece of upkeep ended. A failure is told once for each reason, until the work goes
    /// well again: it is tried every few minutes. [`StoreError::Closed`] is none: the daemon stops.
    pub(super) fn upkeep<T>(
        &self,
        work: &'static str,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &outcome {
            Ok(_) if self.failing.lock().clear(work) => self.events.upkeep_resumed(work),
            Ok(_) | Err(StoreError::Closed) => {}
            Err(error) => {
                let is_news = self.failing.lock().note(work, error.gist());
                let news = is_news.then_some(error as &dyn std::error::Error);
                self.events.upkeep_failed(work, news);
                self.judge(error);
            }
        }
        outcome
    }

    /// Why there is no committer that answers.
    pub(super) fn no_committer(&self) -> StoreError {
        let closed = self.closing.load(Ordering::Acquire);
        if closed { StoreError::Closed } else { StoreError::CommitterDied }
    }

    pub(super) fn ask_to_close(&self) -> Result<(), StoreError> {
        // A committer that died before is told as such.
        if self.queue().is_closed() {
            return Err(self.no_committer());
        }
        self.closing.store(true, Ordering::Release);
        self.ask(Request::Close)
    }

    pub(super) fn join(&self) {
        if let Some(committer) = self.committer.lock().take() {
            // A panic of the committer was seen by all who waited for it.
            let _ = committer.join();
        }
    }

    /// Entries of the history, newest first, as one page.
    pub(super) fn page<T>(
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
    pub(super) fn entries(&self, wanted: Wanted<'_>) -> Vec<Arc<Entry>> {
        let state = self.state();
        state.history.read(wanted, &mut |error| self.events.quarantined(&error.to_string()))
    }
}

/// A change that a stored entry holds; entries in memory were encoded by us, sealed ones have a CRC.
pub(super) fn change_of(entry: &Entry) -> Option<Change> {
    record::decode_change(&entry.record().ok()?).ok()?
}

pub(super) fn probe_of(entry: &Entry) -> Option<ProbeRecord> {
    match change_of(entry)? {
        Change::AddProbe(probe) => Some(probe),
        _ => None,
    }
}

/// What a store is made of.
pub(super) struct Parts {
    pub(super) engine: Box<dyn Engine>,
    pub(super) wal: WalOptions,
    pub(super) clock: Clock,
    pub(super) options: Options,
}
