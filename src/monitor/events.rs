//! What happens, for those who listen.
//!
//! Events are part of the history, numbered as they become durable. A listener reads them from the store
//! behind a number of its own, and is only woken here: so a slow one loses nothing and takes no memory,
//! and one that comes back after a restart goes on where it was.

use std::collections::VecDeque;

use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{error_code::ErrorCode, limits, model::Event, store::Store};

use super::{Failure, Monitor};

/// Which event is a listener's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstEvent {
    /// The first of so many that are the newest; with 0 the next one.
    Newest(u64),
    /// The one after this number. A number that there was none of yet, as after a restored backup, means
    /// the next one.
    After(u64),
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Something happened; events are numbered from 1 without gaps, over restarts too.
    Event {
        /// Its number.
        sequence: u64,
        /// What.
        event: Event,
    },
    /// Events that are not kept any more.
    Lost {
        /// The number of the last of them.
        sequence: u64,
        /// How many.
        count: u64,
    },
}

/// A listener.
#[derive(Debug)]
pub struct EventStream {
    store: Store,
    newest: watch::Receiver<u64>,
    /// The number of the last one that was heard, or lost.
    heard: u64,
    read: VecDeque<(u64, Event)>,
    /// Whether what is missing was to be heard: the newest of so many begin with the first that is kept.
    goes_on: bool,
    _place: OwnedSemaphorePermit,
}

impl Monitor {
    /// Listens to what happens.
    pub fn subscribe(&self, first: FirstEvent) -> Result<EventStream, Failure> {
        let place = self.listeners.clone().try_acquire_owned().map_err(|_| {
            let max = limits::EVENT_SUBSCRIBERS_MAX;
            let message = format!("{max} clients listen to events already: close one first");
            Failure::new(ErrorCode::ResourceExhausted, message)
        })?;
        Ok(EventStream::new(self.parts.store.clone(), first, place))
    }
}

impl EventStream {
    fn new(store: Store, first: FirstEvent, place: OwnedSemaphorePermit) -> Self {
        let newest = store.newest_event();
        let now = *newest.borrow();
        let heard = match first {
            FirstEvent::Newest(count) => now.saturating_sub(count),
            FirstEvent::After(sequence) => sequence.min(now),
        };
        let goes_on = matches!(first, FirstEvent::After(_));
        Self { store, newest, heard, read: VecDeque::new(), goes_on, _place: place }
    }

    /// The number of the last event that was heard, or lost; where it begins, the one before.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether nothing happened that was not heard.
    pub fn is_caught_up(&self) -> bool {
        self.read.is_empty() && self.heard >= *self.newest.borrow()
    }

    /// The next event, as soon as there is one.
    pub async fn next(&mut self) -> Option<Heard> {
        while self.is_caught_up() {
            self.newest.changed().await.ok()?;
        }
        let newest = *self.newest.borrow();
        if self.read.is_empty() {
            self.read = self.fetch().await.into();
        }
        // What is not there was removed with its time.
        let upto = self.read.front().map_or(newest, |(sequence, _)| sequence - 1);
        if upto > self.heard {
            let count = upto - std::mem::replace(&mut self.heard, upto);
            if self.goes_on {
                return Some(Heard::Lost { sequence: upto, count });
            }
        }
        self.goes_on = true;
        let (sequence, event) = self.read.pop_front()?;
        self.heard = sequence;
        Some(Heard::Event { sequence, event })
    }

    async fn fetch(&self) -> Vec<(u64, Event)> {
        let (store, after) = (self.store.clone(), self.heard);
        if store.has_events_in_memory(after) {
            return store.events(after, limits::EVENTS_READ_AT_ONCE);
        }
        let read = move || store.events(after, limits::EVENTS_READ_AT_ONCE);
        // Where reading panics, they count as lost.
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        store::{Change, Options, StoreError},
        telemetry::Telemetry,
        time::{Clock, Timestamp},
    };
    use tokio::sync::Semaphore;

    const START: Timestamp = Timestamp::from_secs(1_700_000_000);

