//! sled, with its traps contained; the only file that names it.
//!
//! What of it we rely on, and how (measured on 1.0.0-alpha.124, see the tests below):
//! - the `durability_cookie` is never fsynced by sled: [`SledDatabase::flush`] does it, and the
//!   directories;
//! - an open removes the only copy of its metadata where there is a snapshot and no log:
//!   [`keep_snapshot`] adds an empty one first;
//! - written leaves stay in memory until the database is reopened: callers write, drop and reopen;
//! - each open runs the program `sync` twice: nothing on the start path or in a commit opens one;
//! - after an error dropping the handle may hang: it is forgotten, and its directory stays
//!   locked until the process ends;
//! - damage in the tree that maps names to trees makes an open panic, and then wait for itself for
//!   ever: there is only the default tree, and our trees are prefixes of its keys;
//! - `drop_tree` and deletes are not offered, and there is one writer;
//! - a walk to an end reads all leaves behind the end, too: walks have none, and are broken off;
//! - a handle cannot be shared between threads: each reader has a clone of its own;
//! - leaves stay small: [`Fanout`] entries of a size to match.

use std::{
    fs::{self, File},
    io::ErrorKind::{NotFound, WouldBlock},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Database, Engine, EngineError, Entries, Fanout, Visit, still};

/// Cached leaves: partitions are read in stretches, seldom twice.
const CACHE_BYTES: usize = 1 << 20;

/// A database that was just closed may be locked for a moment yet: a child of ours between fork and
/// exec shares its descriptors.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Databases of sled.
#[derive(Debug)]
pub(in crate::store) struct SledEngine;

#[derive(Debug)]
struct SledDatabase<const N: usize> {
    dir: PathBuf,
    db: Handle<N>,
}

/// Forgets the database instead of dropping it once it has failed.
#[derive(Debug)]
struct Handle<const N: usize> {
    /// `None` while it is being dropped.
    db: Option<sled::Db<N>>,
    /// Shared by all handles of one open database.
    failed: Arc<AtomicBool>,
}

impl<const N: usize> Drop for Handle<N> {
    fn drop(&mut self) {
        if self.failed.load(Ordering::Acquire) {
            // Dropping waits for a worker that is gone: a leak is the lesser evil.
            mem::forget(self.db.take());
        }
    }
}

impl<const N: usize> Handle<N> {
    fn new(db: sled::Db<N>) -> Self {
        Self { db: Some(db), failed: Arc::default() }
    }

    fn db(&self) -> &sled::Db<N> {
        self.db.as_ref().expect("the database is there until it is dropped")
    }

    fn call<T>(
        &self,
        run: impl FnOnce(&sled::Db<N>) -> std::io::Result<T>,
    ) -> Result<T, EngineError> {
        let result = guarded(|| run(self.db()));
        result.map_err(|error| {
            self.failed.store(true, Ordering::Release);
            match error {
                EngineError::Io(error) => EngineError::Locked(error),
                other => other,
            }
        })
    }
}

/// Runs what may panic on damaged files.
fn guarded<T>(run: impl FnOnce() -> std::io::Result<T>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(EngineError::Panicked(text.unwrap_or("no message").to_owned()))
        }
    }
}

impl Engine for SledEngine {
    fn create(&self, dir: &Path, fanout: Fanout) -> Result<Box<dyn Database>, EngineError> {
        fs::create_dir_all(dir)?;
        self.open(dir, fanout)
    }

    fn open(&self, dir: &Path, fanout: Fanout) -> Result<Box<dyn Database>, EngineError> {
        match fanout {
            Fanout::Sixteen => open::<16>(dir),
            Fanout::SixtyFour => open::<64>(dir),
        }
    }
}

