//! Native histograms: a whole distribution as one sample.
//!
//! Buckets lie between the powers of 2^(2^-schema) on both sides of a zero bucket, as in
//! <https://prometheus.io/docs/specs/native_histograms/>, or between bounds of one's own. Only buckets
//! that hold anything are there.

mod arithmetic;
mod buckets;

use std::{ops::Deref, sync::Arc};

use crate::{limits, time::Timestamp};

pub use arithmetic::Incompatible;
pub use buckets::BucketRange;

/// The schema that the wire formats use for bounds of one's own.
pub const CUSTOM_BOUNDS_SCHEMA: i32 = -53;
/// The coarsest and the finest of the other schemas.
pub const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// What a histogram is made of.
#[derive(Clone, Debug, Default)]
pub struct HistogramParts {
    /// How many observations; a float, since rates and sums of histograms are histograms, too.
    pub count: f64,
    /// Their sum; any float.
    pub sum: f64,
    /// Observations no further from zero than this …
    pub zero_threshold: f64,
    /// … are so many.
    pub zero_count: f64,
    /// Where the other buckets lie.
    pub bounds: Bounds,
    /// Buckets above zero, in ascending order of their index.
    pub positive: Vec<Bucket>,
    /// Buckets below zero, by the index of their mirror image above it.
    pub negative: Vec<Bucket>,
    /// What is known of the sample before.
    pub reset: ResetHint,
}

/// Where buckets lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Bounds {
    /// Bucket `i` reaches from base^(i-1), which does not belong to it, to base^i, where base is
    /// 2^(2^-schema) and the schema one of [`SCHEMAS`].
    Exponential(i32),
    /// Bucket `i` ends with the `i`-th bound, which belongs to it, counted from zero; one more has no end.
    Custom(Arc<[f64]>),
}

/// One bucket that holds something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Its place.
    pub index: i32,
    /// How many observations.
    pub count: f64,
}

/// Whether counts go on from those of the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// The counts tell: where any is lower, there was a reset.
    #[default]
    Unknown,
    /// There was a reset just before.
    Reset,
    /// It is no counter: counts go up and down.
    Gauge,
}

/// A histogram whose parts fit together: indexes ascend, no bucket is empty, and counts of one that was
/// observed are not negative.
#[derive(Clone, Debug)]
pub struct Histogram(HistogramParts);

/// A histogram at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// When it was measured.
    pub timestamp: Timestamp,
    /// What was measured.
    pub histogram: Arc<Histogram>,
}

/// Why parts make no histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHistogram {
    /// No such schema.
    #[error("the schema {0} of a histogram is unknown: use -4 to 8, or -53 for bounds of your own")]
    Schema(i32),
    /// A count that is none.
    #[error("a count of a histogram is negative or not finite")]
    Count,
    /// The zero bucket has no such width.
    #[error("the zero threshold of a histogram is negative or not finite")]
    ZeroThreshold,
    /// Indexes twice, or not in order.
    #[error("the buckets of a histogram are not in ascending order of their indexes")]
    Order,
    /// Too many of them.
    #[error(
        "a histogram has more than {} buckets: use a lower schema",
        limits::HISTOGRAM_BUCKETS_MAX
    )]
    TooMany,
    /// Bounds that cannot be.
    #[error("the bounds of a histogram are not finite and ascending")]
    Bounds,
    /// Bounds of one's own for a schema that has its own.
    #[error("a histogram of schema {0} has bounds of its own: they need schema -53")]
    NoCustomBounds(i32),
    /// More than bounds of one's own can hold.
    #[error(
        "a histogram with bounds of its own has a zero bucket, negative buckets, or a bucket beyond its bounds"
    )]
    BeyondBounds,
}

impl Histogram {
    /// The histogram that parts make. Empty buckets are left out.
    pub fn new(mut parts: HistogramParts) -> Result<Self, InvalidHistogram> {
        parts.check()?;
        parts.positive.retain(|bucket| bucket.count > 0.0);
        parts.negative.retain(|bucket| bucket.count > 0.0);
        Ok(Self(parts))
    }

