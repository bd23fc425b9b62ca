//! Functions of one value.
#![expect(clippy::unnecessary_wraps, reason = "every function with parameters has the same shape")]

pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// As Prometheus computes it: multiplied first.
pub(super) fn degrees(value: f64) -> f64 {
    value * 180.0 / std::f64::consts::PI
}

/// As Prometheus computes it: multiplied first.
pub(super) fn radians(value: f64) -> f64 {
    value * std::f64::consts::PI / 180.0
}

/// To the nearest multiple of the parameter (1 where there is none); halves go up.
pub(super) fn round(value: f64, parameters: &[f64]) -> Option<f64> {
    // Prometheus divides by the inverse: fewer surprises with multiples such as 0.1.
    let inverse = 1.0 / parameters.first().unwrap_or(&1.0);
    Some((value * inverse + 0.5).floor() / inverse)
}

pub(super) fn clamp(value: f64, parameters: &[f64]) -> Option<f64> {
    let [least, greatest] = parameters else { return None };
    if least > greatest {
        return None;
    }
    Some(at_least(*least, at_most(*greatest, value)))
}

pub(super) fn clamp_min(value: f64, parameters: &[f64]) -> Option<f64> {
    parameters.first().map(|least| at_least(*least, value))
}

pub(super) fn clamp_max(value: f64, parameters: &[f64]) -> Option<f64> {
    parameters.first().map(|greatest| at_most(*greatest, value))
}

/// The greater of two: infinity where one of them is, else NaN where one of them is, as Go's `math.Max`.
fn at_least(least: f64, value: f64) -> f64 {
    match (least, value) {
        (f64::INFINITY, _) | (_, f64::INFINITY) => f64::INFINITY,
        _ if least.is_nan() || value.is_nan() => f64::NAN,
        _ => value.max(least),
    }
}

/// The lesser of two: minus infinity where one of them is, else NaN where one of them is.
fn at_most(greatest: f64, value: f64) -> f64 {
    -at_least(-greatest, -value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_halves_up() {
        for (value, to, expected) in
            [(2.5, 1.0, 3.0), (-2.5, 1.0, -2.0), (7.3, 5.0, 5.0), (1.26, 0.1, 1.3)]
        {
            let rounded = round(value, &[to]).unwrap();
            assert!((rounded - expected).abs() < 1e-12, "{value} to {to}: {rounded}");
        }
    }

    #[test]
    fn clamps_keep_nan() {
        assert!(clamp(f64::NAN, &[0.0, 1.0]).unwrap().is_nan());
        assert_eq!(clamp(5.0, &[0.0, 1.0]), Some(1.0));
        assert_eq!(clamp(5.0, &[1.0, 0.0]), None);
    }
}
