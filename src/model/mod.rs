//! The project's own nouns: plain data that every floor above speaks in.
//!
//! Nothing here does I/O, knows a wire format or reads the clock. Start with [`Labels`] and
//! [`Sample`] for what is stored, [`Target`] and [`ProbeRecord`] for what is watched, [`Rule`] and
//! [`AlertInstance`] for what is told.

mod accumulator;
mod agent;
mod alert;
mod audit;
mod event;
mod histogram;
mod host;
mod labels;
mod matcher;
mod page;
mod pattern;
mod probe;
mod sample;
mod secret;
mod target;

pub use accumulator::Accumulator;
pub use agent::{Agent, AgentMark};
pub use alert::{
    Acknowledgement, AlertInstance, AlertState, Backtest, InvalidSeverity, Rule, RuleOrigin,
    Severity, Transition,
};
pub use audit::{
    AUDIT_TRIM, AuditChain, AuditEntry, AuditHash, AuditOutcome, AuditRecord, BrokenChain,
    CHAIN_START, CheckedChain, hex,
};
pub use event::Event;
pub use histogram::{
    Bounds, Bucket, BucketRange, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramParts, HistogramSample,
    Incompatible, InvalidHistogram, ResetHint, SCHEMAS,
};
pub use host::{DiskSummary, HostSummary};
pub use labels::{InvalidLabels, Labels, METRIC_NAME, is_label_name, is_metric_name};
pub use matcher::{InvalidMatcher, MatchOp, Matcher, matches_all};
pub use page::{InvalidPage, Page, PageRequest};
pub use pattern::{check_pattern, whole_match};
pub use probe::{ProbeAnswer, ProbeAttempt, ProbeFailure, ProbePhase, ProbeRecord};
pub use sample::{
    Batch, Metadata, MetricKind, STALE_NAN_BITS, Sample, SeriesHistogram, SeriesSample, is_stale,
    stale_nan,
};
pub use secret::Secret;
pub use target::{Check, Target, TargetSource, TargetState, TargetStatus};