    /// What arithmetic made of histograms: a difference may have counts below zero, a quotient infinite
    /// ones. Buckets must come in ascending order of their indexes; empty ones are left out.
    pub fn computed(mut parts: HistogramParts) -> Self {
        debug_assert!(parts.positive.is_sorted_by(|a, b| a.index < b.index), "buckets ascend");
        debug_assert!(parts.negative.is_sorted_by(|a, b| a.index < b.index), "buckets ascend");
        parts.positive.retain(|bucket| bucket.count != 0.0);
        parts.negative.retain(|bucket| bucket.count != 0.0);
        Self(parts)
    }

    /// How many plain samples would take about as much memory.
    pub fn weight(&self) -> usize {
        8 + self.positive.len() + self.negative.len()
    }

    /// Whether this one can come after `earlier` without a reset of the counts in between. Gauges always
    /// can.
    pub fn continues(&self, earlier: &Self) -> bool {
        self.reset == ResetHint::Gauge || !self.was_reset_since(earlier)
    }
}

impl Deref for Histogram {
    type Target = HistogramParts;

    fn deref(&self) -> &HistogramParts {
        &self.0
    }
}

impl HistogramSample {
    /// How many plain samples would take about as much memory.
    pub fn weight(&self) -> usize {
        self.histogram.weight()
    }
}

/// Bit by bit: a NaN is the same as itself.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let floats = |h: &Self| [h.count, h.sum, h.zero_threshold, h.zero_count].map(f64::to_bits);
        floats(self) == floats(other)
            && self.bounds == other.bounds
            && self.positive == other.positive
            && self.negative == other.negative
            && self.reset == other.reset
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::Exponential(0)
    }
}

impl Bounds {
    /// The schema as the wire formats tell it.
    pub fn schema(&self) -> i32 {
        match self {
            Self::Exponential(schema) => *schema,
            Self::Custom(_) => CUSTOM_BOUNDS_SCHEMA,
        }
    }

    /// The bounds of a schema as the wire formats tell it; `custom` are for [`CUSTOM_BOUNDS_SCHEMA`] alone.
    pub fn of(schema: i32, custom: &[f64]) -> Result<Self, InvalidHistogram> {
        match (schema, custom) {
            (CUSTOM_BOUNDS_SCHEMA, bounds) => Ok(Self::Custom(bounds.into())),
            (schema, []) => Ok(Self::Exponential(schema)),
            (schema, _) => Err(InvalidHistogram::NoCustomBounds(schema)),
        }
    }

    /// The bounds of one's own; none where they are powers.
    pub fn custom(&self) -> &[f64] {
        match self {
            Self::Exponential(_) => &[],
            Self::Custom(bounds) => bounds,
        }
    }
}

impl HistogramParts {
    fn check(&self) -> Result<(), InvalidHistogram> {
        let buckets = || self.positive.iter().chain(&self.negative);
        let counts = buckets().map(|bucket| bucket.count).chain([self.count, self.zero_count]);
        if !counts.into_iter().all(|count| count.is_finite() && count >= 0.0) {
            return Err(InvalidHistogram::Count);
        }
        if !(self.zero_threshold.is_finite() && self.zero_threshold >= 0.0) {
            return Err(InvalidHistogram::ZeroThreshold);
        }
        // The bucket below it would have no index.
        if buckets().any(|bucket| bucket.index == i32::MIN) {
            return Err(InvalidHistogram::Order);
        }
        let ascend = |all: &[Bucket]| all.is_sorted_by(|a, b| a.index < b.index);
        if !ascend(&self.positive) || !ascend(&self.negative) {
            return Err(InvalidHistogram::Order);
        }
        if buckets().count() + self.bounds.custom().len() > limits::HISTOGRAM_BUCKETS_MAX {
            return Err(InvalidHistogram::TooMany);
        }
        match &self.bounds {
            Bounds::Exponential(schema) if SCHEMAS.contains(schema) => Ok(()),
            Bounds::Exponential(schema) => Err(InvalidHistogram::Schema(*schema)),
            Bounds::Custom(bounds) => self.check_custom(bounds),
        }
    }

