//! From a directory to a state: which partitions there are, and what the log says.
//!
//! Opens no database of the engine where the log is whole, so that a start does not wait for other
//! people's dirty pages. Damage is put aside and told; nothing after it is skipped in silence.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Recovery, StoreError, commit, keys,
    partition::{Handles, Partition},
    record::{BadRecord, LogRecord},
    rollup::Tier,
    state::{Names, State},
    tiers::Tiers,
    wal::{self, SegmentEnd, Wal, WalOptions},
};
use crate::telemetry::events::StoreEvents;

/// The number of the very first segment, the only one that may begin a log without a checkpoint.
const FIRST_SEGMENT: u64 = 1;

/// What was found, and where the log goes on.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) recovery: Recovery,
    /// The last segment and the length of its good part; `None` where there is no log.
    pub(super) last: Option<(u64, u64)>,
    /// Segments with damage: to be put aside once a checkpoint has replaced them.
    pub(super) damaged: Vec<PathBuf>,
}

/// Makes the directories, removes what was not finished, and reads everything.
pub(super) fn recover(
    dir: &Path,
    options: &WalOptions,
    handles: &Arc<Handles>,
) -> Result<Found, StoreError> {
    let others = [keys::WAL, keys::HISTORY, keys::CATALOG, keys::QUARANTINE].map(PathBuf::from);
    for name in Tier::ALL.map(keys::tier).into_iter().chain(others) {
        let path = dir.join(name);
        fs::create_dir_all(&path).map_err(StoreError::io("create", &path))?;
        remove_unfinished(&path)?;
    }
    for dir in [&dir.join(keys::TIERS), dir] {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))?;
    }
    let mut found = Found {
        state: State::default(),
        recovery: Recovery::default(),
        last: None,
        damaged: Vec::new(),
    };
    found.state.tiers = Arc::new(load_tiers(dir, handles, &mut found.recovery)?);
    let history = load_all(dir, Path::new(keys::HISTORY), handles, &mut found.recovery)?;
    found.state.history.partitions = Arc::new(history);
    replay(dir, options, handles, &mut found)?;
    settle(&mut found.state);
    Ok(found)
}

/// The partitions of samples. What a crash has left beside the partition that was made of it is removed.
fn load_tiers(
    dir: &Path,
    handles: &Arc<Handles>,
    recovery: &mut Recovery,
) -> Result<Tiers, StoreError> {
    let mut tiers = Tiers::default();
    for tier in Tier::ALL {
        for partition in load_all(dir, &keys::tier(tier), handles, recovery)? {
            tiers.add(tier, partition);
        }
    }
    for partition in tiers.take_superseded() {
        partition.doom();
    }
    Ok(tiers)
}

fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    for path in list(dir)? {
        if path.extension().is_some_and(|extension| extension == keys::UNFINISHED) {
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    entries.map_err(StoreError::io("list", dir))
}

/// The partitions below `dir/name` by age; one whose manifest is damaged is put aside.
fn load_all(
    dir: &Path,
    name: &Path,
    handles: &Arc<Handles>,
    recovery: &mut Recovery,
) -> Result<Vec<Arc<Partition>>, StoreError> {
    let mut loaded = Vec::new();
    for path in list(&dir.join(name))? {
        match Partition::load(&path, handles) {
            Ok(partition) => loaded.push(Arc::new(partition)),
            Err(error @ StoreError::Damaged { .. }) => {
                recovery.quarantined.push(error.to_string());
                put_aside(dir, &path)?;
            }
            // Descriptors or rights are missing, say: that is no reason to move it away.
            Err(error) => return Err(error),
        }
    }
    loaded.sort_by_key(|p| {
        (p.manifest().start, p.manifest().history.iter().map(|s| s.last).sum::<u64>())
    });
    Ok(loaded)
}

/// Moves what is damaged to where nobody trips over it.
pub(super) fn put_aside(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let name = path.file_name().unwrap_or_default();
    let quarantine = dir.join(keys::QUARANTINE);
    let free = (0_u32..).map(|n| quarantine.join(format!("{}.{n}", name.to_string_lossy())));
    let to = free.into_iter().find(|to| !to.exists()).expect("there are more numbers than files");
    fs::rename(path, to).map_err(StoreError::io("put aside", path))
}

/// Replays the log from its last checkpoint on.
fn replay(
    dir: &Path,
    options: &WalOptions,
    handles: &Arc<Handles>,
    found: &mut Found,
) -> Result<(), StoreError> {
    let numbers = wal::segments(&options.dir)?;
    let Some(last) = numbers.last() else { return restore_catalog(dir, handles, found) };
    let from = last_checkpoint(options, &numbers)?;
    if from.is_none() && numbers[0] != FIRST_SEGMENT {
        // The beginning is lost: the catalog has an older copy of what it held.
        restore_catalog(dir, handles, found)?;
    }
    let from = from.unwrap_or(numbers[0]);
    let mut expected = from;
    for number in numbers.iter().copied().filter(|number| *number >= from) {
        let path = keys::segment(&options.dir, number);
        if number != expected {
            found
                .recovery
                .quarantined
                .push(format!("segments {expected} to {number} of the log are missing"));
        }
        expected = number + 1;
        let end = replay_segment(&path, found)?;
        judge(&path, &end, number == *last, found);
        found.last = Some((number, end.good));
    }
    Ok(())
}

/// The last segment that begins with a checkpoint.
fn last_checkpoint(options: &WalOptions, numbers: &[u64]) -> Result<Option<u64>, StoreError> {
    for number in numbers.iter().rev() {
        if wal::begins_with_checkpoint(&keys::segment(&options.dir, *number))? {
            return Ok(Some(*number));
        }
    }
    Ok(None)
}

fn replay_segment(path: &Path, found: &mut Found) -> Result<SegmentEnd, StoreError> {
    let mut names = Names::new();
    let mut bad = Vec::new();
    let end = wal::read_segment(path, &mut |record| match replay_record(
        &mut found.state,
        &record,
        &mut names,
    ) {
        Ok(samples) => found.recovery.samples_replayed += samples,
        Err(error) => bad.push(error),
    })?;
    if let Some(error) = bad.first() {
        let others = bad.len() - 1;
        let shown = path.display();
        found.recovery.quarantined.push(format!("{shown}: {error}, and {others} more"));
        found.damaged.push(path.to_owned());
    }
    Ok(end)
}

fn replay_record(
    state: &mut State,
    record: &LogRecord,
    names: &mut Names,
) -> Result<u64, BadRecord> {
    let mut samples = 0;
    if let Some(checkpoint) = &record.checkpoint {
        state.restore(checkpoint, names)?;
        samples += state.head.samples();
    }
    let mut outcome = Ok(());
    for commit in &record.commits {
        match state.replay(commit, names) {
            Ok(replayed) => samples += replayed,
            Err(error) => outcome = Err(error),
        }
    }
    outcome.map(|()| samples)
}

/// A torn end of the last segment was never acknowledged; anything else is damage.
fn judge(path: &Path, end: &SegmentEnd, is_last: bool, found: &mut Found) {
    let shown = path.display();
    let mut damage: Vec<String> = end
        .gaps
        .iter()
        .map(|(from, to)| format!("{shown}: bytes {from} to {to} are damaged, records follow them"))
        .collect();
    if is_last {
        found.recovery.torn_bytes = end.torn;
    } else if end.torn > 0 {
        damage.push(format!("{shown}: the last {} bytes are damaged, segments follow", end.torn));
    }
    if !damage.is_empty() && !found.damaged.iter().any(|known| known == path) {
        found.damaged.push(path.to_owned());
    }
    found.recovery.quarantined.extend(damage);
}

/// Takes the small state from the newest copy in the catalog that can be read.
fn restore_catalog(
    dir: &Path,
    handles: &Arc<Handles>,
    found: &mut Found,
) -> Result<(), StoreError> {
    let mut copies = list(&dir.join(keys::CATALOG))?;
    copies.sort();
    for path in copies.iter().rev() {
        let copy = Partition::load(path, handles).and_then(|p| Ok((p.state()?, p)));
        let next = |p: &Partition| p.manifest().history.iter().map(|s| s.last).collect::<Vec<_>>();
        let first =
            |p: &Partition| p.manifest().history.iter().map(|s| s.first).collect::<Vec<_>>();
        let restored = copy.and_then(|(changes, p)| {
            let outcome = found.state.restore_state(&changes, &first(&p), &next(&p));
            outcome.map_err(|error| StoreError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            })
        });
        handles.close_idle();
        match restored {
            Ok(()) => {
                let told = "the beginning of the log is missing or damaged: rules, alerts, targets and \
                            accumulators were taken from the catalog, which is older";
                found.recovery.quarantined.push(told.to_owned());
                return Ok(());
            }
            Err(error @ StoreError::Damaged { .. }) => {
                found.recovery.quarantined.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What lies in partitions is not needed in memory: a crash may have come between the two.
fn settle(state: &mut State) {
    let floor =
        state.tiers.all().map(|(_, partition)| partition.end()).max().unwrap_or(state.floor);
    let mut sealed = state.history.sealed;
    for partition in state.history.partitions.iter() {
        for (sealed, span) in sealed.iter_mut().zip(&partition.manifest().history) {
            *sealed = (*sealed).max(if span.count > 0 { span.last + 1 } else { 0 });
        }
    }
    state.cut(floor, sealed);
}

/// Where a log goes on after recovery.
pub(super) fn open_log(
    dir: &Path,
    options: &WalOptions,
    found: &Found,
    events: &StoreEvents,
) -> Result<Wal, StoreError> {
    let Some((number, good)) = found.last else {
        // Copies in the catalog are of a log that is lost: this one is not the first.
        let first = if found.recovery.quarantined.is_empty() { FIRST_SEGMENT } else { 2 };
        return Wal::begin(options.clone(), first, checkpoint_of(&found.state, first)?.as_ref());
    };
    if found.recovery.quarantined.is_empty() {
        let mut wal = Wal::resume(options.clone(), number, good)?;
        // This process begins its own segment; on a full disk the commits try again, and report it.
        return match if wal.is_done() { wal.rotate(None) } else { Ok(()) } {
            Err(error) if !error.is_full_disk() => Err(error),
            _ => Ok(wal),
        };
    }
    let first = checkpoint_of(&found.state, number + 1)?;
    let wal = Wal::begin(options.clone(), number + 1, first.as_ref())?;
    for path in &found.damaged {
        put_aside(dir, path)?;
    }
    commit::remove_segments_before(options, number + 1, events);
    Ok(wal)
}

/// What a segment begins with that does not continue those before it.
fn checkpoint_of(state: &State, number: u64) -> Result<Option<LogRecord>, StoreError> {
    if number == FIRST_SEGMENT {
        return Ok(None);
    }
    let checkpoint = state.to_checkpoint().map_err(|error| StoreError::Damaged {
        path: PathBuf::from(keys::WAL),
        reason: error.to_string(),
    })?;
    Ok(Some(LogRecord { commits: Vec::new(), checkpoint: Some(checkpoint) }))
}
