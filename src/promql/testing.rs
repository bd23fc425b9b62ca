//! Samples in memory, for tests of whatever asks a [`Queryable`].

use std::collections::BTreeMap;

use crate::{
    model::{Labels, Sample, matches_all},
    time::Timestamp,
};

use super::{Queryable, SelectError, Selected, Selection, SeriesData};

/// Series in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    series: BTreeMap<Labels, Vec<Sample>>,
}

impl Memory {
    /// Adds a sample; a series' samples are to be added in order.
    pub fn add(&mut self, labels: Labels, timestamp: Timestamp, value: f64) {
        self.series.entry(labels).or_default().push(Sample { timestamp, value });
    }

    /// Forgets all series.
    pub fn clear(&mut self) {
        self.series.clear();
    }
}

impl Queryable for Memory {
    fn select(&self, selection: &Selection) -> Result<Selected, SelectError> {
        let matching =
            self.series.iter().filter(|(labels, _)| matches_all(&selection.matchers, labels));
        let inside =
            |sample: &&Sample| (selection.start..=selection.end).contains(&sample.timestamp);
        let series = matching.map(|(labels, samples)| SeriesData {
            labels: labels.clone(),
            samples: samples.iter().filter(inside).copied().collect(),
        });
        let series = series.filter(|series| !series.samples.is_empty()).collect();
        Ok(Selected { series, rollups: Vec::new() })
    }
}
