//! Putting a copy of the store in the place of the store.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Options, Recovery, Store, StoreError, lock::Lock};
use crate::{telemetry::Telemetry, time::Clock};

/// Opens the store in `dir` and closes it again; tells what opening found. Blocking.
pub fn prove_opens(dir: &Path) -> Result<Recovery, StoreError> {
    let opened = Store::open(dir, Options::default(), Clock::System, &Telemetry::new());
    let (store, recovery) = opened?;
    store.close()?;
    Ok(recovery)
}

/// Holds a store that is to be replaced, so that no daemon starts on it.
#[derive(Debug)]
pub struct Restoring {
    dir: PathBuf,
    _held: Lock,
}

impl Restoring {
    /// Takes the store in `dir`, which is made where there is none.
    pub fn begin(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { dir: dir.to_owned(), _held: Lock::take(dir)? })
    }

    /// Puts the directory `new` in the place of the store, and the store at `aside`; at no moment is
    /// there none. All three are on one file system.
    pub fn swap(self, new: &Path, aside: &Path) -> Result<(), StoreError> {
        // No daemon starts on the new one before it is in its place.
        let _new = Lock::take(new)?;
        let failed = |error: rustix::io::Errno| StoreError::io("exchange", new)(error.into());
        renameat_with(CWD, new, CWD, &self.dir, RenameFlags::EXCHANGE).map_err(failed)?;
        std::fs::rename(new, aside).map_err(StoreError::io("rename", new))?;
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(StoreError::io("sync", parent))
    }
}
