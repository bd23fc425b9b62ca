//! Names on disk and keys in the engine; `layout` has those of the format and of backups.
//!
//! ```text
//! <store>/lock                          flock; holds the holder's pid
//! <store>/wal/<number:016>.log          segments of the write-ahead log, see `wal`
//! <store>/wal/<number:016>.checkpoint   what the segments before that number held
//! <store>/tiers/raw|5m|1h/<start>-<end>/  samples or rollups of [start, end), ms since 1970;
//!                                       <start>-<end>.<n>/ where it was written anew the nth time
//!     manifest                          what is in it
//!     db/                               trees `samples` or `rollups`, `series`, `terms`
//! <store>/history/<number:016>/         probes, transitions, audit
//!     manifest
//!     db/                               trees `probes`, `transitions`, `audit`
//! <store>/catalog/<number:016>/         the small state, as of segment <number>
//!     manifest
//!     db/                               tree `state`
//! <store>/quarantine/                   what could not be read, for whoever wants to look
//! *.tmp                                 half-written; removed at start
//! ```
//!
//! | tree | key | value |
//! | --- | --- | --- |
//! | `samples`, `rollups` | rank: u32 big-endian; where a series has several chunks, also the last time in this one: i64 big-endian with its sign bit flipped; of histograms always, and the letter h | sealed chunk |
//! | `series` | rank of the last series in it: u32 big-endian; series are ranked by (metric name, labels) | sealed block of label sets |
//! | `terms` | label name, a zero byte, the last value in it; a byte 255 alone: all label names | sealed block of values and the ranks that have them |
//! | `probes`, `transitions`, `audit` | sequence: u64 big-endian | sealed `ChangeRecord` |
//! | `state` | a number: u64 big-endian | sealed `ChangeRecord` |
//! | `about` | `crc` | sealed CRC-32 of all other entries, as in the manifest: the two belong together |
//!
//! In sled all trees of a database lie in its default tree: the key there is the tree's name, a zero
//! byte and the key. "Sealed" is a version byte, a CRC-32 and the payload (`record::seal`).

use std::path::{Path, PathBuf};

use super::rollup::Tier;
use crate::time::Timestamp;

/// The lock file.
pub(super) const LOCK: &str = "lock";
/// The directory of the write-ahead log.
pub(super) const WAL: &str = "wal";
/// The directory of sealed samples and rollups.
pub(super) const TIERS: &str = "tiers";
/// The directory of sealed samples, as they came.
#[cfg(test)]
pub(super) const PARTITIONS: &str = "tiers/raw";
/// The directory of sealed history.
pub(super) const HISTORY: &str = "history";
/// The directory of the small state's copies.
pub(super) const CATALOG: &str = "catalog";
/// Where damaged files go.
pub(super) const QUARANTINE: &str = "quarantine";
/// What a partition holds.
pub(super) const MANIFEST: &str = "manifest";
/// The engine's directory within a partition.
pub(super) const DATABASE: &str = "db";
/// Ends the name of what is not finished.
pub(super) const UNFINISHED: &str = "tmp";

/// Chunks of samples by rank and time.
pub(super) const TREE_SAMPLES: &str = "samples";
/// Chunks of rollups by rank and time.
pub(super) const TREE_ROLLUPS: &str = "rollups";
/// Labels by rank.
pub(super) const TREE_SERIES: &str = "series";
/// Ranks by label.
pub(super) const TREE_TERMS: &str = "terms";
/// … and all label names, by this key.
pub(super) const TERMS_NAMES: &[u8] = &[0xff];
/// The small state.
pub(super) const TREE_STATE: &str = "state";
/// What ties a database to its manifest.
pub(super) const TREE_ABOUT: &str = "about";
/// … by this key.
pub(super) const ABOUT_CRC: &[u8] = b"crc";

/// A segment of the log.
pub(super) fn segment(wal: &Path, number: u64) -> PathBuf {
    wal.join(format!("{number:016}.log"))
}

/// The number in the name of a segment.
pub(super) fn segment_number(path: &Path) -> Option<u64> {
    (path.extension()? == "log").then_some(())?;
    path.file_stem()?.to_str()?.parse().ok()
}

/// The checkpoint that holds everything before a segment.
pub(super) fn checkpoint(wal: &Path, number: u64) -> PathBuf {
    wal.join(format!("{number:016}.checkpoint"))
}

/// The number in the name of a checkpoint.
pub(super) fn checkpoint_number(path: &Path) -> Option<u64> {
    (path.extension()? == "checkpoint").then_some(())?;
    path.file_stem()?.to_str()?.parse().ok()
}

/// The name that a file has until it is whole.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    name.into()
}

