//! Probes, events and the audit: numbered entries that are only ever added.
//!
//! The latest entries are in memory, encoded; when they are many they are sealed into a partition of
//! their own (`seal`), where reading finds the older ones. Numbers run from 1 without gaps, each kind
//! by itself.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use prost::Message as _;

use super::{
    Change, StoreError,
    partition::Partition,
    record::{BadRecord, ChangeRecord, HiddenRecord, Kind as RecordKind, encode_change},
};
use crate::{
    model::{AuditHash, AuditRecord, CHAIN_START},
    time::Timestamp,
};

/// The kinds of history; their places in arrays are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Probe,
    Event,
    Audit,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Probe, Self::Event, Self::Audit];

    /// The tree that holds it.
    pub(super) fn tree(self) -> &'static str {
        match self {
            Self::Probe => "probes",
            // Alerts' transitions were the first events.
            Self::Event => "transitions",
            Self::Audit => "audit",
        }
    }
}

/// An entry of the history.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) time: Timestamp,
    /// The target of a probe, the rule of an alert's transition; else empty.
    pub(super) subject: Box<str>,
    /// A `ChangeRecord`.
    pub(super) bytes: Box<[u8]>,
}

impl Entry {
    /// The entry that a record stands for, with its kind; `None` where it is no history.
    pub(super) fn of(record: &ChangeRecord) -> Option<(Kind, Self)> {
        let (kind, time, subject) = match record.kind.as_ref()? {
            RecordKind::Probe(probe) => (Kind::Probe, probe.started_at, probe.target.as_str()),
            RecordKind::Transition(t) => (Kind::Event, t.time, t.rule_id.as_str()),
            RecordKind::TargetChanged(change) => (Kind::Event, change.time, ""),
            RecordKind::ConfigReloaded(reload) => (Kind::Event, reload.time, ""),
            RecordKind::Audit(audit) => (Kind::Audit, audit.time, ""),
            _ => return None,
        };
        let entry = Self {
            sequence: record.sequence,
            time: Timestamp::from_millis(time),
            subject: subject.into(),
            bytes: record.encode_to_vec().into(),
        };
        Some((kind, entry))
    }

    /// What ties the next entry of the audit to this one; `None` where it is not in the chain.
    pub(super) fn audit_hash(&self) -> Option<AuditHash> {
        match self.record().ok()?.kind? {
            RecordKind::Audit(audit) => audit.hash.try_into().ok(),
            _ => None,
        }
    }

    /// The record.
    pub(super) fn record(&self) -> Result<ChangeRecord, BadRecord> {
        ChangeRecord::decode(&*self.bytes).map_err(|_| BadRecord("entry of the history"))
    }
}

/// Entries in a block of a tail: what an addition copies while a snapshot holds the block.
const BLOCK: usize = 256;

/// The entries of one kind that are not sealed, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Vec<Arc<Vec<Arc<Entry>>>>);

impl Tail {
    fn push(&mut self, entry: Arc<Entry>) {
        match self.0.last_mut().filter(|block| block.len() < BLOCK) {
            Some(block) => Arc::make_mut(block).push(entry),
            None => self.0.push(Arc::new(vec![entry])),
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.0.iter().flat_map(|block| block.iter())
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|block| block.len()).sum()
    }

    /// Bytes of the records.
    pub(super) fn bytes(&self) -> u64 {
        self.iter().map(|entry| entry.bytes.len() as u64).sum()
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        for block in &mut self.0 {
            if !block.iter().all(|entry| keep(entry)) {
                Arc::make_mut(block).retain(|entry| keep(entry));
            }
        }
        self.0.retain(|block| !block.is_empty());
    }
}

/// All history.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// What is not sealed, by kind.
    pub(super) tails: [Tail; 3],
    /// The next number, by kind.
    pub(super) next: [u64; 3],
    /// The first number that is not sealed, by kind.
    pub(super) sealed: [u64; 3],
    /// What is sealed, oldest first.
    pub(super) partitions: Arc<Vec<Arc<Partition>>>,
    /// The last probe of each target.
    pub(super) last_probes: Arc<BTreeMap<Box<str>, Arc<Entry>>>,
    /// The last entry of the audit, to which the next one is tied.
    pub(super) last_audit: Option<Arc<Entry>>,
    /// Deleted targets: probes below the number do not exist any more.
    pub(super) hidden: Arc<BTreeMap<String, u64>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            tails: Default::default(),
            next: [1; 3],
            sealed: [1; 3],
            partitions: Arc::default(),
            last_probes: Arc::default(),
            last_audit: None,
            hidden: Arc::default(),
        }
    }
}

