//! Partitions: directories that are written once, verified, renamed into place and only read then.
//!
//! Each is a database of the engine with a manifest beside it, so that a start opens none. In it lie
//! chunks by rank and time, and an index from labels to ranks (`terms`, `series`): a query reads the
//! labels and chunks of the series that match and of no others. Reading from one that turns out to be
//! damaged is an error that names it; the caller reports it and serves the rest. Where a single chunk
//! is damaged, the series around it are served, too.
//!
//! Here is what a partition is; `writer` makes one, `read` queries it, `scan` walks all of it, `verify`
//! checks it.

mod bytes;
mod content;
mod handles;
mod matching;
mod read;
mod scan;
mod series;
mod terms;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::{
    collections::HashSet,
    fs, io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
};

use parking_lot::Mutex;

use self::handles::Lent;
use super::{
    StoreError,
    engine::EngineError,
    history::{Entry, Kind},
    keys,
    record::{self, BadRecord, ManifestRecord},
    rollup::Tier,
};
use crate::{model::Labels, time::Timestamp};

pub(super) use self::{
    content::{Content, SampleSet, Values},
    handles::Handles,
    read::{Asked, as_column},
    scan::{BadChunk, Scan},
    verify::{PartitionReport, verify_partition},
    writer::{Plan, Writer, is_gone, remove, size_of, write},
};

/// Damaged chunks that are remembered: a partition with more counts as damaged as a whole.
const BAD_CHUNKS_MAX: usize = 256;

/// A directory that was written once.
#[derive(Debug)]
pub(super) struct Partition {
    dir: PathBuf,
    manifest: ManifestRecord,
    tier: Tier,
    handles: Arc<Handles>,
    damaged: AtomicBool,
    /// The keys of chunks that are damaged, told already.
    bad_chunks: Mutex<HashSet<Vec<u8>>>,
    doomed: AtomicBool,
}

impl Drop for Partition {
    /// A doomed partition goes when its last reader has gone.
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            self.handles.forget(&self.dir);
            // What stays because of an error is found and doomed anew after the next start.
            let _ = remove(&self.dir);
        }
    }
}

/// What a reader does with what a series has.
pub(super) type TakeSamples<'a> = &'a mut dyn FnMut(&Labels, SampleSet) -> Result<(), StoreError>;

/// Chunks that turned out to be damaged and were left out, each told once: to be reported.
pub(super) type Losses = Vec<StoreError>;

/// Collects the entries of one tree for a reader; `false` ends the walk, as does a damaged one.
type Walk<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, BadRecord> + 'a;

/// A stretch of keys: from (included) to (not included; `None`: the end of the tree).
type Stretch<'a> = (&'a [u8], Option<&'a [u8]>);

