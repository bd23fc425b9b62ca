//! A store that tests can break: on an engine in memory, with faults in the engine and in the log.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use super::{
    Options, Parts, Recovery, Store, StoreError,
    engine::{fault::FaultEngine, memory::MemoryEngine},
    keys,
    wal::WalOptions,
};
use crate::{
    telemetry::{Telemetry, events::StoreEvents},
    time::Clock,
};

pub use super::engine::fault::Faults;

pub mod codec;
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