fn open<const N: usize>(dir: &Path) -> Result<Box<dyn Database>, EngineError> {
    // sled would make a missing one, and hide that it was lost.
    fs::metadata(dir)?;
    let _alone = still::opening();
    keep_snapshot(&dir.join("metadata"))?;
    let config =
        sled::Config::new().path(dir).cache_capacity_bytes(CACHE_BYTES).flush_every_ms(None);
    let mut tries = LOCK_TRIES;
    let db = loop {
        match guarded(|| config.open::<N>()) {
            Err(EngineError::Io(error)) if error.kind() == WouldBlock && tries > 0 => {
                tries -= 1;
            }
            outcome => break outcome?,
        }
        thread::sleep(LOCK_PAUSE);
    };
    Ok(Box::new(SledDatabase { dir: dir.to_owned(), db: Handle::new(db) }))
}

/// Opening writes the snapshot of the metadata anew, under the number of the newest log, and removes
/// the old one: where there is no log, that is the same file, and everything would be lost. A crash
/// in the middle of an open, or power lost after it, leaves it so: an empty log mends it.
fn keep_snapshot(metadata: &Path) -> Result<(), EngineError> {
    let entries = match fs::read_dir(metadata) {
        Ok(entries) => entries,
        // A new database.
        Err(error) if error.kind() == NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (mut snapshot, mut log) = (None, None);
    for entry in entries {
        let name = entry?.file_name();
        let number = |prefix: &str| numbered(name.to_str()?.strip_prefix(prefix)?);
        snapshot = snapshot.max(number("snapshot_"));
        log = log.max(number("log_"));
    }
    match snapshot {
        Some(number) if log.is_none_or(|log| log <= number) => {
            File::create(metadata.join(format!("log_{:016x}", number + 1)))?.sync_all()?;
            Ok(File::open(metadata)?.sync_all()?)
        }
        _ => Ok(()),
    }
}

fn numbered(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|number| *number < u64::MAX)
}

/// A key with its tree's name and `end` in front: 0, or 1 for what comes after the whole tree.
fn prefixed(tree: &str, end: u8, key: &[u8]) -> Vec<u8> {
    [tree.as_bytes(), &[end], key].concat()
}

impl<const N: usize> Database for SledDatabase<N> {
    fn reader(&self) -> Box<dyn Database> {
        let failed = Arc::clone(&self.db.failed);
        let db = Handle { db: Some(self.db.db().clone()), failed };
        Box::new(Self { dir: self.dir.clone(), db })
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.db.call(|db| Ok(db.get(prefixed(tree, 0, key))?.map(|value| value.to_vec())))
    }

