//! Samples in memory, for tests of whatever asks a [`Queryable`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{Histogram, HistogramSample, Labels, Sample, is_stale, matches_all},
    time::Timestamp,
};

use super::{
    Queryable, RollupColumn, RollupSpan, SelectError, Selected, Selection, SeriesData, numbers,
};

/// Series in memory, older ones as rollups if so told.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    series: BTreeMap<Labels, Vec<Sample>>,
    histograms: BTreeMap<Labels, Vec<HistogramSample>>,
    /// The finest first.
    tiers: Vec<Tier>,
}

/// Rollups that stand beside finer samples, or instead of them.
#[derive(Clone, Copy, Debug)]
struct Tier {
    resolution: Duration,
    made_before: Timestamp,
    alone_before: Timestamp,
}

impl Memory {
    /// Adds a sample; a series' samples are to be added in order.
    pub fn add(&mut self, labels: Labels, timestamp: Timestamp, value: f64) {
        self.series.entry(labels).or_default().push(Sample { timestamp, value });
    }

    /// Adds a native histogram; a series' histograms are to be added in order, and at other times than its
    /// samples.
    pub fn add_histogram(&mut self, labels: Labels, timestamp: Timestamp, value: Arc<Histogram>) {
        let sample = HistogramSample { timestamp, histogram: value };
        self.histograms.entry(labels).or_default().push(sample);
    }

    /// Forgets all series, and keeps samples as they came from then on.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Has rollups of `resolution` for all samples up to `made`, and nothing finer for those up to
    /// `alone`. To be called for finer resolutions first; both times are to be multiples of the
    /// resolution since the epoch, so that they end a stretch.
    pub fn roll_up(&mut self, resolution: Duration, made: Timestamp, alone: Timestamp) {
        let [made_before, alone_before] =
            [made, alone].map(|until| until.plus(Duration::from_millis(1)));
        self.tiers.push(Tier { resolution, made_before, alone_before });
    }

    /// What the selection reads at a time: rollups of a tier, or the samples as they came.
    fn tier(&self, time: Timestamp, wanted: Duration) -> Option<Tier> {
        let fits = |tier: &&Tier| time < tier.alone_before || tier.resolution <= wanted;
        self.tiers.iter().rev().filter(|tier| time < tier.made_before).find(fits).copied()
    }

    /// Stretches of the selection that lie in one tier each: from, to (not in it), and the tier.
    fn stretches(&self, selection: &Selection) -> Vec<(Timestamp, Timestamp, Option<Tier>)> {
        let end = selection.end.plus(Duration::from_millis(1));
        let edges = self.tiers.iter().flat_map(|tier| [tier.made_before, tier.alone_before]);
        let inside = edges.filter(|edge| (selection.start..end).contains(edge));
        let edges: BTreeSet<_> = inside.chain([selection.start, end]).collect();
        let edges: Vec<_> = edges.into_iter().collect();
        let stretch =
            |pair: &[Timestamp]| (pair[0], pair[1], self.tier(pair[0], selection.resolution));
        edges.windows(2).map(stretch).collect()
    }
}

impl Queryable for Memory {
    fn select(&self, selection: &Selection) -> Result<Selected, SelectError> {
        let stretches = self.stretches(selection);
        let names: BTreeSet<_> = self.series.keys().chain(self.histograms.keys()).collect();
        let matching = names.into_iter().filter(|labels| matches_all(&selection.matchers, labels));
        let within = |sample: &&HistogramSample| {
            (selection.start..=selection.end).contains(&sample.timestamp)
        };
        let series = matching.map(|labels| {
            let (samples, histograms) = (self.series.get(labels), self.histograms.get(labels));
            SeriesData {
                labels: labels.clone(),
                samples: samples.map_or_else(Vec::new, |s| read(s, &stretches, selection.column)),
                histograms: histograms.into_iter().flatten().filter(within).cloned().collect(),
            }
        });
        let wanted = |mut series: SeriesData| {
            series.samples.retain(|sample| selection.markers || !is_stale(sample.value));
            (!series.samples.is_empty() || !series.histograms.is_empty()).then_some(series)
        };
        let series = series.filter_map(wanted).collect();
        let span = |(start, end, tier): (_, _, Option<Tier>)| {
            Some(RollupSpan { resolution: tier?.resolution, start, end })
        };
        Ok(Selected { series, rollups: stretches.into_iter().filter_map(span).collect() })
    }
}

fn read(
    samples: &[Sample],
    stretches: &[(Timestamp, Timestamp, Option<Tier>)],
    column: RollupColumn,
) -> Vec<Sample> {
    let mut out = Vec::new();
    for (start, end, tier) in stretches {
        let all = match tier {
            Some(tier) => rolled(samples, tier.resolution, column),
            None => samples.iter().filter_map(|sample| stands_for(&[*sample], column)).collect(),
        };
        out.extend(all.into_iter().filter(|sample| (*start..*end).contains(&sample.timestamp)));
    }
    out
}

fn rolled(samples: &[Sample], resolution: Duration, column: RollupColumn) -> Vec<Sample> {
    let stretch = |sample: &Sample| sample.timestamp.stretch(resolution).start;
    let together = samples.chunk_by(|a, b| stretch(a) == stretch(b));
    together.filter_map(|samples| stands_for(samples, column)).collect()
}

/// What stands for the samples, if anything does.
fn stands_for(samples: &[Sample], column: RollupColumn) -> Option<Sample> {
    let last = samples.last()?;
    let values: Vec<_> =
        samples.iter().map(|sample| sample.value).filter(|value| !is_stale(*value)).collect();
    let value = match column {
        RollupColumn::Last => return Some(*last),
        _ if values.is_empty() => return None,
        RollupColumn::Min => numbers::least(values),
        RollupColumn::Max => numbers::greatest(values),
        RollupColumn::Sum => numbers::sum(values),
        RollupColumn::Count => values.len() as f64,
    };
    Some(Sample { timestamp: last.timestamp, value })
}
