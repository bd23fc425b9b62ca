//! Erasing: matching samples go from memory, from the log, and from every partition of every tier.
//!
//! Memory first, by a checkpoint that replaces the log; then each partition that holds something is
//! written anew without it, as the next generation of its range, and takes the place of the old one,
//! which stays for those who read it: they are waited for. Nothing is sealed, compacted or backed up
//! meanwhile. A crash leaves some of it undone, and the next start removes old generations: erasing
//! again does the rest. What is not touched: backups, what is in quarantine, and the audit, which
//! tells the selector.

use std::{
    collections::HashSet,
    fs, io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    Inner, Store, StoreError, keys, layout,
    partition::{self, BadChunk, Content, Partition, Plan, Values, Writer},
    rollup::Tier,
    room::{RoomFor, need_room},
    seal,
};
use crate::{
    limits,
    model::{Labels, Matcher, matches_all},
    time::Timestamp,
};

/// How often it is looked whether those who read what was replaced have gone, …
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// … and for how long: longer than any query may take.
const READERS_MAX: Duration = limits::QUERY_TIMEOUT.saturating_add(Duration::from_secs(10));

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Series that lost samples.
    pub series: u64,
    /// Samples, from memory and the raw tier.
    pub samples: u64,
    /// Rollups.
    pub rollups: u64,
    /// Partitions that were written anew, or removed.
    pub partitions: u64,
}

/// What is to go.
#[derive(Clone, Debug)]
pub(super) struct Doomed {
    /// Series that any of them matches.
    selectors: Vec<Vec<Matcher>>,
    /// Both ends belong to it.
    start: Timestamp,
    end: Timestamp,
}

impl Doomed {
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.selectors.iter().any(|matchers| matches_all(matchers, labels))
    }

    pub(super) fn holds(&self, time: Timestamp) -> bool {
        time >= self.start && time <= self.end
    }

    /// Whether any of the stretch that a sample of this tier stands for lies in the range: then it goes
    /// whole. As it came, it stands for its own instant.
    fn touches(&self, last: Timestamp, tier: Tier) -> bool {
        let stretch = last.stretch(tier.resolution());
        stretch.start <= self.end && stretch.end > self.start
    }
}

/// What went so far, and of which series.
#[derive(Default)]
struct Tally {
    series: HashSet<Labels>,
    erased: Erased,
    /// Partitions that were written anew: they go with their last reader.
    replaced: Vec<PathBuf>,
}

impl Store {
    /// Erases the samples in the range (both ends belong to it) of the series that any of the selectors
    /// matches; returns when they are on disk no more. Blocking, for as long as it takes to write the
    /// partitions that hold some anew, and as queries take that read them at that moment. Where a
    /// partition cannot be read, the others are done, and the error names it.
    pub fn erase(
        &self,
        selectors: Vec<Vec<Matcher>>,
        (start, end): (Timestamp, Timestamp),
    ) -> Result<Erased, StoreError> {
        let outcome = erase(&self.0, &Doomed { selectors, start, end });
        outcome.inspect_err(|error| self.0.judge(error))
    }
}

fn erase(store: &Inner, doomed: &Doomed) -> Result<Erased, StoreError> {
    let mut tally = Tally::default();
    let done = erase_all(store, doomed, &mut tally);
    let gone = wait_for_readers(&tally.replaced).and_then(|()| forget_empty(store));
    done.and(gone)?;
    let series = tally.series.len() as u64;
    Ok(Erased { series, ..tally.erased })
}

fn erase_all(store: &Inner, doomed: &Doomed, tally: &mut Tally) -> Result<(), StoreError> {
    let _alone = store.maintenance.lock();
    refuse_while_backing_up(store)?;
    erase_memory(store, doomed, tally)?;
    let mut outcome = Ok(());
    for (tier, partition) in store.state().tiers.all() {
        let erased = erase_partition(store, (tier, partition), doomed, tally);
        outcome = outcome.and(erased);
    }
    renew_catalog(store)?;
    outcome
}

/// A backup has second names of what was there when it began.
fn refuse_while_backing_up(store: &Inner) -> Result<(), StoreError> {
    if store.backing_up.load(Ordering::Acquire) {
        return Err(StoreError::Busy(
            "a backup is under way, which goes on to hold what is erased: try again when it has ended",
        ));
    }
    Ok(())
}

/// Waits until the directories have gone with their last readers.
fn wait_for_readers(replaced: &[PathBuf]) -> Result<(), StoreError> {
    let mut waited = Duration::ZERO;
    while !replaced.iter().all(|dir| partition::is_gone(dir)) {
        if waited >= READERS_MAX {
            return Err(StoreError::Busy(
                "what was to be erased is in no answer any more, but still on disk, where somebody \
                 reads it, or it cannot be removed: it goes with its last reader or at the next start",
            ));
        }
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    Ok(())
}

/// Removes partitions of which nothing is left. Not before the old generation has gone: a crash would
/// bring that back.
fn forget_empty(store: &Inner) -> Result<(), StoreError> {
    let _alone = store.maintenance.lock();
    // One that began while readers were waited for has linked to what they held.
    refuse_while_backing_up(store)?;
    let is_empty =
        |partition: &Arc<Partition>| partition.manifest().samples == 0 && partition.is_only_one();
    let empty: Vec<Arc<Partition>> =
        store.state().tiers.all().map(|(_, p)| p).filter(|p| is_empty(p)).cloned().collect();
    if empty.is_empty() {
        return Ok(());
    }
    store.edit(move |state| {
        let tiers = Arc::make_mut(&mut state.tiers);
        for tier in Tier::ALL {
            tiers.remove(tier, is_empty);
        }
    })?;
    for partition in &empty {
        partition.doom();
    }
    Ok(())
}

/// Has the committer forget, and replaces the log by a checkpoint of what is left.
fn erase_memory(store: &Inner, doomed: &Doomed, tally: &mut Tally) -> Result<(), StoreError> {
    let before = layout::files(&store.dir.join(keys::WAL))?;
    let gone = Arc::new(Mutex::new(Vec::new()));
    let (head, doomed, taken) = (Arc::clone(&store.head), doomed.clone(), Arc::clone(&gone));
    store.checkpoint(move |state| {
        *taken.lock() = head.erase(&doomed, state.sealed);
        Arc::make_mut(&mut state.small.accumulators).retain(|labels, _| !doomed.matches(labels));
    })?;
    for (labels, samples) in gone.lock().drain(..) {
        tally.series.insert(labels);
        tally.erased.samples += samples;
    }
    // The checkpoint has removed them; one that it could not remove still holds everything.
    before.iter().try_for_each(|path| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    })
}

