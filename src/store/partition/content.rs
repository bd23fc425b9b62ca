//! What a series holds: plain samples or rollups, and histograms.

use crate::{
    model::{HistogramSample, Sample},
    store::rollup::Rollup,
    time::Timestamp,
};

/// What a query finds of a series, in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::store) struct Points {
    /// Samples, or a column of rollups.
    pub(in crate::store) samples: Vec<Sample>,
    pub(in crate::store) histograms: Vec<HistogramSample>,
}

impl Points {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty()
    }

    /// How many samples would take as much memory.
    pub(in crate::store) fn weight(&self) -> usize {
        let buckets = |sample: &HistogramSample| {
            let histogram = &sample.histogram;
            8 + histogram.positive.len() + histogram.negative.len()
        };
        self.samples.len() + self.histograms.iter().map(buckets).sum::<usize>()
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
    /// As they came in the raw tier; the last of each stretch and before each reset in the others.
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

    /// The times of the samples or rollups, and those of the histograms.
    pub(in crate::store) fn times(&self) -> [Vec<Timestamp>; 2] {
        let values = match &self.values {
            Values::Samples(samples) => samples.iter().map(|sample| sample.timestamp).collect(),
            Values::Rollups(rollups) => rollups.iter().map(|rollup| rollup.time).collect(),
        };
        [values, self.histograms.iter().map(|sample| sample.timestamp).collect()]
    }
}
