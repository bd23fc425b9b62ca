//! PromQL, with the meaning that Prometheus 3 gives it: parsing and evaluation, pure.
//!
//! It must not know storage, async or the wall clock: samples come from a [`Queryable`], the time is
//! an argument. [`parse`] checks an expression (`guard`, `rewrite`, then the crate's parser, then `parse`,
//! which makes a `plan`); [`Query::instant`] and [`Query::range`] evaluate it for all steps at once, each
//! series as a column. What is not supported is an error of [`parse`], never a wrong answer. Start
//! reading at `columns` and `eval`; `select` asks storage, `rollups` knows what old samples can tell,
//! `parallel` lends threads, `notes` collects warnings, `format` lays expressions out.

mod aggregate;
mod binary;
mod columns;
mod eval;
mod format;
mod functions;
mod guard;
mod matching;
mod notes;
mod numbers;
mod parallel;
mod parse;
mod plan;
mod rewrite;
mod rollups;
mod select;
#[cfg(feature = "testing")]
pub mod testing;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    error_code::ErrorCode,
    limits,
    model::{
        Histogram, HistogramSample, InvalidMatcher, Labels, METRIC_NAME, MatchOp, Matcher, Sample,
    },
    time::Timestamp,
};

pub use format::{format, syntax};
pub use functions::{FUNCTIONS, Function};
pub use parallel::{Helpers, by_runs};
pub use plan::Kind;

/// Which samples a selector wants; both ends belong to it.
#[derive(Clone, Debug)]
pub struct Selection {
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// From …
    pub start: Timestamp,
    /// … to.
    pub end: Timestamp,
    /// The coarsest resolution that will do; zero: samples as they came, wherever they are still kept.
    pub resolution: Duration,
    /// What stands for the samples that a rollup replaces.
    pub column: RollupColumn,
    /// Only the newest sample of each series is wanted; others may come, too.
    pub newest: bool,
    /// Staleness markers are wanted; else they are left out.
    pub markers: bool,
    /// Series are wanted in the order of their labels.
    pub sorted: bool,
    /// Threads that may help, if they are free.
    pub helpers: Arc<Helpers>,
}

impl Selection {
    /// Samples as they came, wherever they are still kept; series in the order of their labels.
    pub fn raw(matchers: Vec<Matcher>, start: Timestamp, end: Timestamp) -> Self {
        let (resolution, column) = (Duration::ZERO, RollupColumn::Last);
        let (newest, markers, sorted, helpers) = (false, true, true, Arc::default());
        Self { matchers, start, end, resolution, column, newest, markers, sorted, helpers }
    }
}

/// Which number of a rollup stands for the samples that it replaces. A sample as it came is a rollup of
/// itself: its value under each column, and 1 under [`Count`](Self::Count). Staleness markers stand
/// under `Last` alone: the others neither count them nor hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollupColumn {
    /// The last value, or the marker that ended the series.
    Last,
    /// The lowest value.
    Min,
    /// The highest value.
    Max,
    /// The sum of the values.
    Sum,
    /// How many values there were.
    Count,
}

/// What a storage found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// The matching series that have samples in the range, each once.
    pub series: Vec<SeriesData>,
    /// Where rollups stand for the samples: in order, without overlap. A stretch belongs here even
    /// where no series has a rollup within the range that was asked for: the nearest one may lie just
    /// before it.
    pub rollups: Vec<RollupSpan>,
}

/// A stretch of time for which rollups were read: there is one sample for each `resolution` in it, at
/// the time of the last one that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollupSpan {
    /// How much time one rollup stands for.
    pub resolution: Duration,
    /// The beginning of the stretch …
    pub start: Timestamp,
    /// … and its end, which does not belong to it.
    pub end: Timestamp,
}

/// A series with its samples in a range, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesData {
    /// The series.
    pub labels: Labels,
    /// Its samples, staleness markers among them where these were wanted.
    pub samples: Vec<Sample>,
    /// Its native histograms, at other times than the samples. Where rollups stand for samples, the last
    /// of each stretch, and both sides of each reset of the counts.
    pub histograms: Vec<HistogramSample>,
}

/// Where samples come from: a consistent view that nothing changes while a query runs.
pub trait Queryable: Send + Sync {
    /// The matching series that have samples in the range.
    fn select(&self, selection: &Selection) -> Result<Selected, SelectError>;
}

/// Why samples could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// More series or samples than a query may touch.
    #[error("{0}")]
    TooMuch(String),
    /// The storage failed.
    #[error("storage: {0}")]
    Storage(String),
}

/// The steps of an evaluation: one instant, or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The first step.
    pub start: Timestamp,
    /// The last instant that a step may have.
    pub end: Timestamp,
    /// From one step to the next; not zero.
    pub step: Duration,
}

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(Sample),
    /// A text.
    String(Timestamp, String),
    /// A value for each series at one instant, in Prometheus' order.
    Vector(Vec<(Labels, Point)>),
    /// Samples for each series.
    Matrix(Vec<SeriesData>),
}

