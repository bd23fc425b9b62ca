//! Values as they flow through the evaluator: one column for each series, one slot for each step.
//!
//! A slot without a value holds the staleness marker: selectors never let it through, and no
//! arithmetic yields it (a computed NaN is a quiet one), so it can stand for "absent" without a
//! second array. Only columns that hold native histograms have one, for these.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::{
    model::{self, Histogram, HistogramSample, Labels, METRIC_NAME, Sample},
    time::Timestamp,
};

use super::{PointValue, QueryError, SeriesData, rollups::Reach};

/// The steps of an evaluation, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) count: usize,
}

impl Grid {
    /// The time of a step.
    pub(super) fn time(&self, index: usize) -> i64 {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.start.saturating_add(self.step.saturating_mul(index))
    }

    pub(super) fn times(&self) -> impl Iterator<Item = i64> {
        (0..self.count).map(|index| self.time(index))
    }

    /// The time of each step, in seconds.
    pub(super) fn seconds(&self) -> Vec<f64> {
        self.times().map(|time| time as f64 / 1000.0).collect()
    }
}

/// Labels that belong to a metric, and not to what is computed from it; in order.
pub(super) const OF_METRIC: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// A slot without a value.
pub(super) fn absent() -> f64 {
    model::stale_nan()
}

pub(super) fn is_absent(value: f64) -> bool {
    model::is_stale(value)
}

/// A series: a slot for each step.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) labels: Labels,
    pub(super) values: Vec<f64>,
    /// Empty where no step has a native histogram, else a place for each step. Where there is one, the
    /// value is absent.
    histograms: Vec<Option<Arc<Histogram>>>,
}

/// What a column has at a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot<'a> {
    Absent,
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

impl Column {
    /// A column of numbers.
    pub(super) fn of(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, values, histograms: Vec::new() }
    }

    /// A column without a value at any step.
    pub(super) fn empty(labels: Labels, steps: usize) -> Self {
        Self::of(labels, vec![absent(); steps])
    }

    #[inline]
    pub(super) fn slot(&self, step: usize) -> Slot<'_> {
        match self.histograms.get(step) {
            Some(Some(histogram)) => Slot::Histogram(histogram),
            _ if is_absent(self.values[step]) => Slot::Absent,
            _ => Slot::Float(self.values[step]),
        }
    }

    pub(super) fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step]) || self.histograms.get(step).is_some_and(Option::is_some)
    }

    pub(super) fn has_floats(&self) -> bool {
        self.histograms.is_empty() || self.values.iter().any(|value| !is_absent(*value))
    }

    pub(super) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Puts a value at a step, in place of what is there.
    pub(super) fn put(&mut self, step: usize, value: Option<PointValue>) {
        let (float, histogram) = match value {
            None => (absent(), None),
            Some(PointValue::Float(value)) => (value, None),
            Some(PointValue::Histogram(histogram)) => (absent(), Some(histogram)),
        };
        self.values[step] = float;
        if histogram.is_some() && self.histograms.is_empty() {
            self.histograms.resize(self.values.len(), None);
        }
        if let Some(place) = self.histograms.get_mut(step) {
            *place = histogram;
        }
    }

    /// How many numbers would take the room of its histograms.
    pub(super) fn histogram_weight(&self) -> usize {
        self.histograms.iter().flatten().map(|histogram| histogram.weight()).sum()
    }

    fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_absent(*value))
            && self.histograms.iter().all(Option::is_none)
    }

    /// Replaces each number that is there; `None` takes it away. Histograms go.
    pub(super) fn map(mut self, apply: impl Fn(usize, f64) -> Option<f64>) -> Self {
        self.histograms.clear();
        for (step, value) in self.values.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = apply(step, *value).unwrap_or_else(absent);
            }
        }
        self
    }

    /// Replaces whatever is there; `None` takes it away.
    pub(super) fn map_slots(
        mut self,
        mut apply: impl FnMut(usize, Slot<'_>) -> Option<PointValue>,
    ) -> Self {
        for step in 0..self.values.len() {
            let value = match self.slot(step) {
                Slot::Absent => continue,
                slot => apply(step, slot),
            };
            self.put(step, value);
        }
        if self.histograms.iter().all(Option::is_none) {
            self.histograms.clear();
        }
        self
    }

    /// Takes away what is there where `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        for step in (0..self.values.len()).filter(|step| !keep(*step)) {
            self.put(step, None);
        }
    }

    /// Takes away the labels that say which metric this is: it is another one now.
    pub(super) fn drop_name(&mut self) {
        if of_metric(&self.labels).next().is_some() {
            self.labels = self.labels.without(|name| OF_METRIC.contains(&name));
        }
    }

    /// Those slots that hold something, as samples.
    pub(super) fn into_series(self, grid: &Grid) -> SeriesData {
        let at = |step| Timestamp::from_millis(grid.time(step));
        let present = self.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
        let samples =
            present.map(|(step, value)| Sample { timestamp: at(step), value: *value }).collect();
        let histograms = self.histograms.into_iter().enumerate().filter_map(|(step, histogram)| {
            Some(HistogramSample { timestamp: at(step), histogram: histogram? })
        });
        SeriesData { histograms: histograms.collect(), samples, labels: self.labels }
    }
}

impl Slot<'_> {
    pub(super) fn is_histogram(self) -> bool {
        matches!(self, Self::Histogram(_))
    }

    pub(super) fn float(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn value(self) -> Option<PointValue> {
        match self {
            Self::Absent => None,
            Self::Float(value) => Some(PointValue::Float(value)),
            Self::Histogram(histogram) => Some(PointValue::Histogram(histogram.clone())),
        }
    }
}

