//! Sums, means, deviations, quantiles and regressions over plain numbers, by the methods that
//! Prometheus uses (promql/functions.go, promql/quantile.go), so that results agree to the last bits.
#![expect(clippy::float_cmp, reason = "exact equality is what the formulas ask for")]

use crate::model::Sample;

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
}

pub(super) fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut total = Sum::default();
    values.into_iter().for_each(|value| total.add(value));
    total.value()
}

/// The mean; computed step by step only where the sum would overflow.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let total = sum(values.clone());
    if total.is_infinite() && values.clone().all(f64::is_finite) {
        return running_mean(values);
    }
    total / values.len() as f64
}

fn running_mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut mean = Sum::default();
    for (index, value) in values.enumerate() {
        let count = (index + 1) as f64;
        mean.add(value / count - mean.value() / count);
    }
    mean.value()
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

/// The least value; NaN only where there is nothing else.
pub(super) fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    pick(values, |value, best| value < best)
}

/// The greatest value; NaN only where there is nothing else.
pub(super) fn greatest(values: impl IntoIterator<Item = f64>) -> f64 {
    pick(values, |value, best| value > best)
}

fn pick(values: impl IntoIterator<Item = f64>, better: impl Fn(f64, f64) -> bool) -> f64 {
    let choose = |best: f64, value: f64| {
        if best.is_nan() || better(value, best) { value } else { best }
    };
    values.into_iter().fold(f64::NAN, choose)
}

/// The φ-quantile, interpolated between neighbours; NaN sorts before all numbers.
pub(super) fn quantile(phi: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = phi * (values.len() - 1) as f64;
    let lower = index_of(rank);
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
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
        assert_eq!(quantile(0.5, vec![3.0, 1.0]), 2.0);
        assert_eq!(quantile(1.0, vec![3.0, 1.0]), 3.0);
        assert_eq!(quantile(-0.1, vec![3.0]), f64::NEG_INFINITY);
        assert!(quantile(0.5, Vec::new()).is_nan());
    }
}
