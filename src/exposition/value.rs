//! Numbers as Go writes them, and therefore Prometheus; and as an export writes them, bit by bit.

use crate::model::{STALE_NAN_BITS, stale_nan};

/// Most digits of a 64-bit number, in any of the ways here.
const DIGITS_MAX: usize = 20;
/// Decimal numbers below it have one double each and the other way round: with as many digits as
/// that, the shortest digits of a double are the only ones.
const EXACT_BELOW: f64 = 1e15;
/// The word for a staleness marker where a format leaves us the choice.
const STALE: &str = "StaleNaN";

/// A value as the text formats have it: Go's shortest `%g`, which takes an exponent below 1e-4 and
/// from 1e6 on (`1e+06`, `0.25`, `+Inf`, `NaN`).
pub fn text_value(value: f64) -> String {
    go_value(value, in_text)
}

/// A value as Prometheus' API has it (`util/jsonutil`, `MarshalFloat`): plain digits, with an
/// exponent only for what is very small or very large.
pub fn api_value(value: f64) -> String {
    go_value(value, |exponent| !(-6..21).contains(&exponent))
}

/// Appends [`text_value`].
pub(super) fn push_text_value(value: f64, out: &mut Vec<u8>) {
    push_value(value, in_text, out);
}

/// Appends a value so that [`exact_value`] gives back each of its bits: `StaleNaN` for the staleness
/// marker, `NaN(7ff8000000000001)` for other NaNs than Rust's own.
pub(super) fn push_exact_value(value: f64, out: &mut Vec<u8>) {
    match value.to_bits() {
        STALE_NAN_BITS => out.extend_from_slice(STALE.as_bytes()),
        bits if value.is_nan() && bits != f64::NAN.to_bits() => {
            out.extend_from_slice(format!("NaN({bits:016x})").as_bytes());
        }
        _ => push_text_value(value, out),
    }
}

/// The inverse of [`push_exact_value`]; takes any usual way to write a number.
pub(super) fn exact_value(text: &str) -> Option<f64> {
    if text == STALE {
        return Some(stale_nan());
    }
    let bits = text.strip_prefix("NaN(").and_then(|rest| rest.strip_suffix(')'));
    match bits {
        Some(bits) => nan_of(bits),
        None => text.parse().ok(),
    }
}

/// The NaN of these bits, in hexadecimal.
pub(super) fn nan_of(bits: &str) -> Option<f64> {
    let value = u64::from_str_radix(bits, 16).map(f64::from_bits).ok()?;
    value.is_nan().then_some(value)
}

/// Appends a whole number.
pub(super) fn push_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let (digits, from) = digits_of(value.unsigned_abs());
    out.extend_from_slice(&digits[from..]);
}

/// Appends a whole number with zeros before it, `width` digits in all.
pub(super) fn push_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let (digits, from) = digits_of(value);
    for _ in digits.len() - from..width {
        out.push(b'0');
    }
    out.extend_from_slice(&digits[from..]);
}

fn in_text(exponent: i32) -> bool {
    !(-4..6).contains(&exponent)
}

fn go_value(value: f64, with_exponent: impl Fn(i32) -> bool) -> String {
    let mut out = Vec::with_capacity(DIGITS_MAX + 8);
    push_value(value, with_exponent, &mut out);
    String::from_utf8(out).expect("digits, signs and letters are ASCII")
}

fn push_value(value: f64, with_exponent: impl Fn(i32) -> bool, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    let decimal = Decimal::of(value.abs());
    if with_exponent(decimal.exponent) {
        decimal.push_scientific(out);
    } else {
        decimal.push_plain(out);
    }
}

/// The digits of a whole number, at the end of their buffer, and where they begin.
fn digits_of(mut rest: u64) -> ([u8; DIGITS_MAX], usize) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut from = DIGITS_MAX;
    loop {
        from -= 1;
        digits[from] = digit(rest % 10);
        rest /= 10;
        if rest == 0 {
            return (digits, from);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "one decimal digit")]
fn digit(value: u64) -> u8 {
    b'0' + value as u8
}

/// The shortest digits that give a number again: the first stands before the point, with this power
/// of ten. Neither first nor last is zero.
struct Decimal {
    digits: [u8; DIGITS_MAX],
    from: usize,
    to: usize,
    exponent: i32,
}

impl Decimal {
    fn of(magnitude: f64) -> Self {
        Self::short(magnitude).unwrap_or_else(|| Self::shortest(magnitude))
    }

