//! What one native histogram comes to (promql/functions.go, promql/quantile.go).

use crate::{
    model::{BucketRange, Histogram},
    promql::{
        PointValue,
        columns::{Slot, nameless},
        notes::Notes,
        numbers::{self, Sum},
    },
};

use super::{Call, Evaluated, Result};

pub(super) fn count(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    of_each(call, |histogram| histogram.count)
}

pub(super) fn sum(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    of_each(call, |histogram| histogram.sum)
}

pub(super) fn avg(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    of_each(call, |histogram| histogram.sum / histogram.count)
}

pub(super) fn stdvar(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    of_each(call, variance)
}

pub(super) fn stddev(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    of_each(call, |histogram| variance(histogram).sqrt())
}

/// A number for each histogram; numbers are left out.
fn of_each(call: &mut Call<'_, '_>, apply: fn(&Histogram) -> f64) -> Result<Evaluated> {
    let columns = call.vector(0)?.into_iter().map(|column| {
        column.map_slots(|_, slot| match slot {
            Slot::Histogram(histogram) => Some(PointValue::Float(apply(histogram))),
            _ => None,
        })
    });
    Ok(Evaluated::Vector(nameless(columns.collect())?))
}

/// The variance, if every observation lay in the middle of its bucket: the geometric one, but the
/// arithmetic one between bounds of one's own and in the zero bucket.
fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let middle = |bucket: &BucketRange| match bucket {
        _ if histogram.has_custom_bounds() => f64::midpoint(bucket.upper, bucket.lower),
        BucketRange { lower, upper, .. } if *lower <= 0.0 && *upper >= 0.0 => 0.0,
        BucketRange { lower, upper, .. } => (upper * lower).sqrt().copysign(*upper),
    };
    let mut squares = Sum::default();
    for bucket in histogram.buckets() {
        let delta = middle(&bucket) - mean;
        squares.add(bucket.count * delta * delta);
    }
    squares.value() / histogram.count
}

/// The φ-quantile. Within a bucket it is interpolated on a logarithmic scale, but linearly between bounds
/// of one's own and in the zero bucket. Observations that are NaN are in no bucket: they count as
/// greater than all others.
pub(super) fn quantile(phi: f64, histogram: &Histogram, metric: &str, notes: &mut Notes) -> f64 {
    if let Some(value) = numbers::beyond(phi) {
        return value;
    }
    if histogram.count == 0.0 {
        return f64::NAN;
    }
    let with_nan = histogram.sum.is_nan();
    // From the nearer end, which is the more exact; but NaN lie above all buckets.
    let found = if with_nan || phi < 0.5 {
        Found::walk(histogram.buckets(), phi * histogram.count, histogram.count)
    } else {
        let above = (1.0 - phi) * histogram.count;
        Found::walk(histogram.buckets().rev(), above, histogram.count).map(Found::mirrored)
    };
    let reached = found.is_some_and(|found| found.reached);
    if with_nan {
        let in_buckets: f64 = histogram.buckets().map(|bucket| bucket.count).sum();
        if !reached {
            notes.inform(&format!(
                "input to histogram_quantile has NaN observations, result is NaN for metric name \
                 {metric:?}"
            ));
            return f64::NAN;
        }
        if in_buckets < histogram.count {
            notes.inform(&format!(
                "input to histogram_quantile has NaN observations, result is skewed higher for \
                 metric name {metric:?}"
            ));
        }
    }
    found.map_or(f64::NAN, |found| found.value(histogram))
}

/// The bucket that a rank lies in.
#[derive(Clone, Copy)]
struct Found {
    bucket: BucketRange,
    /// How many of its observations lie below the rank.
    below: f64,
    /// Whether the rank lies in any bucket at all.
    reached: bool,
}

