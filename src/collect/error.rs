//! Why a collector has nothing to tell.

use std::{io, path::PathBuf};

/// Why a collector failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file could not be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not in the form the kernel documents.
    #[error("{file}: {reason}")]
    Format {
        /// Which, below `/proc` or `/sys`.
        file: &'static str,
        /// What is missing or wrong.
        reason: String,
    },
}

impl CollectError {
    /// `file` has no `what`.
    pub(super) fn missing(file: &'static str, what: &str) -> Self {
        Self::Format { file, reason: format!("no {what:?} where the kernel's format has one") }
    }
}
