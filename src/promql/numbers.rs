//! Sums, means, deviations, quantiles and regressions over plain numbers, by the methods that
//! Prometheus uses (promql/functions.go, promql/quantile.go), so that results agree to the last bits.
#![expect(clippy::float_cmp, reason = "exact equality is what the formulas ask for")]

use std::cmp::Ordering;

use crate::model::{Histogram, Incompatible, Sample};

/// A sum with Neumaier's correction, which keeps what is lost in rounding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    sum: f64,
    correction: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.correction = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.correction += (self.sum - total) + value;
        } else {
            self.correction += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(super) fn value(self) -> f64 {
        self.sum + self.correction
    }

    fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, correction: self.correction * factor }
    }
}

pub(super) fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut total = Sum::default();
    values.into_iter().for_each(|value| total.add(value));
    total.value()
}

/// The mean; from where the sum would overflow it goes on as a running mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    count: f64,
    /// The sum so far, or the mean.
    total: Sum,
    running: bool,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.running {
            let mut total = self.total;
            total.add(value);
            if self.count == 1.0 || total.sum.is_finite() || total.sum.is_nan() {
                self.total = total;
                return;
            }
            self.running = true;
            self.total = self.total.scaled(1.0 / (self.count - 1.0));
        }
        let mut mean = self.total.scaled((self.count - 1.0) / self.count);
        mean.add(value / self.count);
        self.total = mean;
    }

    pub(super) fn value(self) -> f64 {
        if self.running {
            return self.total.value();
        }
        self.total.sum / self.count + self.total.correction / self.count
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut mean = Mean::default();
    values.for_each(|value| mean.add(value));
    mean.value()
}

/// The mean of `count` histograms, made of that of all but the last, and the last.
pub(super) fn mean_step(
    mean: &Histogram,
    last: &Histogram,
    count: f64,
) -> Result<Histogram, Incompatible> {
    mean.plus(&last.divided_by(count).minus(&mean.divided_by(count))?)
}

/// The population variance, by Welford's method.
pub(super) fn variance(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let len = values.len();
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    for (index, value) in values.enumerate() {
        let delta = value - mean.value();
        mean.add(delta / (index + 1) as f64);
        squares.add(delta * (value - mean.value()));
    }
    squares.value() / len as f64
}

/// No more than `most`; NaN stays.
pub(super) fn capped(value: f64, most: f64) -> f64 {
    if value > most { most } else { value }
}

/// The least value; NaN only where there is nothing else.
pub(super) fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::NAN, lesser)
}

/// The greatest value; NaN only where there is nothing else.
pub(super) fn greatest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::NAN, greater)
}

/// The lesser of two; of NaN and a number the number.
#[inline]
pub(super) fn lesser(best: f64, value: f64) -> f64 {
    if best.is_nan() || value < best { value } else { best }
}

/// The greater of two; of NaN and a number the number.
#[inline]
pub(super) fn greater(best: f64, value: f64) -> f64 {
    if best.is_nan() || value > best { value } else { best }
}

/// The φ-quantile, interpolated between neighbours; NaN sorts before all numbers. Moves values about.
pub(super) fn quantile(phi: f64, values: &mut [f64]) -> f64 {
    let Some((lower, weight)) = rank(phi, values.len()) else { return none(phi) };
    let (_, at, above) = values.select_nth_unstable_by(lower, by_value);
    let next = above.iter().copied().min_by(by_value).unwrap_or(*at);
    *at * (1.0 - weight) + next * weight
}

/// The φ-quantile of values that are in the order of [`by_value`].
pub(super) fn quantile_of_sorted(phi: f64, values: &[f64]) -> f64 {
    let Some((lower, weight)) = rank(phi, values.len()) else { return none(phi) };
    let upper = (lower + 1).min(values.len() - 1);
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// NaN before all numbers.
pub(super) fn by_value(a: &f64, b: &f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b))
}

/// The place of the lower neighbour, and how much of the upper one goes in.
fn rank(phi: f64, len: usize) -> Option<(usize, f64)> {
    if len == 0 || !(0.0..=1.0).contains(&phi) {
        return None;
    }
    let rank = phi * (len - 1) as f64;
    Some((index_of(rank), rank - rank.floor()))
}

/// The quantile of nothing, or one that is none.
fn none(phi: f64) -> f64 {
    beyond(phi).unwrap_or(f64::NAN)
}

/// What a quantile that is none comes to.
pub(super) fn beyond(phi: f64) -> Option<f64> {
    match phi {
        _ if phi.is_nan() => Some(f64::NAN),
        _ if phi < 0.0 => Some(f64::NEG_INFINITY),
        _ if phi > 1.0 => Some(f64::INFINITY),
        _ => None,
    }
}

/// A number as Go's `%g` writes it, which is how Prometheus shows one in its notes.
pub(super) fn shown(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        _ if value == 0.0 || (1e-4..1e21).contains(&value.abs()) => value.to_string(),
        _ => {
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |e| ("-", e));
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank in a slice")]
fn index_of(rank: f64) -> usize {
    rank.floor() as usize
}

/// Slope and intercept of the line that fits best, with `origin` (in milliseconds) as x = 0.
pub(super) fn regression(samples: &[Sample], origin: i64) -> (f64, f64) {
    let first = samples.first().map_or(f64::NAN, |sample| sample.value);
    if samples.iter().all(|sample| sample.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let points = || {
        samples.iter().map(|sample| {
            ((sample.timestamp.as_millis().saturating_sub(origin)) as f64 / 1000.0, sample.value)
        })
    };
    let count = samples.len() as f64;
    let sum_x = sum(points().map(|(x, _)| x));
    let sum_y = sum(points().map(|(_, y)| y));
    let covariance = sum(points().map(|(x, y)| x * y)) - sum_x * sum_y / count;
    let variance = sum(points().map(|(x, _)| x * x)) - sum_x * sum_x / count;
    let slope = covariance / variance;
    (slope, sum_y / count - slope * sum_x / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_small_parts() {
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum([f64::INFINITY, 1.0]), f64::INFINITY);
    }

    #[test]
    fn a_mean_does_not_overflow() {
        assert!((mean([f64::MAX, f64::MAX].into_iter()) - f64::MAX).abs() < f64::MAX * 1e-12);
        assert_eq!(mean([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
    }

    #[test]
    fn nan_is_neither_least_nor_greatest() {
        assert_eq!(least([f64::NAN, 2.0, 1.0]), 1.0);
        assert_eq!(greatest([1.0, f64::NAN, 2.0]), 2.0);
        assert!(greatest([f64::NAN]).is_nan());
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0]), 2.0);
        assert_eq!(quantile(1.0, &mut [3.0, 1.0]), 3.0);
        assert_eq!(quantile(-0.1, &mut [3.0]), f64::NEG_INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
