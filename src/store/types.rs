//! What is said to the store, and what it answers: plain data.

use std::time::Duration;

use super::commit::Key;
use crate::{
    access::Token,
    limits,
    model::{
        Accumulator, Agent, AgentMark, AlertInstance, AuditRecord, Event, Labels, ProbeRecord,
        Rule, TargetState,
    },
    time::Timestamp,
};

/// How the store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long samples are kept as they came. A partition goes as a whole, so some stay a day longer.
    pub retention: Duration,
    /// How long rollups of five minutes are kept; no shorter than samples.
    pub retention_5m: Duration,
    /// How long rollups of an hour are kept; no shorter than those of five minutes.
    pub retention_1h: Duration,
    /// How long probes, transitions and audit entries are kept.
    pub history_retention: Duration,
    /// Bytes on disk above which the oldest partitions go before their time, samples as they came
    /// first; `None`: as many as there are.
    pub size_max: Option<u64>,
    /// How much later than others of its series a sample may come.
    pub out_of_order_window: Duration,
    /// Series that are taken at once; [`limits::SERIES_MAX`] at most.
    pub series_max: usize,
    /// How much of what was acknowledged a power cut may take; zero: nothing, each commit is synced
    /// before it is acknowledged.
    pub power_cut_loses_up_to: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(30 * 24),
            retention_5m: Duration::from_hours(180 * 24),
            retention_1h: Duration::from_hours(730 * 24),
            history_retention: Duration::from_hours(90 * 24),
            size_max: None,
            out_of_order_window: Duration::from_hours(2),
            series_max: limits::SERIES_MAX_DEFAULT,
            power_cut_loses_up_to: Duration::ZERO,
        }
    }
}

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
    /// Descriptions of metrics that were not taken, since too many names are known.
    pub metadata_dropped: u64,
    /// Why samples were refused; at most 100 of them.
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
    /// Something happened.
    AddEvent(Event),
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
    /// A bearer token is new.
    PutToken(Token),
    /// A token was used; nothing happens where there is none by that id.
    UseToken {
        /// The token.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// A token counts no more.
    DeleteToken(String),
    /// A user's agent is there, or gone, or watches something else.
    PutAgent(Agent),
    /// A user's agent is forgotten, with its mark.
    DeleteAgent(u32),
    /// How far the probes of an agent are durable.
    PutAgentMark(AgentMark),
}

/// A short way to a series: finds it without looking at its labels, for as long as it is live.
#[derive(Clone, Debug)]
pub struct SeriesHandle(pub(super) Key);

impl SeriesHandle {
    /// A handle that has not looked for its series; samples find that by its labels, and make it.
    pub fn new(labels: Labels) -> Self {
        Self(Key::Named(labels))
    }

    /// Names the series.
    pub fn labels(&self) -> &Labels {
        self.0.labels()
    }

    /// Whether it has found its series.
    pub fn is_found(&self) -> bool {
        matches!(self.0, Key::Known(_))
    }
}

/// Sizes, for `status` and `store stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series in the open window, or in the fullest partition where that has more.
    pub series: u64,
    /// Samples as they came, in all; rollups do not count.
    pub samples: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The oldest sample.
    pub oldest: Option<Timestamp>,
    /// The newest sample.
    pub newest: Option<Timestamp>,
}
