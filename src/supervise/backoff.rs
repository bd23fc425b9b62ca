//! How long a task waits before it is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// A task that ran for so long without an end has settled: what came before is forgotten.
pub(super) const SETTLED_AFTER: Duration = Duration::from_mins(1);

/// Doubles the pause from one end to the next.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The pause after a run that lasted for `ran`.
    pub(super) fn pause_after(&mut self, ran: Duration) -> Duration {
        if ran >= SETTLED_AFTER {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_half_a_minute_and_starts_over_after_a_good_run() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u128> =
            (0..11).map(|_| backoff.pause_after(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(backoff.pause_after(SETTLED_AFTER), FIRST);
    }
}
