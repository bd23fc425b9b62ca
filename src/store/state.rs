//! Everything that readers see, at one instant: the head, the small state, the history, and which
//! partitions there are. Cheap to clone; the committer changes its own clone and publishes it.

use std::{collections::HashMap, sync::Arc};

use super::{
    head::{Admission, Bounds, Head},
    history::History,
    record::{BadRecord, ChangeRecord, CheckpointRecord, CommitRecord, LabelsRecord, SeriesRecord},
    small::Small,
    tiers::Tiers,
};
use crate::{
    limits,
    model::{Labels, Sample},
    time::Timestamp,
};

/// Everything that readers see.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) head: Head,
    pub(super) small: Small,
    pub(super) history: History,
    /// Sealed samples and rollups.
    pub(super) tiers: Arc<Tiers>,
    /// Samples before this instant lie in partitions; none are added to them.
    pub(super) floor: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        Self {
            head: Head::new(limits::SERIES_MAX),
            small: Small::default(),
            history: History::default(),
            tiers: Arc::default(),
            floor: Timestamp::from_millis(i64::MIN),
        }
    }
}

/// The series that a segment has named so far.
pub(super) type Names = HashMap<u32, Labels>;

impl State {
    /// Everything but what lies in partitions.
    pub(super) fn to_checkpoint(&self) -> Result<CheckpointRecord, BadRecord> {
        let series = self.head.iter().map(|(labels, series)| SeriesRecord {
            id: series.id,
            labels: Some(LabelsRecord::from(labels)),
            chunks: series.to_chunks(),
        });
        let mut changes = self.small.to_records();
        changes.extend(self.history.to_records()?);
        Ok(CheckpointRecord {
            floor: self.floor.as_millis(),
            series: series.collect(),
            changes,
            next: self.history.next.to_vec(),
            unsealed: self.history.sealed.to_vec(),
        })
    }

    /// Takes what a checkpoint holds in place of everything but the partitions.
    pub(super) fn restore(
        &mut self,
        checkpoint: &CheckpointRecord,
        names: &mut Names,
    ) -> Result<(), BadRecord> {
        let history = History { partitions: self.history.partitions.clone(), ..History::default() };
        *self = Self { tiers: self.tiers.clone(), history, ..Self::default() };
        self.floor = Timestamp::from_millis(checkpoint.floor);
        self.restore_state(&checkpoint.changes, &checkpoint.unsealed, &checkpoint.next)?;
        for series in &checkpoint.series {
            let labels = super::record::labels(series.labels.as_ref())?;
            let restored = self.head.restore(&labels, series.id, &series.chunks);
            restored.map_err(|_| BadRecord("chunk"))?;
            names.insert(series.id, labels);
        }
        Ok(())
    }

    /// Takes small state and history, and how far their numbers have come.
    pub(super) fn restore_state(
        &mut self,
        changes: &[ChangeRecord],
        sealed: &[u64],
        next: &[u64],
    ) -> Result<(), BadRecord> {
        let numbers = |numbers: &[u64]| {
            <[u64; 3]>::try_from(numbers).map_err(|_| BadRecord("list of sequence numbers"))
        };
        self.history.begin_restore(numbers(sealed)?);
        for change in changes {
            self.small.apply_record(change)?;
            self.history.apply(change);
        }
        self.history.next = numbers(next)?;
        Ok(())
    }

    /// Applies a commit of the log again; returns how many samples it brought.
    pub(super) fn replay(
        &mut self,
        commit: &CommitRecord,
        names: &mut Names,
    ) -> Result<u64, BadRecord> {
        for series in &commit.series {
            names.insert(series.id, super::record::labels(series.labels.as_ref())?);
        }
        let bounds = Bounds {
            oldest: Timestamp::from_millis(i64::MIN),
            floor: self.floor,
            latest: Timestamp::from_millis(i64::MAX),
        };
        let (mut time, mut replayed, mut unnamed) = (0_i64, 0, false);
        for ((id, distance), bits) in commit.ids.iter().zip(&commit.times).zip(&commit.values) {
            time = time.wrapping_add(*distance);
            let timestamp = Timestamp::from_millis(time);
            let sample = Sample { timestamp, value: f64::from_bits(*bits) };
            match names.get(id).map(|labels| self.head.append(labels, sample, bounds)) {
                Some(Admission::Accepted(_)) => replayed += 1,
                Some(_) => {}
                None => unnamed = true,
            }
        }
        for change in &commit.changes {
            self.small.apply_record(change)?;
            self.history.apply(change);
        }
        // Their series was declared in a stretch of the log that is damaged.
        if unnamed { Err(BadRecord("sample without a series")) } else { Ok(replayed) }
    }

    /// Lets go of what partitions hold by now.
    pub(super) fn cut(&mut self, floor: Timestamp, sealed: [u64; 3]) {
        self.floor = self.floor.max(floor);
        self.head.cut(self.floor);
        self.history.cut_sealed(sealed);
    }
}
