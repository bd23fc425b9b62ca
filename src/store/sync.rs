//! When the log is synced: before each acknowledgement, or, where somebody chose to be quicker than
//! safe, at most so much later.

use std::{io, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// What ended a wait.
#[derive(Debug)]
pub(super) enum Waited<T> {
    /// Something is to be done.
    Request(T),
    /// What was written has waited for its sync long enough.
    SyncDue,
    /// Nobody can ask any more.
    Closed,
}

/// When the log is synced.
#[derive(Debug)]
pub(super) enum Rhythm {
    /// With each group, before it is acknowledged.
    EachGroup,
    /// So much later at most.
    Later {
        /// How much a power cut may take.
        window: Duration,
        /// Until when what was written has to be synced.
        due: Option<Instant>,
        /// Waits with a deadline.
        runtime: Runtime,
    },
}

impl Rhythm {
    /// Syncs each group where the window is zero.
    pub(super) fn new(window: Duration) -> io::Result<Self> {
        if window.is_zero() {
            return Ok(Self::EachGroup);
        }
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(Self::Later { window, due: None, runtime })
    }

    /// Waits for a request, or for a sync to be due.
    pub(super) fn wait<T>(&self, queue: &mut mpsc::Receiver<T>) -> Waited<T> {
        let received = match self {
            Self::Later { due: Some(due), runtime, .. } => {
                match runtime.block_on(async { timeout_at(*due, queue.recv()).await }) {
                    Ok(received) => received,
                    Err(_) => return Waited::SyncDue,
                }
            }
            Self::Later { due: None, .. } | Self::EachGroup => queue.blocking_recv(),
        };
        received.map_or(Waited::Closed, Waited::Request)
    }

    /// Whether what is written now has to be synced now; where not, that falls due later.
    pub(super) fn sync_now(&mut self) -> bool {
        match self {
            Self::EachGroup => true,
            Self::Later { window, due, .. } => {
                let now = Instant::now();
                let until = *due.get_or_insert(now + *window);
                now >= until
            }
        }
    }

    /// Nothing waits for its sync any more.
    pub(super) fn synced(&mut self) {
        if let Self::Later { due, .. } = self {
            *due = None;
        }
    }
}
