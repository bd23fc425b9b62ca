//! Durations as people write them: `90s`, `1h30m`, `250ms`, as in PromQL.

use std::{fmt, time::Duration};

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid duration {text:?}: write a number and a unit, such as \"30s\", \"5m\", \"1h30m\" or \"250ms\""
)]
pub struct InvalidDuration {
    text: String,
}

/// The units of PromQL, longest first, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration in PromQL's form: whole numbers with `y w d h m s ms`, from long to short,
/// each at most once. `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_units(text).ok_or_else(|| InvalidDuration { text: text.to_owned() })
}

fn parse_units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        // `find` consumes the longer units, so that one cannot follow a shorter one.
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(amount.checked_mul(*factor)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// Writes a duration in PromQL's form, to the millisecond: `1h30m`, `250ms`, `0s`.
pub fn format_duration(duration: Duration) -> impl fmt::Display {
    struct Units(u64);
    impl fmt::Display for Units {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut left = self.0;
            if left == 0 {
                return f.write_str("0s");
            }
            // Years and weeks read worse than days.
            for (name, factor) in UNITS.iter().skip(2) {
                if left >= *factor {
                    write!(f, "{}{name}", left / factor)?;
                    left %= factor;
                }
            }
            Ok(())
        }
    }
    Units(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: Option<u64>) {
        assert_eq!(parse_duration(text).ok(), millis.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn reads_promql_durations() {
        check("30s", Some(30_000));
        check("1h30m", Some(5_400_000));
        check("250ms", Some(250));
        check("1m500ms", Some(60_500));
        check("2w1d", Some(15 * 24 * 3_600_000));
        check("0", Some(0));
    }

    #[test]
    fn refuses_what_promql_refuses() {
        for text in ["", "s", "30", "30m1h", "5m5m", "-5m", "1.5h", "5 m", "99999999999999y"] {
            check(text, None);
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for (millis, text) in [(0, "0s"), (250, "250ms"), (5_400_000, "1h30m"), (86_400_000, "1d")]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(format_duration(duration).to_string(), text);
            assert_eq!(parse_duration(text), Ok(duration));
        }
    }
}
