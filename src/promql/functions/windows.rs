//! Range functions: what becomes of the samples that each step sees, series by series.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    model::{HistogramSample, Sample},
    promql::{
        Limits, PointValue, QueryError, SeriesData,
        columns::{
            Column, Cursor, Evaluated, Grid, Ranged, Timed, Windows, absent, compact, distinct,
            first_after, is_absent, of_one_metric,
        },
        eval::too_many_histograms,
        notes::Notes,
        parallel::by_runs,
        rollups::{Frame, Reach, Reading},
    },
};

use super::{Call, Result, counters};

/// A function of a window by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowBody {
    pub(super) apply: fn(&Window<'_>) -> Option<f64>,
    /// For windows with native histograms; without, these are left out.
    pub(super) mixed: Option<fn(&Window<'_>, &mut Notes) -> Option<PointValue>>,
    /// What the scalar arguments must be.
    pub(super) check: fn(&[f64]) -> Result<()>,
    pub(super) keeps_name: bool,
    pub(super) reading: Reading,
}

/// What a range function sees at one step.
pub(super) struct Window<'a> {
    /// In order; not empty where only numbers are asked for.
    pub(super) samples: &'a [Sample],
    /// In order, at other times.
    pub(super) histograms: &'a [HistogramSample],
    /// The name of the metric, for notes.
    pub(super) metric: &'a str,
    /// Milliseconds; does not belong to the window.
    pub(super) start: i64,
    /// Milliseconds; belongs to the window.
    pub(super) end: i64,
    /// How long it is, in seconds.
    pub(super) seconds: f64,
    /// The time of the step, which `offset` and `@` do not move.
    pub(super) now: i64,
    /// The scalar arguments.
    pub(super) parameters: &'a [f64],
    /// How coarse the coarsest of the samples is, in milliseconds; zero: all are as they came.
    pub(super) resolution: i64,
    /// The same at the start of the window, and at its end.
    pub(super) edges: (i64, i64),
    /// For means over rollups: how many values each sample stands for; else empty.
    pub(super) counts: &'a [Sample],
    /// For functions of counters: what was lost in each reset within the window; else empty.
    pub(super) falls: &'a [Sample],
}

impl Window<'_> {
    const fn empty() -> Self {
        Window {
            samples: &[],
            histograms: &[],
            metric: "",
            start: 0,
            end: 0,
            seconds: 0.0,
            now: 0,
            parameters: &[],
            resolution: 0,
            edges: (0, 0),
            counts: &[],
            falls: &[],
        }
    }

    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = f64> + Clone {
        self.samples.iter().map(|sample| sample.value)
    }

    pub(super) fn to_vec(&self) -> Vec<f64> {
        self.values().collect()
    }
}

/// How windows become values; `State` goes from one window of a series to the next.
pub(super) trait Slide: Sync {
    type State: Default;

