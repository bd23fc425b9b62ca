//! Where logs go: the journal, standard error, or a file.
//!
//! [`init`] sets the process' one logger up. What is logged can be changed while it runs
//! ([`LogHandle::set_filter`]); a line that cannot be written is counted, never waited for: a full
//! disk must not stop what watches it.

mod output;
mod rotate;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus::IntCounter;
use tracing::{Dispatch, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload};

pub use output::is_under_journal;
use rotate::RotatingFile;

use super::Telemetry;
use crate::error_code::ErrorCode;

/// How log lines look on standard error and in a file.
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
    /// How lines look on standard error and in a file.
    pub format: LogFormat,
    /// A file instead of the journal or standard error.
    pub file: Option<PathBuf>,
    /// The file is put aside when it would become larger, in bytes.
    pub max_size: u64,
    /// … or when it is older.
    pub max_age: Duration,
    /// Files that are kept beside the present one.
    pub max_files: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            file: None,
            max_size: 10 * 1024 * 1024,
            max_age: Duration::from_hours(7 * 24),
            max_files: 5,
        }
    }
}

/// Why logs cannot be set up as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error(
        "invalid log level {filter:?}: {reason}; write off, error, warn, info, debug or trace, or \
         directives such as \"info,balefire::probe=debug\""
    )]
    Filter {
        /// What was asked for.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log file cannot be opened.
    #[error("cannot open log file {}: {source}; make its folder, or name another file", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else in this process logs already.
    #[error("logging is set up already")]
    AlreadySet,
}

impl LogError {
    /// What kind of failure it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Filter { .. } => ErrorCode::InvalidArgument,
            Self::Open { .. } => ErrorCode::FailedPrecondition,
            Self::AlreadySet => ErrorCode::Internal,
        }
    }
}

/// Changes how the running process logs; cheap to clone.
#[derive(Clone)]
pub struct LogHandle(Arc<Inner>);

struct Inner {
    reload: reload::Handle<EnvFilter, Registry>,
    filter: Mutex<String>,
    file: Option<Arc<RotatingFile>>,
    lines_lost: IntCounter,
}

impl LogHandle {
    /// Logs what `filter` says from now on; tells what it was before.
    pub fn set_filter(&self, filter: &str) -> Result<String, LogError> {
        let parsed = parse_filter(filter)?;
        let mut current = self.0.filter.lock();
        self.0.reload.reload(parsed).map_err(|error| LogError::Filter {
            filter: filter.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(std::mem::replace(&mut *current, filter.to_owned()))
    }

    /// What is logged at present.
    pub fn filter(&self) -> String {
        self.0.filter.lock().clone()
    }

    /// Opens the log file anew with the next line, for who moved it away.
    pub fn reopen(&self) {
        if let Some(file) = &self.0.file {
            file.reopen();
        }
    }

    /// Adds the metrics of logging to the others; once.
    pub fn publish(&self, telemetry: &Telemetry) {
        telemetry.adopt(&self.0.lines_lost);
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").field("filter", &self.filter()).finish_non_exhaustive()
    }
}

/// Sets the logger of this process up: to the file where one is named, else to the journal where
/// `under_journal` says so and it answers, else to standard error.
pub fn init(options: &LogOptions, under_journal: bool) -> Result<LogHandle, LogError> {
    let (dispatch, handle) = build(options, under_journal)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::AlreadySet)?;
    Ok(handle)
}

/// Reads a filter. A lone word must be a level: the library would take `inof` for a module. Of rmcp
/// only errors are logged unless the filter names it.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    let invalid = |reason: String| LogError::Filter { filter: filter.to_owned(), reason };
    for part in filter.split(',').map(str::trim) {
        if !part.contains(['=', '[']) && (part.is_empty() || part.parse::<LevelFilter>().is_err()) {
            return Err(invalid(format!("{part:?} is no level")));
        }
    }
    let whole =
        if leaves_rmcp_open(filter) { format!("{filter},{RMCP_QUIET}") } else { filter.to_owned() };
    EnvFilter::builder().parse(whole).map_err(|error| invalid(error.to_string()))
}

/// rmcp tells the small talk of every probe at the level of what matters here.
const RMCP_QUIET: &str = "rmcp=error";

/// Whether a filter says nothing of rmcp, nor that nothing at all is to be logged.
fn leaves_rmcp_open(filter: &str) -> bool {
    !filter.contains("rmcp") && !filter.split(',').any(|part| part.trim() == "off")
}

fn build(options: &LogOptions, under_journal: bool) -> Result<(Dispatch, LogHandle), LogError> {
    let (filter, reload) = reload::Layer::new(parse_filter(&options.level)?);
    let lines_lost = IntCounter::new(
        "balefire_log_lines_lost_total",
        "Log lines that could not be written to the log file or to standard error.",
    )
    .expect("the metric's name is valid");
    let file = RotatingFile::open(options, &lines_lost)?.map(Arc::new);
    let journal = if under_journal && file.is_none() { output::journal() } else { None };
    let output = match (journal, &file) {
        (Some(journal), _) => journal,
        (None, Some(file)) => output::lines(options.format, false, Arc::clone(file)),
        (None, None) => output::stderr(options.format, lines_lost.clone()),
    };
    let filter_text = Mutex::new(options.level.clone());
    let dispatch = Dispatch::new(Registry::default().with(filter).with(output));
    Ok((dispatch, LogHandle(Arc::new(Inner { reload, filter: filter_text, file, lines_lost }))))
}

#[cfg(test)]
mod tests;
