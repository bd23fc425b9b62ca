//! How a task says that it is alive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::time::{Clock, Timestamp};

/// How a task says that it is alive; cheap to clone, and to beat.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Pulse>);

#[derive(Debug)]
struct Pulse {
    clock: Clock,
    /// Beats are told apart by the monotonic clock: a step of the wall clock makes nobody late.
    born: Instant,
    /// Milliseconds from `born` to the last beat.
    last_beat: AtomicU64,
    /// Milliseconds since the epoch; `NEVER` before the first success.
    last_success: AtomicI64,
    error: Mutex<String>,
}

const NEVER: i64 = i64::MIN;

impl Heartbeat {
    /// A heart that beats for the first time now.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Pulse {
            clock,
            born: Instant::now(),
            last_beat: AtomicU64::new(0),
            last_success: AtomicI64::new(NEVER),
            error: Mutex::default(),
        }))
    }

    /// Alive, nothing to say.
    pub fn beat(&self) {
        let since_born = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_beat.store(since_born, Ordering::Relaxed);
    }

    /// A piece of work went well.
    pub fn succeeded(&self) {
        self.beat();
        self.0.last_success.store(self.now().as_millis(), Ordering::Relaxed);
        self.0.error.lock().clear();
    }

    /// A piece of work failed; the task goes on.
    pub fn failed(&self, error: impl Into<String>) {
        self.beat();
        *self.0.error.lock() = error.into();
    }

    /// When work last went well.
    pub fn last_success(&self) -> Option<Timestamp> {
        let millis = self.0.last_success.load(Ordering::Relaxed);
        (millis != NEVER).then(|| Timestamp::from_millis(millis))
    }

    /// Why the last piece of work failed; empty where it did not.
    pub fn error(&self) -> String {
        self.0.error.lock().clone()
    }

    /// How long ago the last beat was.
    pub fn silence(&self) -> Duration {
        let last_beat = Duration::from_millis(self.0.last_beat.load(Ordering::Relaxed));
        self.0.born.elapsed().saturating_sub(last_beat)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tells_how_long_it_has_been_silent() {
        let heartbeat = Heartbeat::new(Clock::System);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(heartbeat.silence(), Duration::from_secs(3));
        heartbeat.beat();
        assert_eq!(heartbeat.silence(), Duration::ZERO);
    }

    #[test]
    fn remembers_the_last_success_and_the_last_error() {
        let heartbeat = Heartbeat::new(Clock::manual(Timestamp::from_secs(100)));
        assert_eq!(heartbeat.last_success(), None);
        heartbeat.succeeded();
        heartbeat.failed("disk full");
        assert_eq!(heartbeat.last_success(), Some(Timestamp::from_secs(100)));
        assert_eq!(heartbeat.error(), "disk full");
        heartbeat.succeeded();
        assert_eq!(heartbeat.error(), "");
    }
}
