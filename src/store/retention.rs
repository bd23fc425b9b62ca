//! Retention: what is older than it may be goes, each kind by its own rule.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use super::{CleanUp, Inner, StoreError, history::Kind, partition::Partition, state::State};
use crate::{limits, time::Timestamp};

/// Removes what is older than its retention.
pub(super) fn clean_up(store: &Inner) -> Result<CleanUp, StoreError> {
    let _alone = store.maintenance.lock();
    let now = store.clock.now();
    let samples_limit = now.minus(store.options.retention);
    let history_limit = now.minus(store.options.history_retention);
    let state = store.state();
    let samples = state.partitions.iter().filter(|p| p.end() <= samples_limit);
    let history = old_history(&state, history_limit);
    let doomed: Vec<&Arc<Partition>> = samples.chain(history).collect();

    let mut freed = CleanUp { partitions: doomed.len() as u64, ..CleanUp::default() };
    let mut dirs: HashSet<PathBuf> = HashSet::new();
    for partition in &doomed {
        freed.bytes += partition.manifest().bytes;
        freed.entries += partition.manifest().history.iter().map(|span| span.count).sum::<u64>();
        dirs.insert(partition.dir().to_owned());
    }
    let before = state.history.unsealed();
    let after = store.edit(move |state| {
        let stays = |p: &Arc<Partition>| !dirs.contains(p.dir());
        Arc::make_mut(&mut state.partitions).retain(stays);
        Arc::make_mut(&mut state.history.partitions).retain(stays);
        state.history.cut_older(history_limit);
        state.history.forget_hidden();
    })?;
    for partition in doomed {
        partition.doom();
    }
    // Holding the old state up to here has the directories removed by this thread.
    drop(state);
    freed.entries += before.saturating_sub(after.history.unsealed()) as u64;
    if freed != CleanUp::default() {
        store.events.cleaned(freed.partitions, freed.entries, freed.bytes);
    }
    Ok(freed)
}

/// Sealed history that is too old as a whole, or more than is kept: the oldest first, as long as the
/// full number of entries stays.
fn old_history(state: &State, limit: Timestamp) -> Vec<&Arc<Partition>> {
    let bounded = |p: &Partition| -> u64 {
        let spans = &p.manifest().history;
        [Kind::Transition, Kind::Audit]
            .iter()
            .filter_map(|k| spans.get(*k as usize))
            .map(|s| s.count)
            .sum()
    };
    let partitions = &state.history.partitions;
    let tails =
        [Kind::Transition, Kind::Audit].map(|kind| state.history.tails[kind as usize].len() as u64);
    let mut kept = tails.iter().sum::<u64>() + partitions.iter().map(|p| bounded(p)).sum::<u64>();
    let mut old = Vec::new();
    for partition in partitions.iter() {
        let spans = &partition.manifest().history;
        let aged = spans.iter().all(|span| span.count == 0 || span.newest < limit.as_millis());
        let surplus = bounded(partition);
        let superfluous = surplus > 0 && kept - surplus >= limits::HISTORY_ENTRIES_MAX as u64;
        if !aged && !superfluous {
            break;
        }
        kept -= surplus;
        old.push(partition);
    }
    old
}
