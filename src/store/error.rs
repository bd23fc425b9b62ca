//! Why the store could not do it.

use std::{io, path::PathBuf};

use super::{engine::EngineError, room::RoomFor};
use crate::{error_code::ErrorCode, limits};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the directory.
    #[error(
        "the state directory {dir} is in use by {holder}: stop that one first, or give this one \
         another --state-dir", dir = dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// `process 1234`, or what is known of it.
        holder: String,
    },
    /// A file or directory could not be read or written.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: `open`, `sync` …
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine under a partition or the catalog failed.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Engine {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the engine said.
        source: EngineError,
    },
    /// A file was written by a later version.
    #[error(
        "{path} has format {found}, and this program knows format {known}: use the version that \
         wrote it, or a later one; the file was left as it is", path = path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// The directory holds something else than a store of ours.
    #[error(
        "{path} says {found:?} where this program knows \"{known}\": the store was written by another \
         version; use that one, or move the directory away to begin anew; it was left as it is",
        path = path.display(), known = super::layout::FORMAT_LINE
    )]
    UnknownStore {
        /// The file that names the format.
        path: PathBuf,
        /// What it says; empty where it is missing.
        found: String,
    },
    /// What was written does not read back as it was written, or was damaged later.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The batch was not made durable; nothing of it is stored.
    #[error("nothing of the batch was stored, the write-ahead log failed: {0}; try again")]
    NotDurable(String),
    /// The log could not be brought back to its last good end: nothing is accepted any more.
    #[error(
        "the write-ahead log failed and could not be mended ({0}): free some disk space or check the \
         disk, then restart; what was acknowledged is safe"
    )]
    Poisoned(String),
    /// What is to be written needs more room than there is.
    #[error(
        "{work} needs {needed} bytes of free disk and there are {free}: free some space; {meanwhile}",
        meanwhile = work.meanwhile()
    )]
    NoRoom {
        /// What needs it.
        work: RoomFor,
        /// Bytes that have to be free.
        needed: u64,
        /// Bytes that are.
        free: u64,
    },
    /// More samples at once than allowed.
    #[error(
        "{0} samples in one batch where {max} are allowed: split it",
        max = limits::BATCH_SAMPLES_MAX
    )]
    BatchTooLarge(usize),
    /// Reading touches more than allowed.
    #[error("{0}")]
    TooMuch(String),
    /// Something of which there is one at a time is under way.
    #[error("{0}")]
    Busy(&'static str),
    /// There is no store.
    #[error("there is no store in {dir}: name its state directory with --state-dir", dir = dir.display())]
    NoStore {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The store was closed.
    #[error("the store is closed: the daemon is stopping")]
    Closed,
    /// The thread that writes the log panicked.
    #[error(
        "the thread that writes the log died of a bug, nothing is accepted any more: restart, and \
         report the panic that the journal shows; what was acknowledged is safe"
    )]
    CommitterDied,
}

impl StoreError {
    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Locked { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownStore { .. }
            | Self::Busy(_) => ErrorCode::FailedPrecondition,
            Self::NoStore { .. } => ErrorCode::NotFound,
            Self::Io { .. } | Self::Engine { .. } | Self::CommitterDied => ErrorCode::Internal,
            Self::Damaged { .. } => ErrorCode::DataLoss,
            Self::NotDurable(_) | Self::Poisoned(_) | Self::Closed => ErrorCode::Unavailable,
            Self::NoRoom { .. } | Self::TooMuch(_) => ErrorCode::ResourceExhausted,
            Self::BatchTooLarge(_) => ErrorCode::InvalidArgument,
        }
    }

    /// Whether the engine failed while it had a database open to write: it stays locked, with its
    /// threads and files, until the process ends. A panic of it leaves the same behind, and each new
    /// attempt adds to it. Where reading failed so, that is [`StoreError::Damaged`], and not tried again.
    pub(super) fn needs_restart(&self) -> bool {
        let Self::Engine { source, .. } = self else { return false };
        matches!(source, EngineError::Locked(_) | EngineError::Panicked(_))
    }

    /// What is told once, as long as it lasts: without numbers that differ each time.
    pub(super) fn gist(&self) -> String {
        match self {
            Self::NoRoom { work, .. } => format!("no room for {work}"),
            other => other.to_string(),
        }
    }

    /// Whether it is for want of room alone.
    pub(super) fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), QuotaExceeded | StorageFull))
    }

    /// For `map_err`: an I/O error with what was tried on what.
    pub(super) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// For `map_err`: an engine's error with what was tried on what.
    pub(super) fn engine(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(EngineError) -> Self {
        let path = path.into();
        move |source| Self::Engine { operation, path, source }
    }
}
