//! Numbers as Go writes them, and therefore Prometheus.

/// A value as the text formats have it: Go's shortest `%g`, which takes an exponent below 1e-4 and
/// from 1e6 on (`1e+06`, `0.25`, `+Inf`, `NaN`).
pub fn text_value(value: f64) -> String {
    go_value(value, |exponent| !(-4..6).contains(&exponent))
}

/// A value as Prometheus' API has it (`util/jsonutil`, `MarshalFloat`): plain digits, with an
/// exponent only for what is very small or very large.
pub fn api_value(value: f64) -> String {
    go_value(value, |exponent| !(-6..21).contains(&exponent))
}

fn go_value(value: f64, with_exponent: impl Fn(i32) -> bool) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    // The shortest digits that give the same number, as in Go.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && with_exponent(exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, text: &str, api: &str) {
        assert_eq!(text_value(value), text);
        assert_eq!(api_value(value), api);
    }

    #[test]
    fn writes_as_go_does() {
        check(0.0, "0", "0");
        check(-0.0, "-0", "-0");
        check(1.0, "1", "1");
        check(0.25, "0.25", "0.25");
        check(131_072.0, "131072", "131072");
        check(1e6, "1e+06", "1000000");
        check(180_344_815.0, "1.80344815e+08", "180344815");
        check(0.000_04, "4e-05", "0.00004");
        check(0.000_1, "0.0001", "0.0001");
        check(4.71e-7, "4.71e-07", "4.71e-07");
        check(1e21, "1e+21", "1e+21");
        check(-1.5e300, "-1.5e+300", "-1.5e+300");
        check(1e20, "1e+20", "100000000000000000000");
    }

    #[test]
    fn names_what_is_no_number() {
        check(f64::NAN, "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf");
    }
}