/// What a node comes to.
#[derive(Clone, Debug)]
pub(super) enum Evaluated {
    /// A value for each step; none is absent.
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Column>),
    Windows(Windows),
}

impl Evaluated {
    /// How many numbers would take its room.
    pub(super) fn slots(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Text(_) | Self::Windows(_) => 0,
            Self::Vector(columns) => {
                let room = |column: &Column| column.values.len() + column.histogram_weight();
                columns.iter().map(room).sum()
            }
        }
    }
}

/// A range selector or a subquery: samples, and for each step the window that it sees.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    pub(super) series: Vec<Ranged>,
    /// How far back a window goes.
    pub(super) reach: Reach,
    /// Where the window of each step ends; the end belongs to it, the start does not.
    pub(super) ends: Vec<i64>,
}

/// A series of a range selector or a subquery.
#[derive(Clone, Debug)]
pub(super) struct Ranged {
    /// In order. Staleness markers are left out where no rollups were read.
    pub(super) data: SeriesData,
    /// For means over rollups: how many values each of the samples stands for; else empty.
    pub(super) counts: Vec<Sample>,
}

impl Ranged {
    /// Samples as they came.
    pub(super) fn plain(data: SeriesData) -> Self {
        Self { data, counts: Vec::new() }
    }
}

/// Walks through samples as windows move on.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    from: usize,
    to: usize,
}

impl Cursor {
    pub(super) const fn new() -> Self {
        Self { from: 0, to: 0 }
    }

    /// The samples in `(after, until]`. Windows that move on cost one walk in all; only the beginning of
    /// one may lie before that of the last, as it does where rollups begin.
    pub(super) fn window<'a, T: Timed>(
        &mut self,
        samples: &'a [T],
        after: i64,
        until: i64,
    ) -> &'a [T] {
        if samples.is_empty() {
            return samples;
        }
        let passed = samples[..self.from].iter().rev();
        self.from -= passed.take_while(|sample| sample.millis() > after).count();
        self.from = first_after(samples, self.from, after);
        self.to = first_after(samples, self.to.max(self.from), until);
        &samples[self.from..self.to]
    }
}

/// What has a time, in milliseconds.
pub(super) trait Timed {
    fn millis(&self) -> i64;
}

impl Timed for Sample {
    fn millis(&self) -> i64 {
        self.timestamp.as_millis()
    }
}

impl Timed for HistogramSample {
    fn millis(&self) -> i64 {
        self.timestamp.as_millis()
    }
}

/// The index of the first sample after `time`, sought from `from` on.
pub(super) fn first_after<T: Timed>(samples: &[T], from: usize, time: i64) -> usize {
    from + samples[from..].iter().take_while(|sample| sample.millis() <= time).count()
}

/// Leaves out columns that hold nothing.
pub(super) fn compact(mut columns: Vec<Column>) -> Vec<Column> {
    columns.retain(|column| !column.is_empty());
    columns
}

/// Columns whose labels must differ, as those of range functions.
pub(super) fn distinct(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let columns = compact(columns);
    let mut seen = HashSet::with_capacity(columns.len());
    let unlike = columns.iter().all(|column| seen.insert(&column.labels));
    drop(seen);
    if unlike { Ok(columns) } else { Err(same_labels()) }
}

/// Joins columns that have got the same labels; an error where two have a value at one step.
pub(super) fn merged(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    merged_or(columns, same_labels)
}

/// Takes away the labels of the metric, and joins columns that have got the same ones.
pub(super) fn nameless(mut columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let unlike = of_one_metric(columns.iter().map(|column| &column.labels));
    columns.iter_mut().for_each(Column::drop_name);
    if unlike { Ok(compact(columns)) } else { merged(columns) }
}

/// Whether all have the same labels of the metric, so that they stay unlike without these.
pub(super) fn of_one_metric<'a>(mut all: impl Iterator<Item = &'a Labels>) -> bool {
    let Some(first) = all.next() else { return true };
    all.all(|labels| of_metric(labels).eq(of_metric(first)))
}

/// The labels that belong to the metric, which are among the first.
fn of_metric(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    let last = OF_METRIC[OF_METRIC.len() - 1];
    let first = labels.iter().take_while(move |(name, _)| *name <= last);
    first.filter(|(name, _)| OF_METRIC.contains(name))
}

/// As [`merged`], with an error of the caller's.
pub(super) fn merged_or(
    columns: Vec<Column>,
    error: impl Fn() -> QueryError,
) -> Result<Vec<Column>, QueryError> {
    let columns = compact(columns);
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut out: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        if let Some(place) = places.get(&column.labels) {
            fill(&mut out[*place], &column).ok_or_else(&error)?;
        } else {
            places.insert(column.labels.clone(), out.len());
            out.push(column);
        }
    }
    Ok(out)
}

/// Takes over the other column's values; `None` where both have one.
fn fill(into: &mut Column, from: &Column) -> Option<()> {
    for step in 0..from.values.len() {
        if from.has(step) {
            if into.has(step) {
                return None;
            }
            into.put(step, from.slot(step).value());
        }
    }
    Some(())
}

fn same_labels() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_window_that_widens_sees_what_it_had_passed() {
        let sample = |millis| Sample { timestamp: Timestamp::from_millis(millis), value: 0.0 };
        let samples: Vec<_> = (1..=9).map(sample).collect();
        let mut cursor = Cursor::default();
        let mut times = |after, until| {
            let window = cursor.window(&samples, after, until).iter();
            window.map(|sample| sample.timestamp.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(times(3, 5), [4, 5]);
        assert!(times(7, 7).is_empty());
        assert_eq!(times(1, 7), [2, 3, 4, 5, 6, 7]);
        assert_eq!(times(8, 20), [9]);
        assert_eq!(times(-5, 20).len(), 9);
    }
}
