//! Compaction: from many short partitions to few long ones, and from samples to rollups.
//!
//! `plan` says what is due, `merge` reads partitions series by series; here a job is carried out. The new
//! partition is written, verified and durable before readers see it, and those that it was made of go
//! only then: a crash leaves both at worst, and the next start removes what the new one covers
//! ([`Tiers::take_superseded`](super::tiers::Tiers::take_superseded)). Readers go on all the while, and
//! whoever still reads an old partition keeps it.

mod merge;
mod plan;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use self::plan::{Horizon, Job};
use super::{
    Inner, StoreError,
    partition::{self, BadChunk, Partition},
    quarantine,
    rollup::Tier,
    room::{RoomFor, need_room},
    tiers::Part,
};
pub(super) use plan::{kept, longest};

/// Carries out the job that is due first; tells whether there was one.
pub(super) fn compact_next(store: &Inner) -> Result<bool, StoreError> {
    let _alone = store.maintenance.lock();
    let state = store.state();
    let horizon = Horizon { now: store.clock.now(), sealed: state.sealed };
    let Some(job) = plan::next(&state.tiers, horizon, &store.options) else { return Ok(false) };
    drop(state);
    match run(store, &job) {
        // The next plan does without what cannot be read.
        Err(error @ StoreError::Damaged { .. }) if has_damage(&job) => {
            store.events.quarantined(&error.to_string());
            Ok(true)
        }
        outcome => outcome.map(|()| true),
    }
}

/// Rolls one partition up, whether or not its window is over. Whoever asks holds the maintenance lock.
pub(super) fn roll_up(
    store: &Inner,
    tier: Tier,
    partition: &Arc<Partition>,
) -> Result<(), StoreError> {
    let job = plan::roll_now(&store.state().tiers, tier, partition);
    job.filter(|_| partition.is_usable()).map_or(Ok(()), |job| run(store, &job))
}

fn has_damage(job: &Job<Arc<Partition>>) -> bool {
    job.inputs.iter().any(|(_, partition)| partition.is_damaged())
}

fn run(store: &Inner, job: &Job<Arc<Partition>>) -> Result<(), StoreError> {
    need_room(&store.dir, RoomFor::Compacting, job.bytes())?;
    let plan = partition::Plan::of_tier(&store.dir, job.tier, job.range).anew()?;
    let mut lost = Vec::new();
    let new = partition::write(&plan, &store.handles, |writer| {
        let mut merge = merge::Merge::of(job.tier, &job.inputs, &mut lost)?;
        while let Some(series) = merge.next()? {
            if store.stopping.load(Ordering::Acquire) {
                return Err(StoreError::Closed);
            }
            series.put(writer)?;
        }
        Ok(())
    })?;
    // Those of finer tiers stay where they are.
    let goes = |chunk: &BadChunk| {
        job.inputs.iter().any(|(tier, part)| *tier == job.tier && part.dir() == chunk.partition)
    };
    let (gone, stay): (Vec<_>, Vec<_>) = lost.into_iter().partition(goes);
    store.report_chunks(&stay);
    store.keep_chunks(&new, &gone)?;
    store.events.compacted(job.tier.name(), job.inputs.len(), new.manifest().bytes);
    publish(store, job, Arc::new(new))?;
    store.handles.close_idle();
    Ok(())
}

/// Shows readers the new partition in place of what it was made of. One that could not be read is put
/// aside where the new one covers it.
fn publish(
    store: &Inner,
    job: &Job<Arc<Partition>>,
    new: Arc<Partition>,
) -> Result<(), StoreError> {
    let (tier, range) = (job.tier, job.range);
    let is_replaced = |p: &&Arc<Partition>| p.lies_in(range) || (p.is_damaged() && p.meets(range));
    let replaced: Vec<Arc<Partition>> =
        store.state().tiers.of(tier).iter().filter(is_replaced).cloned().collect();
    let dirs: HashSet<PathBuf> = replaced.iter().map(|p| p.dir().to_owned()).collect();
    store.edit(move |state| {
        let tiers = Arc::make_mut(&mut state.tiers);
        tiers.remove(tier, |known| dirs.contains(known.dir()));
        tiers.add(tier, new);
    })?;
    for old in &replaced {
        if old.is_damaged() {
            quarantine::put_aside(&store.dir, old.dir(), store.clock.now())?;
        } else {
            old.doom();
        }
    }
    Ok(())
}
