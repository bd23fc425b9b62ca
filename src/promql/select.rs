//! Selectors: samples are asked for once for all steps, then every step sees its part of them.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    model::{HistogramSample, Labels, Sample, is_stale},
    time::Timestamp,
};

use super::{
    QueryError, RollupColumn, SelectError, Selected, Selection, SeriesData,
    columns::{Column, Cursor, Evaluated, Grid, Windows, absent, compact, merged},
    eval::{Evaluator, column_samples},
    plan::{At, Selector, Shift, Subquery},
    rollups::{Reach, Reader, Reading},
};

type Result<T> = std::result::Result<T, QueryError>;

impl Evaluator<'_> {
    /// At each step the newest sample that is not older than the lookback.
    pub(super) fn instant_selector(
        &mut self,
        selector: &Selector,
        grid: &Grid,
    ) -> Result<Evaluated> {
        let resolution = self.resolution(selector, grid.step);
        let columns = self.newest(selector, grid, (|sample| sample.value, resolution))?;
        Ok(Evaluated::Vector(columns))
    }

    /// The times of the samples that [`Self::instant_selector`] finds, in seconds; as exact as can be.
    pub(super) fn timestamps(&mut self, selector: &Selector, grid: &Grid) -> Result<Evaluated> {
        let read = |sample: &Sample| sample.timestamp.as_secs_f64();
        let mut columns = self.newest(selector, grid, (read, Duration::ZERO))?;
        columns.iter_mut().for_each(Column::drop_name);
        Ok(Evaluated::Vector(merged(columns)?))
    }

    fn newest(
        &mut self,
        selector: &Selector,
        grid: &Grid,
        (read, resolution): (fn(&Sample) -> f64, Duration),
    ) -> Result<Vec<Column>> {
        let range = i64::try_from(self.limits.lookback.as_millis()).unwrap_or(i64::MAX);
        let ends = self.shifted(selector.shift, grid);
        let wish = Wish { selector, range, resolution, reading: Reading::Newest };
        let (series, reach) = self.load(&wish, &ends)?;
        self.check_slots(series.len(), grid)?;
        let mut columns = Vec::with_capacity(series.len());
        for SeriesData { labels, samples, histograms } in series {
            self.check_cancelled()?;
            let mut cursor = Cursor::default();
            let slot = |end: &i64| {
                let window = cursor.window(&samples, reach.frame(*end).start, *end);
                // A marker ends the series until its next sample; a newer histogram is no number.
                let newest = window.last().filter(|sample| !is_stale(sample.value));
                let newest = newest.filter(|s| !has_newer(&histograms, s.timestamp, *end));
                newest.map_or_else(absent, read)
            };
            columns.push(Column { labels, values: ends.iter().map(slot).collect() });
        }
        Ok(compact(columns))
    }

    /// For each step, the samples of the last `range`.
    pub(super) fn range_selector(
        &mut self,
        (selector, range): (&Selector, i64),
        grid: &Grid,
        reader: Reader,
    ) -> Result<Evaluated> {
        let ends = self.shifted(selector.shift, grid);
        let detail = if reader.reading.may_be_coarse() { grid.step.min(range) } else { 0 };
        let resolution = self.resolution(selector, detail);
        let wish = Wish { selector, range, resolution, reading: reader.reading };
        let (mut series, reach) = self.load(&wish, &ends)?;
        // Markers end a series whose window had to be widened; else a window passes over them.
        if reader.reading != Reading::Newest || !reach.has_rollups() {
            for series in &mut series {
                series.samples.retain(|sample| !is_stale(sample.value));
            }
        }
        if !reader.reading.takes_histograms() {
            self.leave_histograms_out(&mut series);
        }
        series.retain(|series| !series.samples.is_empty() || !series.histograms.is_empty());
        self.note_reading((&series, &ends), &reach, reader);
        let counts = match reader.reading {
            Reading::Mean if reach.has_rollups() => self.counts(&wish, &ends, &series)?,
            _ => Vec::new(),
        };
        Ok(Evaluated::Windows(Windows { series, counts, reach, ends }))
    }

    /// Functions do not compute with native histograms.
    fn leave_histograms_out(&mut self, series: &mut [SeriesData]) {
        if series.iter().any(|series| !series.histograms.is_empty()) {
            for series in series {
                series.histograms.clear();
            }
            self.inform("native histograms were left out of a range: functions do not take them");
        }
    }

    /// How many values the samples of each series stand for.
    fn counts(
        &mut self,
        wish: &Wish<'_>,
        ends: &[i64],
        series: &[SeriesData],
    ) -> Result<Vec<Vec<Sample>>> {
        let wish = Wish { reading: Reading::Column(RollupColumn::Count), ..*wish };
        let (mut counts, _) = self.load(&wish, ends)?;
        let of = |series: &SeriesData| {
            let place = counts.binary_search_by(|counts| counts.labels.cmp(&series.labels));
            place.map_or_else(|_| Vec::new(), |place| std::mem::take(&mut counts[place].samples))
        };
        Ok(series.iter().map(of).collect())
    }

    /// For each step, the values that the inner expression has at the subquery's own steps, which
    /// are multiples of its step since the epoch.
    pub(super) fn subquery(&mut self, subquery: &Subquery, grid: &Grid) -> Result<Evaluated> {
        let ends = self.shifted(subquery.shift, grid);
        let inner = inner_grid(subquery, &ends);
        self.check_slots(1, &inner)?;
        let columns = self.vector(&subquery.inner, &inner)?;
        let series = columns.into_iter().map(|column| column_samples(column, &inner)).collect();
        let (reach, counts) = (Reach::plain(subquery.range), Vec::new());
        Ok(Evaluated::Windows(Windows { series, counts, reach, ends }))
    }

    /// The time that each step looks at.
    fn shifted(&self, shift: Shift, grid: &Grid) -> Vec<i64> {
        let base = |time: i64| match shift.at {
            None => time,
            Some(At::Fixed(at)) => at,
            Some(At::Start) => self.span.0,
            Some(At::End) => self.span.1,
        };
        grid.times().map(|time| base(time).saturating_sub(shift.offset)).collect()
    }

    /// How coarse samples may be where a result shows no more than `detail` milliseconds do: a fifth of
    /// them, as Thanos has it (pkg/api/query, "auto" down-sampling). A time that is fixed by `@` is asked
    /// for exactly, as instants are.
    fn resolution(&self, selector: &Selector, detail: i64) -> Duration {
        let coarse = self.may_be_coarse && selector.shift.at.is_none();
        Duration::from_millis(if coarse { detail.unsigned_abs() / 5 } else { 0 })
    }

    /// The samples that any window needs, and how far back windows go; the beginning of a window does
    /// not belong to it.
    fn load(&mut self, wish: &Wish<'_>, ends: &[i64]) -> Result<(Vec<SeriesData>, Reach)> {
        let (Some(first), Some(last)) = (ends.first(), ends.last()) else {
            return Ok((Vec::new(), Reach::plain(wish.range)));
        };
        let start = first.saturating_sub(wish.back()).saturating_add(1);
        let Selected { mut series, mut rollups } = self.select(wish, (start, *last))?;
        let reach = Reach::new(wish.range, wish.reading, rollups.clone());
        let earliest = reach.earliest(ends).map_or(start, |earliest| earliest.min(start));
        if earliest < start {
            // Rollups were found where none were looked for, so that windows go back further.
            let older = self.select(wish, (earliest, start.saturating_sub(1)))?;
            series = joined(older.series, series);
            rollups.splice(..0, older.rollups);
        }
        let reach = Reach::new(wish.range, wish.reading, rollups);
        self.remember_rollups(&series, &reach);
        Ok((series, reach))
    }

    fn select(&mut self, wish: &Wish<'_>, (start, end): (i64, i64)) -> Result<Selected> {
        let selection = Selection {
            matchers: wish.selector.matchers.clone(),
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(end),
            resolution: wish.resolution,
            column: wish.reading.column(),
        };
        let selected = self.data.select(&selection).map_err(|error| match error {
            SelectError::TooMuch(reason) => QueryError::TooMuch(reason),
            SelectError::Storage(reason) => QueryError::Storage(reason),
        })?;
        self.loaded += selected.series.iter().map(|series| series.samples.len()).sum::<usize>();
        if self.loaded > self.limits.samples_max {
            return Err(QueryError::TooMuch(format!(
                "query processing would load more than {} samples into memory",
                self.limits.samples_max
            )));
        }
        Ok(selected)
    }
}

