//! A store that tests can break: on an engine in memory, with faults in the engine and in the log.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use super::{
    Handles, Options, Parts, Recovery, Store, StoreError,
    engine::{Engine as _, Fanout, fault::FaultEngine, memory::MemoryEngine, sled::SledEngine},
    keys,
    partition::{self, Content, Partition, Plan},
    rollup::Tier,
    wal::WalOptions,
};
use crate::{
    model::{Labels, Matcher, Sample},
    promql::RollupColumn,
    telemetry::{Telemetry, events::StoreEvents},
    time::{Clock, Timestamp},
};

pub use super::engine::fault::Faults;

pub mod codec;
pub mod histograms;
pub mod mix;

/// What fails in a store under test.
#[derive(Clone, Debug, Default)]
pub struct Breakage {
    /// Writing calls of the engine.
    pub engine: Faults,
    /// Walks of the engine, each of which loses its database.
    pub engine_reads: Faults,
    /// How often the engine opened a database.
    pub engine_opened: Arc<AtomicI64>,
    /// Writing calls of the log.
    pub log: Faults,
}

/// Opens a store whose partitions are plain files instead of sled, and that fails by `breakage`.
pub fn open(
    dir: &Path,
    options: Options,
    clock: Clock,
    breakage: &Breakage,
) -> Result<(Store, Recovery), StoreError> {
    let engine = FaultEngine {
        inner: Box::new(MemoryEngine),
        faults: breakage.engine.clone(),
        reads: breakage.engine_reads.clone(),
        opened: Arc::clone(&breakage.engine_opened),
    };
    let wal = WalOptions::with_faults(dir.join(keys::WAL), breakage.log.clone());
    let parts = Parts { engine: Box::new(engine), wal, clock, options };
    Store::open_with(dir, parts, StoreEvents::new(&Telemetry::new()))
}

/// One partition of samples on sled, to be measured.
#[derive(Debug)]
pub struct OnePartition {
    handles: Arc<Handles>,
    partition: Partition,
}

impl OnePartition {
    /// Writes a partition of the range below `dir` from series in the order of (metric name, labels).
    pub fn write(
        dir: &Path,
        range: (Timestamp, Timestamp),
        series: impl Iterator<Item = (Labels, Vec<Sample>)>,
    ) -> Result<Self, StoreError> {
        let handles = Arc::new(Handles::new(Box::new(SledEngine)));
        let plan = Plan::of_tier(dir, Tier::Raw, range);
        let partition = partition::write(&plan, &handles, |writer| {
            for (labels, samples) in series {
                writer.put_series(&labels, &Content::of_samples(&samples))?;
            }
            Ok(())
        })?;
        Ok(Self { handles, partition })
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.partition.manifest().bytes
    }

    /// Bytes of chunks, of label sets and of the index, as they were handed to the engine.
    pub fn payloads(&self) -> Result<[u64; 3], StoreError> {
        [keys::TREE_SAMPLES, keys::TREE_SERIES, keys::TREE_TERMS]
            .map(|tree| self.partition.bytes_of(tree))
            .into_iter()
            .collect::<Result<Vec<u64>, _>>()
            .map(|all| [all[0], all[1], all[2]])
    }

    /// How many series match and how many samples they have.
    pub fn select(&self, matchers: &[Matcher]) -> Result<(usize, usize), StoreError> {
        let all = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let (mut series, mut count) = (0, 0);
        self.partition.select(matchers, all, RollupColumn::Last, &mut |_, points| {
            (series, count) = (series + 1, count + points.samples.len());
            Ok(())
        })?;
        Ok((series, count))
    }

    /// How many series and samples a walk over everything finds.
    pub fn scan(&self) -> Result<usize, StoreError> {
        let (mut scan, mut series) = (self.partition.scan()?, 0);
        while let Some(next) = scan.next() {
            next?;
            series += 1;
        }
        Ok(series)
    }

    /// Closes the database; the next reader opens it.
    pub fn close(&self) {
        self.handles.close_idle();
    }
}

/// Makes an empty database of the engine, makes it durable and closes it.
pub fn empty_database(dir: &Path) -> Result<(), StoreError> {
    let made = SledEngine.create(dir, Fanout::SixtyFour).and_then(|mut db| db.flush());
    made.map_err(StoreError::engine("create", dir))
}

/// Opens a database that [`empty_database`] made; it is closed when the answer is dropped.
pub fn open_database(dir: &Path) -> Result<impl Send + use<>, StoreError> {
    SledEngine.open(dir, Fanout::SixtyFour).map_err(StoreError::engine("open", dir))
}