    /// Of what has three digits after the point at most: most of what is measured.
    fn short(magnitude: f64) -> Option<Self> {
        [(1.0, 0), (1e3, 3)].into_iter().find_map(|(scale, places)| {
            let scaled = magnitude * scale;
            let whole = scaled < EXACT_BELOW
                && scaled.fract() == 0.0
                && (scaled / scale).to_bits() == magnitude.to_bits();
            whole.then(|| Self::of_scaled(scaled, places))
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a whole number below EXACT_BELOW")]
    #[expect(clippy::cast_sign_loss, reason = "a magnitude")]
    #[expect(clippy::cast_possible_wrap, reason = "at most twenty digits")]
    fn of_scaled(scaled: f64, places: i32) -> Self {
        let (digits, from) = digits_of(scaled as u64);
        let exponent = (DIGITS_MAX - from) as i32 - 1 - places;
        let zeros = digits[from..].iter().rev().take_while(|digit| **digit == b'0').count();
        Self { digits, from, to: DIGITS_MAX - zeros, exponent }
    }

    /// Of any finite number.
    fn shortest(magnitude: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(magnitude);
        let (places, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let point = places.find('.').unwrap_or(places.len());
        let (mut digits, mut to, mut zeros) = ([0; DIGITS_MAX], 0, 0);
        for digit in places.bytes().filter(|byte| *byte != b'.') {
            match digits.get_mut(to) {
                _ if to == 0 && digit == b'0' => zeros += 1,
                Some(place) => (*place, to) = (digit, to + 1),
                // Zeros before the point: a double has no more digits than 17.
                None => {}
            }
        }
        let last = digits[..to].iter().rposition(|digit| *digit != b'0');
        let before = i32::try_from(point).unwrap_or(0) - 1 - zeros;
        let exponent = exponent.parse::<i32>().unwrap_or(0) + before;
        Self { digits, from: 0, to: last.map_or(0, |last| last + 1), exponent }
    }

    fn digits(&self) -> &[u8] {
        &self.digits[self.from..self.to]
    }

    fn push_scientific(&self, out: &mut Vec<u8>) {
        let (first, rest) = self.digits().split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(if self.exponent < 0 { b"e-" } else { b"e+" });
        push_padded(u64::from(self.exponent.unsigned_abs()), 2, out);
    }

    fn push_plain(&self, out: &mut Vec<u8>) {
        let digits = self.digits();
        let zeros = |count: usize, out: &mut Vec<u8>| out.resize(out.len() + count, b'0');
        let Ok(before) = usize::try_from(self.exponent + 1) else {
            out.extend_from_slice(b"0.");
            zeros(usize::try_from(-self.exponent - 1).unwrap_or(0), out);
            return out.extend_from_slice(digits);
        };
        if before == 0 {
            out.extend_from_slice(b"0.");
            out.extend_from_slice(digits);
        } else if digits.len() <= before {
            out.extend_from_slice(digits);
            zeros(before - digits.len(), out);
        } else {
            out.extend_from_slice(&digits[..before]);
            out.push(b'.');
            out.extend_from_slice(&digits[before..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        check(12.125, "12.125", "12.125");
        check(131_072.0, "131072", "131072");
        check(1e6, "1e+06", "1000000");
        check(180_344_815.0, "1.80344815e+08", "180344815");
        check(0.000_04, "4e-05", "0.00004");
        check(0.000_1, "0.0001", "0.0001");
        check(4.71e-7, "4.71e-07", "4.71e-07");
        check(1e21, "1e+21", "1e+21");
        check(-1.5e300, "-1.5e+300", "-1.5e+300");
        check(1e20, "1e+20", "100000000000000000000");
        check(5e-324, "5e-324", "5e-324");
        check(123_456.789_012, "123456.789012", "123456.789012");
    }

    #[test]
    fn names_what_is_no_number() {
        check(f64::NAN, "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf");
    }

    /// The digits that the standard library gives, laid out as Go does.
    fn by_the_library(value: f64, with_exponent: impl Fn(i32) -> bool) -> String {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        if value != 0.0 && with_exponent(exponent) {
            let sign = if exponent < 0 { '-' } else { '+' };
            return format!("{digits}e{sign}{:02}", exponent.abs());
        }
        value.to_string()
    }

    fn numbers() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |value| value.is_finite()),
            (-1_000_000_000_i64..1_000_000_000).prop_map(|n| n as f64 / 1e3),
            (-1_000_000_000_i64..1_000_000_000).prop_map(|n| n as f64 / 1e2),
            any::<i64>().prop_map(|n| n as f64),
            (0..20_000_000_u32).prop_map(f64::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn digits_are_those_of_the_library(value in numbers()) {
            prop_assert_eq!(text_value(value), by_the_library(value, in_text));
            let api = |exponent: i32| !(-6..21).contains(&exponent);
            prop_assert_eq!(api_value(value), by_the_library(value, api));
        }

        #[test]
        fn exact_values_keep_every_bit(bits in any::<u64>(), nan in any::<u64>()) {
            for bits in [bits, nan | 0x7ff0_0000_0000_0001, STALE_NAN_BITS, f64::NAN.to_bits()] {
                let mut text = Vec::new();
                push_exact_value(f64::from_bits(bits), &mut text);
                let text = String::from_utf8(text).unwrap();
                prop_assert_eq!(exact_value(&text).map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn whole_numbers_are_those_of_the_library(value in any::<i64>(), width in 0..20_usize) {
            let mut out = Vec::new();
            push_int(value, &mut out);
            push_padded(value.unsigned_abs(), width, &mut out);
            let expected = format!("{value}{:0width$}", value.unsigned_abs());
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
