//! Who listens to what happens.

use tokio::sync::broadcast;

use crate::{limits, model::Event};

/// Hands every event to all who listen. A slow listener loses the oldest and is told how many.
#[derive(Clone, Debug)]
pub struct Bus(broadcast::Sender<Event>);

/// All places for listeners are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{max} clients listen to events already: close one first", max = limits::EVENT_SUBSCRIBERS_MAX)]
pub struct TooManySubscribers;

impl Bus {
    /// A bus that nobody listens to yet.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(limits::EVENT_QUEUE_MAX))
    }

    /// Tells all who listen; fine where nobody does.
    pub fn publish(&self, event: Event) {
        let _listeners = self.0.send(event);
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> Result<broadcast::Receiver<Event>, TooManySubscribers> {
        if self.0.receiver_count() >= limits::EVENT_SUBSCRIBERS_MAX {
            return Err(TooManySubscribers);
        }
        Ok(self.0.subscribe())
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}
