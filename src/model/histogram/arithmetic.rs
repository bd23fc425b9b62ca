//! Sums, differences and multiples of histograms, and whether counts fell between two.
//!
//! Two histograms meet at the coarser of their schemas and at a zero bucket that cuts through no bucket
//! of either (<https://prometheus.io/docs/specs/native_histograms/#aggregation>, "merging").

use super::{Bounds, Bucket, Histogram, HistogramParts, ResetHint, buckets::exponential_end};

/// Why two histograms have no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incompatible {
    /// One has exponential buckets, the other bounds of its own.
    Schema,
    /// Both have bounds of their own, and not the same.
    Bounds,
}

impl Histogram {
    /// This and another one together. A sum with a gauge is one.
    pub fn plus(&self, other: &Self) -> Result<Self, Incompatible> {
        let mut sum = combined(self, other, 1.0)?;
        sum.reset = match (self.reset, other.reset) {
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
            (a, b) if a == b => a,
            _ => ResetHint::Unknown,
        };
        Ok(Self::computed(sum))
    }

    /// This one without another.
    pub fn minus(&self, other: &Self) -> Result<Self, Incompatible> {
        combined(self, other, -1.0).map(Self::computed)
    }

    /// Every count and the sum times a factor.
    pub fn times(&self, factor: f64) -> Self {
        Self::computed(self.mapped(|value| value * factor))
    }

    /// Every count and the sum divided by a number; divided by zero, no bucket is left.
    pub fn divided_by(&self, divisor: f64) -> Self {
        let mut parts = self.mapped(|value| value / divisor);
        if divisor == 0.0 {
            parts.positive.clear();
            parts.negative.clear();
        }
        Self::computed(parts)
    }

    /// The same, with another hint.
    pub fn hinted(&self, reset: ResetHint) -> Self {
        Self(HistogramParts { reset, ..self.0.clone() })
    }

    /// The same with a schema of at most `schema`; bounds of one's own stay as they are.
    pub fn at_most(&self, schema: i32) -> Self {
        let mut parts = self.0.clone();
        parts.coarsen(schema);
        Self::computed(parts)
    }

    /// Whether counts of a counter fell since `earlier`. What happened to gauges is told as if they were
    /// counters.
    pub fn was_reset_since(&self, earlier: &Self) -> bool {
        if self.reset == ResetHint::Reset || self.count < earlier.count {
            return true;
        }
        match (&self.bounds, &earlier.bounds) {
            (Bounds::Custom(now), Bounds::Custom(then)) if now != then => return true,
            (Bounds::Exponential(now), Bounds::Exponential(then)) if now > then => return true,
            (Bounds::Custom(_), Bounds::Exponential(_))
            | (Bounds::Exponential(_), Bounds::Custom(_)) => return true,
            _ => {}
        }
        if self.zero_threshold < earlier.zero_threshold {
            return true;
        }
        let mut earlier = earlier.0.clone();
        earlier.widen_zero(self.zero_threshold);
        earlier.coarsen(self.bounds.schema());
        // A zero bucket grows to the end of a bucket only.
        earlier.zero_threshold.to_bits() != self.zero_threshold.to_bits()
            || self.zero_count < earlier.zero_count
            || !holds(&self.positive, &earlier.positive)
            || !holds(&self.negative, &earlier.negative)
    }

    fn mapped(&self, apply: impl Fn(f64) -> f64) -> HistogramParts {
        let buckets = |all: &[Bucket]| {
            let one = |b: &Bucket| Bucket { index: b.index, count: apply(b.count) };
            all.iter().map(one).collect()
        };
        HistogramParts {
            count: apply(self.count),
            sum: apply(self.sum),
            zero_count: apply(self.zero_count),
            positive: buckets(&self.positive),
            negative: buckets(&self.negative),
            ..self.0.clone()
        }
    }
}

/// Whether each of the earlier buckets has at least its count later.
fn holds(later: &[Bucket], earlier: &[Bucket]) -> bool {
    earlier.iter().all(|bucket| {
        let found = later.binary_search_by_key(&bucket.index, |later| later.index);
        found.is_ok_and(|at| later[at].count >= bucket.count)
    })
}

