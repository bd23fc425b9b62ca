//! What is measured.

use crate::time::Timestamp;

use super::{HistogramSample, Labels};

/// A value at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it was measured.
    pub timestamp: Timestamp,
    /// What was measured; [`is_stale`] where the series ended.
    pub value: f64,
}

/// A sample and the series that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSample {
    /// The series.
    pub labels: Labels,
    /// The sample.
    pub sample: Sample,
}

impl SeriesSample {
    /// `value` of the series `labels` at `timestamp`.
    pub fn new(labels: Labels, timestamp: Timestamp, value: f64) -> Self {
        Self { labels, sample: Sample { timestamp, value } }
    }
}

/// A native histogram and the series that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesHistogram {
    /// The series; it may have plain samples at other times.
    pub labels: Labels,
    /// The histogram.
    pub sample: HistogramSample,
}

/// What a metric means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// A cumulative total; a lower value is a reset.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Observations counted in buckets.
    Histogram,
    /// Observations summed up as quantiles.
    Summary,
    /// Nobody said.
    Unknown,
}

impl MetricKind {
    /// The word that the text formats and the API use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of a metric name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The metric (for a histogram or a summary without `_bucket`, `_sum`, `_count`).
    pub name: String,
    /// What it means.
    pub kind: MetricKind,
    /// One sentence for people; may be empty.
    pub help: String,
    /// The base unit; may be empty.
    pub unit: String,
}

/// Samples that are stored together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// In any order.
    pub samples: Vec<SeriesSample>,
    /// In any order, too.
    pub histograms: Vec<SeriesHistogram>,
    /// News about metric names.
    pub metadata: Vec<Metadata>,
}

/// The bits of Prometheus' staleness marker, a NaN of its own
/// (prometheus/model/value/value.go, `StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that says "this series has ended".
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether a value is the staleness marker; other NaNs are values.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
