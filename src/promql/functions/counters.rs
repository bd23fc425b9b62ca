//! `rate` and its kin: differences over a window (promql/functions.go, `extrapolatedRate`).

use std::sync::Arc;

use crate::{
    model::{Histogram, HistogramSample, Incompatible, ResetHint, Sample},
    promql::{
        PointValue, QueryError,
        columns::{Evaluated, Timed},
        notes::Notes,
        rollups::Reading,
    },
};

use super::{
    Call, Window,
    mixed::{Mixed, last_two, was_reset},
    windows::{Shape, Slide, slide},
};

type Result<T, E = QueryError> = std::result::Result<T, E>;

pub(super) fn rate(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    evaluate(call, &Extrapolated { counter: Counter::Yes, per_second: true })
}

pub(super) fn increase(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    evaluate(call, &Extrapolated { counter: Counter::Yes, per_second: false })
}

pub(super) fn delta(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    evaluate(call, &Extrapolated { counter: Counter::No, per_second: false })
}

fn evaluate(call: &mut Call<'_, '_>, body: &Extrapolated) -> Result<Evaluated> {
    let windows = call.windows(0, Reading::Differences)?;
    let shape = Shape { keeps_name: false, wants_counter: body.counter == Counter::Yes };
    slide(call, windows, (body, shape), &[])
}

/// The difference over a window, extrapolated to its edges. A type of its own, and not a function that
/// is called for each window: most of what dashboards and alerts ask for is this.
struct Extrapolated {
    counter: Counter,
    per_second: bool,
}

/// Whether a falling value means a reset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counter {
    Yes,
    No,
}

impl Slide for Extrapolated {
    type State = ();

    #[expect(
        clippy::inline_always,
        reason = "a quarter of what rates take goes into the call else"
    )]
    #[inline(always)]
    fn floats(&self, (): &mut (), window: &Window<'_>) -> Option<f64> {
        let [first, .., last] = window.samples else { return None };
        let mut difference = last.value - first.value;
        if self.counter == Counter::Yes {
            // In this order, since sums of huge numbers overflow in another.
            difference = window.falls.iter().fold(difference, |sum, fall| sum + fall.value);
        }
        let rises = self.counter == Counter::Yes && difference > 0.0 && first.value >= 0.0;
        let since_zero = rises.then_some((first.value, difference));
        let (reached, between) = reach(window, window.samples, since_zero);
        let seconds = if self.per_second { window.seconds } else { 1.0 };
        Some(difference * (reached / (between * seconds)))
    }

    fn mixed(&self, (): &mut (), window: &Window<'_>, notes: &mut Notes) -> Option<PointValue> {
        let increase = extrapolated_histogram(window, self.counter, notes)?;
        let increase =
            if self.per_second { increase.times(1.0 / window.seconds) } else { increase };
        Some(point(increase))
    }
}

/// How many milliseconds a window's samples are taken to stand for, and how many lie between the first and
/// the last. They reach to an edge of the window that is near, else by half the average distance of
/// samples; a counter not below zero. Near is what lies within the average distance, or within the
/// resolution where rollups stand at that edge. `since_zero` is where a counter stood at the first sample,
/// and by how much it rose since then.
#[inline]
fn reach<T: Timed>(
    window: &Window<'_>,
    samples: &[T],
    since_zero: Option<(f64, f64)>,
) -> (f64, f64) {
    let [first, .., last] = samples else { return (f64::NAN, 1.0) };
    let between = (last.millis() - first.millis()) as f64;
    let gaps = Gaps { sampled: between, count: (samples.len() - 1) as f64 };
    let mut before = gaps.stretched(first.millis() - window.start, window.edges.0);
    if let Some((value, difference)) = since_zero
        && value * between < before * difference
    {
        before = between * (value / difference);
    }
    let after = gaps.stretched(window.end - last.millis(), window.edges.1);
    (between + before + after, between)
}

/// The time between samples of a window, in milliseconds in all, and how many gaps that is.
struct Gaps {
    sampled: f64,
    count: f64,
}

impl Gaps {
    /// How far beyond its outermost sample a series is taken to reach, towards an edge of the window that
    /// is `gap` away and lies among rollups of `resolution`; all in milliseconds.
    #[inline]
    fn stretched(&self, gap: i64, resolution: i64) -> f64 {
        let (gap, resolution) = (gap as f64, resolution as f64);
        // Without a division: this is done twice for each series and step.
        let near = self.sampled.max(resolution * self.count) * 1.1;
        let beyond = gap * self.count - near;
        let far =
            if beyond.abs() <= near * 1e-9 { self.is_far(gap, resolution) } else { beyond > 0.0 };
        if far { self.sampled / self.count / 2.0 } else { gap }
    }

    /// As Prometheus computes it, in seconds: where a gap is on the brink, rounding decides.
    #[cold]
    fn is_far(&self, gap: f64, resolution: f64) -> bool {
        let average = self.sampled / 1000.0 / self.count;
        gap / 1000.0 >= average.max(resolution / 1000.0) * 1.1
    }
}

/// What a counter had counted each time it was reset, at the time of the sample that fell. Found once
/// for a series, so that windows that overlap need not look for it again.
pub(super) fn falls(samples: &[Sample]) -> Vec<Sample> {
    let falling = samples.windows(2).filter(|pair| pair[1].value < pair[0].value);
    falling.map(|pair| Sample { timestamp: pair[1].timestamp, value: pair[0].value }).collect()
}

