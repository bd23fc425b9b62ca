//! Everything that readers see beside the head, at one instant: the small state, the history, which
//! partitions there are, and up to which epoch the head is to be read. Cheap to clone; the committer
//! changes its own clone and publishes it.

use std::sync::Arc;

use super::{
    head::Epoch,
    history::History,
    record::{BadRecord, ChangeRecord, CheckpointRecord},
    small::Small,
    tiers::Tiers,
};
use crate::time::Timestamp;

/// Everything that readers see beside the head.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Of the head, readers see what came with this epoch or before …
    pub(super) epoch: Epoch,
    /// … and is not before this instant: that lies in partitions.
    pub(super) sealed: Timestamp,
    /// Samples before this instant are not taken any more.
    pub(super) floor: Timestamp,
    pub(super) small: Small,
    pub(super) history: History,
    /// Sealed samples and rollups.
    pub(super) tiers: Arc<Tiers>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            epoch: 1,
            sealed: Timestamp::from_millis(i64::MIN),
            floor: Timestamp::from_millis(i64::MIN),
            small: Small::default(),
            history: History::default(),
            tiers: Arc::default(),
        }
    }
}

/// Numbers of the history, one for each kind.
pub(super) fn numbers(numbers: &[u64]) -> Result<[u64; 3], BadRecord> {
    numbers.try_into().map_err(|_| BadRecord("list of sequence numbers"))
}

impl State {
    /// What a checkpoint of it is about.
    pub(super) fn about(&self) -> CheckpointRecord {
        CheckpointRecord {
            floor: self.floor.as_millis(),
            sealed: self.sealed.as_millis(),
            next: self.history.next.to_vec(),
            unsealed: self.history.sealed.to_vec(),
        }
    }

    /// The changes that make small state and unsealed history from nothing.
    pub(super) fn to_changes(&self) -> Result<Vec<ChangeRecord>, BadRecord> {
        let mut changes = self.small.to_records();
        changes.extend(self.history.to_records()?);
        Ok(changes)
    }

    /// Applies a stored change again.
    pub(super) fn apply(&mut self, change: &ChangeRecord) -> Result<(), BadRecord> {
        self.small.apply_record(change)?;
        self.history.apply(change);
        Ok(())
    }

    /// Takes small state and history, and how far their numbers have come.
    pub(super) fn restore(
        &mut self,
        changes: &[ChangeRecord],
        sealed: &[u64],
        next: &[u64],
    ) -> Result<(), BadRecord> {
        self.history.begin_restore(numbers(sealed)?);
        changes.iter().try_for_each(|change| self.apply(change))?;
        self.history.next = numbers(next)?;
        Ok(())
    }

    /// Counts on partitions for what lies before `sealed`, and for history with lower numbers.
    pub(super) fn cut(&mut self, sealed: Timestamp, history: [u64; 3]) {
        self.sealed = self.sealed.max(sealed);
        self.floor = self.floor.max(self.sealed);
        self.history.cut_sealed(history);
    }
}
