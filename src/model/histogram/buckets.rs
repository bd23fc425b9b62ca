//! Where the buckets of a histogram lie, in numbers.

use std::fmt;

use super::{Bounds, Bucket, Histogram, HistogramParts};

/// A bucket with its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketRange {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// Whether the lower end belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper end belongs to it.
    pub upper_inclusive: bool,
    /// How many observations.
    pub count: f64,
}

/// The upper end of bucket `index` of a schema from -4 to 8: 2^(index × 2^-schema). The last bucket of
/// finite numbers ends with the greatest of them, the one after it holds infinity
/// (<https://prometheus.io/docs/specs/native_histograms/#schema>).
pub(super) fn exponential_end(index: i32, schema: i32) -> f64 {
    // Whole powers and the fraction apart: the whole ones are exact.
    let per_power = 1_i64 << schema.max(0);
    let index = i64::from(index) << (-schema).max(0);
    let (whole, part) = (index.div_euclid(per_power), index.rem_euclid(per_power));
    match (whole, part) {
        (1024, 0) => f64::MAX,
        (1024.., _) => f64::INFINITY,
        _ => (part as f64 / per_power as f64).exp2() * (whole as f64).exp2(),
    }
}

impl HistogramParts {
    /// The ends of a bucket above zero.
    fn ends(&self, index: i32) -> (f64, f64) {
        match &self.bounds {
            Bounds::Exponential(schema) => {
                (exponential_end(index - 1, *schema), exponential_end(index, *schema))
            }
            Bounds::Custom(bounds) => {
                let end = |index: i32| usize::try_from(index).ok().map(|at| bounds.get(at));
                let lower = end(index - 1).flatten().copied().unwrap_or(f64::NEG_INFINITY);
                (lower, end(index).flatten().copied().unwrap_or(f64::INFINITY))
            }
        }
    }

    fn zero_bucket(&self) -> Option<BucketRange> {
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        let exists = self.zero_count > 0.0 && matches!(self.bounds, Bounds::Exponential(_));
        let count = self.zero_count;
        exists.then_some(BucketRange {
            lower,
            upper,
            lower_inclusive: true,
            upper_inclusive: true,
            count,
        })
    }

    fn positive_bucket(&self, bucket: Bucket) -> BucketRange {
        let (lower, upper) = self.ends(bucket.index);
        // What overlaps with the zero bucket begins where that ends.
        let hidden = lower > 0.0 && lower < self.zero_threshold;
        let lower = if hidden { self.zero_threshold } else { lower };
        let (lower_inclusive, upper_inclusive) = (lower == f64::NEG_INFINITY, true);
        BucketRange { lower, upper, lower_inclusive, upper_inclusive, count: bucket.count }
    }

    fn negative_bucket(&self, bucket: Bucket) -> BucketRange {
        let BucketRange { lower, upper, count, .. } = self.positive_bucket(bucket);
        let (lower_inclusive, upper_inclusive) = (true, false);
        BucketRange { lower: -upper, upper: -lower, lower_inclusive, upper_inclusive, count }
    }
}

impl Histogram {
    /// All buckets that hold something, from the lowest to the highest.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = BucketRange> {
        let below = self.negative.iter().rev().map(|bucket| self.negative_bucket(*bucket));
        let above = self.positive.iter().map(|bucket| self.positive_bucket(*bucket));
        below.chain(self.zero_bucket()).chain(above)
    }

    /// Whether its buckets end at bounds of one's own.
    pub fn has_custom_bounds(&self) -> bool {
        matches!(self.bounds, Bounds::Custom(_))
    }
}

/// As Prometheus writes histograms into texts: `{count:3, sum:4.5, [0,0]:1, (1,2]:2}`.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", self.count, self.sum)?;
        self.buckets().try_for_each(|bucket| write!(f, ", {bucket}"))?;
        f.write_str("}")
    }
}

impl fmt::Display for BucketRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (end_text(self.lower), end_text(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", self.count)
    }
}

fn end_text(end: f64) -> String {
    match end {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => end.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "whole powers are exact")]
    fn ends_are_powers() {
        assert_eq!(exponential_end(0, 3), 1.0);
        assert_eq!(exponential_end(8, 3), 2.0);
        assert_eq!(exponential_end(-8, 3), 0.5);
        assert_eq!(exponential_end(1, 0), 2.0);
        assert_eq!(exponential_end(2, -1), 16.0);
        assert!((exponential_end(1, 1) - 2.0_f64.sqrt()).abs() < 1e-15);
        assert_eq!(exponential_end(1024, 0), f64::MAX);
        assert_eq!(exponential_end(1025, 0), f64::INFINITY);
        assert_eq!(exponential_end(256, -2), f64::MAX);
        assert_eq!(exponential_end(-1074, 0), 5e-324);
        assert!(exponential_end(i32::MAX, -4).is_infinite());
    }

    #[test]
    fn buckets_come_from_low_to_high_and_beside_the_zero_bucket() {
        let bucket = |index, count| Bucket { index, count };
        let histogram = Histogram::new(HistogramParts {
            count: 10.0,
            zero_threshold: 0.75,
            zero_count: 1.0,
            positive: vec![bucket(0, 2.0), bucket(1, 3.0)],
            negative: vec![bucket(2, 4.0)],
            ..HistogramParts::default()
        });
        let found: Vec<_> =
            histogram.unwrap().buckets().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(
            found,
            [(-4.0, -2.0, 4.0), (-0.75, 0.75, 1.0), (0.75, 1.0, 2.0), (1.0, 2.0, 3.0)]
        );
    }

    #[test]
    fn bounds_of_ones_own_reach_to_infinity() {
        let histogram = Histogram::new(HistogramParts {
            count: 3.0,
            bounds: Bounds::Custom([0.5, 1.0].into()),
            positive: (0..3).map(|index| Bucket { index, count: 1.0 }).collect(),
            ..HistogramParts::default()
        });
        let found: Vec<_> = histogram.unwrap().buckets().map(|b| (b.lower, b.upper)).collect();
        assert_eq!(found, [(f64::NEG_INFINITY, 0.5), (0.5, 1.0), (1.0, f64::INFINITY)]);
    }
}
