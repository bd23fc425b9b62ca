//! Numbers as Go writes them, appended without a text in between: an answer may hold millions.

use crate::time::Timestamp;

/// Whole numbers below this are the shortest text of themselves.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Digits of the shortest text at most.
const DIGITS_MAX: usize = 17;

/// Appends a value as the API has it (`util/jsonutil`, `MarshalFloat`): plain digits, with an exponent
/// only for what is very small or very large.
pub(in crate::web) fn push_value(value: f64, out: &mut Vec<u8>) {
    if !push_common(value, out) {
        let digits = Digits::of(value);
        if (-6..21).contains(&digits.exponent) {
            digits.push_plain(out);
        } else {
            digits.push_scientific(out);
        }
    }
}

/// Appends a value in plain digits, however many they are (Go's `%f` of the shortest digits).
pub(in crate::web) fn push_plain(value: f64, out: &mut Vec<u8>) {
    if !push_common(value, out) {
        Digits::of(value).push_plain(out);
    }
}

/// Appends a value with an exponent (Go's `%e` of the shortest digits): `1e+00`.
pub(in crate::web) fn push_exponent(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        Digits::of(value).push_scientific(out);
    } else {
        push_common(value, out);
    }
}

/// Appends seconds; a fraction is three digits long (`util/jsonutil`, `MarshalTimestamp`).
pub(in crate::web) fn push_seconds(time: Timestamp, out: &mut Vec<u8>) {
    let millis = time.as_millis();
    if millis < 0 {
        out.push(b'-');
    }
    let millis = millis.unsigned_abs();
    push_whole(millis / 1000, out);
    let rest = millis % 1000;
    if rest != 0 {
        let digit = |of: u64| b'0' + u8::try_from(of % 10).unwrap_or(0);
        out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }
}

/// Appends a whole number.
pub(in crate::web) fn push_whole(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends what needs no look at its digits; tells whether that was it.
fn push_common(value: f64, out: &mut Vec<u8>) -> bool {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        push_whole(magnitude(value), out);
    } else {
        return push_fraction(value, out);
    }
    true
}

/// Appends a number of usual size, which everybody writes alike; tells whether it was one.
fn push_fraction(value: f64, out: &mut Vec<u8>) -> bool {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    let usual = !text.contains(&b'e') && !text.ends_with(b".0");
    if usual {
        out.extend_from_slice(text);
    }
    usual
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and below 2^53: the callers looked"
)]
fn magnitude(value: f64) -> u64 {
    value.abs() as u64
}

/// The shortest digits that give the same number, without zeros at either end, and where the point
/// belongs: behind the first digit, times ten to the `exponent`.
struct Digits {
    negative: bool,
    all: [u8; DIGITS_MAX],
    len: usize,
    exponent: i32,
}

impl Digits {
    /// Of a finite number.
    fn of(value: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs()).as_bytes();
        let mut found = Self {
            negative: value.is_sign_negative(),
            all: [b'0'; DIGITS_MAX],
            len: 0,
            exponent: 0,
        };
        let (mantissa, exponent) = match text.iter().position(|byte| *byte == b'e') {
            Some(at) => (&text[..at], exponent_of(&text[at + 1..])),
            None => (text, 0),
        };
        let mut point = mantissa.len();
        let mut zeros = 0;
        for (at, byte) in mantissa.iter().enumerate() {
            match byte {
                b'.' => point = at,
                b'0' if found.len == 0 => zeros += 1,
                digit => found.push(*digit),
            }
        }
        found.exponent = exponent + place(point) - 1 - zeros;
        found.trim();
        found
    }

    /// There are never more than 17 that matter; beyond them are zeros before the point.
    fn push(&mut self, digit: u8) {
        if let Some(place) = self.all.get_mut(self.len) {
            *place = digit;
            self.len += 1;
        }
    }

    fn trim(&mut self) {
        while self.len > 0 && self.all[self.len - 1] == b'0' {
            self.len -= 1;
        }
        if self.len == 0 {
            (self.len, self.exponent) = (1, 0);
        }
    }

    fn push_plain(&self, out: &mut Vec<u8>) {
        let digits = &self.all[..self.len];
        if self.negative {
            out.push(b'-');
        }
        let Ok(before) = usize::try_from(self.exponent + 1) else {
            out.extend_from_slice(b"0.");
            let zeros = usize::try_from(-self.exponent - 1).unwrap_or(0);
            out.resize(out.len() + zeros, b'0');
            return out.extend_from_slice(digits);
        };
        if before == 0 {
            out.extend_from_slice(b"0.");
            out.extend_from_slice(digits);
        } else if before >= self.len {
            out.extend_from_slice(digits);
            out.resize(out.len() + before - self.len, b'0');
        } else {
            out.extend_from_slice(&digits[..before]);
            out.push(b'.');
            out.extend_from_slice(&digits[before..]);
        }
    }

    fn push_scientific(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        out.push(self.all[0]);
        if self.len > 1 {
            out.push(b'.');
            out.extend_from_slice(&self.all[1..self.len]);
        }
        out.extend_from_slice(if self.exponent < 0 { b"e-" } else { b"e+" });
        let exponent = u64::from(self.exponent.unsigned_abs());
        if exponent < 10 {
            out.push(b'0');
        }
        push_whole(exponent, out);
    }
}

