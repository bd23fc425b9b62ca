//! What the samples of a window come to.
#![expect(clippy::unnecessary_wraps, reason = "every window function has the same shape")]

use std::sync::Arc;

use crate::{
    model::{Histogram, Incompatible, Sample},
    promql::{
        PointValue, QueryError,
        notes::Notes,
        numbers::{self, shown},
    },
};

use super::{
    Result, Window,
    mixed::{Mixed, newest, pairs, points, was_reset},
};

pub(super) fn avg(window: &Window<'_>) -> Option<f64> {
    if window.resolution == 0 {
        return Some(numbers::mean(window.values()));
    }
    let count = numbers::sum(window.counts.iter().map(|sample| sample.value));
    (count > 0.0).then(|| numbers::sum(window.values()) / count)
}

pub(super) fn avg_mixed(window: &Window<'_>, notes: &mut Notes) -> Option<PointValue> {
    reduced(window, notes, |mean, histogram, count| numbers::mean_step(mean, histogram, count))
}

pub(super) fn min(window: &Window<'_>) -> Option<f64> {
    Some(numbers::least(window.values()))
}

pub(super) fn max(window: &Window<'_>) -> Option<f64> {
    Some(numbers::greatest(window.values()))
}

pub(super) fn sum(window: &Window<'_>) -> Option<f64> {
    Some(numbers::sum(window.values()))
}

pub(super) fn sum_mixed(window: &Window<'_>, notes: &mut Notes) -> Option<PointValue> {
    reduced(window, notes, |sum, histogram, _| sum.plus(histogram))
}

/// The histograms of a window made one, the third argument telling how many there are so far.
fn reduced(
    window: &Window<'_>,
    notes: &mut Notes,
    step: impl Fn(&Histogram, &Histogram, f64) -> std::result::Result<Histogram, Incompatible>,
) -> Option<PointValue> {
    if !window.samples.is_empty() {
        notes.warn_of_mixed_range(window.metric);
        return None;
    }
    let (first, rest) = window.histograms.split_first()?;
    let reduced =
        rest.iter().enumerate().try_fold((*first.histogram).clone(), |so_far, (index, sample)| {
            step(&so_far, &sample.histogram, (index + 2) as f64)
        });
    match reduced {
        Ok(histogram) => Some(PointValue::Histogram(Arc::new(histogram))),
        Err(why) => {
            notes.warn_of_incompatible(why, window.metric);
            None
        }
    }
}

pub(super) fn count(window: &Window<'_>) -> Option<f64> {
    if window.resolution == 0 {
        return Some(window.samples.len() as f64);
    }
    Some(numbers::sum(window.values()))
}

pub(super) fn count_mixed(window: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    Some(PointValue::Float((window.samples.len() + window.histograms.len()) as f64))
}

pub(super) fn first(window: &Window<'_>) -> Option<f64> {
    window.samples.first().map(|sample| sample.value)
}

pub(super) fn first_mixed(window: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    points(window).next().map(Mixed::value)
}

pub(super) fn first_at(window: &Window<'_>) -> Option<f64> {
    window.samples.first().map(|sample| sample.timestamp.as_secs_f64())
}

pub(super) fn first_at_mixed(window: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    points(window).next().map(|point| PointValue::Float(point.millis() as f64 / 1000.0))
}

pub(super) fn last(window: &Window<'_>) -> Option<f64> {
    window.samples.last().map(|sample| sample.value)
}

pub(super) fn last_mixed(window: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    newest(window).map(Mixed::value)
}

pub(super) fn last_at(window: &Window<'_>) -> Option<f64> {
    window.samples.last().map(|sample| sample.timestamp.as_secs_f64())
}

pub(super) fn last_at_mixed(window: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    newest(window).map(|point| PointValue::Float(point.millis() as f64 / 1000.0))
}

pub(super) fn present(_: &Window<'_>) -> Option<f64> {
    Some(1.0)
}

pub(super) fn present_mixed(_: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    Some(PointValue::Float(1.0))
}

pub(super) fn stddev(window: &Window<'_>) -> Option<f64> {
    Some(numbers::variance(window.values()).sqrt())
}

pub(super) fn stdvar(window: &Window<'_>) -> Option<f64> {
    Some(numbers::variance(window.values()))
}