/// What a selector asks for.
#[derive(Clone, Copy)]
struct Wish<'a> {
    selector: &'a Selector,
    /// How long a window is, in milliseconds.
    range: i64,
    resolution: Duration,
    reading: Reading,
}

impl Wish<'_> {
    /// How far before its end a window may begin, for rollups as coarse as was asked.
    fn back(&self) -> i64 {
        let resolution = i64::try_from(self.resolution.as_millis()).unwrap_or(i64::MAX);
        match self.reading {
            Reading::Newest => self.range.max(resolution.saturating_mul(2)),
            _ => self.range,
        }
    }
}

/// Series with what they had before; both sorted by labels, and so is the result.
fn joined(older: Vec<SeriesData>, newer: Vec<SeriesData>) -> Vec<SeriesData> {
    let mut all: BTreeMap<Labels, SeriesData> =
        older.into_iter().map(|series| (series.labels.clone(), series)).collect();
    for mut series in newer {
        match all.get_mut(&series.labels) {
            Some(known) => {
                known.samples.append(&mut series.samples);
                known.histograms.append(&mut series.histograms);
            }
            None => drop(all.insert(series.labels.clone(), series)),
        }
    }
    all.into_values().collect()
}

/// Whether a histogram lies after `time`, up to `end`.
fn has_newer(histograms: &[HistogramSample], time: Timestamp, end: i64) -> bool {
    let until = histograms.partition_point(|sample| sample.timestamp.as_millis() <= end);
    histograms[..until].last().is_some_and(|newest| newest.timestamp > time)
}

fn inner_grid(subquery: &Subquery, ends: &[i64]) -> Grid {
    let step = subquery.step;
    let (first, last) = match ends {
        [] => return Grid { start: 0, step, count: 0 },
        [first, .., last] => (*first, *last),
        [only] => (*only, *only),
    };
    // The first multiple of the step inside the first window, whose beginning is not in it.
    let after = first.saturating_sub(subquery.range).div_euclid(step);
    let start = after.saturating_add(1).saturating_mul(step);
    let steps = last.saturating_sub(start).div_euclid(step).saturating_add(1);
    Grid { start, step, count: usize::try_from(steps).unwrap_or(0) }
}
