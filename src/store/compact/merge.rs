//! Several partitions as one run of series, in the order of (metric name, labels). In memory are the
//! series at hand, and what each walk reads ahead.

use std::sync::Arc;

use super::super::{
    StoreError,
    partition::{BadChunk, Content, Partition, Scan, Values, Writer},
    rollup::{Rollup, Tier, roll, roll_up, thin},
};
use crate::model::{HistogramSample, Labels, Sample};

/// The merge of partitions, all of them open.
pub(super) struct Merge<'a> {
    tier: Tier,
    sources: Vec<Source<'a>>,
    /// What could not be read.
    lost: &'a mut Vec<BadChunk>,
}

struct Source<'a> {
    tier: Tier,
    scan: Scan<'a>,
    next: Option<(Labels, Content)>,
}

/// A series with all that the sources have of it.
pub(super) struct Merged {
    /// The tier that it is meant for.
    tier: Tier,
    labels: Labels,
    /// From the tiers, in order of time for each.
    found: Vec<(Tier, Content)>,
}

impl<'a> Merge<'a> {
    /// The merge of `inputs`, those of one tier in order of time, for `tier`.
    pub(super) fn of(
        tier: Tier,
        inputs: &'a [(Tier, Arc<Partition>)],
        lost: &'a mut Vec<BadChunk>,
    ) -> Result<Self, StoreError> {
        let mut sources = Vec::new();
        for (tier, partition) in inputs {
            let scan = partition.scan()?;
            let mut source = Source { tier: *tier, scan, next: None };
            source.advance(lost)?;
            sources.push(source);
        }
        Ok(Self { tier, sources, lost })
    }

    /// The next series; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Merged>, StoreError> {
        let waiting = self.sources.iter().filter_map(|source| Some(&source.next.as_ref()?.0));
        let Some(labels) = waiting.min_by(|a, b| a.cmp_by_metric(b)).cloned() else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for source in &mut self.sources {
            if let Some((_, content)) = source.next.take_if(|(next, _)| *next == labels) {
                found.push((source.tier, content));
                source.advance(self.lost)?;
            }
        }
        Ok(Some(Merged { tier: self.tier, labels, found }))
    }
}

impl Source<'_> {
    /// Reads the next series; chunks that are damaged are left out. Where more than that is damaged,
    /// nothing of the partition can be trusted.
    fn advance(&mut self, lost: &mut Vec<BadChunk>) -> Result<(), StoreError> {
        self.next = self.scan.next().transpose()?;
        lost.append(&mut self.scan.take_bad());
        Ok(())
    }
}

impl Merged {
    /// Writes it.
    pub(super) fn put(self, writer: &mut Writer<'_>) -> Result<(), StoreError> {
        let histograms = histograms_of(self.tier, &self.found);
        let values = if self.tier == Tier::Raw {
            Values::Samples(samples_of(self.found))
        } else {
            Values::Rollups(rollups_of(self.tier, &self.found))
        };
        writer.put_series(&self.labels, &Content { values, histograms })
    }
}

fn samples_of(found: Vec<(Tier, Content)>) -> Vec<Sample> {
    let mut all: Vec<Sample> = Vec::new();
    for (_, content) in found {
        match content.values {
            Values::Samples(samples) => all.extend(samples),
            // Nothing finer is ever made of rollups.
            Values::Rollups(_) => {}
        }
    }
    all
}

/// The rollups of a tier from finer ones, and from some that were made before.
fn rollups_of(tier: Tier, found: &[(Tier, Content)]) -> Vec<Rollup> {
    let mut all = Vec::new();
    for (from, content) in found {
        match &content.values {
            Values::Samples(samples) => roll(samples, tier.resolution(), &mut all),
            Values::Rollups(rollups) if *from == tier => all.extend(rollups),
            Values::Rollups(rollups) => roll_up(rollups, tier.resolution(), &mut all),
        }
    }
    one_for_each_stretch(tier, all)
}

/// The histograms that stay in a tier.
fn histograms_of(tier: Tier, found: &[(Tier, Content)]) -> Vec<HistogramSample> {
    let all = found.iter().flat_map(|(_, content)| content.histograms.iter().cloned());
    let mut all: Vec<HistogramSample> = all.collect();
    all.sort_by_key(|sample| sample.timestamp);
    all.dedup_by_key(|sample| sample.timestamp);
    thin(&all, tier.resolution())
}

/// In order; of two rollups of one stretch, the one that stands for more.
fn one_for_each_stretch(tier: Tier, mut all: Vec<Rollup>) -> Vec<Rollup> {
    let stretch = |rollup: &Rollup| rollup.time.stretch(tier.resolution()).start;
    if !all.is_sorted_by(|a, b| stretch(a) < stretch(b)) {
        all.sort_by_key(|rollup| (stretch(rollup), std::cmp::Reverse(rollup.count)));
        all.dedup_by_key(|rollup| stretch(rollup));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn rollup(secs: i64, count: u64) -> Rollup {
        let time = Timestamp::from_secs(secs);
        Rollup { time, last: 1.0, min: 1.0, max: 1.0, sum: count as f64, count }
    }

    fn content(values: Values) -> Content {
        Content { values, histograms: Vec::new() }
    }

    #[test]
    fn a_stretch_that_was_rolled_up_twice_counts_once() {
        let again =
            vec![rollup(310, 5), rollup(700, 1), rollup(299, 3), rollup(310, 5), rollup(550, 9)];
        let merged = one_for_each_stretch(Tier::FiveMinutes, again);
        assert_eq!(merged, [rollup(299, 3), rollup(550, 9), rollup(700, 1)]);
    }

    #[test]
    fn what_is_finer_is_rolled_up_and_the_rest_taken_as_it_is() {
        let sample = |secs| Sample { timestamp: Timestamp::from_secs(secs), value: 2.0 };
        let fine = content(Values::Rollups(vec![rollup(1, 2), rollup(600, 1)]));
        let coarse = content(Values::Rollups(vec![rollup(7200, 4)]));
        let found = [(Tier::FiveMinutes, fine), (Tier::Hour, coarse)];
        assert_eq!(rollups_of(Tier::Hour, &found), [rollup(600, 3), rollup(7200, 4)]);
        let samples = Values::Samples(vec![sample(0), sample(1), sample(300)]);
        let raw = [(Tier::Raw, content(samples))];
        let counts: Vec<u64> =
            rollups_of(Tier::FiveMinutes, &raw).iter().map(|rollup| rollup.count).collect();
        assert_eq!(counts, [1, 2]);
    }
}