pub(super) fn median_deviation(window: &Window<'_>) -> Option<f64> {
    let mut values = window.to_vec();
    let median = numbers::quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(numbers::quantile(0.5, &mut values))
}

pub(super) fn max_at(window: &Window<'_>) -> Option<f64> {
    time_of(window.samples, |value, best| value >= best)
}

pub(super) fn min_at(window: &Window<'_>) -> Option<f64> {
    time_of(window.samples, |value, best| value <= best)
}

/// When the last of the best was taken.
fn time_of(samples: &[Sample], better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let choose = |best: &Sample, sample: &Sample| {
        if better(sample.value, best.value) || best.value.is_nan() { *sample } else { *best }
    };
    let best = samples.iter().copied().reduce(|best, sample| choose(&best, &sample))?;
    Some(best.timestamp.as_secs_f64())
}

pub(super) fn changes(window: &Window<'_>) -> Option<f64> {
    Some(count_pairs(window.samples, differs))
}

#[expect(clippy::float_cmp, reason = "any difference is a change")]
fn differs(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

pub(super) fn changes_mixed(window: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    let differ = |(before, after): (Mixed<'_>, Mixed<'_>)| match (before, after) {
        (Mixed::Float(a), Mixed::Float(b)) => differs(a.value, b.value),
        (Mixed::Histogram(a), Mixed::Histogram(b)) => {
            a.histogram.hinted(b.histogram.reset) != *b.histogram
        }
        _ => true,
    };
    Some(PointValue::Float(pairs(window).filter(|pair| differ(*pair)).count() as f64))
}

pub(super) fn resets(window: &Window<'_>) -> Option<f64> {
    Some(count_pairs(window.samples, |before, after| after < before))
}

pub(super) fn resets_mixed(window: &Window<'_>, _: &mut Notes) -> Option<PointValue> {
    let is_reset = |(before, after): (Mixed<'_>, Mixed<'_>)| match (before, after) {
        (Mixed::Float(a), Mixed::Float(b)) => b.value < a.value,
        (Mixed::Histogram(a), Mixed::Histogram(b)) => was_reset(&a.histogram, &b.histogram),
        _ => true,
    };
    Some(PointValue::Float(pairs(window).filter(|pair| is_reset(*pair)).count() as f64))
}

fn count_pairs(samples: &[Sample], counts: impl Fn(f64, f64) -> bool) -> f64 {
    samples.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count() as f64
}

pub(super) fn deriv(window: &Window<'_>) -> Option<f64> {
    let [first, _, ..] = window.samples else { return None };
    // Seconds since the first sample keep the sums small, and with them the rounding.
    Some(numbers::regression(window.samples, first.timestamp.as_millis()).0)
}

pub(super) fn predict_linear(window: &Window<'_>) -> Option<f64> {
    let [_, _, ..] = window.samples else { return None };
    let (slope, intercept) = numbers::regression(window.samples, window.now);
    Some(slope * window.parameters.first()? + intercept)
}

/// Holt's linear method: a level and a trend, each smoothed by a factor
/// (<https://en.wikipedia.org/wiki/Exponential_smoothing#Double_exponential_smoothing_(Holt_linear)>).
pub(super) fn smoothed(window: &Window<'_>) -> Option<f64> {
    let [level_factor, trend_factor] = window.parameters else { return None };
    let [first, second, ..] = window.samples else { return None };
    let (mut level, mut trend) = (first.value, second.value - first.value);
    for (index, sample) in window.samples[1..].iter().enumerate() {
        let before = level;
        level = level_factor * sample.value + (1.0 - level_factor) * (before + trend);
        // The trend that goes into the next level is made of this one and the one before.
        if index + 2 < window.samples.len() {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
    }
    Some(level)
}

pub(super) fn check_factors(factors: &[f64]) -> Result<()> {
    for (factor, name) in factors.iter().zip(["smoothing", "trend"]) {
        if *factor <= 0.0 || *factor >= 1.0 {
            return Err(QueryError::Execution(format!(
                "invalid {name} factor. Expected: 0 < {}f < 1, got: {}",
                &name[..1],
                shown(*factor)
            )));
        }
    }
    Ok(())
}