pub(super) fn irate(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.samples else { return None };
    let difference = if last.value < before.value { last.value } else { last.value - before.value };
    Some(difference / last.timestamp.since(before.timestamp).as_secs_f64())
}

pub(super) fn idelta(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.samples else { return None };
    Some(last.value - before.value)
}

fn point(histogram: Histogram) -> PointValue {
    PointValue::Histogram(Arc::new(histogram))
}

/// As [`Extrapolated`] has it, for windows of histograms.
fn extrapolated_histogram(
    window: &Window<'_>,
    counter: Counter,
    notes: &mut Notes,
) -> Option<Histogram> {
    if !window.samples.is_empty() {
        notes.warn_of_mixed_range(window.metric);
        return None;
    }
    let [_, _, ..] = window.histograms else { return None };
    let difference = match counter {
        Counter::Yes => risen(window.histograms),
        Counter::No => fallen(window.histograms),
    };
    let difference =
        difference.map_err(|why| notes.warn_of_incompatible(why, window.metric)).ok()?;
    warn_of_kind(window, window.histograms, counter, notes);
    let (reached, between) = reach(window, window.histograms, None);
    Some(difference.times(reached / between).hinted(ResetHint::Gauge))
}

/// A rate of gauges, a delta of counters: both are probably mistakes.
fn warn_of_kind(
    window: &Window<'_>,
    samples: &[HistogramSample],
    counter: Counter,
    notes: &mut Notes,
) {
    let is_gauge = |sample: &HistogramSample| sample.histogram.reset == ResetHint::Gauge;
    let metric = window.metric;
    if counter == Counter::Yes && samples.iter().any(is_gauge) {
        notes.warn(&format!("this native histogram metric is not a counter: {metric:?}"));
    }
    let ends = [samples.first(), samples.last()];
    if counter == Counter::No && !ends.into_iter().flatten().all(is_gauge) {
        notes.warn(&format!("this native histogram metric is not a gauge: {metric:?}"));
    }
}

fn fallen(samples: &[HistogramSample]) -> Result<Histogram, Incompatible> {
    let (first, last) = (&samples[0].histogram, &samples[samples.len() - 1].histogram);
    if first.has_custom_bounds() != last.has_custom_bounds() {
        return Err(Incompatible::Schema);
    }
    last.at_most(first.bounds.schema()).minus(first)
}

/// The last less the first, and what was lost at each reset between them, all at the coarsest schema.
fn risen(samples: &[HistogramSample]) -> Result<Histogram, Incompatible> {
    let (first, rest) = (&samples[0].histogram, &samples[1..]);
    let fresh = was_reset(first, &rest[0].histogram);
    // What came before a reset need not fit to what comes after it.
    let counted = if fresh { rest } else { samples };
    let schema = counted.iter().map(|sample| sample.histogram.bounds.schema()).min();
    if counted
        .iter()
        .any(|s| s.histogram.has_custom_bounds() != counted[0].histogram.has_custom_bounds())
    {
        return Err(Incompatible::Schema);
    }
    let last = &samples[samples.len() - 1].histogram;
    let mut sum = last.at_most(schema.unwrap_or_default());
    if !fresh {
        sum = sum.minus(first)?;
    }
    for pair in counted.windows(2) {
        if was_reset(&pair[0].histogram, &pair[1].histogram) {
            sum = sum.plus(&pair[0].histogram)?;
        }
    }
    Ok(sum)
}

pub(super) fn irate_mixed(window: &Window<'_>, notes: &mut Notes) -> Option<PointValue> {
    let (value, seconds) = last_difference(window, Counter::Yes, notes)?;
    Some(match value {
        PointValue::Float(value) => PointValue::Float(value / seconds),
        PointValue::Histogram(histogram) => point(histogram.divided_by(seconds)),
    })
}

pub(super) fn idelta_mixed(window: &Window<'_>, notes: &mut Notes) -> Option<PointValue> {
    last_difference(window, Counter::No, notes).map(|(value, _)| value)
}

/// What lies between the last two samples, of whatever kind, and how many seconds.
fn last_difference(
    window: &Window<'_>,
    counter: Counter,
    notes: &mut Notes,
) -> Option<(PointValue, f64)> {
    let (before, last) = last_two(window)?;
    let seconds = (last.millis() - before.millis()) as f64 / 1000.0;
    let difference = match (before, last) {
        (Mixed::Float(before), Mixed::Float(last)) => {
            let reset = counter == Counter::Yes && last.value < before.value;
            PointValue::Float(if reset { last.value } else { last.value - before.value })
        }
        (Mixed::Histogram(before), Mixed::Histogram(last)) => {
            point(histogram_difference(window, (before, last), counter, notes)?)
        }
        _ => {
            notes.warn_of_mixed_range(window.metric);
            return None;
        }
    };
    Some((difference, seconds))
}

fn histogram_difference(
    window: &Window<'_>,
    (before, last): (&HistogramSample, &HistogramSample),
    counter: Counter,
    notes: &mut Notes,
) -> Option<Histogram> {
    warn_of_kind(window, &[before.clone(), last.clone()], counter, notes);
    let (before, last) = (&before.histogram, &last.histogram);
    let difference = match counter {
        Counter::Yes if was_reset(before, last) => Ok((**last).clone()),
        _ => last.minus(before),
    };
    let difference =
        difference.map_err(|why| notes.warn_of_incompatible(why, window.metric)).ok()?;
    Some(difference.hinted(ResetHint::Gauge))
}
