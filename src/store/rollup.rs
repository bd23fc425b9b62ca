//! Rollups: what stands for the samples of five minutes, or of an hour, when those are gone. Pure.

use std::time::Duration;

use crate::time::Timestamp;

/// How finely stored samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// As they came.
    Raw,
    /// Rollups of five minutes.
    FiveMinutes,
    /// Rollups of an hour.
    Hour,
}

impl Tier {
    /// All tiers, the finest first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::FiveMinutes, Self::Hour];

    /// How much time one entry stands for; zero for samples as they came.
    pub fn resolution(self) -> Duration {
        match self {
            Self::Raw => Duration::ZERO,
            Self::FiveMinutes => Duration::from_mins(5),
            Self::Hour => Duration::from_hours(1),
        }
    }

    /// The word for it in directories, settings and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }
}

/// What stands for the samples of one series in one stretch of a tier's resolution. Stretches are
/// aligned to the epoch; a sample belongs to the stretch [start, start + resolution).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rollup {
    /// The time of the last sample.
    pub(super) time: Timestamp,
    /// The last sample's value; the staleness marker where the series ended with it.
    pub(super) last: f64,
    /// The lowest value, markers left out; NaN values count only where there are no others.
    pub(super) min: f64,
    /// The highest value, in the same way.
    pub(super) max: f64,
    /// The sum of the values, markers left out.
    pub(super) sum: f64,
    /// How many values, markers left out; with 0 the three above mean nothing.
    pub(super) count: u64,
}