fn combined(
    a: &HistogramParts,
    b: &HistogramParts,
    sign: f64,
) -> Result<HistogramParts, Incompatible> {
    match (&a.bounds, &b.bounds) {
        (Bounds::Custom(left), Bounds::Custom(right)) if left != right => {
            return Err(Incompatible::Bounds);
        }
        (Bounds::Custom(_), Bounds::Custom(_))
        | (Bounds::Exponential(_), Bounds::Exponential(_)) => {}
        _ => return Err(Incompatible::Schema),
    }
    let (mut a, mut b) = (a.clone(), b.clone());
    meet(&mut a, &mut b);
    a.count += sign * b.count;
    a.sum += sign * b.sum;
    a.zero_count += sign * b.zero_count;
    a.positive = merged(&a.positive, &b.positive, sign);
    a.negative = merged(&a.negative, &b.negative, sign);
    Ok(a)
}

/// Gives both the same zero bucket and the same schema.
fn meet(a: &mut HistogramParts, b: &mut HistogramParts) {
    // Each step widens one of them to an end of one of its buckets, of which there are few.
    while a.zero_threshold < b.zero_threshold || b.zero_threshold < a.zero_threshold {
        let wider = a.zero_threshold.max(b.zero_threshold);
        a.widen_zero(wider);
        b.widen_zero(wider);
    }
    let schema = a.bounds.schema().min(b.bounds.schema());
    a.coarsen(schema);
    b.coarsen(schema);
}

/// Both lists are in order of their indexes, and so is the result.
fn merged(a: &[Bucket], b: &[Bucket], sign: f64) -> Vec<Bucket> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (None, None) => return out,
            (Some(left), None) => left.index,
            (None, Some(right)) => right.index,
            (Some(left), Some(right)) => left.index.min(right.index),
        };
        let at = |bucket: &&Bucket| bucket.index == next;
        let left = a.next_if(at).map_or(0.0, |bucket| bucket.count);
        let right = b.next_if(at).map_or(0.0, |bucket| bucket.count);
        out.push(Bucket { index: next, count: left + sign * right });
    }
}

impl HistogramParts {
    /// Lowers the schema to `schema`; a lower one stays, and so do bounds of one's own.
    fn coarsen(&mut self, schema: i32) {
        let Bounds::Exponential(current) = self.bounds else { return };
        if current > schema {
            self.positive = coarser(&self.positive, current - schema);
            self.negative = coarser(&self.negative, current - schema);
            self.bounds = Bounds::Exponential(schema);
        }
    }

    /// Widens the zero bucket to `threshold` at least: further, where that would cut through a bucket.
    fn widen_zero(&mut self, threshold: f64) {
        let Bounds::Exponential(schema) = self.bounds else { return };
        if threshold <= self.zero_threshold {
            return;
        }
        let threshold = self.uncut(threshold, schema);
        let mut moved = 0.0;
        for side in [&mut self.positive, &mut self.negative] {
            side.retain(|bucket| {
                let inside = exponential_end(bucket.index, schema) <= threshold;
                moved += if inside { bucket.count } else { 0.0 };
                !inside
            });
        }
        self.zero_count += moved;
        self.zero_threshold = threshold;
    }

    /// The least threshold from `threshold` on that cuts through no bucket.
    fn uncut(&self, mut threshold: f64, schema: i32) -> f64 {
        let ends =
            |b: &Bucket| (exponential_end(b.index - 1, schema), exponential_end(b.index, schema));
        let buckets = || self.positive.iter().chain(&self.negative).map(ends);
        while let Some((_, end)) =
            buckets().find(|(start, end)| *start < threshold && threshold < *end)
        {
            threshold = end;
        }
        threshold
    }
}

