//! Where logs go: the journal, standard error, or a file.
//!
//! (helper: implementation)

use std::path::PathBuf;
use std::time::Duration;

/// How log lines look on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// `info`, or directives such as `info,balefire::probe=debug`.
    pub level: String,
    /// Where it is standard error.
    pub format: LogFormat,
    /// A file instead of the journal or standard error.
    pub file: Option<PathBuf>,
    /// The file is put aside when it is larger, in bytes.
    pub max_size: u64,
    /// … or older.
    pub max_age: Duration,
    /// Files that are kept beside the present one.
    pub max_files: usize,
}