/// The first and the last entry of the audit in a partition, if it has any.
fn audit_span(partition: &Arc<Partition>) -> Option<(u64, u64)> {
    span(partition, Kind::Audit)
}

/// The first and the last event in a partition, if it has any.
fn events_span(partition: &Arc<Partition>) -> Option<(u64, u64)> {
    span(partition, Kind::Event)
}

fn span(partition: &Arc<Partition>, kind: Kind) -> Option<(u64, u64)> {
    let span = partition.manifest().history.get(kind as usize)?;
    (span.count > 0).then_some((span.first, span.last))
}

/// What wanted entries are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About<'a> {
    /// Anything.
    Any,
    /// Some target or rule.
    Some,
    /// This target or rule.
    Subject(&'a str),
}

impl About<'_> {
    fn takes(self, entry: &Entry) -> bool {
        match self {
            Self::Any => true,
            Self::Some => !entry.subject.is_empty(),
            Self::Subject(subject) => *entry.subject == *subject,
        }
    }
}

/// Which entries are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) kind: Kind,
    pub(super) about: About<'a>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// Only with lower numbers.
    pub(super) before: u64,
    /// At most so many.
    pub(super) count: usize,
}

impl Wanted<'_> {
    /// All of one kind in a range.
    pub(super) fn range(kind: Kind, start: Timestamp, end: Timestamp) -> Self {
        Self { kind, about: About::Any, start, end, before: u64::MAX, count: usize::MAX }
    }

    fn may_be_in(&self, partition: &Partition) -> bool {
        partition.manifest().history.get(self.kind as usize).is_some_and(|span| {
            span.count > 0
                && span.first < self.before
                && span.oldest <= self.end.as_millis()
                && span.newest >= self.start.as_millis()
        })
    }
}

impl History {
    /// A change as a record, with the next number where it is an entry of the history.
    pub(super) fn number(&self, change: &Change) -> ChangeRecord {
        let kind = match change {
            Change::AddProbe(_) => Kind::Probe,
            Change::AddEvent(_) => Kind::Event,
            Change::AddAudit(_) => Kind::Audit,
            _ => return encode_change(change, 0),
        };
        let mut record = encode_change(change, self.next[kind as usize]);
        if let (Change::AddAudit(audit), Some(RecordKind::Audit(stored))) =
            (change, &mut record.kind)
        {
            stored.hash = audit.chained(record.sequence, &self.audit_head()).to_vec();
        }
        record
    }

    /// What the next entry of the audit is tied to.
    fn audit_head(&self) -> AuditHash {
        self.last_audit.as_ref().and_then(|last| last.audit_hash()).unwrap_or(CHAIN_START)
    }

    /// Takes a record that may concern the history. Entries that are known already are left out, so
    /// that the log can be replayed over a checkpoint.
    pub(super) fn apply(&mut self, record: &ChangeRecord) {
        match &record.kind {
            Some(RecordKind::DeleteTarget(name)) => {
                self.hide(name.clone(), self.next[Kind::Probe as usize]);
            }
            Some(RecordKind::Hidden(hidden)) => self.hide(hidden.target.clone(), hidden.below),
            _ => {
                if let Some((kind, entry)) = Entry::of(record) {
                    self.add(kind, entry);
                }
            }
        }
    }

    fn add(&mut self, kind: Kind, entry: Entry) {
        let entry = Arc::new(entry);
        match kind {
            Kind::Probe => self.keep_last_probe(&entry),
            Kind::Audit => self.keep_last_audit(&entry),
            Kind::Event => {}
        }
        let next = &mut self.next[kind as usize];
        if entry.sequence >= *next {
            *next = entry.sequence + 1;
            self.tails[kind as usize].push(entry);
        }
    }

    fn keep_last_probe(&mut self, entry: &Arc<Entry>) {
        let known = self.last_probes.get(&entry.subject).map_or(0, |known| known.sequence);
        if entry.sequence > known {
            Arc::make_mut(&mut self.last_probes).insert(entry.subject.clone(), Arc::clone(entry));
        }
    }