impl Partition {
    /// The partition in `dir`; its database is opened by the first reader.
    ///
    /// `Damaged` is for good; other errors may pass, and say nothing of the partition.
    pub(super) fn load(dir: &Path, handles: &Arc<Handles>) -> Result<Self, StoreError> {
        let path = dir.join(keys::MANIFEST);
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => damaged(error.to_string()),
            _ => StoreError::io("read", &path)(error),
        })?;
        let version = record::unseal_any(&bytes).map(|(version, _)| version);
        if let Some(found) = version.filter(|found| *found != record::VERSION) {
            return Err(StoreError::UnknownFormat { path, found, known: record::VERSION });
        }
        let manifest = record::unseal_message(&bytes).map_err(|bad| damaged(bad.to_string()))?;
        let tier = writer::tier_of(&manifest);
        Ok(Self {
            dir: dir.to_owned(),
            tier: tier.ok_or_else(|| damaged("there is no such tier".to_owned()))?,
            manifest,
            handles: Arc::clone(handles),
            damaged: AtomicBool::new(false),
            bad_chunks: Mutex::default(),
            doomed: AtomicBool::new(false),
        })
    }

    pub(super) fn manifest(&self) -> &ManifestRecord {
        &self.manifest
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The beginning of its range.
    pub(super) fn start(&self) -> Timestamp {
        Timestamp::from_millis(self.manifest.start)
    }

    /// The end of its range, which does not belong to it.
    pub(super) fn end(&self) -> Timestamp {
        Timestamp::from_millis(self.manifest.end)
    }

    /// Whether reading has found damage.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// How many partitions a reader may open side by side.
    pub(super) fn open_at_once(&self) -> usize {
        self.handles.open_ahead()
    }

    /// Opens the databases of partitions side by side, for whoever reads them next, where several are not
    /// open: most of it is waiting for the disk. Gives the errors of those that cannot be opened.
    pub(super) fn open_ahead(partitions: &[&Self]) -> Losses {
        let is_closed = |partition: &&Self| !partition.handles.is_open(&partition.dir);
        let closed: Vec<&Self> = partitions.iter().copied().filter(is_closed).collect();
        if closed.len() < 2 {
            return Losses::new();
        }
        thread::scope(|scope| {
            let mut openers = Vec::new();
            for partition in closed {
                let thread = thread::Builder::new().name("store-open".to_owned());
                // Without a thread, the reader opens it.
                openers.extend(thread.spawn_scoped(scope, || partition.open().map(drop)));
            }
            let ended = |opener: ScopedJoinHandle<'_, Result<(), StoreError>>| {
                opener.join().unwrap_or_else(|panic| resume_unwind(panic)).err()
            };
            openers.into_iter().filter_map(ended).collect()
        })
    }

    /// Whether any of its chunks are known to be damaged.
    pub(super) fn has_bad_chunks(&self) -> bool {
        !self.bad_chunks.lock().is_empty()
    }

    /// Whether no earlier generation of it is on disk any more, which a crash would bring back.
    pub(super) fn is_only_one(&self) -> bool {
        let name = keys::range_name(self.start(), self.end());
        let earlier = (0..self.manifest.generation).map(|n| keys::generation_name(&name, n));
        earlier.into_iter().all(|name| is_gone(&self.dir.with_file_name(name)))
    }

    /// The directory is removed as soon as nobody reads it any more.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// Whether samples may lie in the range.
    pub(super) fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.manifest.samples > 0
            && self.manifest.oldest <= end.as_millis()
            && self.manifest.newest >= start.as_millis()
    }

    /// Whether all its samples lie in the range.
    fn lies_in(&self, start: Timestamp, end: Timestamp) -> bool {
        self.manifest.oldest >= start.as_millis() && self.manifest.newest <= end.as_millis()
    }

    /// The entries of one kind that `keep` wants, oldest first.
    pub(super) fn history(
        &self,
        kind: Kind,
        keep: &dyn Fn(&Entry) -> bool,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let lent = self.open()?;
        self.walk(&lent, kind.tree(), (&[], None), &mut |_, value| {
            let entry = Entry::of(&record::unseal_message(value)?).ok_or(BadRecord("entry"))?.1;
            if keep(&entry) {
                found.push(entry);
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// The records of the small state.
    pub(super) fn state(&self) -> Result<Vec<record::ChangeRecord>, StoreError> {
        let mut found = Vec::new();
        let lent = self.open()?;
        self.walk(&lent, keys::TREE_STATE, (&[], None), &mut |_, value| {
            found.push(record::unseal_message(value)?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn open(&self) -> Result<Lent, StoreError> {
        self.handles.open(&self.dir, &self.manifest).map_err(|error| self.engine_error(error))
    }

    fn walk(
        &self,
        lent: &Lent,
        tree: &str,
        (from, to): Stretch<'_>,
        visit: &mut Walk<'_>,
    ) -> Result<(), StoreError> {
        let mut bad = None;
        let outcome = lent.db().range(tree, from, to, &mut |key, value| {
            visit(key, value).unwrap_or_else(|error| {
                bad = Some(error);
                false
            })
        });
        outcome.map_err(|error| self.engine_error(error))?;
        bad.map_or(Ok(()), |error| Err(self.damage(&error.to_string())))
    }

    /// A chunk is damaged: the error to report, where it was not told before.
    fn bad_chunk(&self, key: &[u8], labels: &Labels) -> Option<StoreError> {
        let mut known = self.bad_chunks.lock();
        if self.is_damaged() || known.contains(key) {
            return None;
        }
        if known.len() >= BAD_CHUNKS_MAX {
            return Some(self.damage("too many of its chunks are damaged"));
        }
        known.insert(key.to_vec());
        let path = self.dir.clone();
        Some(StoreError::Damaged { path, reason: format!("samples of {labels} are lost") })
    }

    fn damage(&self, reason: &str) -> StoreError {
        self.damaged.store(true, Ordering::Release);
        StoreError::Damaged { path: self.dir.clone(), reason: reason.to_owned() }
    }

    /// Damage for good, or something like "too many open files" that passes.
    fn engine_error(&self, error: EngineError) -> StoreError {
        use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        self.handles.forget(&self.dir);
        let passes = match &error {
            EngineError::Io(error) => {
                !matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
            }
            EngineError::Locked(_) | EngineError::Panicked(_) => false,
        };
        if passes {
            StoreError::engine("read", &self.dir)(error)
        } else {
            self.damage(&error.to_string())
        }
    }
}
