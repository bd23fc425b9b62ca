//! The seam under the store: ordered trees of bytes in a directory.
//!
//! Narrow on purpose, so that sled can be swapped, kept in memory or broken by tests. Must not know
//! what the bytes mean. Start at [`Engine`]; `sled` is the real one.

#[cfg(any(test, feature = "testing"))]
pub(super) mod fault;
#[cfg(any(test, feature = "testing"))]
pub(super) mod memory;
pub(super) mod sled;
pub(super) mod still;

use std::{fmt, io, path::Path};

/// Why an engine could not do it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file system or the engine refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An open database failed, and its files stay locked by this process.
    #[error("the engine failed ({0}), and it stays locked: it can be used again after a restart")]
    Locked(io::Error),
    /// The engine panicked: what it read makes no sense.
    #[error("the engine panicked: {0}")]
    Panicked(String),
}

/// How many entries lie together on disk and are read together; fixed when a database is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fanout {
    /// For entries of about 4 KiB at most.
    Sixteen,
    /// For entries of about 1 KiB at most.
    SixtyFour,
}

/// Bytes that lie together at most, about: a reader of one entry reads all of them.
const LEAF_BYTES: usize = 64 << 10;

impl Fanout {
    /// How many entries.
    pub(super) fn entries(self) -> u32 {
        match self {
            Self::Sixteen => 16,
            Self::SixtyFour => 64,
        }
    }

    /// The fan-out of so many entries.
    pub(super) fn of(entries: u32) -> Option<Self> {
        [Self::Sixteen, Self::SixtyFour].into_iter().find(|fanout| fanout.entries() == entries)
    }

    /// How many bytes an entry should have at most.
    pub(super) fn entry_bytes(self) -> usize {
        LEAF_BYTES / self.entries() as usize
    }
}

/// Makes and opens databases.
pub(super) trait Engine: fmt::Debug + Send + Sync {
    /// A new database in `dir`, which is made. Its being there is durable after the first flush.
    fn create(&self, dir: &Path, fanout: Fanout) -> Result<Box<dyn Database>, EngineError>;
    /// The database in `dir`, which was created with this fan-out.
    fn open(&self, dir: &Path, fanout: Fanout) -> Result<Box<dyn Database>, EngineError>;
}

/// What [`Database::range`] calls for each entry; `false` ends the walk.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// Keys and values of one tree.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Ordered trees. One writer, or several readers, each with a handle of its own.
pub(super) trait Database: fmt::Debug + Send {
    /// Another handle of this open database, for another reader. Cheap.
    fn reader(&self) -> Box<dyn Database>;
    /// The value of a key.
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;
    /// Walks the entries from `from` (included) to `to` (not included; `None`: the end) in order.
    fn range(
        &self,
        tree: &str,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), EngineError>;
    /// Stores all entries or none.
    fn apply(&mut self, tree: &str, entries: Entries) -> Result<(), EngineError>;
    /// Makes durable what was applied.
    fn flush(&mut self) -> Result<(), EngineError>;
}
