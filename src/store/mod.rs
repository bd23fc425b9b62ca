//! The history: series and their samples, and the small state (rules, alerts, probes, audit).
//!
//! (helper: module docs to be written — layers, durability story, where to start reading.)

use std::{path::Path, time::Duration};

use crate::{
    error_code::ErrorCode,
    model::{
        Accumulator, AlertInstance, AuditEntry, AuditRecord, Batch, InvalidPage, Labels, Matcher,
        Metadata, Page, PageRequest, ProbeRecord, Rule, SeriesSample, TargetState, Transition,
    },
    promql::{Queryable, SelectError, Selection, SeriesData},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

/// How the store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long samples are kept.
    pub retention: Duration,
    /// How long probes, transitions and audit entries are kept.
    pub history_retention: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { retention: Duration::from_hours(720), history_retention: Duration::from_hours(2160) }
    }
}

/// The store; cheap to clone, shared by all.
#[derive(Clone, Debug)]
pub struct Store(/* Arc<private> */);

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Samples that were replayed from the write-ahead log.
    pub samples_replayed: u64,
    /// Bytes of a torn last record that were cut off: they were never acknowledged.
    pub torn_bytes: u64,
    /// Files that could not be read and were put aside, in words.
    pub quarantined: Vec<String>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppendSummary {
    /// Samples that are durable now.
    pub accepted: u64,
    /// Samples that repeat a stored one exactly.
    pub duplicates: u64,
    /// Samples that were refused.
    pub rejected: u64,
    /// Why; at most 100 of them.
    pub rejections: Vec<Rejection>,
}

/// Samples of one series that were refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// The series.
    pub labels: Labels,
    /// How many.
    pub samples: u64,
    /// Why, and what to do.
    pub reason: String,
}

/// One durable change of the small state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A rule is new or different.
    PutRule(Rule),
    /// A rule is gone, with its instances.
    DeleteRule(String),
    /// All instances that a rule has now.
    PutInstances {
        /// The rule.
        rule_id: String,
        /// Its instances.
        instances: Vec<AlertInstance>,
    },
    /// An alert changed its state.
    AddTransition(Transition),
    /// Somebody changed something.
    AddAudit(AuditRecord),
    /// A target was probed.
    AddProbe(ProbeRecord),
    /// The state a target is in.
    PutTargetState {
        /// The target.
        name: String,
        /// Its state.
        state: TargetState,
        /// Since when.
        since: Timestamp,
    },
    /// A target is gone, with its probes.
    DeleteTarget(String),
    /// A discovered target may be probed.
    PutAdoption(String),
    /// … and no more.
    DeleteAdoption(String),
    /// What observations have come to.
    PutAccumulator(Accumulator),
}

/// Sizes, for `status` and `store stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series that have a sample.
    pub series: u64,
    /// Samples in all.
    pub samples: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The oldest sample.
    pub oldest: Option<Timestamp>,
    /// The newest sample.
    pub newest: Option<Timestamp>,
}

/// What a clean-up freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanUp {
    /// Whole partitions that were older than the retention.
    pub partitions: u64,
    /// Probes, transitions and audit entries.
    pub entries: u64,
    /// Bytes that the disk got back.
    pub bytes: u64,
}

/// A consistent view; nothing changes in it, and it holds up no writer.
#[derive(Clone, Debug)]
pub struct Snapshot(/* private */);

impl Queryable for Snapshot {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesData>, SelectError> {
        let _ = selection;
        todo!()
    }
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the directory.
    #[error("…")]
    Locked,
    // … helper: one variant per operation and subject, with `code()`
}

impl StoreError {
    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        todo!()
    }
}

impl Store {
    /// Opens or creates the store in `dir` and replays its log. Blocking.
    pub fn open(
        dir: &Path,
        options: Options,
        clock: Clock,
        telemetry: &Telemetry,
    ) -> Result<(Self, Recovery), StoreError> {
        let _ = (dir, options, clock, telemetry);
        todo!()
    }

    /// Stores samples and metadata; returns when they are durable (fdatasync).
    pub async fn append(&self, batch: Batch) -> Result<AppendSummary, StoreError> {
        let _ = batch;
        todo!()
    }

    /// Applies changes of the small state, all or none; returns when they are durable.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let _ = changes;
        todo!()
    }

    /// Samples and changes, all or none, durable in one go.
    pub async fn append_and_commit(
        &self,
        batch: Batch,
        changes: Vec<Change>,
    ) -> Result<AppendSummary, StoreError> {
        let _ = (batch, changes);
        todo!()
    }

    /// What is stored now, for queries.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// The latest sample, not stale, of each matching series that had one since `since`; from memory.
    pub fn latest(&self, matchers: &[Matcher], since: Timestamp) -> Vec<SeriesSample> {
        let _ = (matchers, since);
        todo!()
    }

    /// The matching series (any of `selectors`; all where there is none) that have samples in the range, sorted.
    pub fn series(
        &self,
        selectors: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Labels>, StoreError> {
        let _ = (selectors, start, end);
        todo!()
    }

    /// What is known of a metric name.
    pub fn metadata(&self, name: &str) -> Option<Metadata> {
        let _ = name;
        todo!()
    }

    /// The rules, sorted by id.
    pub fn rules(&self) -> Vec<Rule> {
        todo!()
    }
    /// One rule.
    pub fn rule(&self, id: &str) -> Option<Rule> {
        let _ = id;
        todo!()
    }
    /// The instances of a rule.
    pub fn instances(&self, rule_id: &str) -> Vec<AlertInstance> {
        let _ = rule_id;
        todo!()
    }
    /// The transitions of one rule or all in a range, newest first, each with its sequence number.
    pub fn transitions(
        &self,
        rule_id: Option<&str>,
        start: Timestamp,
        end: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<(u64, Transition)>, InvalidPage> {
        let _ = (rule_id, start, end, page);
        todo!()
    }
    /// The audit, newest first.
    pub fn audit(&self, page: &PageRequest) -> Result<Page<AuditEntry>, InvalidPage> {
        let _ = page;
        todo!()
    }
    /// The probes of a target in a range, newest first.
    pub fn probes(
        &self,
        target: &str,
        start: Timestamp,
        end: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<ProbeRecord>, InvalidPage> {
        let _ = (target, start, end, page);
        todo!()
    }
    /// The last probe of a target.
    pub fn last_probe(&self, target: &str) -> Option<ProbeRecord> {
        let _ = target;
        todo!()
    }
    /// The state that a target was in last, and since when.
    pub fn target_state(&self, target: &str) -> Option<(TargetState, Timestamp)> {
        let _ = target;
        todo!()
    }
    /// The discovered targets that may be probed.
    pub fn adoptions(&self) -> Vec<String> {
        todo!()
    }
    /// What the observations of a histogram or summary have come to.
    pub fn accumulator(&self, labels: &Labels) -> Option<Accumulator> {
        let _ = labels;
        todo!()
    }

    /// Sizes.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Seals what is old enough into partitions and cuts the log; called now and then. Blocking.
    pub fn seal(&self) -> Result<u64, StoreError> {
        todo!()
    }

    /// Removes what is older than its retention. Blocking.
    pub fn clean_up(&self) -> Result<CleanUp, StoreError> {
        todo!()
    }

    /// Writes everything down and lets go of the directory. Blocking; later calls fail.
    pub fn close(&self) -> Result<(), StoreError> {
        todo!()
    }
}
