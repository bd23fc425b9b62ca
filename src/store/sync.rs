//! What the committer waits for: requests, a moment at which what may wait has waited long enough, and
//! the next sync of the log. That comes before each acknowledgement, or, where somebody chose to be
//! quicker than safe, at most so much later.

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
    /// The moment has come, or what was written has waited for its sync long enough.
    Due,
    /// Nobody can ask any more.
    Closed,
}

/// When the log is synced.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// How much a power cut may take; zero: each group is synced before it is acknowledged.
    window: Duration,
    /// Until when what was written has to be synced.
    due: Option<Instant>,
    /// Waits with a deadline.
    runtime: Runtime,
}

impl Rhythm {
    /// Syncs each group where the window is zero.
    pub(super) fn new(window: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(Self { window, due: None, runtime })
    }

    /// Waits for a request, for a sync to be due, or until `until`.
    pub(super) fn wait<T>(
        &self,
        queue: &mut mpsc::Receiver<T>,
        until: Option<Instant>,
    ) -> Waited<T> {
        let received = match self.due.into_iter().chain(until).min() {
            Some(until) => {
                match self.runtime.block_on(async { timeout_at(until, queue.recv()).await }) {
                    Ok(received) => received,
                    Err(_) => return Waited::Due,
                }
            }
            None => queue.blocking_recv(),
        };
        received.map_or(Waited::Closed, Waited::Request)
    }

    /// Whether what is written now has to be synced now; where not, that falls due later.
    pub(super) fn sync_now(&mut self) -> bool {
        if self.window.is_zero() {
            return true;
        }
        let now = Instant::now();
        now >= *self.due.get_or_insert(now + self.window)
    }

    /// Whether anything waits for its sync.
    pub(super) fn is_behind(&self) -> bool {
        self.due.is_some()
    }

    /// Whether something has waited for its sync long enough.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Nothing waits for its sync any more.
    pub(super) fn synced(&mut self) {
        self.due = None;
    }
}
