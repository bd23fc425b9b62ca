//! Series as hosts have them, made up: the values that all figures of the store are measured on.
//!
//! The shares are those of docs/benchmarks.md, the numbers come from a seed: the same at every run, for
//! every store, whoever asks in whatever order.

use std::time::Duration;

use crate::{model::Sample, time::Timestamp};

/// Series of one host: ten of each of a hundred metrics.
pub const HOST_SERIES: u32 = 1000;
const SEED: u64 = 0x5eed_ba1e_f14e;

/// The kinds of series, and how many of a hundred are of each.
const KINDS: [(u32, Kind); 9] = [
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
    /// Seconds to the hundredth that grow with a load.
    Cpu,
    /// A load to the hundredth.
    Gauge,
    /// Always the same.
    Constant,
    /// Bytes in pages of 4 KiB.
    Memory,
    /// A count that grows by a few at a time.
    Bucket,
    /// Degrees.
    Temperature,
    /// Any fraction of one.
    Entropy,
    /// Bytes that grow by very different amounts.
    Network,
    /// A count that grows now and then.
    Idle,
}

impl Kind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(|(_, kind)| kind)
    }

    /// The kind of the series with this number; of each hundred in a row, every kind has its share.
    pub fn of(series: u32) -> Self {
        let mut place = series % 100;
        for (share, kind) in KINDS {
            match place.checked_sub(share) {
                Some(left) => place = left,
                None => return kind,
            }
        }
        Kind::Idle
    }
}

/// Makes the values of one series, one after another. Everything is counted in whole units of a kind:
/// hundredths, pages, bytes, degrees.
#[derive(Clone, Debug)]
pub struct Values {
    kind: Kind,
    /// Seconds from one to the next.
    interval: u64,
    random: Random,
    units: u64,
    /// What it moves by in a step, about.
    rate: u64,
}

impl Values {
    /// The values of series number `series`, one each `step`, which is some seconds.
    pub fn new(series: u32, step: Duration) -> Self {
        Self::of(Kind::of(series), series, step)
    }

    /// The values of a series of one kind.
    pub fn of(kind: Kind, series: u32, step: Duration) -> Self {
        let interval = step.as_secs();
        let mut random = Random(SEED ^ (u64::from(series) << 20));
        let (units, rate) = match kind {
            // Idle, user and system take most of a core; the others next to nothing.
            Kind::Cpu if series % HOST_SERIES / 100 % 8 < 3 => {
                (random.below(1 << 28), interval * (10 + random.below(60)))
            }
            Kind::Cpu => (random.below(1 << 20), 1 + random.below(4)),
            Kind::Gauge => (10_000 + random.below(10_000), 50),
            Kind::Constant => {
                let bits = 1 + random.below(36);
                (random.below(1 << bits), 0)
            }
            Kind::Memory => (random.below(1 << 20) + (1 << 16), 1 << random.below(9)),
            Kind::Bucket => (random.below(1 << 24), random.below(12)),
            Kind::Temperature => (35 + random.below(40), 1),
            Kind::Entropy => (0, 0),
            Kind::Network => (random.below(1 << 40), interval << (8 + random.below(12))),
            Kind::Idle => (random.below(1000), 1),
        };
        Self { kind, interval, random, units, rate }
    }

    fn step(&mut self) {
        let Self { kind, interval, random, units, rate } = self;
        match kind {
            Kind::Cpu => {
                // A tenth of noise; a core has no more than 100 hundredths in a second.
                let grown = *rate - *rate / 20 + random.below(*rate / 10 + 2);
                *units += grown.min(*interval * 100);
            }
            Kind::Gauge => walk(units, *rate, random),
            Kind::Constant => {}
            Kind::Memory => {
                if random.below(10) < 7 {
                    walk(units, *rate, random);
                }
            }
            Kind::Bucket => *units += random.below(*rate + 1),
            Kind::Temperature => {
                if random.below(10) == 0 {
                    walk(units, *rate, random);
                }
            }
            Kind::Entropy => *units = random.next() >> 11,
            Kind::Network => *units += *rate / 2 + random.below(*rate),
            Kind::Idle => *units += u64::from(random.below(64) == 0) * *rate,
        }
    }

    fn value(&self) -> f64 {
        let units = self.units as f64;
        match self.kind {
            Kind::Cpu | Kind::Gauge => units / 100.0,
            Kind::Memory => units * 4096.0,
            Kind::Entropy => units / (1_u64 << 53) as f64,
            Kind::Constant | Kind::Bucket | Kind::Temperature | Kind::Network | Kind::Idle => units,
        }
    }
}

impl Iterator for Values {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.step();
        Some(self.value())
    }
}

/// A step up or down by `rate` at most, above zero.
fn walk(units: &mut u64, rate: u64, random: &mut Random) {
    *units = (*units + random.below(2 * rate + 1)).saturating_sub(rate);
}

/// `count` samples of series number `series`, on a regular grid.
pub fn samples(series: u32, start: Timestamp, step: Duration, count: usize) -> Vec<Sample> {
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

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}