    /// A window of numbers; not empty.
    fn floats(&self, state: &mut Self::State, window: &Window<'_>) -> Option<f64>;

    /// A window with native histograms.
    fn mixed(
        &self,
        state: &mut Self::State,
        window: &Window<'_>,
        notes: &mut Notes,
    ) -> Option<PointValue> {
        without_histograms(self, state, window, notes)
    }
}

/// What the numbers of a window come to, if there are any; that histograms were left out is told.
fn without_histograms<S: Slide + ?Sized>(
    slide: &S,
    state: &mut S::State,
    window: &Window<'_>,
    notes: &mut Notes,
) -> Option<PointValue> {
    if window.samples.is_empty() {
        return None;
    }
    notes.inform_of_ignored_range(window.metric);
    slide.floats(state, window).map(PointValue::Float)
}

impl WindowBody {
    pub(super) const fn of(apply: fn(&Window<'_>) -> Option<f64>) -> Self {
        let (mixed, keeps_name) = (None, false);
        let reading = Reading::Samples { room: 1 };
        Self { apply, mixed, check: anything, keeps_name, reading }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every check has the same shape")]
fn anything(_: &[f64]) -> Result<()> {
    Ok(())
}

impl Slide for WindowBody {
    type State = ();

    #[inline]
    fn floats(&self, (): &mut (), window: &Window<'_>) -> Option<f64> {
        (self.apply)(window)
    }

    fn mixed(&self, (): &mut (), window: &Window<'_>, notes: &mut Notes) -> Option<PointValue> {
        let Some(mixed) = self.mixed else {
            return without_histograms(self, &mut (), window, notes);
        };
        if self.reading.needs_every_histogram() && window.resolution > 0 {
            notes.inform(
                "only the last native histogram of a rollup is kept: there is no sum, mean or count",
            );
            return None;
        }
        mixed(window, notes)
    }
}

pub(super) fn evaluate(call: &mut Call<'_, '_>, body: WindowBody) -> Result<Evaluated> {
    let windows = call.windows(0, body.reading)?;
    let parameters: Vec<Vec<f64>> =
        (1..call.arguments.len()).map(|index| call.scalar(index)).collect::<Result<_>>()?;
    let parameters = by_step(&parameters, call.grid);
    if !windows.series.is_empty() {
        parameters.iter().try_for_each(|parameters| (body.check)(parameters))?;
    }
    let shape = Shape { keeps_name: body.keeps_name, wants_counter: false };
    slide(call, windows, (&body, shape), &parameters)
}

/// The scalars of each step side by side; nothing, where there are none.
pub(super) fn by_step(scalars: &[Vec<f64>], grid: &Grid) -> Vec<Vec<f64>> {
    if scalars.is_empty() {
        return Vec::new();
    }
    let at = |step: usize| scalars.iter().map(|values| values[step]).collect();
    (0..grid.count).map(at).collect()
}

/// What is special about a function.
#[derive(Clone, Copy, Default)]
pub(super) struct Shape {
    /// The result is still the same metric.
    pub(super) keeps_name: bool,
    /// It makes sense on counters only.
    pub(super) wants_counter: bool,
}

/// A value for each series and step that has a sample in its window.
pub(super) fn slide<S: Slide>(
    call: &mut Call<'_, '_>,
    windows: Windows,
    (body, shape): (&S, Shape),
    parameters: &[Vec<f64>],
) -> Result<Evaluated> {
    let grid = call.grid;
    call.evaluator.check_slots(windows.series.len(), grid)?;
    let Windows { series, reach, ends } = windows;
    let unlike = shape.keeps_name || of_one_metric(series.iter().map(|series| &series.data.labels));
    let limits = call.evaluator.limits;
    let weight = AtomicUsize::new(0);
    let sliding = Sliding { body, shape, grid, reach, ends, parameters, limits, weight };
    let runs = by_runs(&limits.helpers, series, |run| {
        let mut notes = Notes::default();
        let columns = run.into_iter().map(|series| sliding.column(series, &mut notes));
        Ok::<_, QueryError>((columns.collect::<Result<Vec<_>>>()?, notes))
    })?;
    let mut columns = Vec::with_capacity(runs.iter().map(|(run, _)| run.len()).sum());
    for (run, notes) in runs {
        columns.extend(run);
        call.evaluator.notes.merge(notes);
    }
    Ok(Evaluated::Vector(if unlike { compact(columns) } else { distinct(columns)? }))
}

struct Sliding<'a, S> {
    body: &'a S,
    shape: Shape,
    grid: &'a Grid,
    reach: Reach,
    ends: Vec<i64>,
    parameters: &'a [Vec<f64>],
    limits: &'a Limits,
    /// What the histograms that were made so far weigh.
    weight: AtomicUsize,
}

/// So many windows go by between two looks at whether anybody still waits.
const WINDOWS_AT_ONCE: usize = 64;

impl<S: Slide> Sliding<'_, S> {
    fn column(&self, series: Ranged, notes: &mut Notes) -> Result<Column> {
        let Ranged { data, counts } = series;
        let falls =
            if self.shape.wants_counter { counters::falls(&data.samples) } else { Vec::new() };
        let mut column = Column::empty(data.labels.clone(), self.ends.len());
        if self.reach.has_rollups() || !data.histograms.is_empty() {
            self.fill(&mut column, Walk::new(&data, &counts, &falls), notes)?;
        } else {
            self.fill_plainly(&mut column, &data.samples, &falls)?;
        }
        let weight = column.histogram_weight();
        let before = self.weight.fetch_add(weight, Ordering::Relaxed);
        if weight > 0 && before.saturating_add(weight) > self.limits.samples_max {
            return Err(too_many_histograms(self.limits));
        }
        self.inform_about_gauge(&column, notes);
        if !self.shape.keeps_name {
            column.drop_name();
        }
        Ok(column)
    }

    fn fill<'a>(
        &'a self,
        column: &mut Column,
        mut walk: Walk<'a>,
        notes: &mut Notes,
    ) -> Result<()> {
        let mut state = S::State::default();
        for (step, end) in self.ends.iter().enumerate() {
            if step % WINDOWS_AT_ONCE == 0 {
                self.limits.check_cancelled()?;
            }
            if !walk.move_to(&self.reach.frame(*end)) {
                continue;
            }
            let window = &mut walk.window;
            window.now = self.grid.time(step);
            window.parameters = self.parameters_at(step);
            if window.histograms.is_empty() {
                column.values[step] = self.body.floats(&mut state, window).unwrap_or_else(absent);
            } else {
                column.put(step, self.body.mixed(&mut state, window, notes));
            }
        }
        Ok(())
    }

