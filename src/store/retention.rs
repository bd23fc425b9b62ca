//! Retention: what is older than it may be goes, each kind by its own rule; and what is too much.
//!
//! Partitions go as a whole, so that the disk gets their room back at once. None goes before the coarser
//! tier has what it holds.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use super::{
    Change, Inner, Options, StoreError,
    compact::{kept, longest, roll_up},
    history::Kind,
    keys,
    partition::{self, Partition},
    quarantine::{self, Limits},
    rollup::Tier,
    state::State,
    tiers::{Part, Tiers},
};
use crate::{
    limits,
    model::{AuditRecord, CHAIN_START},
    time::Timestamp,
};

/// The piece of upkeep that keeps the store within its size.
const SHRINKING: &str = "shrink";

/// Kinds of data that have a retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataKind {
    /// Samples as they came.
    Samples,
    /// Rollups of five minutes.
    FiveMinutes,
    /// Rollups of an hour.
    Hours,
    /// Probes of targets.
    Probes,
    /// What happened.
    Events,
    /// The audit.
    Audit,
    /// Sums of observations to which nothing is added any more.
    Accumulators,
    /// What was damaged and put aside.
    Quarantine,
}

impl DataKind {
    /// The word for it in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "raw",
            Self::FiveMinutes => "5m",
            Self::Hours => "1h",
            Self::Probes => "probes",
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Accumulators => "accumulators",
            Self::Quarantine => "quarantine",
        }
    }
}

impl From<Tier> for DataKind {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Raw => Self::Samples,
            Tier::FiveMinutes => Self::FiveMinutes,
            Tier::Hour => Self::Hours,
        }
    }
}

impl From<Kind> for DataKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Probe => Self::Probes,
            Kind::Event => Self::Events,
            Kind::Audit => Self::Audit,
        }
    }
}

/// What went of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Samples, rollups, entries, accumulators or damaged files.
    pub count: u64,
    /// Their bytes; what was in memory only counts as large as it was in the log.
    pub bytes: u64,
}

/// What a clean-up freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanUp {
    /// Whole partitions, of samples or history.
    pub partitions: u64,
    /// Those of them that went before their time, because the store was too large.
    pub for_size: u64,
    /// What went, by kind.
    pub kinds: BTreeMap<DataKind, Freed>,
}

impl CleanUp {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.kinds.values().map(|freed| freed.bytes).sum()
    }

    /// Probes, events and audit entries.
    pub fn entries(&self) -> u64 {
        let kinds = Kind::ALL.map(DataKind::from);
        kinds.iter().filter_map(|kind| self.kinds.get(kind)).map(|freed| freed.count).sum()
    }

    fn add(&mut self, kind: DataKind, (count, bytes): (u64, u64)) {
        if (count, bytes) != (0, 0) {
            let freed = self.kinds.entry(kind).or_default();
            freed.count += count;
            freed.bytes += bytes;
        }
    }

    fn add_history(&mut self, partition: &Partition) {
        self.partitions += 1;
        let spans = &partition.manifest().history;
        let entries = spans.iter().map(|span| span.count).sum::<u64>().max(1);
        for (kind, span) in Kind::ALL.into_iter().zip(spans) {
            let share = u128::from(partition.manifest().bytes) * u128::from(span.count);
            let bytes = u64::try_from(share / u128::from(entries)).unwrap_or(u64::MAX);
            self.add(kind.into(), (span.count, bytes));
        }
    }
}

/// Removes what is older than its retention, and what is too much.
pub(super) fn clean_up(store: &Inner) -> Result<CleanUp, StoreError> {
    let _alone = store.maintenance.lock();
    let now = store.clock.now();
    let mut freed = CleanUp::default();
    for (tier, partition) in removable(&store.state().tiers, now, &store.options) {
        remove(store, tier, &partition, &mut freed)?;
    }
    clean_history(store, now.minus(store.options.history_retention), &mut freed)?;
    clean_accumulators(store, now.minus(store.options.retention), &mut freed)?;
    freed.add(DataKind::Quarantine, clean_quarantine(store, now)?);
    if let Some(size_max) = store.options.size_max {
        shrink(store, size_max, &mut freed)?;
    }
    for (kind, freed) in &freed.kinds {
        store.events.cleaned(kind.name(), freed.count, freed.bytes);
    }
    Ok(freed)
}

/// Partitions whose retention has ended and that are not needed for coarser tiers any more.
pub(super) fn removable<P: Part>(
    tiers: &Tiers<P>,
    now: Timestamp,
    options: &Options,
) -> Vec<(Tier, P)> {
    let forgotten = now.minus(longest(options));
    let goes = |(tier, part): &(Tier, &P)| {
        let spare =
            !part.is_usable() || part.end() <= forgotten || tiers.is_rolled_up(*tier, *part);
        part.end() <= now.minus(kept(options, *tier)) && spare
    };
    tiers.all().filter(goes).map(|(tier, part)| (tier, part.clone())).collect()
}

/// Removes a partition of samples; its room returns when its last reader has gone.
fn remove(
    store: &Inner,
    tier: Tier,
    partition: &Arc<Partition>,
    freed: &mut CleanUp,
) -> Result<(), StoreError> {
    let dir = partition.dir().to_owned();
    store.edit(move |state| {
        Arc::make_mut(&mut state.tiers).remove(tier, |known| known.dir() == dir);
    })?;
    partition.doom();
    freed.partitions += 1;
    freed.add(tier.into(), (partition.manifest().samples, partition.manifest().bytes));
    Ok(())
}

