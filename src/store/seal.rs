//! Sealing: from the open window into partitions, and the log cut behind it.
//!
//! In this order, so that a crash at any point loses nothing: the floor is raised (no sample comes in
//! below it any more), partitions are written and durable, the small state is copied into the
//! catalog, a checkpoint replaces the log.

use std::{fs, path::Path, sync::Arc, time::Duration};

use prost::Message as _;

use super::{
    Inner, StoreError,
    head::{LATE_MAX, Series},
    history::Kind,
    keys,
    partition::{self, Partition, Plan},
    record::{BadRecord, SpanRecord},
    rollup::Tier,
    state::State,
};
use crate::{model::Labels, time::Timestamp};

/// What one partition of samples covers.
const RANGE: Duration = Duration::from_hours(2);
/// Entries of the history in memory before they are sealed: about 2 MB.
const HISTORY_TAIL_MAX: usize = 8192;
/// The log is replaced when it is longer, the checkpoint that it begins with not counted: about
/// 200,000 samples, which take a fifth of a second to replay.
const LOG_BYTES: u64 = 2 << 20;
/// What a sample takes in a checkpoint, generously.
const CHECKPOINT_SAMPLE_BYTES: u64 = 3;
/// Copies of the small state that are kept.
const CATALOG_COPIES: usize = 2;
/// What a sample takes in a partition, generously.
const SEALED_SAMPLE_BYTES: u64 = 4;
/// Free disk that sealing leaves alone: the engine must never be the one to meet the end of it.
const RESERVE_BYTES: u64 = 8 << 20;

/// Seals what is old enough; tells how many samples that were.
pub(super) fn seal(store: &Inner) -> Result<u64, StoreError> {
    let _alone = store.maintenance.lock();
    store.handles.close_idle();
    let floor = store.clock.now().minus(LATE_MAX).aligned(RANGE);
    let state = store.state();
    let samples_due = state.head.span().is_some_and(|(oldest, _)| oldest < floor);
    let history_due = state.history.unsealed() >= HISTORY_TAIL_MAX;
    if !samples_due && !history_due {
        return shorten_log(store, &state);
    }
    need_room(&store.dir, &state)?;
    let state = store.edit(move |state| {
        if samples_due {
            state.floor = state.floor.max(floor);
        }
    })?;
    let mut new = New::default();
    if let Err(error) = write(store, &state, history_due, &mut new) {
        new.doom();
        return Err(error);
    }
    if let Err(error) = publish(store, &state, &new) {
        if !may_be_published(&error) {
            new.doom();
        }
        return Err(error);
    }
    let sealed = new.samples.iter().map(|partition| partition.manifest().samples).sum();
    store.events.sealed(sealed, new.samples.len());
    store.handles.close_idle();
    Ok(sealed)
}

/// Replaces a log that has grown long by a checkpoint, so that a start stays quick.
fn shorten_log(store: &Inner, state: &State) -> Result<u64, StoreError> {
    let log = partition::size_of(&store.dir.join(keys::WAL));
    if log > LOG_BYTES + CHECKPOINT_SAMPLE_BYTES * state.head.samples() {
        store.checkpoint(|_| {})?;
    }
    Ok(0)
}

/// Partitions that are written and that nobody knows of yet.
#[derive(Default)]
struct New {
    samples: Vec<Arc<Partition>>,
    history: Option<Arc<Partition>>,
}

impl New {
    fn doom(&self) {
        self.samples.iter().chain(&self.history).for_each(|partition| partition.doom());
    }
}

/// Whether the log may begin with a checkpoint that counts on the new partitions, although publishing
/// them failed so. Where it does not, they do no harm: the next sealing or start takes care of them.
fn may_be_published(error: &StoreError) -> bool {
    matches!(error, StoreError::Poisoned(_) | StoreError::Closed | StoreError::CommitterDied)
}

fn write(store: &Inner, state: &State, history_due: bool, new: &mut New) -> Result<(), StoreError> {
    seal_samples(store, state, &mut new.samples)?;
    if history_due {
        new.history = Some(Arc::new(seal_history(store, state)?));
    }
    write_catalog(store, state)
}

