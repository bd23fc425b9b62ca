//! Values as they flow through the evaluator: one column for each series, one slot for each step.
//!
//! A slot without a value holds the staleness marker: selectors never let it through, and no
//! arithmetic yields it (a computed NaN is a quiet one), so it can stand for "absent" without a
//! second array.

use std::collections::HashMap;

use crate::model::{self, Labels, METRIC_NAME, Sample};

use super::{QueryError, SeriesData, rollups::Reach};

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
}

impl Column {
    pub(super) fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step])
    }

    fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_absent(*value))
    }

    /// Replaces each value that is there; `None` takes it away.
    pub(super) fn map(mut self, apply: impl Fn(usize, f64) -> Option<f64>) -> Self {
        for (step, value) in self.values.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = apply(step, *value).unwrap_or_else(absent);
            }
        }
        self
    }

    pub(super) fn drop_name(&mut self) {
        if !self.labels.metric().is_empty() {
            self.labels = self.labels.without(|name| name == METRIC_NAME);
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

/// A range selector or a subquery: samples, and for each step the window that it sees.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// In order. Staleness markers are left out where no rollups were read.
    pub(super) series: Vec<SeriesData>,
    /// For means over rollups: how many values each of the samples stands for, series by series; else
    /// empty.
    pub(super) counts: Vec<Vec<Sample>>,
    /// How far back a window goes.
    pub(super) reach: Reach,
    /// Where the window of each step ends; the end belongs to it, the start does not.
    pub(super) ends: Vec<i64>,
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
    pub(super) fn window<'a>(
        &mut self,
        samples: &'a [Sample],
        after: i64,
        until: i64,
    ) -> &'a [Sample] {
        if samples.is_empty() {
            return samples;
        }
        let passed = samples[..self.from].iter().rev();
        self.from -= passed.take_while(|sample| sample.timestamp.as_millis() > after).count();
        self.from = first_after(samples, self.from, after);
        self.to = first_after(samples, self.to.max(self.from), until);
        &samples[self.from..self.to]
    }
}

/// The index of the first sample after `time`, sought from `from` on.
fn first_after(samples: &[Sample], from: usize, time: i64) -> usize {
    let rest = samples[from..].iter();
    from + rest.take_while(|sample| sample.timestamp.as_millis() <= time).count()
}

/// Leaves out columns that hold nothing.
pub(super) fn compact(mut columns: Vec<Column>) -> Vec<Column> {
    columns.retain(|column| !column.is_empty());
    columns
}

/// Columns whose labels must differ, as those of range functions.
pub(super) fn distinct(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let columns = compact(columns);
    let mut seen = std::collections::HashSet::with_capacity(columns.len());
    if columns.iter().all(|column| seen.insert(&column.labels)) {
        return Ok(columns);
    }
    Err(same_labels())
}

/// Joins columns that have got the same labels; an error where two have a value at one step.
pub(super) fn merged(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    merged_or(columns, same_labels)
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
    for (slot, value) in into.values.iter_mut().zip(&from.values) {
        if is_absent(*value) {
            continue;
        }
        if !is_absent(*slot) {
            return None;
        }
        *slot = *value;
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
