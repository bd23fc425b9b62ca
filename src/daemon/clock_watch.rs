//! Whether somebody moves the wall clock while the daemon runs.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::time::{Clock, Timestamp};

/// Steps up to this are what keeps a clock right.
const STEP_MAX_MS: i64 = 60_000;

/// Compares the wall clock with the monotonic one, from look to look.
pub(super) struct ClockWatch {
    clock: Clock,
    wall: Timestamp,
    steady: Instant,
}

impl ClockWatch {
    pub(super) fn new(clock: Clock) -> Self {
        Self { wall: clock.now(), steady: Instant::now(), clock }
    }

    /// Says in the log when the wall clock was moved since the last look.
    pub(super) fn look(&mut self) {
        let (wall, steady) = (self.clock.now(), Instant::now());
        let passed = wall.as_millis().saturating_sub(self.wall.as_millis());
        if let Some(seconds) = step(passed, steady.duration_since(self.steady)) {
            warn!(
                seconds,
                "the clock of this host was moved by {seconds:+} s, or the host slept: samples keep the \
                 times that they were taken at"
            );
        }
        (self.wall, self.steady) = (wall, steady);
    }
}

/// By how many seconds the wall clock was moved that went on by `wall_ms` while `steady` passed;
/// `None` where that is nothing to talk about.
fn step(wall_ms: i64, steady: Duration) -> Option<i64> {
    let steady_ms = i64::try_from(steady.as_millis()).unwrap_or(i64::MAX);
    let moved = wall_ms.saturating_sub(steady_ms);
    (moved.saturating_abs() > STEP_MAX_MS).then_some(moved / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_hour_from_what_keeps_a_clock_right() {
        let ten = Duration::from_secs(10);
        assert_eq!(step(10_000 + 3_600_000, ten), Some(3600));
        assert_eq!(step(10_000 - 3_600_000, ten), Some(-3600));
        for kept_right in [10_000, 12_500, 0, 10_000 + STEP_MAX_MS, 10_000 - STEP_MAX_MS] {
            assert_eq!(step(kept_right, ten), None, "{kept_right}");
        }
    }
}
