//! An engine and log files that fail when they are told to.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use super::{Database, Engine, EngineError, Entries, Fanout, Visit};
use crate::store::wal::LogFile;

/// Counts down; when it has reached zero, one call fails, and it is armed anew by hand.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<AtomicI64>);

impl Faults {
    /// The `n`th writing call from now fails, counted from 1.
    pub fn arm(&self, n: i64) {
        self.0.store(n, Ordering::SeqCst);
    }

    /// Nothing fails.
    pub fn disarm(&self) {
        self.arm(0);
    }

    /// Fails where it is due.
    fn strike(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) > 0 && self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

/// Another engine, with faults.
#[derive(Debug)]
pub(in crate::store) struct FaultEngine {
    pub(in crate::store) inner: Box<dyn Engine>,
    pub(in crate::store) faults: Faults,
    /// Walks that fail, as one of sled does for good.
    pub(in crate::store) reads: Faults,
    /// How often a database was opened.
    pub(in crate::store) opened: Arc<AtomicI64>,
}

#[derive(Debug)]
struct FaultDatabase {
    inner: Box<dyn Database>,
    faults: Faults,
    reads: Faults,
}

impl Engine for FaultEngine {
    fn create(&self, dir: &Path, fanout: Fanout) -> Result<Box<dyn Database>, EngineError> {
        self.faults.strike()?;
        let inner = self.inner.create(dir, fanout)?;
        Ok(Box::new(FaultDatabase {
            inner,
            faults: self.faults.clone(),
            reads: self.reads.clone(),
        }))
    }

    fn open(&self, dir: &Path, fanout: Fanout) -> Result<Box<dyn Database>, EngineError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let inner = self.inner.open(dir, fanout)?;
        Ok(Box::new(FaultDatabase {
            inner,
            faults: self.faults.clone(),
            reads: self.reads.clone(),
        }))
    }
}

impl Database for FaultDatabase {
    fn reader(&self) -> Box<dyn Database> {
        let (faults, reads) = (self.faults.clone(), self.reads.clone());
        Box::new(Self { inner: self.inner.reader(), faults, reads })
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.inner.get(tree, key)
    }

    fn range(
        &self,
        tree: &str,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), EngineError> {
        self.reads.strike().map_err(EngineError::Locked)?;
        self.inner.range(tree, from, to, visit)
    }

    fn apply(&mut self, tree: &str, entries: Entries) -> Result<(), EngineError> {
        self.faults.strike()?;
        self.inner.apply(tree, entries)
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.faults.strike()?;
        self.inner.flush()
    }
}

/// A log file, with faults; a failing write leaves half of its bytes behind, as a full disk does.
#[derive(Debug)]
pub(in crate::store) struct FaultFile {
    pub(in crate::store) file: File,
    pub(in crate::store) faults: Faults,
}

impl LogFile for FaultFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.faults.strike() {
            LogFile::write_all_at(&self.file, &bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        LogFile::write_all_at(&self.file, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.strike()?;
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.strike()?;
        self.file.set_len(len)
    }

    fn take_room(&self, len: u64) -> io::Result<()> {
        self.file.take_room(len)
    }
}
