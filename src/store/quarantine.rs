//! Quarantine: what was damaged, for whoever wants to look. Nothing here is ever read again.
//!
//! The name of each entry ends with the time at which it was put aside, in ms since 1970: clean-up goes
//! by that.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use prost::Message as _;

use super::{
    StoreError, keys, layout,
    partition::{self, BadChunk},
    record::BadChunkRecord,
};
use crate::{telemetry::events::StoreEvents, time::Timestamp};

/// Bytes that all of it may take, but for the entry that came last.
const BYTES_MAX: u64 = 1 << 30;
/// … or this part of what the whole store may take, where that is less.
const PART_OF_STORE: u64 = 10;

/// How much of it may stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// What was put aside before goes.
    pub(super) oldest: Timestamp,
    /// What the whole store may take, where that is limited.
    pub(super) store_bytes_max: Option<u64>,
}

/// A name below `quarantine/` that is free.
fn free_name(store: &Path, name: &str, now: Timestamp) -> PathBuf {
    let dir = store.join(keys::QUARANTINE);
    let free = (now.as_millis()..).map(|at| dir.join(format!("{name}.{at}")));
    free.into_iter().find(|to| !to.exists()).expect("there are more numbers than files")
}

/// Moves what is damaged to where nobody trips over it.
pub(super) fn put_aside(store: &Path, path: &Path, now: Timestamp) -> Result<(), StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fs::rename(path, free_name(store, &name, now)).map_err(StoreError::io("put aside", path))
}

/// Keeps chunks as they lie in partitions that are about to go; `of` names what takes their place.
pub(super) fn keep_chunks(
    store: &Path,
    of: &Path,
    chunks: &[BadChunk],
    now: Timestamp,
) -> Result<(), StoreError> {
    if chunks.is_empty() {
        return Ok(());
    }
    let bytes: Vec<u8> = chunks.iter().flat_map(record_of).collect();
    let name = of.file_name().unwrap_or_default().to_string_lossy();
    let path = free_name(store, &format!("{name}.chunks"), now);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        File::open(store.join(keys::QUARANTINE))?.sync_all()
    });
    written.map_err(StoreError::io("write", path))
}

fn record_of(chunk: &BadChunk) -> Vec<u8> {
    let record = BadChunkRecord {
        partition: chunk.partition.display().to_string(),
        labels: Some((&chunk.labels).into()),
        key: chunk.key.clone(),
        value: chunk.value.clone(),
    };
    record.encode_length_delimited_to_vec()
}

/// Something that was put aside.
struct Entry {
    at: Timestamp,
    path: PathBuf,
    bytes: u64,
}

/// Everything whose name says when it came, the newest first; what somebody else has put here stays.
fn entries(store: &Path) -> Result<Vec<Entry>, StoreError> {
    let entry = |path: PathBuf| {
        let at = path.extension()?.to_str()?.parse().ok()?;
        let own = fs::symlink_metadata(&path).ok()?;
        let bytes = if own.is_dir() { partition::size_of(&path) } else { own.len() };
        Some(Entry { at: Timestamp::from_millis(at), path, bytes })
    };
    let paths = layout::list(&store.join(keys::QUARANTINE))?;
    let mut entries: Vec<Entry> = paths.into_iter().filter_map(entry).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    Ok(entries)
}

/// Removes what is too old or too much; tells how many entries, and their bytes.
pub(super) fn clean(
    store: &Path,
    limits: Limits,
    events: &StoreEvents,
) -> Result<(u64, u64), StoreError> {
    let store_max = limits.store_bytes_max.unwrap_or(u64::MAX) / PART_OF_STORE;
    let bytes_max = BYTES_MAX.min(store_max);
    let (mut kept, mut gone) = (0_u64, (0, 0));
    for (newer, entry) in entries(store)?.into_iter().enumerate() {
        let fits = newer == 0 || kept + entry.bytes <= bytes_max;
        kept += entry.bytes;
        if fits && entry.at >= limits.oldest {
            continue;
        }
        let is_dir = entry.path.is_dir();
        let removed =
            if is_dir { fs::remove_dir_all(&entry.path) } else { fs::remove_file(&entry.path) };
        match removed {
            Ok(()) => gone = (gone.0 + 1, gone.1 + entry.bytes),
            Err(error) => events.left_over(&entry.path, &error),
        }
    }
    Ok(gone)
}
