//! Classic histograms: series that differ only in `le`, each counting all below its bound
//! (promql/quantile.go, `BucketQuantile`).
#![expect(clippy::float_cmp, reason = "equal bounds and counts are meant exactly")]

use std::{cmp::Ordering, collections::BTreeMap};

use crate::{
    model::Labels,
    promql::{columns::Column, notes::Notes, numbers},
};

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

/// The buckets of one histogram, by their bounds.
pub(super) struct Buckets(Vec<(f64, Column)>);

/// Series that differ only in their bound; those without a readable one are left out with a warning.
pub(super) fn histograms(columns: Vec<Column>, notes: &mut Notes) -> BTreeMap<Labels, Buckets> {
    let mut out: BTreeMap<Labels, Buckets> = BTreeMap::new();
    for column in columns {
        let text = column.labels.get(BOUND).unwrap_or_default();
        let Some(bound) = read_bound(text) else {
            notes.warn(&format!(
                "bucket label {BOUND:?} is missing or has a malformed value of {text:?} for metric \
                 name {:?}",
                column.labels.metric()
            ));
            continue;
        };
        let labels = column.labels.without(|name| name == BOUND);
        out.entry(labels).or_insert_with(|| Buckets(Vec::new())).0.push((bound, column));
    }
    for buckets in out.values_mut() {
        buckets.0.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    out
}

impl Buckets {
    /// What the buckets count at a step; nothing where none is there.
    fn at(&self, step: usize) -> Vec<Bucket> {
        let present = self.0.iter().filter(|(_, column)| column.slot(step).float().is_some());
        let bucket =
            |(bound, column): &(f64, Column)| Bucket { bound: *bound, count: column.values[step] };
        let mut buckets: Vec<Bucket> = present.map(bucket).collect();
        buckets.dedup_by(|next, kept| {
            let same = next.bound == kept.bound;
            if same {
                kept.count += next.count;
            }
            same
        });
        buckets
    }

    /// Takes away what is there where `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        self.0.iter_mut().for_each(|(_, column)| column.retain(&keep));
    }

    /// Whether any bucket is there at a step.
    pub(super) fn has(&self, step: usize) -> bool {
        self.0.iter().any(|(_, column)| column.slot(step).float().is_some())
    }

    /// The φ-quantile at a step. Tells `mended` where counts had to be lifted.
    pub(super) fn quantile(&self, step: usize, phi: f64, mended: &mut bool) -> Option<f64> {
        let mut buckets = self.at(step);
        if buckets.is_empty() {
            return None;
        }
        let fell = mend(&mut buckets);
        let (value, looked) = bucket_quantile(phi, &buckets);
        *mended |= fell && looked;
        Some(value)
    }

    /// The share of observations between two values at a step (promql/quantile.go, `BucketFraction`).
    pub(super) fn fraction(&self, step: usize, (lower, upper): (f64, f64)) -> Option<f64> {
        let buckets = self.at(step);
        let last = buckets.last()?;
        let nan = lower.is_nan() || upper.is_nan();
        if last.bound != f64::INFINITY || last.count == 0.0 || nan {
            return Some(f64::NAN);
        }
        if lower >= upper {
            return Some(0.0);
        }
        // Counts that fall would make more than there are of some.
        let rank = |value| numbers::capped(rank_of(&buckets, value), last.count);
        Some((rank(upper) - rank(lower)) / last.count)
    }
}

/// How many observations lie below a value, interpolated within its bucket.
fn rank_of(buckets: &[Bucket], value: f64) -> f64 {
    let (mut start, mut below) = (f64::NEG_INFINITY, 0.0);
    for bucket in buckets {
        if start >= value {
            break;
        }
        if value < bucket.bound {
            return below + (bucket.count - below) * (value - start) / (bucket.bound - start);
        }
        (start, below) = (bucket.bound, bucket.count);
    }
    below
}

fn read_bound(text: &str) -> Option<f64> {
    text.parse().ok().filter(|bound: &f64| !bound.is_nan())
}

/// Lifts counts that fall below the one before; tells whether some fell by more than rounding explains.
fn mend(buckets: &mut [Bucket]) -> bool {
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
/// Tells, too, whether the counts were looked at.
fn bucket_quantile(phi: f64, buckets: &[Bucket]) -> (f64, bool) {
    if let Some(value) = numbers::beyond(phi) {
        return (value, false);
    }
    let [finite @ .., last] = buckets else { return (f64::NAN, false) };
    if last.bound != f64::INFINITY || finite.is_empty() || last.count == 0.0 {
        return (f64::NAN, false);
    }
    (interpolate(phi * last.count, finite), true)
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
