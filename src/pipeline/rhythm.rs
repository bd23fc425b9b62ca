//! When a loop works: at its ticks, until it is told to stop.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::supervise::{TaskContext, Ticker};

/// How often a waiting loop says that it is alive.
const BEAT: Duration = Duration::from_secs(5);
/// The longest that a loop of this module may be silent: its longest piece of work, with room.
pub const BEAT_WITHIN: Duration = Duration::from_mins(1);

/// Waits for `work` on another thread, beating meanwhile; no longer than `limit`, so that work which
/// hangs is noticed.
pub(super) async fn beating<T>(
    context: &TaskContext,
    limit: Duration,
    work: impl Future<Output = T>,
) -> T {
    let until = Instant::now() + limit;
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = sleep(BEAT) => {
                if Instant::now() < until {
                    context.heartbeat.beat();
                }
            }
        }
    }
}

/// The ticks of one loop; follows its interval when that is changed.
pub(super) struct Rhythm {
    pub(super) context: TaskContext,
    interval: watch::Receiver<Duration>,
    ticker: Ticker,
}

impl Rhythm {
    /// Ticks at once, then at the loop's own place in each interval.
    pub(super) fn new(context: TaskContext, interval: watch::Receiver<Duration>) -> Self {
        let ticker = context.ticker(*interval.borrow()).starting_now();
        Self { context, interval, ticker }
    }

    /// Ends when it is time to work; `None` means: stop. Nothing is lost where the future is dropped.
    pub(super) async fn next(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                biased;
                () = self.context.stop.stopped() => return None,
                Ok(()) = self.interval.changed() => {
                    let interval = *self.interval.borrow_and_update();
                    self.ticker = self.context.ticker(interval);
                }
                _ = self.ticker.tick() => return Some(()),
                () = sleep(BEAT) => self.context.heartbeat.beat(),
            }
        }
    }
}