/// Shows readers the partitions, and replaces the log.
fn publish(store: &Inner, state: &State, new: &New) -> Result<(), StoreError> {
    let (samples, history) = (new.samples.clone(), new.history.clone());
    let (floor, next) = (state.floor, state.history.next);
    store.checkpoint(move |state| {
        let tiers = Arc::make_mut(&mut state.tiers);
        samples.into_iter().for_each(|partition| tiers.add(Tier::Raw, partition));
        let sealed = if history.is_some() { next } else { state.history.sealed };
        Arc::make_mut(&mut state.history.partitions).extend(history);
        state.cut(floor, sealed);
        state.history.forget_hidden();
    })
}

/// Writes everything before the floor, the oldest range first.
fn seal_samples(
    store: &Inner,
    state: &State,
    written: &mut Vec<Arc<Partition>>,
) -> Result<(), StoreError> {
    let mut from = Timestamp::from_millis(i64::MIN);
    while let Some(oldest) = oldest_from(state, from) {
        let start = oldest.aligned(RANGE);
        let end = start.plus(RANGE);
        let last = end.minus(Duration::from_millis(1));
        let mut all: Vec<(&Labels, &Series)> =
            state.head.iter().filter(|(_, series)| series.has(start, last)).collect();
        all.sort_by(|a, b| (a.0.metric(), a.0).cmp(&(b.0.metric(), b.0)));
        let plan = Plan::of_tier(&store.dir, Tier::Raw, (start, end));
        let partition = partition::write(&plan, &store.handles, |writer| {
            let mut samples = Vec::new();
            all.iter().try_for_each(|(labels, series)| {
                samples.clear();
                series.read(start, last, &mut samples);
                writer.put_samples(labels, &samples)
            })
        })?;
        written.push(Arc::new(partition));
        from = end;
    }
    Ok(())
}

/// The oldest sample from `from` on that is before the floor.
fn oldest_from(state: &State, from: Timestamp) -> Option<Timestamp> {
    let last = state.floor.minus(Duration::from_millis(1));
    let first = |series: &Series| series.first_in(from, last);
    state.head.iter().filter_map(|(_, series)| first(series)).min()
}

fn seal_history(store: &Inner, state: &State) -> Result<Partition, StoreError> {
    let parent = store.dir.join(keys::HISTORY);
    let plan = Plan::numbered(&parent, state.history.next.iter().sum());
    partition::write(&plan, &store.handles, |writer| {
        for kind in Kind::ALL {
            writer.put_history(kind, state.history.tails[kind as usize].iter())?;
        }
        Ok(())
    })
}

/// Writes a copy of the small state, and removes old copies.
pub(super) fn write_catalog(store: &Inner, state: &State) -> Result<(), StoreError> {
    let parent = store.dir.join(keys::CATALOG);
    let mut copies = numbers(&parent)?;
    let number = copies.last().map_or(1, |last| last + 1);
    let spans = state.history.sealed.iter().zip(&state.history.next);
    partition::write(&Plan::numbered(&parent, number), &store.handles, |writer| {
        writer.manifest.history = spans
            .map(|(first, last)| SpanRecord { first: *first, last: *last, ..SpanRecord::default() })
            .collect();
        let damaged = |error: BadRecord| StoreError::Damaged {
            path: parent.clone(),
            reason: error.to_string(),
        };
        let mut records = state.small.to_records();
        records.extend(state.history.to_records().map_err(damaged)?);
        for (place, record) in (0..).zip(records) {
            writer.put(keys::TREE_STATE, &keys::sequence(place), &record.encode_to_vec())?;
        }
        Ok(())
    })?;
    copies.truncate((copies.len() + 1).saturating_sub(CATALOG_COPIES));
    for old in copies {
        let path = parent.join(keys::numbered(old));
        if let Err(error) = partition::remove(&path) {
            store.events.left_over(&path, &error);
        }
    }
    Ok(())
}

fn numbers(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut numbers: Vec<u64> = entries.flatten().filter_map(name).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether there is twice the room that sealing can need, and a reserve: an engine that meets a full
/// disk may hang.
fn need_room(dir: &Path, state: &State) -> Result<(), StoreError> {
    let disk =
        rustix::fs::statvfs(dir).map_err(|error| StoreError::io("measure", dir)(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let bytes = state.head.samples() * SEALED_SAMPLE_BYTES + state.history.unsealed() as u64 * 1024;
    let needed = RESERVE_BYTES + 2 * bytes;
    if free >= needed { Ok(()) } else { Err(StoreError::NoSpace { needed, free }) }
}
