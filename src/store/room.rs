//! Room on the disk for what is about to be written: the engine must never be the one to meet the end of
//! it, for it may hang then.

use std::{fmt, path::Path};

use super::StoreError;

/// What needs room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomFor {
    /// Samples and history go from memory into partitions.
    Sealing,
    /// Partitions become one, or rollups.
    Compacting,
    /// Partitions are written anew without what is erased.
    Erasing,
}

impl RoomFor {
    /// Free disk that it leaves alone, in bytes.
    fn reserve(self) -> u64 {
        match self {
            Self::Sealing => 8 << 20,
            Self::Compacting | Self::Erasing => 16 << 20,
        }
    }

    /// What is the case until there is room.
    pub(super) fn meanwhile(self) -> &'static str {
        match self {
            Self::Sealing => "samples stay in the write-ahead log until then",
            Self::Compacting => "nothing is lost until then, but old samples stay where they are",
            Self::Erasing => "what was to be erased is still there in part: erase it again then",
        }
    }
}

impl fmt::Display for RoomFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealing => "sealing",
            Self::Compacting => "compacting",
            Self::Erasing => "erasing",
        })
    }
}

/// Whether the disk of `dir` has twice the room for so many bytes, and a reserve.
pub(super) fn need_room(dir: &Path, work: RoomFor, bytes: u64) -> Result<(), StoreError> {
    let disk =
        rustix::fs::statvfs(dir).map_err(|error| StoreError::io("measure", dir)(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = work.reserve() + 2 * bytes;
    if free >= needed { Ok(()) } else { Err(StoreError::NoRoom { work, needed, free }) }
}
