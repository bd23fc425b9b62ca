//! Selectors: samples are asked for once for all steps, then every step sees its part of them.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    model::{HistogramSample, Labels, is_stale},
    time::Timestamp,
};

use super::{
    PointValue, QueryError, RollupColumn, SelectError, Selected, Selection, SeriesData,
    columns::{Column, Cursor, Evaluated, Grid, Ranged, Windows, compact, nameless},
    eval::Evaluator,
    parallel::by_runs,
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
        Ok(Evaluated::Vector(self.newest(selector, grid, (Newest::Value, resolution))?))
    }

    /// The times of the samples that [`Self::instant_selector`] finds, in seconds; as exact as can be.
    pub(super) fn timestamps(&mut self, selector: &Selector, grid: &Grid) -> Result<Evaluated> {
        let columns = self.sampled_at(selector, grid)?;
        Ok(Evaluated::Vector(nameless(columns)?))
    }

    /// As [`Self::instant_selector`], without rollups where samples are still kept.
    pub(super) fn exactly(&mut self, selector: &Selector, grid: &Grid) -> Result<Vec<Column>> {
        self.newest(selector, grid, (Newest::Value, Duration::ZERO))
    }

    /// The times of these, with the names of the metrics.
    pub(super) fn sampled_at(&mut self, selector: &Selector, grid: &Grid) -> Result<Vec<Column>> {
        self.newest(selector, grid, (Newest::Time, Duration::ZERO))
    }

    fn newest(
        &mut self,
        selector: &Selector,
        grid: &Grid,
        (what, resolution): (Newest, Duration),
    ) -> Result<Vec<Column>> {
        let range = i64::try_from(self.limits.lookback.as_millis()).unwrap_or(i64::MAX);
        let ends = self.shifted(selector.shift, grid);
        let newest = grid.count == 1;
        let wish = Wish { selector, range, resolution, reading: Reading::Newest, newest };
        let (series, reach) = self.load(&wish, &ends)?;
        self.check_slots(series.len(), grid)?;
        let (limits, ends, reach) = (self.limits, &ends, &reach);
        let columns = by_runs(&limits.helpers, series, |run| {
            let columns = run.into_iter().map(|series| {
                limits.check_cancelled()?;
                Ok(newest_of(series, (ends, reach), what))
            });
            columns.collect::<Result<Vec<_>>>()
        })?;
        Ok(compact(columns.into_iter().flatten().collect()))
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
        let mut wish = Wish { selector, range, resolution, reading: reader.reading, newest: false };
        let (mut series, mut reach) = self.load(&wish, &ends)?;
        if reader.reading.needs_every_histogram() && reach.has_rollups() && any_histogram(&series) {
            // Rollups keep the last histogram of a stretch only.
            wish.resolution = Duration::ZERO;
            (series, reach) = self.load(&wish, &ends)?;
        }
        // Markers end a series whose window had to be widened; else a window passes over them.
        if reader.reading == Reading::Newest && !reach.has_rollups() {
            for SeriesData { samples, .. } in &mut series {
                samples.retain(|sample| !is_stale(sample.value));
            }
        }
        series.retain(|series| !series.samples.is_empty() || !series.histograms.is_empty());
        self.note_reading((&series, &ends), &reach, reader);
        let series = match reader.reading {
            Reading::Mean if reach.has_rollups() => self.counted(&wish, &ends, series)?,
            _ => series.into_iter().map(Ranged::plain).collect(),
        };
        Ok(Evaluated::Windows(Windows { series, reach, ends }))
    }

    /// Adds how many values the samples of each series stand for.
    fn counted(
        &mut self,
        wish: &Wish<'_>,
        ends: &[i64],
        series: Vec<SeriesData>,
    ) -> Result<Vec<Ranged>> {
        let wish = Wish { reading: Reading::Column(RollupColumn::Count), ..*wish };
        let (mut counts, _) = self.load(&wish, ends)?;
        counts.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let with_counts = |data: SeriesData| {
            let place = counts.binary_search_by(|counts| counts.labels.cmp(&data.labels));
            let counts =
                place.map_or_else(|_| Vec::new(), |at| std::mem::take(&mut counts[at].samples));
            Ranged { data, counts }
        };
        Ok(series.into_iter().map(with_counts).collect())
    }

    /// For each step, the values that the inner expression has at the subquery's own steps, which
    /// are multiples of its step since the epoch.
    pub(super) fn subquery(&mut self, subquery: &Subquery, grid: &Grid) -> Result<Evaluated> {
        let ends = self.shifted(subquery.shift, grid);
        let inner = inner_grid(subquery, &ends);
        self.check_slots(1, &inner)?;
        let columns = self.vector(&subquery.inner, &inner)?;
        let series = columns.into_iter().map(|column| Ranged::plain(column.into_series(&inner)));
        let reach = Reach::plain(subquery.range);
        Ok(Evaluated::Windows(Windows { series: series.collect(), reach, ends }))
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
            newest: wish.newest,
            // What ends a series is the newest that there is of it.
            markers: wish.reading == Reading::Newest,
            sorted: false,
            helpers: self.limits.helpers.clone(),
        };
        let selected = self.data.select(&selection).map_err(|error| match error {
            SelectError::TooMuch(reason) => QueryError::TooMuch(reason),
            SelectError::Storage(reason) => QueryError::Storage(reason),
        })?;
        self.loaded += selected.series.iter().map(weight).sum::<usize>();
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
    /// Whether the newest sample of each series is all that is looked at.
    newest: bool,
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

/// Series with what they had before.
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

/// What is wanted of the newest sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newest {
    Value,
    Time,
}

impl Newest {
    fn of(self, timestamp: Timestamp, value: PointValue) -> PointValue {
        match self {
            Self::Value => value,
            Self::Time => PointValue::Float(timestamp.as_secs_f64()),
        }
    }
}

/// The newest sample that each step sees, unless it is a marker: that ends the series until its next one.
fn newest_of(series: SeriesData, (ends, reach): (&[i64], &Reach), what: Newest) -> Column {
    let SeriesData { labels, samples, histograms } = series;
    let [mut cursor, mut other] = [const { Cursor::new() }; 2];
    let mut column = Column::empty(labels, ends.len());
    for (step, end) in ends.iter().enumerate() {
        let start = reach.frame(*end).start;
        let sample = cursor.window(&samples, start, *end).last();
        let histogram = other.window(&histograms, start, *end).last();
        let newest = match (sample, histogram) {
            (sample, Some(h)) if sample.is_none_or(|s| s.timestamp < h.timestamp) => {
                what.of(h.timestamp, PointValue::Histogram(h.histogram.clone()))
            }
            (Some(s), _) if !is_stale(s.value) => what.of(s.timestamp, PointValue::Float(s.value)),
            _ => continue,
        };
        column.put(step, Some(newest));
    }
    column
}

fn any_histogram(series: &[SeriesData]) -> bool {
    series.iter().any(|series| !series.histograms.is_empty())
}

/// How many samples a series has in memory; histograms count for as many as take up their room.
fn weight(series: &SeriesData) -> usize {
    series.samples.len() + series.histograms.iter().map(HistogramSample::weight).sum::<usize>()
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
