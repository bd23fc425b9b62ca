//! Where the buckets of a native histogram lie, in numbers.

use crate::model::{Bounds, Bucket, Histogram};

/// A bucket with its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BucketRange {
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) lower_inclusive: bool,
    pub(super) upper_inclusive: bool,
    pub(super) count: f64,
}

/// All buckets that hold something, from the lowest to the highest.
pub(super) fn buckets(histogram: &Histogram) -> impl Iterator<Item = BucketRange> {
    let below = histogram.negative.iter().rev().map(|bucket| negative(histogram, *bucket));
    let above = histogram.positive.iter().map(|bucket| positive(histogram, *bucket));
    below.chain(zero(histogram)).chain(above)
}

fn zero(histogram: &Histogram) -> Option<BucketRange> {
    let (end, count) = (histogram.zero_threshold, histogram.zero_count);
    let bucket = BucketRange {
        lower: -end,
        upper: end,
        lower_inclusive: true,
        upper_inclusive: true,
        count,
    };
    (count > 0.0).then_some(bucket)
}

fn positive(histogram: &Histogram, bucket: Bucket) -> BucketRange {
    let (lower, upper) =
        (end(&histogram.bounds, bucket.index - 1), end(&histogram.bounds, bucket.index));
    // What overlaps with the zero bucket begins where that ends.
    let hidden = lower > 0.0 && lower < histogram.zero_threshold;
    let lower = if hidden { histogram.zero_threshold } else { lower };
    BucketRange {
        lower,
        upper,
        lower_inclusive: lower == f64::NEG_INFINITY,
        upper_inclusive: true,
        count: bucket.count,
    }
}

fn negative(histogram: &Histogram, bucket: Bucket) -> BucketRange {
    let BucketRange { lower, upper, count, .. } = positive(histogram, bucket);
    BucketRange {
        lower: -upper,
        upper: -lower,
        lower_inclusive: true,
        upper_inclusive: false,
        count,
    }
}

/// The upper end of a bucket.
fn end(bounds: &Bounds, index: i32) -> f64 {
    match bounds {
        Bounds::Exponential(schema) => exponential_end(index, *schema),
        Bounds::Custom(bounds) => match usize::try_from(index) {
            Ok(index) => bounds.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        },
    }
}

/// 2^(index × 2^-schema); the last bucket of finite numbers ends with the greatest of them
/// (<https://prometheus.io/docs/specs/native_histograms/#schema>).
fn exponential_end(index: i32, schema: i32) -> f64 {
    let per_power = 1_i64 << schema.max(0);
    let index = i64::from(index) << (-schema).max(0);
    // Whole powers and the fraction apart: the whole ones are exact.
    let (whole, part) = (index.div_euclid(per_power), index.rem_euclid(per_power));
    match (whole, part) {
        (1024, 0) => f64::MAX,
        (1024.., _) => f64::INFINITY,
        _ => (part as f64 / per_power as f64).exp2() * (whole as f64).exp2(),
    }
}
