//! Which commits readers look back to.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// The number of a group of commits. A reader sees what came with its epoch or before.
pub(in crate::store) type Epoch = u64;

/// The epochs that snapshots hold.
#[derive(Debug, Default)]
pub(in crate::store) struct Epochs(Mutex<BTreeMap<Epoch, usize>>);

impl Epochs {
    /// A hold on `epoch`, to be taken while it is the published one.
    pub(in crate::store) fn hold(self: &Arc<Self>, epoch: Epoch) -> Hold {
        *self.0.lock().entry(epoch).or_default() += 1;
        Hold { epochs: Arc::clone(self), epoch }
    }

    /// What is not newer is seen by every reader, where `published` is what new readers see.
    pub(in crate::store) fn seen_by_all(&self, published: Epoch) -> Epoch {
        self.0.lock().first_key_value().map_or(published, |(oldest, _)| *oldest)
    }
}

/// Keeps what a snapshot sees from being changed.
#[derive(Debug)]
pub(in crate::store) struct Hold {
    epochs: Arc<Epochs>,
    epoch: Epoch,
}

impl Hold {
    /// What is held.
    #[cfg(test)]
    pub(in crate::store) fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.epochs.hold(self.epoch)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.epochs.0.lock();
        if let Some(count) = held.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_reader_decides_what_all_see() {
        let epochs = Arc::new(Epochs::default());
        assert_eq!(epochs.seen_by_all(7), 7);
        let old = epochs.hold(3);
        let copy = old.clone();
        let young = epochs.hold(6);
        assert_eq!((epochs.seen_by_all(7), old.epoch()), (3, 3));
        drop(old);
        assert_eq!(epochs.seen_by_all(7), 3);
        drop(copy);
        assert_eq!(epochs.seen_by_all(7), 6);
        drop(young);
        assert_eq!(epochs.seen_by_all(7), 7);
    }
}
