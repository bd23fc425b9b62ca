//! The open window: recent samples of every live series, in memory.
//!
//! A series is bytes behind a small lock ([`series`]); which series there are is behind another
//! ([`Registry`]). Only the committer writes. Readers see a consistent view all the same: every
//! sample comes with the epoch of its group of commits, a reader leaves out what is newer than its
//! own, and nothing that a reader may see is moved or forgotten while its [`Hold`] lasts. Must not
//! know the disk.

mod blocks;
mod epochs;
mod histograms;
mod index;
mod refusal;
mod series;
mod tail;
mod view;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hashbrown::HashTable;
use parking_lot::RwLock;

use super::erase::Doomed;
use crate::{
    limits,
    model::{HistogramSample, Labels, Matcher},
    time::Timestamp,
};

pub(super) use blocks::{BadBlocks, take_unreadable};
pub(super) use epochs::{Epoch, Epochs, Hold};
pub(super) use refusal::{Admission, Bounds, Refusal};
pub(super) use series::{Open, Series};

/// The open window.
#[derive(Debug)]
pub(super) struct Head {
    registry: RwLock<Registry>,
    series_max: usize,
    samples: AtomicU64,
    pub(super) epochs: Arc<Epochs>,
}

/// Which series are live.
#[derive(Debug, Default)]
struct Registry {
    /// Ids, by the hash of the labels.
    table: HashTable<u32>,
    hasher: index::Hasher,
    /// By id.
    slots: Vec<Option<Arc<Series>>>,
    /// Ids for new series.
    free: Vec<u32>,
    /// Ids that the open segment of the log may have named, and so must not name anew.
    freed: Vec<u32>,
    index: index::Index,
}

impl Registry {
    fn find(&self, labels: &Labels) -> Option<&Arc<Series>> {
        let hash = self.hasher.hash(labels);
        let same = |id: &u32| self.slot(*id).is_some_and(|series| series.labels() == labels);
        self.slot(*self.table.find(hash, same)?)
    }

    fn slot(&self, id: u32) -> Option<&Arc<Series>> {
        self.slots.get(id as usize)?.as_ref()
    }

    fn live(&self) -> usize {
        self.table.len()
    }

    /// Whether there is an id for another series: those of series that have gone come back with the
    /// next segment of the log.
    fn has_id(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < limits::SERIES_NUMBERS_MAX
    }

    fn insert(&mut self, labels: &Labels) -> Arc<Series> {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("series are limited to far fewer")
        });
        let series = Arc::new(Series::new(id, labels.clone()));
        self.slots[id as usize] = Some(Arc::clone(&series));
        let Self { table, hasher, slots, index, .. } = self;
        let rehash = |id: &u32| {
            slots[*id as usize].as_ref().map_or(0, |series| hasher.hash(series.labels()))
        };
        table.insert_unique(hasher.hash(labels), id, rehash);
        index.insert(id, labels);
        series
    }

    fn remove(&mut self, id: u32) {
        let Some(series) = self.slots[id as usize].take() else { return };
        let hash = self.hasher.hash(series.labels());
        if let Ok(entry) = self.table.find_entry(hash, |found| *found == id) {
            entry.remove();
        }
        self.index.remove(id, series.labels());
        self.freed.push(id);
    }
}

