//! What the samples of a window come to.
#![expect(clippy::unnecessary_wraps, reason = "every window function has the same shape")]

use crate::model::Sample;

use super::{super::aggregate::warn_about_quantiles, Call, Evaluated, Result, Window, WindowBody};
use crate::promql::{numbers, rollups::Reading};

pub(super) fn avg(window: &Window<'_>) -> Option<f64> {
    if window.resolution == 0 {
        return Some(numbers::mean(window.values()));
    }
    let count = numbers::sum(window.counts.iter().map(|sample| sample.value));
    (count > 0.0).then(|| numbers::sum(window.values()) / count)
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

pub(super) fn count(window: &Window<'_>) -> Option<f64> {
    if window.resolution == 0 {
        return Some(window.samples.len() as f64);
    }
    Some(numbers::sum(window.values()))
}

pub(super) fn last(window: &Window<'_>) -> Option<f64> {
    window.samples.last().map(|sample| sample.value)
}

pub(super) fn present(_: &Window<'_>) -> Option<f64> {
    Some(1.0)
}

pub(super) fn stddev(window: &Window<'_>) -> Option<f64> {
    Some(numbers::variance(window.values()).sqrt())
}

pub(super) fn stdvar(window: &Window<'_>) -> Option<f64> {
    Some(numbers::variance(window.values()))
}

/// The parameter comes first, unlike in the other functions of this family.
pub(super) fn quantile(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let phi = call.scalar(0)?;
    let reading = Reading::Samples { room: 1 };
    let windows = call.windows(1, reading)?;
    warn_about_quantiles(call.evaluator, &phi);
    let apply = |window: &Window<'_>| Some(numbers::quantile(window.parameter, window.to_vec()));
    let body = WindowBody { apply, keeps_name: false, wants_counter: false, reading };
    Ok(Evaluated::Vector(super::slide(call, &windows, body, |step| phi[step])?))
}

pub(super) fn changes(window: &Window<'_>) -> Option<f64> {
    #[expect(clippy::float_cmp, reason = "any difference is a change")]
    let differs = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    Some(count_pairs(window.samples, differs))
}

pub(super) fn resets(window: &Window<'_>) -> Option<f64> {
    Some(count_pairs(window.samples, |before, after| after < before))
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
    Some(slope * window.parameter + intercept)
}