impl Found {
    /// Walks until `rank` observations are behind, of `total`.
    fn walk(buckets: impl Iterator<Item = BucketRange>, rank: f64, total: f64) -> Option<Self> {
        let (mut count, mut last) = (0.0, None);
        for bucket in buckets {
            last = Some(bucket);
            count += bucket.count;
            if count >= rank {
                break;
            }
        }
        let bucket = last?;
        // Rounding may have made more of them than there are.
        let count = if count > total { total } else { count };
        Some(Self { bucket, below: rank - (count - bucket.count), reached: count >= rank })
    }

    /// Found from the upper end: what was counted from there is above the rank.
    fn mirrored(self) -> Self {
        Self { below: self.bucket.count - self.below, ..self }
    }

    fn value(self, histogram: &Histogram) -> f64 {
        let BucketRange { lower, upper, count, .. } = bounded(self.bucket, histogram);
        let custom = histogram.has_custom_bounds();
        match (lower, upper) {
            (f64::NEG_INFINITY, _) if custom => return upper,
            (_, f64::INFINITY) if custom => return lower,
            _ if !self.reached => return upper,
            _ => {}
        }
        let fraction = self.below / count;
        if custom || (lower <= 0.0 && upper >= 0.0) {
            return lower + (upper - lower) * fraction;
        }
        let (from, to) = (lower.abs().log2(), upper.abs().log2());
        if lower > 0.0 {
            return (from + (to - from) * fraction).exp2();
        }
        -(to + (from - to) * (1.0 - fraction)).exp2()
    }
}

/// A bucket as it is interpolated in: one around zero ends there if nothing lies beyond, and the first one
/// between bounds of one's own begins there if it ends above.
fn bounded(bucket: BucketRange, histogram: &Histogram) -> BucketRange {
    if !histogram.has_custom_bounds() {
        return around_zero(bucket, histogram);
    }
    let begins = bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0;
    BucketRange { lower: if begins { 0.0 } else { bucket.lower }, ..bucket }
}

/// A bucket around zero without what lies on the side where nothing else does.
fn around_zero(bucket: BucketRange, histogram: &Histogram) -> BucketRange {
    if bucket.lower > 0.0 || bucket.upper < 0.0 {
        return bucket;
    }
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (true, false) => BucketRange { lower: 0.0, ..bucket },
        (false, true) => BucketRange { upper: 0.0, ..bucket },
        _ => bucket,
    }
}

/// The share of observations between two values. Those that are NaN lie nowhere.
pub(super) fn fraction(
    (lower, upper): (f64, f64),
    histogram: &Histogram,
    metric: &str,
    notes: &mut Notes,
) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut count = histogram.count;
    if histogram.sum.is_nan() {
        count = histogram.buckets().map(|bucket| bucket.count).sum();
        if count < histogram.count {
            notes.inform(&format!(
                "input to histogram_fraction has NaN observations, which are excluded from all \
                 fractions for metric name {metric:?}"
            ));
        }
    }
    let rank = |value| numbers::capped(rank_of(histogram, value), count);
    (rank(upper) - rank(lower)) / histogram.count
}

/// How many observations lie below a value.
fn rank_of(histogram: &Histogram, value: f64) -> f64 {
    let mut rank = 0.0;
    for bucket in histogram.buckets() {
        let bucket = around_zero(bucket, histogram);
        if bucket.lower >= value {
            return rank;
        }
        if bucket.upper > value {
            return rank + bucket.count * part_below(histogram, &bucket, value);
        }
        rank += bucket.count;
    }
    f64::INFINITY
}

/// The part of a bucket that lies below a value within it.
fn part_below(histogram: &Histogram, bucket: &BucketRange, value: f64) -> f64 {
    let BucketRange { lower, upper, .. } = *bucket;
    if histogram.has_custom_bounds() || (lower <= 0.0 && upper >= 0.0) {
        return (value - lower) / (upper - lower);
    }
    let (from, to, at) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (at - from) / (to - from) } else { 1.0 - (at - to) / (from - to) }
}