    fn range(
        &self,
        tree: &str,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), EngineError> {
        let end = to.map_or_else(|| prefixed(tree, 1, &[]), |to| prefixed(tree, 0, to));
        self.db.call(|db| {
            // Without an end for sled: past that it would look for more in all leaves that follow.
            for entry in db.range(prefixed(tree, 0, from)..) {
                let (key, value) = entry?;
                if key.as_ref() >= &end[..] || !visit(&key[tree.len() + 1..], &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn apply(&mut self, tree: &str, entries: Entries) -> Result<(), EngineError> {
        self.db.call(|db| {
            let mut batch = sled::Batch::default();
            for (key, value) in entries {
                batch.insert(prefixed(tree, 0, &key), value);
            }
            db.apply_batch(batch)
        })
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.db.call(|db| db.flush().map(drop))?;
        File::open(self.dir.join("durability_cookie"))?.sync_all()?;
        for dir in ["slabs", "metadata", ""] {
            File::open(self.dir.join(dir))?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u32, bytes: usize) -> Entries {
        (0..count).map(|i| (i.to_be_bytes().to_vec(), vec![i.to_le_bytes()[0]; bytes])).collect()
    }

    fn written(dir: &Path) -> PathBuf {
        let dir = dir.join("db");
        let mut db = SledEngine.create(&dir, Fanout::Sixteen).unwrap();
        db.apply("a", entries(500, 300)).unwrap();
        db.apply("b", entries(3, 10)).unwrap();
        db.flush().unwrap();
        dir
    }

    fn count(db: &dyn Database, tree: &str) -> Result<usize, EngineError> {
        let mut found = 0;
        db.range(tree, &[], None, &mut |_, _| {
            found += 1;
            true
        })?;
        Ok(found)
    }

    #[test]
    fn what_was_flushed_is_there_after_reopening() {
        let temp = tempfile::tempdir().unwrap();
        let dir = written(temp.path());
        let db = SledEngine.open(&dir, Fanout::Sixteen).unwrap();
        assert_eq!(count(&*db, "a").unwrap(), 500);
        assert_eq!(db.get("b", &2_u32.to_be_bytes()).unwrap(), Some(vec![2; 10]));
        assert_eq!(db.get("b", &3_u32.to_be_bytes()).unwrap(), None);
        let mut keys = Vec::new();
        let (from, to) = (10_u32.to_be_bytes(), 12_u32.to_be_bytes());
        db.range("a", &from, Some(&to), &mut |key, _| {
            keys.push(key.to_vec());
            true
        })
        .unwrap();
        assert_eq!(keys, [10_u32.to_be_bytes(), 11_u32.to_be_bytes()]);
    }

    #[test]
    fn a_walk_ends_where_it_should_and_reads_no_further() {
        let temp = tempfile::tempdir().unwrap();
        let dir = written(temp.path());
        let db = sled::Config::new().path(&dir).open::<16>().unwrap();
        let db = SledDatabase { dir, db: Handle::new(db) };
        let (from, to) = (100_u32.to_be_bytes(), 104_u32.to_be_bytes());
        let mut found = 0;
        let visit = &mut |_: &[u8], _: &[u8]| {
            found += 1;
            true
        };
        db.range("a", &from, Some(&to), visit).unwrap();
        assert_eq!(found, 4);
        let read = db.db.db().stats().cache.cache_misses;
        assert!(read <= 3, "{read} of more than 30 leaves were read");
    }

    #[test]
    fn a_database_that_is_not_there_is_not_made_by_opening() {
        let temp = tempfile::tempdir().unwrap();
        assert!(SledEngine.open(&temp.path().join("none"), Fanout::Sixteen).is_err());
        assert!(!temp.path().join("none").exists());
    }

    #[test]
    fn the_cookie_lies_where_flush_syncs_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = written(temp.path());
        assert!(dir.join("durability_cookie").is_file());
        assert!(dir.join("slabs").is_dir() && dir.join("metadata").is_dir());
    }

    /// What a crash in the middle of an open, or after one, can leave.
    #[test]
    fn a_snapshot_without_a_log_survives_two_opens() {
        let temp = tempfile::tempdir().unwrap();
        let dir = written(temp.path());
        drop(SledEngine.open(&dir, Fanout::Sixteen).unwrap());
        for entry in fs::read_dir(dir.join("metadata")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("log_") {
                fs::remove_file(&path).unwrap();
            }
        }
        for _ in 0..3 {
            let db = SledEngine.open(&dir, Fanout::Sixteen).unwrap();
            assert_eq!(count(&*db, "a").unwrap(), 500);
        }
    }

    #[test]
    fn a_database_that_failed_stays_locked_and_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let dir = written(temp.path());
        let config = sled::Config::new().path(&dir);
        let handle = Handle::new(config.open::<16>().unwrap());
        let outcome = handle.call(|_| Err::<(), _>(std::io::ErrorKind::TimedOut.into()));
        assert!(matches!(outcome, Err(EngineError::Locked(_))), "{outcome:?}");
        drop(handle);
        let again = SledEngine.open(&dir, Fanout::Sixteen).map(drop);
        assert!(matches!(again, Err(EngineError::Io(error)) if error.kind() == WouldBlock));
    }

    #[test]
    fn damage_is_an_error_and_not_a_hole() {
        let temp = tempfile::tempdir().unwrap();
        let dir = written(temp.path());
        for slab in fs::read_dir(dir.join("slabs")).unwrap() {
            let path = slab.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            for byte in bytes.iter_mut().skip(200).step_by(97) {
                *byte ^= 0x10;
            }
            fs::write(&path, bytes).unwrap();
        }
        let outcome = SledEngine.open(&dir, Fanout::Sixteen).and_then(|db| count(&*db, "a"));
        assert!(outcome.is_err(), "{outcome:?}");
    }
}
