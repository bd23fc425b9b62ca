//! Native histograms to be stored, drawn from a seed.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{Bounds, Bucket, Histogram, HistogramParts, HistogramSample, ResetHint},
    time::Timestamp,
};

/// A generator that is the same everywhere: xorshift64* (Vigna, 2014).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn count(&mut self) -> f64 {
        // Mostly whole, sometimes a rate.
        let whole = self.below(1000) as f64;
        if self.below(8) == 0 { whole / 7.0 } else { whole }
    }

    fn buckets(&mut self, indexes: std::ops::Range<i32>) -> Vec<Bucket> {
        let all = indexes.filter_map(|index| {
            let count = self.count();
            (self.below(3) == 0).then_some(Bucket { index, count })
        });
        all.collect()
    }
}

/// `count` scrapes, 30 s apart, of a counter of latencies.
pub fn latencies(count: usize) -> Vec<HistogramSample> {
    let mut dice = Dice::new(7);
    let (mut buckets, mut total, mut sum) = (BTreeMap::new(), 0.0, 0.0);
    let scrape = |at: usize| {
        for _ in 0..dice.below(20) {
            // The mean of three: more in the middle than at the ends.
            let index = i32::try_from((0..3).map(|_| dice.below(30)).sum::<u64>() / 3);
            let index = index.unwrap_or_default() - 20;
            *buckets.entry(index).or_insert(0.0) += 1.0;
            total += 1.0;
            sum += f64::from(index).exp2();
        }
        let positive = buckets.iter().map(|(index, count)| Bucket { index: *index, count: *count });
        sample(
            at,
            HistogramParts {
                count: total,
                sum,
                zero_threshold: 1e-128,
                bounds: Bounds::Exponential(3),
                positive: positive.collect(),
                ..HistogramParts::default()
            },
        )
    };
    (0..count).map(scrape).collect()
}

/// Up to `max` histograms of all sorts, in order of time.
pub fn of_all_sorts(seed: u64, max: usize) -> Vec<HistogramSample> {
    let mut dice = Dice::new(seed);
    let count = dice.below(max as u64 + 1);
    (0..count).map(|at| sample(usize::try_from(at).unwrap_or_default(), any(&mut dice))).collect()
}

fn sample(at: usize, parts: HistogramParts) -> HistogramSample {
    let secs = 1_700_000_000 + 30 * i64::try_from(at).unwrap_or_default();
    let histogram = Histogram::new(parts).expect("the generator makes histograms");
    HistogramSample { timestamp: Timestamp::from_secs(secs), histogram: Arc::new(histogram) }
}

fn any(dice: &mut Dice) -> HistogramParts {
    let custom = dice.below(4) == 0;
    let shared = HistogramParts {
        count: dice.count(),
        sum: [f64::NAN, f64::INFINITY, -12.5, 0.1, 1e300]
            [usize::try_from(dice.below(5)).unwrap_or(0)],
        reset: [ResetHint::Unknown, ResetHint::Reset, ResetHint::Gauge]
            [usize::try_from(dice.below(12)).map_or(0, |at| at.saturating_sub(9))],
        ..HistogramParts::default()
    };
    if custom {
        let bounds = Bounds::Custom([0.1, 0.5, 2.5].into());
        return HistogramParts { bounds, positive: dice.buckets(0..4), ..shared };
    }
    HistogramParts {
        zero_threshold: 0.001,
        zero_count: dice.count(),
        bounds: Bounds::Exponential(if dice.below(3) == 0 { -1 } else { 2 }),
        positive: dice.buckets(-20..20),
        negative: dice.buckets(-3..9),
        ..shared
    }
}