fn erase_partition(
    store: &Inner,
    (tier, old): (Tier, &Arc<Partition>),
    doomed: &Doomed,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    if !holds_any(store, (tier, old), doomed)? {
        return Ok(());
    }
    need_room(&store.dir, RoomFor::Erasing, old.manifest().bytes)?;
    let plan = Plan::of_tier(&store.dir, tier, (old.start(), old.end())).anew()?;
    let mut bad = Vec::new();
    let new = partition::write(&plan, &store.handles, |writer| {
        copy_rest(old, writer, &mut bad, &mut |labels, content| {
            strip(tier, doomed, labels, content, tally);
        })
    })?;
    // What of it is to be erased, nobody can tell.
    bad.retain(|chunk| !doomed.matches(&chunk.labels));
    store.keep_chunks(&new, &bad)?;
    publish(store, tier, old, new)?;
    tally.replaced.push(old.dir().to_owned());
    tally.erased.partitions += 1;
    Ok(())
}

/// Whether any series that matches has samples in the range. Asked broadly where there are rollups, for
/// one counts by its stretch, and where chunks are damaged, for nobody can tell what is in those.
fn holds_any(
    store: &Inner,
    (tier, partition): (Tier, &Partition),
    doomed: &Doomed,
) -> Result<bool, StoreError> {
    let around = tier.resolution();
    let range = (doomed.start.minus(around), doomed.end.plus(around));
    if !partition.overlaps(range.0, range.1) {
        return Ok(false);
    }
    let mut found = false;
    let mut take = |_: &Labels| {
        found = true;
        Ok(())
    };
    for matchers in &doomed.selectors {
        for loss in partition.series(matchers, range, &mut take)? {
            store.events.quarantined(&loss.to_string());
        }
        if partition.has_bad_chunks() {
            partition.for_each_series(matchers, &mut take)?;
        }
    }
    Ok(found)
}

type Strip<'a> = &'a mut dyn FnMut(&Labels, &mut Content);

/// Writes what `strip` leaves of each series. Damaged chunks cannot be read by anybody: they go to `bad`.
fn copy_rest(
    old: &Partition,
    writer: &mut Writer<'_>,
    bad: &mut Vec<BadChunk>,
    strip: Strip<'_>,
) -> Result<(), StoreError> {
    let mut scan = old.scan()?;
    while let Some(next) = scan.next() {
        let (labels, mut content) = next?;
        bad.append(&mut scan.take_bad());
        strip(&labels, &mut content);
        writer.put_series(&labels, &content)?;
    }
    Ok(())
}

fn strip(tier: Tier, doomed: &Doomed, labels: &Labels, content: &mut Content, tally: &mut Tally) {
    if !doomed.matches(labels) {
        return;
    }
    let (samples, rollups) = match &mut content.values {
        Values::Samples(samples) => {
            let before = samples.len();
            samples.retain(|sample| !doomed.touches(sample.timestamp, tier));
            (before - samples.len(), 0)
        }
        Values::Rollups(rollups) => {
            let before = rollups.len();
            rollups.retain(|rollup| !doomed.touches(rollup.time, tier));
            (0, before - rollups.len())
        }
    };
    let before = content.histograms.len();
    content.histograms.retain(|sample| !doomed.touches(sample.timestamp, tier));
    let samples = samples + before - content.histograms.len();
    if samples + rollups > 0 {
        tally.series.insert(labels.clone());
        tally.erased.samples += samples as u64;
        tally.erased.rollups += rollups as u64;
    }
}

/// Shows readers what is left, and has the old one go when nobody reads it any more.
fn publish(
    store: &Inner,
    tier: Tier,
    old: &Arc<Partition>,
    new: Partition,
) -> Result<(), StoreError> {
    let dir = old.dir().to_owned();
    store.edit(move |state| {
        let tiers = Arc::make_mut(&mut state.tiers);
        tiers.remove(tier, |known| known.dir() == dir);
        tiers.add(tier, Arc::new(new));
    })?;
    old.doom();
    Ok(())
}

/// Copies of the small state hold labels of accumulators: they are written anew, as many as are kept.
fn renew_catalog(store: &Inner) -> Result<(), StoreError> {
    let dir = store.dir.join(keys::CATALOG);
    let copies = layout::list(&dir)?.len();
    let state = store.state();
    (0..copies).try_for_each(|_| seal::write_catalog(store, &state))
}
