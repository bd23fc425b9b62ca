//! Classic histograms: series that differ only in `le`, each counting all below its bound
//! (promql/quantile.go, `BucketQuantile`).
#![expect(clippy::float_cmp, reason = "equal bounds and counts are meant exactly")]

use std::{cmp::Ordering, collections::BTreeMap};

use crate::{
    model::{Labels, METRIC_NAME},
    promql::{aggregate::warn_about_quantiles, columns::Column},
};

use super::{Call, Evaluated, Result, absent};

/// The label that holds a bucket's upper bound.
const BOUND: &str = "le";

/// Counts that differ by less than this part of themselves are taken for equal: rates of buckets
/// are scraped and computed one by one.
const TOLERANCE: f64 = 1e-12;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// The buckets of one histogram.
type Buckets = Vec<(f64, Column)>;

pub(super) fn quantile(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let phi = call.scalar(0)?;
    let columns = call.vector(1)?;
    warn_about_quantiles(call.evaluator, &phi);
    let mut out = Vec::new();
    let mut mended = false;
    for (labels, buckets) in histograms(call, columns) {
        call.evaluator.check_cancelled()?;
        let slot = |(step, phi): (usize, &f64)| {
            let mut present: Vec<Bucket> = buckets
                .iter()
                .filter(|(_, column)| column.has(step))
                .map(|(bound, column)| Bucket { bound: *bound, count: column.values[step] })
                .collect();
            if present.is_empty() {
                return absent();
            }
            mended |= prepare(&mut present);
            bucket_quantile(*phi, &present)
        };
        let values = phi.iter().enumerate().map(slot).collect();
        out.push(Column { labels, values });
    }
    if mended {
        call.evaluator.inform(
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
        );
    }
    Ok(Evaluated::Vector(out))
}

/// Series that differ only in their bound; those without a readable one are left out with a warning.
fn histograms(call: &mut Call<'_, '_>, columns: Vec<Column>) -> BTreeMap<Labels, Buckets> {
    let mut out: BTreeMap<Labels, Buckets> = BTreeMap::new();
    for column in columns {
        let bound = column.labels.get(BOUND).unwrap_or_default();
        let Some(bound) = read_bound(bound) else {
            call.evaluator.warn(&format!(
                "bucket label {BOUND:?} is missing or has a malformed value of {bound:?} for {}",
                column.labels
            ));
            continue;
        };
        let labels = column.labels.without(|name| name == BOUND || name == METRIC_NAME);
        out.entry(labels).or_default().push((bound, column));
    }
    for buckets in out.values_mut() {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    out
}

fn read_bound(text: &str) -> Option<f64> {
    text.parse().ok().filter(|bound: &f64| !bound.is_nan())
}

/// Joins buckets with the same bound, and mends counts that fall; tells whether some fell by more
/// than rounding explains.
fn prepare(buckets: &mut Vec<Bucket>) -> bool {
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    let mut mended = false;
    for index in 1..buckets.len() {
        let (before, count) = (buckets[index - 1].count, buckets[index].count);
        let close = nearly_equal(before, count);
        if close || count < before {
            buckets[index].count = before;
        }
        mended |= !close && count < before;
    }
    mended
}

fn nearly_equal(a: f64, b: f64) -> bool {
    let scale = a.abs() + b.abs();
    a == b || (a != 0.0 && b != 0.0 && (a - b).abs() / scale.min(f64::MAX) < TOLERANCE)
}

/// The φ-quantile, interpolated within its bucket; the buckets are sorted and their counts rise.
fn bucket_quantile(phi: f64, buckets: &[Bucket]) -> f64 {
    if phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    let [finite @ .., last] = buckets else { return f64::NAN };
    if last.bound != f64::INFINITY || finite.is_empty() || last.count == 0.0 {
        return f64::NAN;
    }
    interpolate(phi * last.count, finite)
}

fn interpolate(rank: f64, finite: &[Bucket]) -> f64 {
    let index = finite
        .partition_point(|bucket| bucket.count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    let Some(bucket) = finite.get(index) else {
        // Beyond the last finite bound, that bound is all one can say.
        return finite.last().map_or(f64::NAN, |bucket| bucket.bound);
    };
    let (start, below) = match index.checked_sub(1) {
        Some(before) => (finite[before].bound, finite[before].count),
        None if bucket.bound <= 0.0 => return bucket.bound,
        None => (0.0, 0.0),
    };
    start + (bucket.bound - start) * ((rank - below) / (bucket.count - below))
}
