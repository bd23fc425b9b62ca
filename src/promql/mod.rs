//! PromQL: parsing and evaluation, pure. No storage, no async, no wall clock.
//!
//! [`parse`] checks an expression; [`Query::evaluate`] runs it over a [`Queryable`] for all steps at
//! once. Start reading at `eval`.

use std::time::Duration;

use crate::{
    error_code::ErrorCode,
    model::{InvalidMatcher, Labels, Matcher, Sample},
    time::Timestamp,
};

/// Which samples a selector wants; both ends belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// From …
    pub start: Timestamp,
    /// … to.
    pub end: Timestamp,
}

/// A series with its samples in a range, in order, staleness markers among them.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesData {
    /// The series.
    pub labels: Labels,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// Where samples come from: a consistent view that nothing changes while a query runs.
pub trait Queryable: Send + Sync {
    /// The matching series that have samples in the range, sorted by labels.
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesData>, SelectError>;
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
    Vector(Vec<(Labels, Sample)>),
    /// Samples for each series.
    Matrix(Vec<SeriesData>),
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
    /// Set by whoever wants it to end: it is looked at between series.
    pub cancelled: std::sync::Arc<std::sync::atomic::AtomicBool>,
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
        todo!()
    }
}

/// A checked expression.
#[derive(Clone, Debug)]
pub struct Query(/* private */);

impl Query {
    /// Evaluates at one instant.
    pub fn instant(
        &self,
        data: &dyn Queryable,
        at: Timestamp,
        limits: &Limits,
    ) -> Result<Answer, QueryError> {
        let _ = (data, at, limits);
        todo!()
    }
    /// Evaluates at every step; the value is a matrix.
    pub fn range(
        &self,
        data: &dyn Queryable,
        steps: Steps,
        limits: &Limits,
    ) -> Result<Answer, QueryError> {
        let _ = (data, steps, limits);
        todo!()
    }
    /// The metric names that selectors ask for by equality, for notes such as "no data".
    pub fn metric_names(&self) -> Vec<String> {
        todo!()
    }
}

/// Checks an expression: its syntax, its types, and that everything in it is supported.
pub fn parse(expr: &str) -> Result<Query, QueryError> {
    let _ = expr;
    todo!()
}

/// The matchers of a series selector such as `up{job="node"}`.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    let _ = text;
    todo!()
}