    struct Fixture {
        dir: tempfile::TempDir,
        clock: Clock,
    }

    impl Fixture {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), clock: Clock::manual(START) }
        }

        fn open(&self) -> Store {
            let options =
                Options { history_retention: Duration::from_hours(1), ..Options::default() };
            Store::open(self.dir.path(), options, self.clock.clone(), &Telemetry::new()).unwrap().0
        }
    }

    fn event(n: u64) -> Event {
        Event::ConfigReloaded { time: START, changes: vec![n.to_string()] }
    }

    async fn happen(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
        let changes = numbers.map(|n| Change::AddEvent(event(n))).collect();
        store.commit(changes).await.unwrap();
    }

    /// Work that blocks.
    async fn aside(store: &Store, work: fn(&Store) -> Result<(), StoreError>) {
        let store = store.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.unwrap().unwrap();
    }

    fn listen(store: &Store, first: FirstEvent) -> EventStream {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        EventStream::new(store.clone(), first, place)
    }

    /// What is heard until nothing is left.
    async fn all(events: &mut EventStream) -> Vec<Heard> {
        let mut heard = Vec::new();
        while !events.is_caught_up() {
            heard.push(events.next().await.unwrap());
        }
        heard
    }

    fn heard(numbers: std::ops::RangeInclusive<u64>) -> Vec<Heard> {
        numbers.map(|n| Heard::Event { sequence: n, event: event(n) }).collect()
    }

    #[tokio::test]
    async fn a_slow_listener_hears_everything_in_order() {
        let fixture = Fixture::new();
        let store = fixture.open();
        let mut events = listen(&store, FirstEvent::Newest(0));
        let many = 3 * limits::EVENTS_READ_AT_ONCE as u64;
        happen(&store, 1..=many).await;
        assert_eq!(all(&mut events).await, heard(1..=many));
        happen(&store, many + 1..=many + 1).await;
        assert_eq!(events.next().await, heard(many + 1..=many + 1).pop());
    }

    #[tokio::test]
    async fn a_listener_waits_for_the_next_event() {
        let fixture = Fixture::new();
        let store = fixture.open();
        let mut events = listen(&store, FirstEvent::Newest(0));
        let (next, ()) = tokio::join!(events.next(), happen(&store, 1..=1));
        assert_eq!(next, heard(1..=1).pop());
    }

    #[tokio::test]
    async fn numbers_go_on_over_a_restart() {
        let fixture = Fixture::new();
        let store = fixture.open();
        happen(&store, 1..=5).await;
        aside(&store, Store::close).await;
        drop(store);
        let store = fixture.open();
        let mut events = listen(&store, FirstEvent::After(3));
        happen(&store, 6..=6).await;
        assert_eq!(all(&mut events).await, heard(4..=6));
        assert_eq!(all(&mut listen(&store, FirstEvent::Newest(2))).await, heard(5..=6));
        assert_eq!(all(&mut listen(&store, FirstEvent::After(99))).await, []);
    }

    #[tokio::test]
    async fn older_events_are_read_from_disk() {
        let fixture = Fixture::new();
        let store = fixture.open();
        happen(&store, 1..=9000).await;
        aside(&store, |store| store.seal().map(drop)).await;
        assert!(!store.has_events_in_memory(8000));
        happen(&store, 9001..=9003).await;
        assert_eq!(all(&mut listen(&store, FirstEvent::After(8000))).await, heard(8001..=9003));
        assert!(store.has_events_in_memory(9000));
    }

    #[tokio::test]
    async fn what_is_not_kept_any_more_is_told() {
        let fixture = Fixture::new();
        let store = fixture.open();
        happen(&store, 1..=5).await;
        let mut events = listen(&store, FirstEvent::After(1));
        fixture.clock.set(START.plus(Duration::from_hours(2)));
        aside(&store, |store| store.clean_up().map(drop)).await;
        let lost = Heard::Lost { sequence: 5, count: 4 };
        assert_eq!(all(&mut events).await, [lost]);
        happen(&store, 6..=6).await;
        assert_eq!(all(&mut events).await, heard(6..=6));
    }
}
