//! Which target is due when. Pure: it is told the time.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{supervise::spread_offset, time::Timestamp};

/// The first probe of a new target comes soon: whoever adds one wants to see it work.
const FIRST_WITHIN: Duration = Duration::from_secs(3);
/// How long to sleep where nothing is due at all.
const IDLE: Duration = Duration::from_hours(1);

/// Every probed target's next time.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// In the order of time; the name keeps equal times apart.
    queue: BTreeSet<(Instant, String)>,
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    interval: Duration,
    due: Instant,
}

impl Schedule {
    /// Probes just `targets` (names and intervals) from now on. A target whose interval stays keeps
    /// its time; any other is due soon.
    pub(super) fn follow(&mut self, targets: impl Iterator<Item = (String, Duration)>) {
        let before = std::mem::take(&mut self.entries);
        self.queue.clear();
        for (name, interval) in targets {
            let kept =
                before.get(&name).filter(|entry| entry.interval == interval).map(|entry| entry.due);
            let soon = || Instant::now() + spread_offset(&name, interval.min(FIRST_WITHIN));
            self.put(name.clone(), Entry { interval, due: kept.unwrap_or_else(soon) });
        }
    }

    /// Has a target be due soon when it is followed again.
    pub(super) fn forget(&mut self, name: &str) {
        self.entries.remove(name);
    }

    fn put(&mut self, name: String, entry: Entry) {
        self.queue.insert((entry.due, name.clone()));
        self.entries.insert(name, entry);
    }

    /// When the next target is due.
    pub(super) fn next_due(&self) -> Instant {
        self.queue.first().map_or_else(|| Instant::now() + IDLE, |(due, _)| *due)
    }

    /// The targets that are due by `instant`; each gets its next time, at its own place in its
    /// interval.
    pub(super) fn take_due(&mut self, instant: Instant, now: Timestamp) -> Vec<String> {
        let mut due = Vec::new();
        while self.queue.first().is_some_and(|(at, _)| *at <= instant) {
            due.extend(self.queue.pop_first().map(|(_, name)| name));
        }
        for name in &due {
            let Some(entry) = self.entries.get(name).copied() else { continue };
            let wait = until_next(name, entry.interval, now);
            self.put(name.clone(), Entry { due: instant + wait, ..entry });
        }
        due
    }

    /// When a target is due, by the wall clock that says `now`.
    pub(super) fn due_of(&self, name: &str, now: Timestamp) -> Option<Timestamp> {
        let wait = self.entries.get(name)?.due.saturating_duration_since(Instant::now());
        Some(now.plus(wait))
    }

    /// When every target is due, by the wall clock that says `now`.
    pub(super) fn dues(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        self.entries
            .keys()
            .filter_map(|name| Some((name.clone(), self.due_of(name, now)?)))
            .collect()
    }
}

/// From `now` to the target's own place in the next interval, half an interval at the least, so that
/// the first probe and the second are not close together.
fn until_next(name: &str, interval: Duration, now: Timestamp) -> Duration {
    let offset = spread_offset(name, interval);
    let gone = now.minus(offset).since(now.minus(offset).aligned(interval));
    let wait = interval.saturating_sub(gone);
    if wait < interval / 2 { wait + interval } else { wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn schedule(names: &[&str]) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.follow(names.iter().map(|name| ((*name).to_owned(), MINUTE)));
        schedule
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_target_is_due_soon_and_then_once_an_interval() {
        let mut schedule = schedule(&["a"]);
        let start = Instant::now();
        let first = schedule.next_due();
        assert!(first <= start + FIRST_WITHIN);
        assert_eq!(schedule.take_due(first, NOW), ["a"]);
        let second = schedule.next_due();
        assert!(
            second >= first + MINUTE / 2 && second <= first + MINUTE * 3 / 2,
            "{:?}",
            second - first
        );
        let later = NOW.plus(second - first);
        assert_eq!(schedule.take_due(second, later), ["a"]);
        assert_eq!(schedule.next_due(), second + MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn targets_are_spread_over_the_interval() {
        let names: Vec<String> = (0..100).map(|n| format!("target-{n}")).collect();
        let mut quarters = [0; 4];
        for name in &names {
            quarters[usize::try_from(until_next(name, MINUTE, NOW).as_secs() / 15 % 4).unwrap()] +=
                1;
        }
        assert!(quarters.iter().all(|n| *n > 10), "{quarters:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn following_a_new_list_forgets_the_old_and_keeps_times() {
        let mut schedule = schedule(&["a", "b"]);
        let due = schedule.entries["a"].due;
        schedule.follow([("a".to_owned(), MINUTE)].into_iter());
        assert_eq!((schedule.next_due(), schedule.entries.len()), (due, 1));
    }
}
