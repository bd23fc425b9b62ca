//! A beat for loops: spread, aligned, without overlap and without bursts.

use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::Instant;

use crate::time::Timestamp;

/// The least interval; shorter ones are taken for it.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Ticks every `interval`, at a place in the interval that hangs on a name alone.
///
/// Two loops with the same interval so work at different times, and one that is started again, in
/// this process or the next, ticks at the same times as before. The place is found by the wall clock
/// once; then the ticker runs on the monotonic clock, and steps of the wall clock do not disturb it.
///
/// A loop calls [`Ticker::tick`] after its work is done, so that it never overlaps itself. Where the
/// work took so long that a tick lies more than half an interval back, that tick is left out and
/// counted; two ticks are therefore never less than half an interval apart.
#[derive(Debug)]
pub struct Ticker {
    interval: Duration,
    next: Instant,
    /// The next tick does not wait for its place.
    at_once: bool,
    missed: Option<IntCounter>,
}

/// The time to work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Ticks that were left out since the last one.
    pub missed: u64,
}

impl Ticker {
    /// A ticker with `name`'s place in the interval; `now` is the wall clock's time.
    pub fn spread(name: &str, interval: Duration, now: Timestamp) -> Self {
        let interval = interval.max(INTERVAL_MIN);
        let next = Instant::now() + until_next(spread_offset(name, interval), interval, now);
        Self { interval, next, at_once: false, missed: None }
    }

    /// Ticks for the first time at once, and at its place from then on, half an interval later at
    /// the earliest.
    #[must_use]
    pub fn starting_now(mut self) -> Self {
        self.at_once = true;
        if self.next < Instant::now() + self.interval / 2 {
            self.next += self.interval;
        }
        self
    }

    /// Adds the ticks it misses to `counter`.
    #[must_use]
    pub fn counting(mut self, counter: IntCounter) -> Self {
        self.missed = Some(counter);
        self
    }

    /// Ends when the next tick is due. Nothing is lost where the future is dropped before.
    pub async fn tick(&mut self) -> Tick {
        if std::mem::take(&mut self.at_once) {
            return Tick { missed: 0 };
        }
        let missed = self.slots_gone();
        let due = self.next + self.interval * missed;
        tokio::time::sleep_until(due).await;
        self.next = due + self.interval;
        if let Some(counter) = &self.missed {
            counter.inc_by(u64::from(missed));
        }
        Tick { missed: u64::from(missed) }
    }

    /// How many due ticks lie more than half an interval back.
    fn slots_gone(&self) -> u32 {
        let late = Instant::now().saturating_duration_since(self.next);
        let slots = (late + self.interval / 2).as_nanos() / self.interval.as_nanos();
        u32::try_from(slots).unwrap_or(u32::MAX)
    }
}

/// `name`'s place in an interval: the same in every process, evenly spread over many names.
pub fn spread_offset(name: &str, interval: Duration) -> Duration {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(fnv1a(name.as_bytes()) % interval_ms)
}

/// How long from `now` to the next instant that lies `offset` after a multiple of `interval`.
fn until_next(offset: Duration, interval: Duration, now: Timestamp) -> Duration {
    let slot = now.minus(offset).aligned(interval).plus(offset);
    let gone = now.since(slot);
    if gone.is_zero() { Duration::ZERO } else { interval.saturating_sub(gone) }
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): the standard library's hashers
/// may change from one compiler to the next, and the place shall not.
fn fnv1a(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::{advance, sleep};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    async fn started() -> (Ticker, Instant) {
        let mut ticker = Ticker::spread("x", INTERVAL, NOW);
        ticker.tick().await;
        (ticker, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_at_the_interval_however_long_the_work_takes() {
        let (mut ticker, first) = started().await;
        for n in 1..5 {
            sleep(Duration::from_secs(7 * u64::from(n))).await;
            assert_eq!(ticker.tick().await, Tick { missed: 0 });
            assert_eq!(Instant::now() - first, INTERVAL * n);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_is_a_little_late_is_not_lost() {
        let (mut ticker, first) = started().await;
        advance(Duration::from_secs(40)).await;
        assert_eq!(ticker.tick().await, Tick { missed: 0 });
        assert_eq!(Instant::now() - first, Duration::from_secs(40));
        ticker.tick().await;
        assert_eq!(Instant::now() - first, Duration::from_mins(1));
    }

    #[tokio::test(start_paused = true)]
    async fn missed_ticks_are_left_out_and_counted_without_a_burst() {
        let counter = IntCounter::new("missed", "of the test").unwrap();
        let (ticker, first) = started().await;
        let mut ticker = ticker.counting(counter.clone());
        advance(Duration::from_secs(110)).await;
        assert_eq!(ticker.tick().await, Tick { missed: 3 });
        assert_eq!(Instant::now() - first, Duration::from_mins(2));
        assert_eq!(ticker.tick().await, Tick { missed: 0 });
        assert_eq!(Instant::now() - first, Duration::from_secs(150));
        assert_eq!(counter.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_loses_nothing() {
        let (mut ticker, first) = started().await;
        for _ in 0..10 {
            let waited = tokio::time::timeout(Duration::from_secs(2), ticker.tick()).await;
            assert!(waited.is_err());
        }
        ticker.tick().await;
        assert_eq!(Instant::now() - first, INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn starts_at_once_where_it_shall_and_keeps_its_place() {
        let begin = Instant::now();
        let place = Ticker::spread("x", INTERVAL, NOW).next;
        let mut ticker = Ticker::spread("x", INTERVAL, NOW).starting_now();
        assert_eq!(ticker.tick().await, Tick { missed: 0 });
        assert_eq!(Instant::now(), begin);
        ticker.tick().await;
        let gap = Instant::now() - begin;
        assert!(gap >= INTERVAL / 2 && gap <= INTERVAL + INTERVAL / 2, "{gap:?}");
        assert_eq!((Instant::now() - place).as_nanos() % INTERVAL.as_nanos(), 0);
    }

    #[test]
    fn names_are_spread_evenly() {
        let mut tenths = [0; 10];
        for n in 0..1000 {
            let offset = spread_offset(&format!("server-{n}"), Duration::from_mins(1));
            tenths[usize::try_from(offset.as_secs() / 6).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn the_place_hangs_on_the_name_alone(
            name in "[a-z-]{1,12}", interval_ms in 1u64..1_000_000, now_ms in 0i64..4_000_000_000_000,
        ) {
            let interval = Duration::from_millis(interval_ms);
            let offset = spread_offset(&name, interval);
            let until = until_next(offset, interval, Timestamp::from_millis(now_ms));
            prop_assert!(until < interval);
            let due = Timestamp::from_millis(now_ms).plus(until);
            prop_assert_eq!(due.minus(offset).aligned(interval), due.minus(offset));
        }
    }
}