/// The directory of a tier, below the store's.
pub(super) fn tier(tier: Tier) -> PathBuf {
    Path::new(TIERS).join(tier.name())
}

/// The name of a partition of samples.
pub(super) fn range_name(start: Timestamp, end: Timestamp) -> String {
    format!("{}-{}", start.as_millis(), end.as_millis())
}

/// The name of a partition of samples that took the place of others of its range.
pub(super) fn generation_name(range_name: &str, generation: u64) -> String {
    match generation {
        0 => range_name.to_owned(),
        _ => format!("{range_name}.{generation}"),
    }
}

/// The generation in the name of a partition of that range.
pub(super) fn generation_of(range_name: &str, name: &str) -> Option<u64> {
    match name.strip_prefix(range_name)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}

/// The name of anything that is numbered.
pub(super) fn numbered(number: u64) -> String {
    format!("{number:016}")
}

/// Ends the key of a chunk of histograms.
const HISTOGRAMS: u8 = b'h';

/// The key of a series, or where its chunks begin.
pub(super) fn rank(rank: u32) -> [u8; 4] {
    rank.to_be_bytes()
}

/// The key of a chunk of a series that has several: bytes in the order of (rank, time).
pub(super) fn chunk(rank: u32, last: Timestamp) -> Vec<u8> {
    let time = last.as_millis().cast_unsigned() ^ (1 << 63);
    [&rank.to_be_bytes()[..], &time.to_be_bytes()[..]].concat()
}

/// The key of a chunk of histograms.
pub(super) fn histograms(rank: u32, last: Timestamp) -> Vec<u8> {
    let mut key = chunk(rank, last);
    key.push(HISTOGRAMS);
    key
}

/// The rank that a key of the tree `series` is.
pub(super) fn rank_of(key: &[u8]) -> Option<u32> {
    key.try_into().ok().map(u32::from_be_bytes)
}

/// What the key of a chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkKey {
    /// The series.
    pub(super) rank: u32,
    /// The time of the last sample; `None` where the series has one chunk of samples or rollups.
    pub(super) last: Option<Timestamp>,
    /// Whether it holds histograms.
    pub(super) histograms: bool,
}

impl ChunkKey {
    /// Reads a key; `None` where it is none.
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let (rank, rest) = key.split_first_chunk::<4>()?;
        let rank = u32::from_be_bytes(*rank);
        if rest.is_empty() {
            return Some(Self { rank, last: None, histograms: false });
        }
        let (time, kind) = rest.split_first_chunk::<8>()?;
        let time = (u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed();
        let histograms = match kind {
            [] => false,
            [HISTOGRAMS] => true,
            _ => return None,
        };
        Some(Self { rank, last: Some(Timestamp::from_millis(time)), histograms })
    }
}

/// The key of a block of label values, or where to look for one.
pub(super) fn term(name: &str, value: &str) -> Vec<u8> {
    [name.as_bytes(), &[0], value.as_bytes()].concat()
}

/// What comes after all blocks of a label name: no name has a byte this small.
pub(super) fn terms_end(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[1]].concat()
}

/// The key of a numbered entry.
pub(super) fn sequence(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_keys_sort_by_rank_and_time() {
        let keys: Vec<_> = [(1, i64::MIN), (1, -1), (1, 0), (1, 9), (2, -5)]
            .map(|(rank, time)| chunk(rank, Timestamp::from_millis(time)))
            .into();
        assert!(keys.is_sorted());
        assert!(rank(1).to_vec() < keys[0] && keys[3] < rank(2).to_vec());
        let read = |key: &[u8]| ChunkKey::read(key).map(|k| (k.rank, k.last, k.histograms));
        let time = Some(Timestamp::from_millis(-1));
        assert_eq!(read(&keys[1]), Some((1, time, false)));
        assert_eq!(read(&histograms(1, Timestamp::from_millis(-1))), Some((1, time, true)));
        assert_eq!(read(&rank(7)), Some((7, None, false)));
        assert_eq!(read(&keys[0][..11]), None);
        assert_eq!(read(&[&keys[0][..], b"x"].concat()), None);
    }

    #[test]
    fn generations_are_known_by_their_names() {
        for generation in [0, 1, 12] {
            let name = generation_name("5-9", generation);
            assert_eq!(generation_of("5-9", &name), Some(generation));
        }
        for other in ["5-90", "5-9.tmp", "5-9.1.tmp", "5-9.1.old.tmp", "6-9"] {
            assert_eq!(generation_of("5-9", other), None);
        }
    }

    #[test]
    fn segments_are_known_by_their_names() {
        let path = segment(Path::new("/x"), 42);
        assert_eq!(segment_number(&path), Some(42));
        assert_eq!(segment_number(Path::new("/x/0000000000000042.log.tmp")), None);
    }
}
