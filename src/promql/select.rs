//! Selectors: samples are asked for once for all steps, then every step sees its part of them.

use crate::{
    model::{Sample, is_stale},
    time::Timestamp,
};

use super::{
    QueryError, SelectError, Selected, Selection, SeriesData,
    columns::{Column, Cursor, Evaluated, Grid, Windows, absent, compact, merged},
    eval::{Evaluator, column_samples},
    plan::{At, Selector, Shift, Subquery},
};

type Result<T> = std::result::Result<T, QueryError>;

impl Evaluator<'_> {
    /// At each step the newest sample that is not older than the lookback.
    pub(super) fn instant_selector(
        &mut self,
        selector: &Selector,
        grid: &Grid,
    ) -> Result<Evaluated> {
        Ok(Evaluated::Vector(self.newest(selector, grid, |sample| sample.value)?))
    }

    /// The times of the samples that [`Self::instant_selector`] finds, in seconds.
    pub(super) fn timestamps(&mut self, selector: &Selector, grid: &Grid) -> Result<Evaluated> {
        let mut columns = self.newest(selector, grid, |sample| sample.timestamp.as_secs_f64())?;
        columns.iter_mut().for_each(Column::drop_name);
        Ok(Evaluated::Vector(merged(columns)?))
    }

    fn newest(
        &mut self,
        selector: &Selector,
        grid: &Grid,
        read: fn(&Sample) -> f64,
    ) -> Result<Vec<Column>> {
        let lookback = i64::try_from(self.limits.lookback.as_millis()).unwrap_or(i64::MAX);
        let ends = self.shifted(selector.shift, grid);
        let series = self.load(selector, lookback, &ends)?;
        self.check_slots(series.len(), grid)?;
        let mut columns = Vec::with_capacity(series.len());
        for SeriesData { labels, samples } in series {
            self.check_cancelled()?;
            let mut cursor = Cursor::default();
            let slot = |end: &i64| {
                let window = cursor.window(&samples, end.saturating_sub(lookback), *end);
                // A marker ends the series until its next sample.
                window.last().filter(|sample| !is_stale(sample.value)).map_or_else(absent, read)
            };
            columns.push(Column { labels, values: ends.iter().map(slot).collect() });
        }
        Ok(compact(columns))
    }

    /// For each step, the samples of the last `range`.
    pub(super) fn range_selector(
        &mut self,
        selector: &Selector,
        range: i64,
        grid: &Grid,
    ) -> Result<Evaluated> {
        let ends = self.shifted(selector.shift, grid);
        let mut series = self.load(selector, range, &ends)?;
        for series in &mut series {
            series.samples.retain(|sample| !is_stale(sample.value));
        }
        series.retain(|series| !series.samples.is_empty());
        Ok(Evaluated::Windows(Windows { series, range, ends }))
    }

    /// For each step, the values that the inner expression has at the subquery's own steps, which
    /// are multiples of its step since the epoch.
    pub(super) fn subquery(&mut self, subquery: &Subquery, grid: &Grid) -> Result<Evaluated> {
        let ends = self.shifted(subquery.shift, grid);
        let inner = inner_grid(subquery, &ends);
        self.check_slots(1, &inner)?;
        let columns = self.vector(&subquery.inner, &inner)?;
        let series = columns.into_iter().map(|column| column_samples(column, &inner)).collect();
        Ok(Evaluated::Windows(Windows { series, range: subquery.range, ends }))
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

    /// The samples that any window needs; the beginning of a window does not belong to it.
    fn load(&mut self, selector: &Selector, range: i64, ends: &[i64]) -> Result<Vec<SeriesData>> {
        let (Some(first), Some(last)) = (ends.first(), ends.last()) else {
            return Ok(Vec::new());
        };
        let start = first.saturating_sub(range).saturating_add(1);
        let selection = Selection::raw(
            selector.matchers.clone(),
            Timestamp::from_millis(start),
            Timestamp::from_millis(*last),
        );
        let Selected { series, .. } =
            self.data.select(&selection).map_err(|error| match error {
                SelectError::TooMuch(reason) => QueryError::TooMuch(reason),
                SelectError::Storage(reason) => QueryError::Storage(reason),
            })?;
        self.loaded += series.iter().map(|series| series.samples.len()).sum::<usize>();
        if self.loaded > self.limits.samples_max {
            return Err(QueryError::TooMuch(format!(
                "query processing would load more than {} samples into memory",
                self.limits.samples_max
            )));
        }
        Ok(series)
    }
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
