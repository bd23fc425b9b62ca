//! The databases that are open: few, shared, and none twice.
//!
//! An open one costs megabytes and eighty descriptors, and opening it ten milliseconds and more, so
//! that those of one long read stay open for the next: as many as a day has while it is fresh. Upkeep
//! closes them all every few minutes. Each reader has a handle of its own, so that readers of one
//! partition do not wait for each other.

use std::{
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

use super::super::{
    engine::{Database, Engine, EngineError, Fanout},
    keys,
    record::{self, ManifestRecord},
};

/// Databases that a reader opens side by side, where descriptors are not scarce.
const OPEN_AHEAD: usize = 4;
/// Databases kept open for the next reader, where they are not: a day of partitions of two hours, and its
/// neighbours.
const OPEN_MAX: usize = 16;
/// Descriptors that an open database takes, with some room: 81 were counted.
const DESCRIPTORS: u64 = 96;
/// Handles of one database kept for the next reader.
const IDLE_MAX: usize = 4;

/// A database, opened by its first reader, and handles that nobody uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Opened {
    idle: Mutex<Vec<Box<dyn Database>>>,
    root: Mutex<Option<Box<dyn Database>>>,
}

impl Opened {
    /// A handle for one reader, where the database is open and nobody is just opening it.
    fn at_hand(self: Arc<Self>) -> Option<Lent> {
        let idle = self.idle.lock().pop();
        let db = idle.or_else(|| Some(self.root.try_lock()?.as_ref()?.reader()))?;
        Some(Lent { opened: self, db: Some(db) })
    }

    /// A handle for one reader; opens the database where it is not open.
    fn lend(
        self: Arc<Self>,
        open: impl FnOnce() -> Result<Box<dyn Database>, EngineError>,
    ) -> Result<Lent, EngineError> {
        let idle = self.idle.lock().pop();
        if let Some(db) = idle {
            return Ok(Lent { opened: self, db: Some(db) });
        }
        let mut root = self.root.lock();
        let db = match &*root {
            Some(root) => root.reader(),
            None => root.insert(open()?).reader(),
        };
        drop(root);
        Ok(Lent { opened: self, db: Some(db) })
    }
}

/// A handle of an open database, for one reader.
#[derive(Debug)]
pub(super) struct Lent {
    opened: Arc<Opened>,
    /// `None` while it is being given back.
    db: Option<Box<dyn Database>>,
}

impl Lent {
    pub(super) fn db(&self) -> &dyn Database {
        &**self.db.as_ref().expect("the handle is there until it is given back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = self.opened.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.extend(self.db.take());
        }
    }
}

/// The engine, and the databases that are open, the latest used last.
#[derive(Debug)]
pub(in crate::store) struct Handles {
    engine: Box<dyn Engine>,
    open_max: usize,
    open: Mutex<Vec<(PathBuf, Arc<Opened>)>>,
}

impl Handles {
    pub(in crate::store) fn new(engine: Box<dyn Engine>) -> Self {
        Self::with_open_max(engine, open_max(getrlimit(Resource::Nofile).current))
    }

    /// Keeps up to `open_max` databases open for the next reader.
    pub(in crate::store) fn with_open_max(engine: Box<dyn Engine>, open_max: usize) -> Self {
        Self { engine, open_max: open_max.max(1), open: Mutex::default() }
    }

    pub(in crate::store) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// How many databases one reader may open side by side.
    pub(super) fn open_ahead(&self) -> usize {
        self.open_max.min(OPEN_AHEAD)
    }

    /// A handle of the database in `dir`, where it is the one that the manifest describes.
    pub(super) fn open(&self, dir: &Path, manifest: &ManifestRecord) -> Result<Lent, EngineError> {
        if let Some(lent) = self.at_hand(dir) {
            return Ok(lent);
        }
        // Opening takes long: those who want another database do not wait for it.
        outside_of_pools(|| self.slot(dir).lend(|| open(&*self.engine, dir, manifest)))
    }

