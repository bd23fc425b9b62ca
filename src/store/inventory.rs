//! Sizes in detail, from the manifests and the files: the same with a daemon and without.

use std::{fs, path::Path, time::SystemTime};

use super::{
    Store, StoreError, keys,
    layout::{self, Holds},
    lock::Quiet,
    partition,
    record::{self, ManifestRecord},
    rollup::Tier,
};
use crate::time::Timestamp;

/// What a store holds, and how much room that takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Each tier, the finest first.
    pub tiers: Vec<TierSize>,
    /// What is in memory; `None` where the daemon was not asked.
    pub head: Option<HeadSize>,
    /// The write-ahead log: segments and checkpoints.
    pub wal: KindSize,
    /// When the log last began anew.
    pub checkpoint: Option<Timestamp>,
    /// Probes, transitions, audit.
    pub history: KindSize,
    /// Copies of the small state.
    pub catalog: KindSize,
    /// What was damaged and put aside.
    pub quarantine: KindSize,
    /// Directories whose manifest cannot be read: not counted above.
    pub unreadable: u64,
}

/// What lies in one tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierSize {
    /// Which.
    pub tier: Tier,
    /// Directories.
    pub partitions: u64,
    /// Series, as many as the fullest partition has.
    pub series: u64,
    /// Samples, or rollups.
    pub samples: u64,
    /// Bytes of all files, the index among them.
    pub bytes: u64,
    /// The oldest sample.
    pub oldest: Option<Timestamp>,
    /// The newest sample.
    pub newest: Option<Timestamp>,
}

/// What lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadSize {
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
}

/// How many files or directories, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSize {
    /// Files, or directories that were written once.
    pub count: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Store {
    /// Sizes in detail. Blocking: reads the manifests.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let head = &self.0.head;
        let head = HeadSize { series: head.series_count() as u64, samples: head.samples() };
        Ok(Inventory { head: Some(head), ..Inventory::of(&self.0.dir)? })
    }
}

impl KindSize {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

impl Inventory {
    /// The sizes of a store that nobody holds. Blocking.
    pub fn offline(store: &Path) -> Result<Self, StoreError> {
        let _quiet = Quiet::take(store)?;
        Self::of(store)
    }

    fn of(store: &Path) -> Result<Self, StoreError> {
        let tiers = Tier::ALL.map(TierSize::empty).to_vec();
        let mut sizes = Self { tiers, ..Self::default() };
        for place in layout::places(store)? {
            let bytes = partition::size_of(&place.dir);
            match (place.holds, manifest(&place.dir)) {
                (_, None) => sizes.unreadable += u64::from(place.dir.exists()),
                (Holds::Samples(tier), Some(manifest)) => {
                    if let Some(size) = sizes.tiers.iter_mut().find(|size| size.tier == tier) {
                        size.add(&manifest, bytes);
                    }
                }
                (Holds::History, _) => sizes.history.add(bytes),
                (Holds::Catalog, _) => sizes.catalog.add(bytes),
            }
        }
        for path in layout::files(&store.join(keys::WAL))? {
            sizes.wal.add(fs::metadata(&path).map_or(0, |data| data.len()));
        }
        for path in layout::list(&store.join(keys::QUARANTINE))? {
            let own = fs::symlink_metadata(&path).map_or(0, |data| data.len());
            sizes.quarantine.add(if path.is_dir() { partition::size_of(&path) } else { own });
        }
        sizes.checkpoint = last_checkpoint(store)?;
        Ok(sizes)
    }
}

impl TierSize {
    fn empty(tier: Tier) -> Self {
        Self { tier, partitions: 0, series: 0, samples: 0, bytes: 0, oldest: None, newest: None }
    }

    fn add(&mut self, manifest: &ManifestRecord, bytes: u64) {
        self.partitions += 1;
        self.series = self.series.max(manifest.series);
        self.samples += manifest.samples;
        self.bytes += bytes;
        if manifest.samples > 0 {
            let (oldest, newest) = (record::time(manifest.oldest), record::time(manifest.newest));
            self.oldest = Some(self.oldest.map_or(oldest, |known| known.min(oldest)));
            self.newest = self.newest.max(Some(newest));
        }
    }
}

/// What a directory says of itself, where that can be read.
fn manifest(dir: &Path) -> Option<ManifestRecord> {
    record::unseal_message(&fs::read(dir.join(keys::MANIFEST)).ok()?).ok()
}

/// When the newest checkpoint was written; before there is one of its own, the oldest segment tells.
fn last_checkpoint(store: &Path) -> Result<Option<Timestamp>, StoreError> {
    let files = layout::files(&store.join(keys::WAL))?;
    let own = files.iter().rev().find(|path| path.extension().is_some_and(|e| e == "checkpoint"));
    let Some(path) = own.or(files.first()) else { return Ok(None) };
    let written = fs::metadata(path).and_then(|data| data.modified()).ok();
    let since = written.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let millis = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    Ok(millis.map(Timestamp::from_millis))
}