/// Removes the oldest partitions, the finest tier first, until the store is small enough. What no
/// coarser tier has yet is rolled up before it goes; where even that fails, it goes all the same. The
/// newest samples stay; and nothing goes where that would not help, for what lies beside partitions is
/// too much alone.
fn shrink(store: &Inner, size_max: u64, freed: &mut CleanUp) -> Result<(), StoreError> {
    let before = freed.partitions;
    while size(store) > size_max && beside_partitions(store) < size_max {
        let state = store.state();
        let Some((tier, oldest)) = superfluous(&state.tiers) else { break };
        let oldest = Arc::clone(oldest);
        if !state.tiers.is_rolled_up(tier, &oldest)
            && let Err(error) = roll_up(store, tier, &oldest)
        {
            store.events.left_over(oldest.dir(), &error);
        }
        drop(state);
        remove(store, tier, &oldest, freed)?;
    }
    freed.for_size = freed.partitions - before;
    if freed.for_size > 0 {
        store.events.cleaned_for_size(freed.for_size, size_max);
    }
    let size = size(store);
    let mut failing = store.failing.lock();
    if size <= size_max {
        failing.clear(SHRINKING);
    } else if failing.note(SHRINKING, "too large".to_owned()) {
        store.events.too_large(size, size_max);
    }
    Ok(())
}

/// What goes first where the store is too large: the oldest of the finest tier, but for the newest
/// partition of samples.
fn superfluous<P: Part>(tiers: &Tiers<P>) -> Option<(Tier, &P)> {
    let newest = tiers.of(Tier::Raw).last().map(Part::range);
    tiers.all().find(|(tier, part)| *tier != Tier::Raw || Some(part.range()) != newest)
}

/// Bytes on disk, as [`Stats`](super::Stats) has them.
fn size(store: &Inner) -> u64 {
    let state = store.state();
    let samples = state.tiers.all().map(|(_, partition)| partition.bytes()).sum::<u64>();
    samples + beside_partitions(store)
}

/// … without partitions of samples and rollups.
pub(super) fn beside_partitions(store: &Inner) -> u64 {
    let history = store.state().history.partitions.iter().map(Part::bytes).sum::<u64>();
    let others = [keys::WAL, keys::CATALOG].map(|name| partition::size_of(&store.dir.join(name)));
    history + others.iter().sum::<u64>()
}

/// Notes in the audit which of its entries are about to go, and what the rest is tied to: durable before
/// anything is removed. A log that is replayed brings old entries back, of which was told before.
fn note_trim(store: &Inner, limit: Timestamp, doomed: &[Arc<Partition>]) -> Result<(), StoreError> {
    let state = store.state();
    let first = state.history.first_audit(limit, doomed);
    let begins = state.history.first_audit(Timestamp::from_millis(i64::MIN), &[]);
    if first == begins || state.history.tells_of_trim(first - 1) {
        return Ok(());
    }
    let mut tell = |error: &StoreError| store.events.quarantined(&error.to_string());
    let last = state.history.audit_entry(first - 1, &mut tell);
    let hash = last.and_then(|last| last.audit_hash()).unwrap_or(CHAIN_START);
    let trim = AuditRecord::trim(store.clock.now(), first - 1, &hash);
    store.commit_changes(vec![Change::AddAudit(trim)])
}

fn clean_history(store: &Inner, limit: Timestamp, freed: &mut CleanUp) -> Result<(), StoreError> {
    let doomed: Vec<Arc<Partition>> =
        old_history(&store.state(), limit).into_iter().cloned().collect();
    note_trim(store, limit, &doomed)?;
    let state = store.state();
    let dirs: HashSet<PathBuf> = doomed.iter().map(|p| p.dir().to_owned()).collect();
    let after = store.edit(move |state| {
        Arc::make_mut(&mut state.history.partitions).retain(|p| !dirs.contains(p.dir()));
        state.history.cut_older(limit);
        state.history.forget_hidden();
    })?;
    for partition in &doomed {
        partition.doom();
        freed.add_history(partition);
    }
    for kind in Kind::ALL {
        let tails = [&state, &after].map(|state| &state.history.tails[kind as usize]);
        let [before, after] = tails.map(|tail| (tail.len() as u64, tail.bytes()));
        let gone = (before.0.saturating_sub(after.0), before.1.saturating_sub(after.1));
        freed.add(kind.into(), gone);
    }
    Ok(())
}

/// What is damaged is kept as long as the history, and less where it is much.
fn clean_quarantine(store: &Inner, now: Timestamp) -> Result<(u64, u64), StoreError> {
    let oldest = now.minus(store.options.history_retention);
    let limits = Limits { oldest, store_bytes_max: store.options.size_max };
    quarantine::clean(&store.dir, limits, &store.events)
}

fn clean_accumulators(
    store: &Inner,
    limit: Timestamp,
    freed: &mut CleanUp,
) -> Result<(), StoreError> {
    let mut small = store.state().small;
    let gone = small.forget_accumulators(limit);
    if gone.0 > 0 {
        store.edit(move |state| {
            let _ = state.small.forget_accumulators(limit);
        })?;
    }
    freed.add(DataKind::Accumulators, gone);
    Ok(())
}

/// Sealed history that is too old as a whole, or more than is kept: the oldest first, as long as the
/// full number of entries stays.
fn old_history(state: &State, limit: Timestamp) -> Vec<&Arc<Partition>> {
    let bounded = |p: &Partition| -> u64 {
        let spans = &p.manifest().history;
        [Kind::Event, Kind::Audit]
            .iter()
            .filter_map(|k| spans.get(*k as usize))
            .map(|s| s.count)
            .sum()
    };
    let partitions = &state.history.partitions;
    let tails =
        [Kind::Event, Kind::Audit].map(|kind| state.history.tails[kind as usize].len() as u64);
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