    /// A handle of a database that is open.
    fn at_hand(&self, dir: &Path) -> Option<Lent> {
        let mut open = self.open.lock();
        let at = open.iter().position(|(path, _)| path == dir)?;
        let entry = open.remove(at);
        let opened = Arc::clone(&entry.1);
        open.push(entry);
        drop(open);
        opened.at_hand()
    }

    /// Whether the database in `dir` is open for the next reader.
    pub(super) fn is_open(&self, dir: &Path) -> bool {
        let open = self.open.lock();
        let known = open.iter().find(|(path, _)| path == dir).map(|(_, opened)| Arc::clone(opened));
        drop(open);
        known.is_some_and(|opened| opened.root.lock().is_some())
    }

    fn slot(&self, dir: &Path) -> Arc<Opened> {
        let mut open = self.open.lock();
        let known = open.iter().position(|(path, _)| path == dir).map(|at| open.remove(at));
        let entry = known.unwrap_or_else(|| {
            close_idle(&mut open, self.open_max - 1);
            (dir.to_owned(), Arc::default())
        });
        let opened = Arc::clone(&entry.1);
        open.push(entry);
        opened
    }

    /// Closes what nobody reads at the moment.
    pub(in crate::store) fn close_idle(&self) {
        close_idle(&mut self.open.lock(), 0);
    }

    pub(super) fn forget(&self, dir: &Path) {
        let mut open = self.open.lock();
        let forgotten: Vec<_> = open.extract_if(.., |(path, _)| path == dir).collect();
        drop(open);
        mem::drop(forgotten);
    }
}

/// Does work that may wait for a pool of threads, as opening and closing a database do, where it waits for
/// nobody else meanwhile: a thread of a pool that waits takes up other work, which may want the very lock that
/// it holds.
fn outside_of_pools<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_none() {
        return work();
    }
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How many databases may stay open where a process may have so many descriptors (`None`: any
/// number), half of which are for everything else.
fn open_max(descriptors: Option<u64>) -> usize {
    let room = descriptors.unwrap_or(u64::MAX) / 2 / DESCRIPTORS;
    usize::try_from(room).unwrap_or(OPEN_MAX).clamp(1, OPEN_MAX)
}

/// Closes databases, oldest first, until `keep` are left or the others are being read: a database
/// must not be opened a second time while it is open.
fn close_idle(open: &mut Vec<(PathBuf, Arc<Opened>)>, keep: usize) {
    while open.len() > keep {
        let Some(at) = open.iter().position(|(_, opened)| Arc::strong_count(opened) == 1) else {
            return;
        };
        open.remove(at);
    }
}

/// Opens the database of a partition.
pub(super) fn open(
    engine: &dyn Engine,
    dir: &Path,
    manifest: &ManifestRecord,
) -> Result<Box<dyn Database>, EngineError> {
    let invalid = |text: &str| EngineError::from(io::Error::new(io::ErrorKind::InvalidData, text));
    let fanout = Fanout::of(manifest.fanout)
        .ok_or_else(|| invalid("the manifest has a fan-out that does not exist"))?;
    let db = engine.open(&dir.join(keys::DATABASE), fanout)?;
    let about = record::seal(&manifest.crc.to_le_bytes());
    if db.get(keys::TREE_ABOUT, keys::ABOUT_CRC)? != Some(about) {
        return Err(invalid("the database is not the one that the manifest describes"));
    }
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_stay_open_as_descriptors_allow() {
        let limits = [Some(0), Some(256), Some(1024), Some(2048), Some(8192), None];
        assert_eq!(limits.map(open_max), [1, 1, 5, 10, 16, 16]);
    }

    #[test]
    fn a_database_is_opened_where_no_pool_waits() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let found = pool.install(|| {
            (rayon::current_thread_index(), outside_of_pools(rayon::current_thread_index))
        });
        assert_eq!(found, (Some(0), None));
    }
}