/// Buckets of a schema that is lower by `levels`: each takes in 2^levels of them.
fn coarser(buckets: &[Bucket], levels: i32) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let index = ((bucket.index - 1) >> levels) + 1;
        match out.last_mut() {
            Some(last) if last.index == index => last.count += bucket.count,
            _ => out.push(Bucket { index, count: bucket.count }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(index: i32, count: f64) -> Bucket {
        Bucket { index, count }
    }

    fn of(schema: i32, positive: &[(i32, f64)]) -> Histogram {
        let positive: Vec<_> = positive.iter().map(|(i, c)| bucket(*i, *c)).collect();
        let count = positive.iter().map(|bucket| bucket.count).sum();
        let bounds = Bounds::Exponential(schema);
        Histogram::new(HistogramParts {
            count,
            sum: count,
            bounds,
            positive,
            ..HistogramParts::default()
        })
        .unwrap()
    }

    #[test]
    fn the_coarser_schema_wins() {
        // Schema 1 has two buckets for each power: 1 and 2 make 1 of schema 0, 3 makes 2.
        let fine = of(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
        let sum = fine.plus(&of(0, &[(1, 10.0)])).unwrap();
        assert_eq!(sum.positive, [bucket(1, 13.0), bucket(2, 4.0)]);
        assert_eq!((sum.count, sum.bounds.schema()), (17.0, 0));
        assert_eq!(of(0, &[(1, 10.0)]).plus(&fine).unwrap().positive, sum.positive);
    }

    #[test]
    fn a_difference_may_be_negative_and_drops_what_is_empty() {
        let difference = of(0, &[(1, 1.0), (2, 3.0)]).minus(&of(0, &[(1, 2.0), (2, 3.0)])).unwrap();
        assert_eq!(difference.positive, [bucket(1, -1.0)]);
    }

    #[test]
    fn the_zero_bucket_grows_to_the_end_of_a_bucket() {
        // 0.75 lies in bucket 0, which is (0.5, 1]: the zero bucket takes all of it.
        let mut wide = of(0, &[(3, 1.0)]).0;
        (wide.zero_threshold, wide.zero_count) = (0.75, 5.0);
        let wide = Histogram::new(wide).unwrap();
        let sum = of(0, &[(-3, 1.0), (0, 2.0), (1, 4.0)]).plus(&wide).unwrap();
        assert_eq!((sum.zero_threshold, sum.zero_count), (1.0, 8.0));
        assert_eq!(sum.positive, [bucket(1, 4.0), bucket(3, 1.0)]);
    }

    #[test]
    fn unlike_buckets_do_not_meet() {
        let custom = |bounds: &[f64]| {
            let bounds = Bounds::Custom(bounds.into());
            Histogram::new(HistogramParts { bounds, ..HistogramParts::default() }).unwrap()
        };
        assert_eq!(custom(&[1.0]).plus(&of(0, &[])), Err(Incompatible::Schema));
        assert_eq!(custom(&[1.0]).minus(&custom(&[2.0])), Err(Incompatible::Bounds));
        assert!(custom(&[1.0]).plus(&custom(&[1.0])).is_ok());
    }

    #[test]
    fn nothing_is_left_in_buckets_that_are_divided_by_zero() {
        let divided = of(0, &[(1, 1.0)]).divided_by(0.0);
        assert!(divided.positive.is_empty() && divided.count.is_infinite());
        assert_eq!(of(0, &[(1, 2.0)]).divided_by(2.0), of(0, &[(1, 1.0)]));
        assert_eq!(of(0, &[(1, 1.0)]).times(2.0), of(0, &[(1, 2.0)]));
    }

    #[test]
    fn resets_are_seen_through_coarser_schemas_and_wider_zero_buckets() {
        let fine = of(1, &[(1, 1.0), (2, 2.0)]);
        assert!(!of(0, &[(1, 3.0)]).was_reset_since(&fine));
        assert!(of(0, &[(1, 2.0), (2, 1.0)]).was_reset_since(&fine));
        assert!(fine.was_reset_since(&of(0, &[(1, 3.0)])), "a finer schema begins anew");
        let mut wide = of(0, &[]).0;
        (wide.zero_threshold, wide.zero_count, wide.count) = (2.0, 3.0, 3.0);
        assert!(!Histogram::new(wide.clone()).unwrap().was_reset_since(&of(0, &[(1, 3.0)])));
        wide.zero_threshold = 1.5;
        let cut = Histogram::new(wide).unwrap();
        assert!(cut.was_reset_since(&of(0, &[(1, 3.0)])), "(1, 2] cannot be cut");
    }
}