    fn check_custom(&self, bounds: &[f64]) -> Result<(), InvalidHistogram> {
        if !bounds.iter().all(|bound| bound.is_finite()) || !bounds.is_sorted_by(|a, b| a < b) {
            return Err(InvalidHistogram::Bounds);
        }
        let inside =
            |bucket: &Bucket| usize::try_from(bucket.index).is_ok_and(|i| i <= bounds.len());
        let zero = self.zero_count > 0.0 || self.zero_threshold > 0.0 || !self.negative.is_empty();
        if zero || !self.positive.iter().all(inside) {
            return Err(InvalidHistogram::BeyondBounds);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(index: i32, count: f64) -> Bucket {
        Bucket { index, count }
    }

    fn parts() -> HistogramParts {
        HistogramParts {
            count: 6.0,
            sum: 12.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            bounds: Bounds::Exponential(3),
            positive: vec![bucket(-2, 2.0), bucket(4, 3.0)],
            ..HistogramParts::default()
        }
    }

    fn custom(bounds: &[f64]) -> Bounds {
        Bounds::of(CUSTOM_BOUNDS_SCHEMA, bounds).unwrap()
    }

    fn refused(change: impl FnOnce(&mut HistogramParts)) -> InvalidHistogram {
        let mut parts = parts();
        change(&mut parts);
        Histogram::new(parts).unwrap_err()
    }

    #[test]
    fn empty_buckets_are_left_out() {
        let mut with_empty = parts();
        with_empty.positive.insert(1, bucket(0, 0.0));
        with_empty.negative.push(bucket(7, 0.0));
        assert_eq!(Histogram::new(with_empty).unwrap(), Histogram::new(parts()).unwrap());
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        use InvalidHistogram::{
            BeyondBounds, Bounds as BadBounds, Count, Order, Schema, TooMany, ZeroThreshold,
        };
        assert_eq!(refused(|p| p.count = -1.0), Count);
        assert_eq!(refused(|p| p.negative = vec![bucket(0, f64::NAN)]), Count);
        assert_eq!(refused(|p| p.zero_threshold = -0.5), ZeroThreshold);
        assert_eq!(refused(|p| p.positive.swap(0, 1)), Order);
        assert_eq!(refused(|p| p.positive = vec![bucket(1, 1.0); 2]), Order);
        assert_eq!(refused(|p| p.bounds = Bounds::Exponential(9)), Schema(9));
        let many = || (0..).take(limits::HISTOGRAM_BUCKETS_MAX + 1).map(|at| bucket(at, 1.0));
        assert_eq!(refused(|p| p.positive = many().collect()), TooMany);
        assert_eq!(refused(|p| p.bounds = custom(&[1.0, 1.0])), BadBounds);
        assert_eq!(refused(|p| p.bounds = custom(&[1.0, 2.0])), BeyondBounds);
        assert_eq!(Bounds::of(3, &[1.0]), Err(InvalidHistogram::NoCustomBounds(3)));
    }

    #[test]
    fn bounds_of_ones_own_have_one_bucket_more_than_bounds() {
        let with = |index| {
            Histogram::new(HistogramParts {
                count: 1.0,
                bounds: custom(&[0.5, 1.0]),
                positive: vec![bucket(index, 1.0)],
                ..HistogramParts::default()
            })
        };
        assert!(with(0).is_ok() && with(2).is_ok());
        assert!(with(3).is_err() && with(-1).is_err());
    }

    #[test]
    fn a_lower_count_anywhere_is_a_reset() {
        let first = Histogram::new(parts()).unwrap();
        let after = |change: fn(&mut HistogramParts)| {
            let mut parts = parts();
            change(&mut parts);
            Histogram::new(parts).unwrap().continues(&first)
        };
        assert!(after(|_| {}));
        assert!(after(|p| p.positive.push(bucket(9, 1.0))));
        assert!(!after(|p| p.positive[1].count = 2.0));
        assert!(!after(|p| p.positive = p.positive.split_off(1)));
        assert!(!after(|p| p.count = 5.0));
        assert!(!after(|p| p.bounds = Bounds::Exponential(2)));
        assert!(!after(|p| p.reset = ResetHint::Reset));
        assert!(after(|p| (p.count, p.reset) = (1.0, ResetHint::Gauge)));
    }
}
