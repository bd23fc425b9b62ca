//! What probes found and nobody has yet who keeps it: the queue of an agent.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{limits, model::ProbeRecord};

/// Keeps results, numbered, until it is said that they are durable elsewhere; cheap to clone. Where too many
/// wait, the oldest goes.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    last: u64,
}

/// A result and its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Rises by one from 1.
    pub sequence: u64,
    /// The result.
    pub record: Arc<ProbeRecord>,
}

impl Outbox {
    /// Takes a result in; true where the oldest had to go for it.
    pub fn push(&self, record: ProbeRecord) -> bool {
        let mut queue = self.0.queue.lock();
        queue.last += 1;
        let sequence = queue.last;
        queue.waiting.push_back(Queued { sequence, record: Arc::new(record) });
        let is_full = queue.waiting.len() > limits::AGENT_QUEUE_MAX;
        if is_full {
            queue.waiting.pop_front();
        }
        drop(queue);
        self.0.more.notify_one();
        is_full
    }

    /// The first results after `sequence`, a message full at most.
    pub fn after(&self, sequence: u64) -> Vec<Queued> {
        let queue = self.0.queue.lock();
        let start = queue.waiting.partition_point(|queued| queued.sequence <= sequence);
        queue.waiting.iter().skip(start).take(limits::AGENT_PROBES_MAX).cloned().collect()
    }

    /// Forgets what is durable elsewhere: all up to `sequence`.
    pub fn acknowledged(&self, sequence: u64) {
        let mut queue = self.0.queue.lock();
        while queue.waiting.front().is_some_and(|queued| queued.sequence <= sequence) {
            queue.waiting.pop_front();
        }
    }

    /// How many results wait.
    pub fn waiting(&self) -> usize {
        self.0.queue.lock().waiting.len()
    }

    /// Ends when there may be more than before.
    pub async fn more(&self) {
        self.0.more.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ProbeAnswer, TargetState},
        time::Timestamp,
    };
    use std::time::Duration;

    fn record(target: &str) -> ProbeRecord {
        ProbeRecord {
            target: target.to_owned(),
            state: TargetState::Healthy,
            started_at: Timestamp::default(),
            duration: Duration::ZERO,
            attempts: Vec::new(),
            answer: ProbeAnswer::default(),
            error: String::new(),
            stderr_tail: String::new(),
        }
    }

    #[track_caller]
    fn check(outbox: &Outbox, after: u64, expected: std::ops::RangeInclusive<u64>) {
        let numbers: Vec<u64> = outbox.after(after).iter().map(|queued| queued.sequence).collect();
        assert_eq!(numbers, expected.collect::<Vec<u64>>());
    }

    #[test]
    fn results_stay_until_they_are_acknowledged() {
        let outbox = Outbox::default();
        for name in ["a", "b", "c"] {
            assert!(!outbox.push(record(name)));
        }
        check(&outbox, 0, 1..=3);
        check(&outbox, 2, 3..=3);
        outbox.acknowledged(2);
        check(&outbox, 0, 3..=3);
        outbox.acknowledged(9);
        assert_eq!(outbox.waiting(), 0);
        outbox.push(record("d"));
        check(&outbox, 3, 4..=4);
    }

    #[test]
    fn the_oldest_goes_where_too_many_wait() {
        let outbox = Outbox::default();
        let dropped = (0..limits::AGENT_QUEUE_MAX + 2).filter(|_| outbox.push(record("a"))).count();
        assert_eq!((dropped, outbox.waiting()), (2, limits::AGENT_QUEUE_MAX));
        check(&outbox, 0, 3..=2 + limits::AGENT_PROBES_MAX as u64);
    }

    #[tokio::test]
    async fn who_waits_hears_of_what_came_before() {
        let outbox = Outbox::default();
        outbox.push(record("a"));
        outbox.more().await;
    }
}