    fn keep_last_audit(&mut self, entry: &Arc<Entry>) {
        if self.last_audit.as_ref().is_none_or(|last| last.sequence < entry.sequence) {
            self.last_audit = Some(Arc::clone(entry));
        }
    }

    /// Finds the last entry of the audit on disk where neither log nor checkpoint had it.
    pub(super) fn find_last_audit(&mut self, tell: &mut dyn FnMut(&StoreError)) {
        let next = self.next[Kind::Audit as usize];
        let known = self.last_audit.as_ref().map_or(1, |last| last.sequence + 1);
        if known < next
            && let Some(last) = self.audit_entry(next - 1, tell)
        {
            self.keep_last_audit(&last);
        }
    }

    /// One entry of the audit, where it can be read.
    pub(super) fn audit_entry(
        &self,
        sequence: u64,
        tell: &mut dyn FnMut(&StoreError),
    ) -> Option<Arc<Entry>> {
        let all = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let wanted = Wanted::range(Kind::Audit, all.0, all.1);
        let found = self.read(Wanted { before: sequence + 1, count: 1, ..wanted }, tell);
        found.into_iter().find(|entry| entry.sequence == sequence)
    }

    /// The first entry of the audit that is kept when these partitions are gone and what is older than
    /// `limit` is forgotten.
    pub(super) fn first_audit(&self, limit: Timestamp, gone: &[Arc<Partition>]) -> u64 {
        let stays = |p: &&Arc<Partition>| !gone.iter().any(|gone| gone.dir() == p.dir());
        let spans = self.partitions.iter().filter(stays).filter_map(audit_span);
        spans.map(|(first, _)| first).min().unwrap_or_else(|| {
            let tail = &self.tails[Kind::Audit as usize];
            let kept = tail.iter().find(|entry| entry.time >= limit);
            kept.map_or(self.next[Kind::Audit as usize], |entry| entry.sequence)
        })
    }

    /// Whether an entry of the audit that is not sealed says that all up to `sequence` was removed.
    pub(super) fn tells_of_trim(&self, sequence: u64) -> bool {
        self.tails[Kind::Audit as usize].iter().any(|entry| match entry.record() {
            Ok(ChangeRecord { kind: Some(RecordKind::Audit(audit)), .. }) => {
                AuditRecord::try_from(&audit)
                    .is_ok_and(|record| record.trimmed().is_some_and(|(last, _)| last == sequence))
            }
            _ => false,
        })
    }

    fn hide(&mut self, target: String, below: u64) {
        let probes = &mut self.tails[Kind::Probe as usize];
        probes.retain(|entry| *entry.subject != *target || entry.sequence >= below);
        if self.last_probes.get(&*target).is_some_and(|last| last.sequence < below) {
            Arc::make_mut(&mut self.last_probes).remove(&*target);
        }
        Arc::make_mut(&mut self.hidden).insert(target, below);
    }

    /// Entries that are not sealed.
    pub(super) fn unsealed(&self) -> usize {
        self.tails.iter().map(Tail::len).sum()
    }

    /// Forgets entries that were sealed: those with numbers below `upto`.
    pub(super) fn cut_sealed(&mut self, upto: [u64; 3]) {
        for (kind, upto) in upto.into_iter().enumerate() {
            self.tails[kind].retain(|entry| entry.sequence >= upto);
            self.sealed[kind] = self.sealed[kind].max(upto);
            self.next[kind] = self.next[kind].max(upto);
        }
    }

    /// Takes what a checkpoint says of the numbers, before its entries are applied.
    pub(super) fn begin_restore(&mut self, sealed: [u64; 3]) {
        self.sealed = sealed;
        self.next = sealed;
    }

    /// Everything that a checkpoint has to hold of the history. The tails come first: a last entry
    /// that stands in one must not be taken before those with lower numbers.
    pub(super) fn to_records(&self) -> Result<Vec<ChangeRecord>, BadRecord> {
        let hidden = self.hidden.iter().map(|(target, below)| {
            let hidden = HiddenRecord { target: target.clone(), below: *below };
            Ok(ChangeRecord { sequence: 0, kind: Some(RecordKind::Hidden(hidden)) })
        });
        let tails = self.tails.iter().flat_map(Tail::iter);
        let last = self.last_probes.values().chain(&self.last_audit);
        let entries = tails.chain(last).map(|entry| entry.record());
        hidden.chain(entries).collect()
    }