fn place(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// `+21`, `-7`, `21`.
fn exponent_of(text: &[u8]) -> i32 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(push: impl Fn(f64, &mut Vec<u8>), value: f64) -> String {
        let mut out = Vec::new();
        push(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(value: f64, api: &str, plain: &str, exponent: &str) {
        assert_eq!(text(push_value, value), api);
        assert_eq!(text(push_plain, value), plain);
        assert_eq!(text(push_exponent, value), exponent);
    }

    #[test]
    fn writes_as_go_does() {
        check(0.0, "0", "0", "0e+00");
        check(-0.0, "-0", "-0", "-0e+00");
        check(1.0, "1", "1", "1e+00");
        check(-131_072.5, "-131072.5", "-131072.5", "-1.310725e+05");
        check(0.25, "0.25", "0.25", "2.5e-01");
        check(4e-6, "0.000004", "0.000004", "4e-06");
        check(4.71e-7, "4.71e-07", "0.000000471", "4.71e-07");
        check(
            9_007_199_254_740_993.0,
            "9007199254740992",
            "9007199254740992",
            "9.007199254740992e+15",
        );
        check(
            123_456_789_012_345_680_000.0,
            "123456789012345680000",
            "123456789012345680000",
            "1.2345678901234568e+20",
        );
        // As near to .3: Go takes what ends even.
        check(
            f64::from_bits(0x4305_D165_A49A_4572),
            "767651124299950.2",
            "767651124299950.2",
            "7.676511242999502e+14",
        );
        check(1e21, "1e+21", "1000000000000000000000", "1e+21");
        check(-1.5e100, "-1.5e+100", &format!("-15{}", "0".repeat(99)), "-1.5e+100");
        check(f64::NAN, "NaN", "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf");
    }

    #[test]
    fn seconds_have_three_digits_behind_the_point_or_none() {
        let seconds = |millis| {
            let mut out = Vec::new();
            push_seconds(Timestamp::from_millis(millis), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(seconds(1_435_781_451_780), "1435781451.780");
        assert_eq!((seconds(5000).as_str(), seconds(-1500).as_str()), ("5", "-1.500"));
        assert_eq!((seconds(7).as_str(), seconds(0).as_str()), ("0.007", "0"));
        assert_eq!(seconds(i64::MIN), "-9223372036854775.808");
    }

    /// As `push_value`, by the standard library.
    fn by_the_library(value: f64) -> String {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let exponent: i32 = exponent.parse().unwrap();
        match value {
            value if value.is_nan() => "NaN".into(),
            f64::INFINITY => "+Inf".into(),
            f64::NEG_INFINITY => "-Inf".into(),
            value if value == 0.0 || (-6..21).contains(&exponent) => value.to_string(),
            _ => {
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{digits}e{sign}{:02}", exponent.abs())
            }
        }
    }

    /// Of two texts that are as short and as near, the one that ends even is Go's; Rust takes the other.
    fn agrees(value: f64) -> Result<(), TestCaseError> {
        let (fast, slow) = (text(push_value, value), by_the_library(value));
        if fast != slow {
            prop_assert_eq!(fast.len(), slow.len(), "{} {}", fast, slow);
            prop_assert_eq!(fast.parse(), Ok(value));
            let digits = fast.split('e').next().unwrap_or_default();
            prop_assert!(digits.ends_with(['0', '2', '4', '6', '8']), "{} {}", fast, slow);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn every_number_is_written_as_the_slow_way_does(bits: u64) {
            agrees(f64::from_bits(bits))?;
        }

        #[test]
        fn numbers_of_every_day_too(whole in -1_000_000_000_i64..1_000_000_000, scale in -9_i32..12) {
            let value = whole as f64 * 10_f64.powi(scale);
            agrees(value)?;
            prop_assert_eq!(text(push_plain, value).parse(), Ok(value));
        }
    }
}
