//! What a series holds: plain samples or rollups, and histograms.

use super::super::{
    chunk::{self, histograms, rollups},
    keys::ChunkKey,
    record::{self, BadRecord},
    rollup::{Rollup, Tier},
};
use crate::{
    model::{HistogramSample, Sample},
    time::Timestamp,
};

/// What a query finds of a series, in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::store) struct SampleSet {
    /// Samples, or a column of rollups.
    pub(in crate::store) samples: Vec<Sample>,
    pub(in crate::store) histograms: Vec<HistogramSample>,
}

impl SampleSet {
    /// Nothing yet, with room for so many samples.
    pub(super) fn with_room(samples: usize) -> Self {
        Self { samples: Vec::with_capacity(samples), histograms: Vec::new() }
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty()
    }

    /// How many samples would take as much memory.
    pub(in crate::store) fn weight(&self) -> usize {
        self.samples.len() + self.histograms.iter().map(HistogramSample::weight).sum::<usize>()
    }

    /// Leaves what lies from `start` to `end`, which both belong to it.
    pub(super) fn clip(&mut self, (start, end): (Timestamp, Timestamp)) {
        clip(&mut self.samples, |sample| sample.timestamp, (start, end));
        clip(&mut self.histograms, |sample| sample.timestamp, (start, end));
    }
}

fn clip<T>(all: &mut Vec<T>, time: fn(&T) -> Timestamp, (start, end): (Timestamp, Timestamp)) {
    all.truncate(all.partition_point(|one| time(one) <= end));
    all.drain(..all.partition_point(|one| time(one) < start));
}

/// What a series has in a partition, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct Content {
    pub(in crate::store) values: Values,
    /// As they came in the raw tier; in the others what `rollup::thin` leaves.
    pub(in crate::store) histograms: Vec<HistogramSample>,
}

/// What is not a histogram.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum Values {
    /// In the raw tier.
    Samples(Vec<Sample>),
    /// In the others.
    Rollups(Vec<Rollup>),
}

impl Content {
    /// Samples alone.
    #[cfg(any(test, feature = "testing"))]
    pub(in crate::store) fn of_samples(samples: &[Sample]) -> Self {
        Self { values: Values::Samples(samples.to_vec()), histograms: Vec::new() }
    }

    /// Nothing, in a tier.
    pub(super) fn none_of(tier: Tier) -> Self {
        let values = match tier {
            Tier::Raw => Values::Samples(Vec::new()),
            Tier::FiveMinutes | Tier::Hour => Values::Rollups(Vec::new()),
        };
        Self { values, histograms: Vec::new() }
    }

    /// Appends what the chunk under a key holds, or nothing of it.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadRecord> {
        let bad = |_| BadRecord("chunk");
        if ChunkKey::read(key).is_some_and(|key| key.histograms) {
            self.histograms.append(&mut decode_histograms(value)?);
            return Ok(());
        }
        let bytes = record::unseal(value)?;
        match &mut self.values {
            Values::Samples(all) => chunk::decode_into(bytes, all).map_err(bad)?,
            Values::Rollups(all) => all.append(&mut rollups::decode(bytes).map_err(bad)?),
        }
        Ok(())
    }

    /// How many samples or rollups and histograms there are.
    pub(super) fn len(&self) -> usize {
        let values = match &self.values {
            Values::Samples(samples) => samples.len(),
            Values::Rollups(rollups) => rollups.len(),
        };
        values + self.histograms.len()
    }

    /// The first time and the last; `None` where there is nothing.
    pub(super) fn ends(&self) -> Option<(Timestamp, Timestamp)> {
        let values = match &self.values {
            Values::Samples(samples) => ends(samples, |sample| sample.timestamp),
            Values::Rollups(rollups) => ends(rollups, |rollup| rollup.time),
        };
        let histograms = ends(&self.histograms, |sample| sample.timestamp);
        let both = values.into_iter().chain(histograms);
        both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The times of the samples or rollups, and those of the histograms.
    pub(super) fn times(&self) -> [Vec<Timestamp>; 2] {
        let values = match &self.values {
            Values::Samples(samples) => samples.iter().map(|sample| sample.timestamp).collect(),
            Values::Rollups(rollups) => rollups.iter().map(|rollup| rollup.time).collect(),
        };
        [values, self.histograms.iter().map(|sample| sample.timestamp).collect()]
    }
}

fn ends<T>(all: &[T], time: fn(&T) -> Timestamp) -> Option<(Timestamp, Timestamp)> {
    Some((time(all.first()?), time(all.last()?)))
}

/// What a chunk of histograms holds.
pub(super) fn decode_histograms(value: &[u8]) -> Result<Vec<HistogramSample>, BadRecord> {
    histograms::decode(record::unseal(value)?).map_err(|_| BadRecord("chunk"))
}