/// What a series comes to at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The instant.
    pub timestamp: Timestamp,
    /// What it is.
    pub value: PointValue,
}

/// A number, or a whole distribution.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl Point {
    /// The number, where it is one.
    pub fn float(&self) -> Option<f64> {
        match &self.value {
            PointValue::Float(value) => Some(*value),
            PointValue::Histogram(_) => None,
        }
    }
}

impl From<Sample> for Point {
    fn from(sample: Sample) -> Self {
        Self { timestamp: sample.timestamp, value: PointValue::Float(sample.value) }
    }
}

/// A value with what the evaluation has to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// Probably wrong.
    pub warnings: Vec<String>,
    /// Possibly of interest.
    pub infos: Vec<String>,
}

/// Bounds of one evaluation.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Samples that it may load.
    pub samples_max: usize,
    /// How far back an instant selector looks.
    pub lookback: Duration,
    /// Set by whoever wants it to end; looked at between series and groups.
    pub cancelled: Arc<AtomicBool>,
    /// Threads that it may use beside its own, if they are free.
    pub helpers: Arc<Helpers>,
}

impl Limits {
    /// Fails where somebody wants the evaluation to end.
    fn check_cancelled(&self) -> Result<(), QueryError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(QueryError::Cancelled) } else { Ok(()) }
    }
}

impl Default for Limits {
    /// The project's own bounds, a flag that nobody sets, and no helpers.
    fn default() -> Self {
        Self {
            samples_max: limits::QUERY_SAMPLES_MAX,
            lookback: limits::QUERY_LOOKBACK,
            cancelled: Arc::default(),
            helpers: Arc::default(),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Not PromQL.
    #[error("parse error: {0}")]
    Parse(String),
    /// PromQL, but a construct that is not there yet; named.
    #[error("not supported yet: {0}")]
    Unsupported(String),
    /// A label matcher that cannot be used.
    #[error(transparent)]
    Matcher(#[from] InvalidMatcher),
    /// It went wrong while it was evaluated (many-to-many matching …).
    #[error("{0}")]
    Execution(String),
    /// A limit was reached.
    #[error("{0}")]
    TooMuch(String),
    /// It was cancelled.
    #[error("the query was cancelled")]
    Cancelled,
    /// The storage failed.
    #[error("storage: {0}")]
    Storage(String),
}

impl QueryError {
    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Parse(_) | Self::Matcher(_) => ErrorCode::InvalidArgument,
            // The expression is sound: what it met in the data is not.
            Self::Execution(_) => ErrorCode::FailedPrecondition,
            Self::Unsupported(_) => ErrorCode::Unimplemented,
            Self::TooMuch(_) => ErrorCode::ResourceExhausted,
            Self::Cancelled => ErrorCode::DeadlineExceeded,
            Self::Storage(_) => ErrorCode::Internal,
        }
    }
}

/// A checked expression.
#[derive(Clone, Debug)]
pub struct Query {
    plan: plan::Node,
}

impl Query {
    /// Evaluates at one instant.
    pub fn instant(
        &self,
        data: &dyn Queryable,
        at: Timestamp,
        limits: &Limits,
    ) -> Result<Answer, QueryError> {
        eval::instant(&self.plan, data, at, limits)
    }

    /// Evaluates at every step; the value is a matrix, sorted by labels.
    ///
    /// How many steps a caller may ask for is the caller's affair (`limits::QUERY_STEPS_MAX` for the
    /// APIs); here only [`Limits::samples_max`] bounds them.
    pub fn range(
        &self,
        data: &dyn Queryable,
        steps: Steps,
        limits: &Limits,
    ) -> Result<Answer, QueryError> {
        eval::range(&self.plan, data, steps, limits)
    }

    /// What the expression comes to: only a scalar or a vector has a range, only a vector alerts.
    pub fn kind(&self) -> Kind {
        self.plan.kind()
    }

    /// The metric names that selectors ask for by equality, for notes such as "no data"; sorted.
    pub fn metric_names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        collect_names(&self.plan, &mut names);
        names.into_iter().collect()
    }
}

fn collect_names(node: &plan::Node, names: &mut BTreeSet<String>) {
    let matchers = node.selector().into_iter().flat_map(|selector| &selector.matchers);
    let by_name =
        |matcher: &&Matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
    names.extend(matchers.filter(by_name).map(|matcher| matcher.value().to_owned()));
    node.children().into_iter().for_each(|child| collect_names(child, names));
}

/// Checks an expression: its syntax, its types, and that everything in it is supported.
pub fn parse(expr: &str) -> Result<Query, QueryError> {
    Ok(Query { plan: parse::expression(expr)? })
}

/// The matchers of a series selector such as `up{job="node"}`; refuses one that every series passes,
/// as Prometheus does.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    parse::selector(text)
}