    /// As [`fill`](Self::fill), where there are neither rollups nor histograms: what nearly all series are,
    /// so that it has a loop of its own.
    fn fill_plainly(
        &self,
        column: &mut Column,
        samples: &[Sample],
        falls: &[Sample],
    ) -> Result<()> {
        let labels = column.labels.clone();
        let metric = labels.metric();
        let (mut state, length) = (S::State::default(), self.reach.frame(0).length());
        let (mut from, mut to, mut fallen) = (0, 0, Cursor::new());
        for (step, end) in self.ends.iter().enumerate() {
            if step % WINDOWS_AT_ONCE == 0 {
                self.limits.check_cancelled()?;
            }
            let start = end.saturating_sub(length);
            from = first_after(samples, from, start);
            to = first_after(samples, to.max(from), *end);
            let [first, ..] = &samples[from..to] else { continue };
            let window = Window {
                samples: &samples[from..to],
                metric,
                start,
                end: *end,
                seconds: length as f64 / 1000.0,
                now: self.grid.time(step),
                parameters: self.parameters_at(step),
                falls: if falls.is_empty() {
                    falls
                } else {
                    fallen.window(falls, first.millis(), *end)
                },
                ..Window::empty()
            };
            column.values[step] = self.body.floats(&mut state, &window).unwrap_or_else(absent);
        }
        Ok(())
    }

    fn parameters_at(&self, step: usize) -> &[f64] {
        self.parameters.get(step).map_or(&[], Vec::as_slice)
    }

    /// A rate of something that is no counter is a common mistake; the name tells.
    fn inform_about_gauge(&self, column: &Column, notes: &mut Notes) {
        const SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];
        let metric = column.labels.metric();
        let counts = metric.is_empty() || SUFFIXES.iter().any(|suffix| metric.ends_with(suffix));
        if self.shape.wants_counter
            && !counts
            && column.values.iter().any(|value| !is_absent(*value))
        {
            notes.inform(&format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
                 {metric:?}"
            ));
        }
    }
}

/// Walks through a series as its windows move on.
struct Walk<'a> {
    /// What was last moved to.
    window: Window<'a>,
    data: &'a SeriesData,
    counts: &'a [Sample],
    falls: &'a [Sample],
    /// Of the samples, the histograms, the counts and the falls.
    cursors: [Cursor; 4],
}

impl<'a> Walk<'a> {
    fn new(data: &'a SeriesData, counts: &'a [Sample], falls: &'a [Sample]) -> Self {
        let window = Window { metric: data.labels.metric(), ..Window::empty() };
        Self { window, data, counts, falls, cursors: [const { Cursor::new() }; 4] }
    }

    /// Moves to a frame, in place: there are as many of them as there are steps. Tells whether there is
    /// anything in it.
    #[inline]
    fn move_to(&mut self, frame: &Frame) -> bool {
        let Frame { start, end, resolution, edges, fits, .. } = *frame;
        let window = &mut self.window;
        let [samples, histograms, counts, falls] = &mut self.cursors;
        if end - start != window.end - window.start {
            window.seconds = (end - start) as f64 / 1000.0;
        }
        (window.start, window.end) = (start, end);
        (window.resolution, window.edges) = (resolution, edges);
        window.samples = frame.seen(samples.window(&self.data.samples, start, end));
        window.histograms = histograms.window(&self.data.histograms, start, end);
        window.counts = counts.window(self.counts, start, end);
        if !self.falls.is_empty() {
            let first = window.samples.first().map_or(end, |sample| sample.timestamp.as_millis());
            window.falls = falls.window(self.falls, first, end);
        }
        fits && !(window.samples.is_empty() && window.histograms.is_empty())
    }
}
