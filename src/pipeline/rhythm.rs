//! When a loop works: at its ticks, until it is told to stop.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use crate::supervise::{TaskContext, Ticker};

/// How often a waiting loop says that it is alive.
const BEAT: Duration = Duration::from_secs(5);
/// The longest that a loop of this module may be silent: its longest piece of work, with room.
pub const BEAT_WITHIN: Duration = Duration::from_mins(1);

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
