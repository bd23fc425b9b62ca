//! Series as hosts have them, made up: the mix of values that the store's figures are measured on.
//!
//! Of a hundred series 14 are CPU counters, 8 gauges with two decimals, 24 constants, 10 memory in
//! pages, 18 buckets of histograms, 3 temperatures, 5 floats of full entropy, 8 network bytes and 10
//! counters that hardly move. The same numbers come out at every run.

use std::time::Duration;

use crate::{model::Sample, time::Timestamp};

/// The kinds of series and how many of a hundred are of each.
const KINDS: [(u64, Kind); 9] = [
    (14, Kind::Cpu),
    (8, Kind::Gauge),
    (24, Kind::Constant),
    (10, Kind::Memory),
    (18, Kind::Bucket),
    (3, Kind::Temperature),
    (5, Kind::Entropy),
    (8, Kind::Network),
    (10, Kind::Idle),
];

/// A kind of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Seconds to the hundredth that grow with a load that wanders.
    Cpu,
    /// A load to the hundredth.
    Gauge,
    /// Always the same.
    Constant,
    /// Bytes in pages of 4 KiB.
    Memory,
    /// A count that grows by a few at a time.
    Bucket,
    /// Degrees to the tenth.
    Temperature,
    /// Any fraction of one.
    Entropy,
    /// Bytes that grow by very different amounts.
    Network,
    /// A count that grows by one, now and then.
    Idle,
}

impl Kind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(|(_, kind)| kind)
    }

    /// The kind of the series with this number; of each hundred in a row, every kind has its share.
    pub fn of(series: u64) -> Self {
        // 37 and 100 have no common divisor: neighbours differ, and each place comes once.
        let mut place = series * 37 % 100;
        for (share, kind) in KINDS {
            match place.checked_sub(share) {
                Some(left) => place = left,
                None => return kind,
            }
        }
        Kind::Idle
    }
}

/// Makes the values of one series, one after another.
#[derive(Clone, Debug)]
pub struct Values {
    kind: Kind,
    random: Random,
    /// What sets this series apart from others of its kind, 0 to 1.
    scale: f64,
    /// The whole number that the value is made of.
    number: i64,
    /// What wanders.
    level: f64,
    step_seconds: f64,
}

impl Values {
    /// The values of series number `series`, one each `step`.
    pub fn new(series: u64, step: Duration) -> Self {
        Self::of(Kind::of(series), series, step)
    }

    /// The values of a series of one kind.
    pub fn of(kind: Kind, series: u64, step: Duration) -> Self {
        let mut random = Random(series.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
        let scale = random.fraction();
        let number = match kind {
            Kind::Constant => whole(scale * scale * 1e4),
            Kind::Memory => whole(scale * 1e6) + 10_000,
            Kind::Temperature => 350 + whole(scale * 300.0),
            _ => whole(scale * 1e6),
        };
        let level = random.fraction();
        Self { kind, random, scale, number, level, step_seconds: step.as_secs_f64() }
    }

    fn next(&mut self) -> f64 {
        let Self { random, scale, .. } = self;
        let grow = match self.kind {
            Kind::Cpu => {
                self.level = (self.level + random.bell() * 0.02).clamp(0.0, 1.0);
                let load = *scale * *scale * self.level;
                whole((load * (1.0 + 0.2 * random.bell())).max(0.0) * 100.0 * self.step_seconds)
            }
            Kind::Gauge => {
                self.level += 0.1 * (*scale - self.level) + 0.05 * random.bell();
                self.number = whole(self.level.abs() * 100.0);
                0
            }
            Kind::Constant | Kind::Entropy => 0,
            Kind::Memory => whole(random.bell().powi(3) * 300.0),
            Kind::Bucket => {
                whole(*scale * self.step_seconds * (1.0 + 0.4 * random.bell()).max(0.0))
            }
            Kind::Temperature => {
                whole(random.bell() * 2.0).clamp(250 - self.number, 950 - self.number)
            }
            Kind::Network => {
                whole((9.0 + 3.0 * *scale + 0.8 * random.bell()).exp() * self.step_seconds / 15.0)
            }
            Kind::Idle => i64::from(random.fraction() < 0.01),
        };
        self.number += grow;
        self.value()
    }

    fn value(&mut self) -> f64 {
        let number = self.number as f64;
        match self.kind {
            Kind::Cpu | Kind::Gauge => number / 100.0,
            Kind::Temperature => number / 10.0,
            Kind::Memory => number * 4096.0,
            Kind::Entropy => self.random.fraction(),
            Kind::Constant | Kind::Bucket | Kind::Network | Kind::Idle => number,
        }
    }
}

impl Iterator for Values {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        Some(Self::next(self))
    }
}

/// `count` samples of series number `series`, on a regular grid.
pub fn samples(series: u64, start: Timestamp, step: Duration, count: usize) -> Vec<Sample> {
    on_grid(Values::new(series, step), start, step, count)
}

/// The next `count` of `values` on a regular grid.
pub fn on_grid(
    values: impl Iterator<Item = f64>,
    start: Timestamp,
    step: Duration,
    count: usize,
) -> Vec<Sample> {
    let mut time = start;
    let sample = |value| {
        let sample = Sample { timestamp: time, value };
        time = time.plus(step);
        sample
    };
    values.take(count).map(sample).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "all that is rounded here is small")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// Numbers by Steele, Lea and Flood's `SplitMix64` (OOPSLA 2014).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to 1, any of 2^53.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// Around 0, mostly within 1, as the sum of twelve fractions is.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.fraction()).sum::<f64>() - 6.0
    }
}