    /// Forgets unsealed entries older than `limit`; tells how many.
    pub(super) fn cut_older(&mut self, limit: Timestamp) -> u64 {
        let before = self.unsealed();
        // The audit loses its beginning only: its entries are tied together, and a clock may have jumped.
        let first_audit = self.first_audit(limit, &[]);
        for (kind, tail) in Kind::ALL.into_iter().zip(&mut self.tails) {
            match kind {
                Kind::Audit => tail.retain(|entry| entry.sequence >= first_audit),
                Kind::Probe | Kind::Event => tail.retain(|entry| entry.time >= limit),
            }
        }
        (before - self.unsealed()) as u64
    }

    /// Forgets which deleted targets hide which probes where no partition has any of those left.
    pub(super) fn forget_hidden(&mut self) {
        let first = |p: &Arc<Partition>| {
            p.manifest().history.first().filter(|span| span.count > 0).map(|span| span.first)
        };
        let oldest = self.partitions.iter().filter_map(first).min().unwrap_or(u64::MAX);
        if self.hidden.values().any(|below| *below <= oldest) {
            Arc::make_mut(&mut self.hidden).retain(|_, below| *below > oldest);
        }
    }

    /// The wanted entries, newest first. Partitions that cannot be read are told and left out.
    pub(super) fn read(
        &self,
        wanted: Wanted<'_>,
        tell: &mut dyn FnMut(&StoreError),
    ) -> Vec<Arc<Entry>> {
        let keep = |entry: &Entry| self.is_wanted(&wanted, entry);
        let tail = &self.tails[wanted.kind as usize];
        let mut found: Vec<Arc<Entry>> =
            tail.iter().rev().filter(|entry| keep(entry)).take(wanted.count).cloned().collect();
        for partition in self.partitions.iter().rev() {
            if found.len() >= wanted.count {
                break;
            }
            if wanted.may_be_in(partition) && !partition.is_damaged() {
                let mut entries = partition.history(wanted.kind, &keep).unwrap_or_else(|error| {
                    tell(&error);
                    Vec::new()
                });
                entries.reverse();
                found.extend(entries.into_iter().take(wanted.count - found.len()).map(Arc::new));
            }
        }
        found
    }

    /// The number of the newest event; 0 where there was none.
    pub(super) fn newest_event(&self) -> u64 {
        self.next[Kind::Event as usize] - 1
    }

    /// Whether all events after a number, if any is kept, are in memory.
    pub(super) fn has_events_in_memory(&self, after: u64) -> bool {
        let sealed = |p: &Arc<Partition>| events_span(p).is_some_and(|(_, last)| last > after);
        !self.partitions.iter().any(sealed)
    }

    /// The events after a number, oldest first. Partitions that cannot be read are told and left out.
    pub(super) fn events(
        &self,
        after: u64,
        count: usize,
        tell: &mut dyn FnMut(&StoreError),
    ) -> Vec<Arc<Entry>> {
        let mut found = Vec::new();
        for partition in self.partitions.iter() {
            let Some((_, last)) = events_span(partition) else { continue };
            if found.len() >= count || last <= after || partition.is_damaged() {
                continue;
            }
            // Oldest first, so many and no more.
            let left = Cell::new(count - found.len());
            let keep = |entry: &Entry| {
                let wanted = entry.sequence > after && left.get() > 0;
                left.update(|left| left - usize::from(wanted));
                wanted
            };
            let entries = partition.history(Kind::Event, &keep).unwrap_or_else(|error| {
                tell(&error);
                Vec::new()
            });
            found.extend(entries.into_iter().map(Arc::new));
        }
        let tail = self.tails[Kind::Event as usize].iter().filter(|entry| entry.sequence > after);
        let missing = count.saturating_sub(found.len());
        found.extend(tail.take(missing).cloned());
        found
    }

    fn is_wanted(&self, wanted: &Wanted<'_>, entry: &Entry) -> bool {
        let hidden = || {
            wanted.kind == Kind::Probe
                && self.hidden.get(&*entry.subject).is_some_and(|below| entry.sequence < *below)
        };
        entry.sequence < wanted.before
            && entry.time >= wanted.start
            && entry.time <= wanted.end
            && wanted.about.takes(entry)
            && !hidden()
    }
}
