//! The samples of a metric, series by series, a bounded number of them at a time.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    error_code::ErrorCode,
    limits,
    model::{HistogramSample, Labels, METRIC_NAME, Matcher},
    promql::{Queryable, SelectError, Selection, SeriesData},
    store::Store,
};

use super::{Failure, TimeRange};

/// Samples that are read at once: 16 MiB. Where they lie more densely than those before them, once in
/// a while a few times as many.
const AT_ONCE: usize = 1 << 20;
/// The first stretch of time that is read of a series of which nothing is known, …
const STRETCH_FIRST: Duration = Duration::from_hours(1);
/// … the longest, so that a dense stretch behind a sparse one is no surprise, …
const STRETCH_MAX: Duration = Duration::from_secs(AT_ONCE as u64);
/// … and the shortest, which holds a thousand samples at most.
const STRETCH_MIN: Duration = Duration::from_secs(1);
/// How much longer the next one is, where the last one was quickly read.
const GROWTH: u32 = 8;
/// The least distance of two instants.
const INSTANT: Duration = Duration::from_millis(1);

/// Whoever gets the samples wants no more of them, or they cannot be read.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nobody listens any more.
    Ended,
    /// Why they cannot be read.
    Failed(Failure),
}

/// Takes a series, or the next stretch of one.
pub(super) type Visit<'a> = dyn FnMut(&SeriesData) -> Result<(), Stopped> + 'a;

/// Reads a range of time, metric by metric.
pub(super) struct Slices<'a> {
    store: &'a Store,
    range: TimeRange,
    /// The stretch that goes well with the density of what was read last.
    stretch: Duration,
}

impl<'a> Slices<'a> {
    pub(super) fn new(store: &'a Store, range: TimeRange) -> Self {
        Self { store, range, stretch: STRETCH_FIRST }
    }

    /// All series of a metric that are asked for, sorted, one after the other: what is left of them
    /// at once, where it is little, and the others in stretches of time.
    pub(super) fn metric(
        &mut self,
        series: &[Labels],
        visit: &mut Visit<'_>,
    ) -> Result<(), Stopped> {
        let names = label_names(series);
        let mut most = 0;
        // Once they were too many, they are not tried again: that would read them all for nothing.
        let mut may_be_little = true;
        for (index, labels) in series.iter().enumerate() {
            let left = &series[index..];
            let is_little = index > 0 && left.len().saturating_mul(most) <= AT_ONCE;
            if may_be_little && is_little {
                if self.at_once(left, visit)? {
                    return Ok(());
                }
                may_be_little = false;
            }
            let read = self.in_stretches(labels, &names, visit)?;
            most = read.max(most).max(1);
        }
        Ok(())
    }

    /// Several series of one metric; `false` where they were more than can be read at once.
    fn at_once(&self, series: &[Labels], visit: &mut Visit<'_>) -> Result<bool, Stopped> {
        let matchers = vec![Matcher::equal(METRIC_NAME, series[0].metric())];
        let Some(found) = self.select(matchers, self.range)? else { return Ok(false) };
        let wanted = |data: &&SeriesData| series.binary_search(&data.labels).is_ok();
        found.iter().filter(wanted).try_for_each(visit)?;
        Ok(true)
    }

    /// One series; tells how many samples it had.
    fn in_stretches(
        &mut self,
        labels: &Labels,
        names: &BTreeSet<String>,
        visit: &mut Visit<'_>,
    ) -> Result<usize, Stopped> {
        let mut start = self.range.start;
        let mut read = 0;
        while start <= self.range.end {
            let end = start.plus(self.stretch).minus(INSTANT).min(self.range.end);
            let Some(found) = self.select(exact(labels, names), TimeRange { start, end })? else {
                self.shorten(labels)?;
                continue;
            };
            let mut weight = 0;
            for data in found.iter().filter(|data| data.labels == *labels) {
                weight += weigh(data);
                visit(data)?;
            }
            read += weight;
            self.adapt(weight);
            start = end.plus(INSTANT);
        }
        Ok(read)
    }

    fn adapt(&mut self, weight: usize) {
        if weight > AT_ONCE {
            self.stretch = (self.stretch / 2).max(STRETCH_MIN);
        } else if weight * (GROWTH as usize) <= AT_ONCE {
            self.stretch = (self.stretch * GROWTH).min(STRETCH_MAX);
        }
    }

    /// After a stretch that held more than a query may load.
    fn shorten(&mut self, labels: &Labels) -> Result<(), Stopped> {
        if self.stretch <= STRETCH_MIN {
            let message = format!("a second of {labels} holds more than can be read at once");
            return Err(Stopped::Failed(Failure::new(ErrorCode::ResourceExhausted, message)));
        }
        self.stretch = (self.stretch / GROWTH).max(STRETCH_MIN);
        Ok(())
    }

    /// What there is; `None` where it is too much.
    fn select(
        &self,
        matchers: Vec<Matcher>,
        range: TimeRange,
    ) -> Result<Option<Vec<SeriesData>>, Stopped> {
        let selection = Selection::raw(matchers, range.start, range.end);
        match self.store.snapshot().select(&selection) {
            Ok(selected) => Ok(Some(selected.series)),
            Err(SelectError::TooMuch(_)) => Ok(None),
            Err(error) => {
                let failure = Failure::new(ErrorCode::Internal, error.to_string());
                Err(Stopped::Failed(failure))
            }
        }
    }
}

fn weigh(data: &SeriesData) -> usize {
    let histograms = data.histograms.iter().map(HistogramSample::weight);
    data.samples.len() + histograms.sum::<usize>()
}

/// The names of all labels of these series.
pub(super) fn label_names(series: &[Labels]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, _) in series.iter().flat_map(Labels::iter) {
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
    }
    names
}

/// Matchers of one series alone, of those that have no labels but `names`.
pub(super) fn exact(labels: &Labels, names: &BTreeSet<String>) -> Vec<Matcher> {
    let own = labels.iter().map(|(name, value)| Matcher::equal(name, value));
    let absent = names.iter().filter(|name| labels.get(name).is_none());
    own.chain(absent.map(|name| Matcher::equal(name, ""))).collect()
}

const _: () = assert!(AT_ONCE * 8 <= limits::QUERY_SAMPLES_MAX);

#[cfg(test)]
mod tests;