impl Head {
    /// An empty head that takes `series_max` series.
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            registry: RwLock::default(),
            series_max,
            samples: AtomicU64::new(0),
            epochs: Arc::default(),
        }
    }

    /// How many series there are.
    pub(super) fn series_count(&self) -> usize {
        self.registry.read().live()
    }

    /// How many samples there are, whoever sees them.
    pub(super) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// The series of these labels.
    pub(super) fn find(&self, labels: &Labels) -> Option<Arc<Series>> {
        self.registry.read().find(labels).cloned()
    }

    /// The series of each of these labels, where they are live.
    pub(super) fn find_all<'a>(
        &self,
        labels: impl Iterator<Item = &'a Labels>,
    ) -> Vec<Option<Arc<Series>>> {
        let registry = self.registry.read();
        labels.map(|labels| registry.find(labels).cloned()).collect()
    }

    /// All series, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Series>> {
        self.registry.read().slots.iter().flatten().cloned().collect()
    }

    /// The series that pass all matchers, in no order.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> Vec<Arc<Series>> {
        let registry = self.registry.read();
        let ids = registry.index.matching(matchers);
        ids.into_iter().filter_map(|id| registry.slot(id).cloned()).collect()
    }

    /// The series of these labels, made where there is none. Only the committer makes any.
    pub(super) fn find_or_make(&self, labels: &Labels) -> Result<Arc<Series>, Refusal> {
        if let Some(series) = self.find(labels) {
            return Ok(series);
        }
        let mut registry = self.registry.write();
        if registry.live() >= self.series_max || !registry.has_id() {
            return Err(Refusal::TooManySeries(self.series_max));
        }
        Ok(registry.insert(labels))
    }

    /// A new segment of the log may name series by ids that are free.
    pub(super) fn recycle(&self) {
        let mut registry = self.registry.write();
        let freed = std::mem::take(&mut registry.freed);
        registry.free.extend(freed);
    }

    /// The oldest sample that is not before `from`, whoever sees it.
    pub(super) fn oldest(&self, from: Timestamp) -> Option<Timestamp> {
        self.all().iter().filter_map(|series| series.lock().first_from(from)).min()
    }

    /// How many series partitions of so many ranges may hold in all, and the bytes of their labels: each
    /// counts once in each range, and no more often than it has samples.
    pub(super) fn in_partitions(&self, ranges: usize) -> (u64, u64) {
        let of = |series: &Arc<Series>| {
            let times = series.lock().len().min(ranges) as u64;
            let labels: usize =
                series.labels().iter().map(|(name, value)| name.len() + value.len()).sum();
            (times, times * labels as u64)
        };
        self.all().iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Bytes that all histograms may take on disk, generously.
    pub(super) fn histogram_bytes(&self) -> u64 {
        self.all().iter().map(|series| series.lock().histogram_bytes()).sum()
    }

    /// The newest sample's time, whoever sees it.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.all().iter().filter_map(|series| series.lock().newest_time()).max()
    }

    /// The series of these labels, which the log had, whatever the limit is now.
    pub(super) fn find_or_restore(&self, labels: &Labels) -> Arc<Series> {
        self.find(labels).unwrap_or_else(|| self.registry.write().insert(labels))
    }

    /// So many samples came in.
    pub(super) fn count(&self, samples: u64) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    /// So many were taken back.
    pub(super) fn discount(&self, samples: u64) {
        self.samples.fetch_sub(samples, Ordering::Relaxed);
    }

    /// Takes a series from a checkpoint.
    pub(super) fn restore(
        &self,
        labels: &Labels,
        blocks: Vec<u8>,
        histograms: Vec<HistogramSample>,
    ) -> Result<(), BadBlocks> {
        let mut registry = self.registry.write();
        if (blocks.is_empty() && histograms.is_empty()) || registry.find(labels).is_some() {
            return Err(BadBlocks);
        }
        let series = registry.insert(labels);
        drop(registry);
        let mut open = series.lock();
        let restored = open.restore(blocks);
        open.restore_histograms(histograms);
        self.count(open.len() as u64);
        restored
    }

    /// Forgets samples before `floor`, and series that have no others. Nobody may see them any more.
    pub(super) fn cut(&self, floor: Timestamp) {
        let mut idle = Vec::new();
        for series in self.all() {
            let mut open = series.lock();
            let gone = open.cut(floor) as u64;
            self.discount(gone);
            if open.is_empty() {
                idle.push(series.id());
            }
        }
        for id in idle {
            self.retire(id);
        }
    }

    /// Forgets what is to be erased, whoever sees it; tells of which series, and how many samples that
    /// no partition holds. Run by the committer, between two groups.
    pub(super) fn erase(&self, doomed: &Doomed, sealed: Timestamp) -> Vec<(Labels, u64)> {
        let (mut gone, mut idle) = (Vec::new(), Vec::new());
        for series in self.all().iter().filter(|series| doomed.matches(series.labels())) {
            let mut open = series.lock();
            let (all, unsealed) = open.erase(doomed, sealed);
            self.discount(all);
            idle.extend(open.is_empty().then(|| series.id()));
            gone.extend((unsealed > 0).then(|| (series.labels().clone(), unsealed)));
        }
        for id in idle {
            self.retire(id);
        }
        gone
    }

    /// Lets a series go that is still empty: under both locks, so that whoever finds it gone finds
    /// that the registry does not know it either.
    fn retire(&self, id: u32) {
        let mut registry = self.registry.write();
        let Some(series) = registry.slot(id).cloned() else { return };
        let mut open = series.lock();
        if open.is_empty() {
            open.retire();
            registry.remove(id);
        }
    }
}

#[cfg(test)]
mod tests;
