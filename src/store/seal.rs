//! Sealing: from the open window into partitions, and the log cut behind it.
//!
//! In this order, so that a crash at any point loses nothing: the floor is raised (no sample comes in
//! below it any more), partitions are written and durable, the small state is copied into the
//! catalog, readers are shown the partitions, a checkpoint replaces the log. The head forgets what is
//! sealed when the last reader who saw it there has gone.

use std::{
    fs,
    ops::Range,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use prost::Message as _;

use crate::time::Timestamp;

use super::{
    Inner, Snapshot, StoreError,
    commit::Rotated,
    head::{self, Head},
    history::Kind,
    keys,
    partition::{self, Content, Partition, Plan, SampleSet, Values},
    record::{BadRecord, SpanRecord},
    rollup::Tier,
    room::{RoomFor, need_room},
    state::State,
};

/// How long a partition of samples is.
const RANGE: Duration = Duration::from_hours(2);
/// Entries of the history in memory before they are sealed: about 2 MB.
const HISTORY_TAIL_MAX: usize = 8192;
/// The log is replaced by a checkpoint when it is longer than this, about 500,000 samples, …
const LOG_BYTES: u64 = 2 << 20;
/// … and longer than the checkpoint is about to be, so that no more is written in checkpoints than in
/// the log: what a sample takes in one, generously.
const CHECKPOINT_SAMPLE_BYTES: u64 = 3;
/// Copies of the small state that are kept.
const CATALOG_COPIES: usize = 2;
/// How old the last copy is when another is made: it is there for the day on which the log is lost.
const CATALOG_INTERVAL: Duration = Duration::from_hours(24);
/// What a sample takes in a partition, generously.
const SEALED_SAMPLE_BYTES: u64 = 4;
/// What a series takes there beside its samples and labels: the heads of its chunk, its place in the
/// index.
const SEALED_SERIES_BYTES: u64 = 64;
/// How often a label may stand there: among the labels of its series, and in the index.
const LABEL_COPIES: u64 = 2;

/// Seals what is old enough; tells how many samples that were.
pub(super) fn seal(store: &Inner) -> Result<u64, StoreError> {
    let _alone = store.maintenance.lock();
    store.handles.close_idle();
    store.cut_unseen();
    report_unreadable(store);
    // However little may come late: what is asked most, the last minutes, is answered from memory.
    let open = store.options.out_of_order_window.max(RANGE);
    let floor = store.clock.now().minus(open).stretch(RANGE).start;
    let state = store.state();
    let samples_due = store.head.oldest(state.sealed).is_some_and(|oldest| oldest < floor);
    let history_due = state.history.unsealed() >= HISTORY_TAIL_MAX;
    if !samples_due && !history_due {
        return shorten_log(store);
    }
    need_room(&store.dir, RoomFor::Sealing, room_needed(&store.head, &state, floor))?;
    store.edit(move |state| {
        if samples_due {
            state.floor = state.floor.max(floor);
        }
    })?;
    let sealed = seal_below_floor(store, &store.snapshot_to_seal(), history_due)?;
    store.cut_unseen();
    store.handles.close_idle();
    Ok(sealed)
}

/// Tells of what readers and the committer could not read in memory.
fn report_unreadable(store: &Inner) {
    let times = head::take_unreadable();
    if times > 0 {
        store.events.quarantined(&format!(
            "samples in memory, which made no sense {times} times and were left out: the memory of the \
             host is damaged, or it is a defect"
        ));
    }
}

/// Seals what lies before the floor, where nothing is added any more.
fn seal_below_floor(
    store: &Inner,
    snapshot: &Snapshot,
    history_due: bool,
) -> Result<u64, StoreError> {
    let mut new = New::default();
    let rotated = write(store, snapshot, history_due, &mut new)
        .and_then(|()| publish(store, &snapshot.state, &new))
        .inspect_err(|_| new.doom())?;
    // The partitions are published: whatever happens from here on, a start finds them.
    let sealed = new.samples.iter().map(|partition| partition.manifest().samples).sum();
    store.cut_later(&rotated.state, sealed);
    store.write_checkpoint(&rotated)?;
    store.events.sealed(sealed, new.samples.len());
    Ok(sealed)
}

/// Replaces a log that has grown long by a checkpoint, so that a start stays quick.
fn shorten_log(store: &Inner) -> Result<u64, StoreError> {
    let log = store.log_bytes.load(Ordering::Relaxed);
    let samples = LOG_BYTES + CHECKPOINT_SAMPLE_BYTES * store.head.samples();
    if log > samples && log > samples + store.head.histogram_bytes() {
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

fn write(
    store: &Inner,
    snapshot: &Snapshot,
    history_due: bool,
    new: &mut New,
) -> Result<(), StoreError> {
    seal_samples(store, snapshot, &mut new.samples)?;
    if history_due {
        new.history = Some(Arc::new(seal_history(store, &snapshot.state)?));
    }
    let now = store.clock.now();
    let fresh = |at: &Timestamp| now.since(*at) < CATALOG_INTERVAL;
    if !store.catalog_at.lock().as_ref().is_some_and(fresh) {
        write_catalog(store, &snapshot.state)?;
        *store.catalog_at.lock() = Some(now);
    }
    Ok(())
}

/// Shows readers the partitions, and begins a segment of the log after it.
fn publish(store: &Inner, state: &State, new: &New) -> Result<Rotated, StoreError> {
    let (samples, history) = (new.samples.clone(), new.history.clone());
    let (floor, next) = (state.floor, state.history.next);
    store.rotate(move |state| {
        let tiers = Arc::make_mut(&mut state.tiers);
        for partition in samples {
            tiers.add(Tier::Raw, partition);
        }
        let sealed = if history.is_some() { next } else { state.history.sealed };
        Arc::make_mut(&mut state.history.partitions).extend(history);
        state.cut(floor, sealed);
        state.history.forget_hidden();
    })
}

/// Writes everything before the floor, the oldest range first.
fn seal_samples(
    store: &Inner,
    snapshot: &Snapshot,
    written: &mut Vec<Arc<Partition>>,
) -> Result<(), StoreError> {
    let mut all = store.head.all();
    all.sort_by(|a, b| a.labels().cmp_by_metric(b.labels()));
    let mut from = snapshot.state.sealed;
    while let Some(oldest) = store.head.oldest(from).filter(|time| *time < snapshot.state.floor) {
        let Range { start, end } = oldest.stretch(RANGE);
        let last = end.minus(Duration::from_millis(1));
        let plan = Plan::of_tier(&store.dir, Tier::Raw, (start, end));
        let partition = partition::write(&plan, &store.handles, |writer| {
            all.iter().try_for_each(|series| {
                let SampleSet { samples, histograms } = snapshot.read_open(series, (start, last));
                let content = Content { values: Values::Samples(samples), histograms };
                writer.put_series(series.labels(), &content)
            })
        })?;
        store.events.written("seal", partition.manifest().bytes);
        written.push(Arc::new(partition));
        from = end;
    }
    Ok(())
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
    let plan = Plan::numbered(&parent, number);
    let copy = partition::write(&plan, &store.handles, |writer| {
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
    store.events.written("catalog", copy.manifest().bytes);
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

/// Bytes that sealing up to `floor` can write: samples, labels in each partition in which they may be,
/// history.
pub(super) fn room_needed(head: &Head, state: &State, floor: Timestamp) -> u64 {
    let oldest = head.oldest(state.sealed).unwrap_or(floor).stretch(RANGE).start;
    let ranges = floor.since(oldest).as_millis().div_ceil(RANGE.as_millis());
    let (series, label_bytes) = head.in_partitions(usize::try_from(ranges).unwrap_or(usize::MAX));
    head.samples() * SEALED_SAMPLE_BYTES
        + head.histogram_bytes()
        + series * SEALED_SERIES_BYTES
        + label_bytes * LABEL_COPIES
        + state.history.unsealed() as u64 * 1024
}
