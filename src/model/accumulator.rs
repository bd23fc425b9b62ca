//! Single observations, added up.

use super::{Labels, MetricKind};
use crate::time::Timestamp;

/// What the observations of one histogram or summary have come to; kept over restarts.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulator {
    /// The series without `_bucket`, `_sum`, `_count`, `le` and `quantile`.
    pub labels: Labels,
    /// `Histogram` or `Summary`.
    pub kind: MetricKind,
    /// How many observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// When the last one was added.
    pub updated_at: Timestamp,
    /// Upper bound and how many observations lie between the bound before and this one; sorted.
    pub buckets: Vec<(f64, u64)>,
}
