//! Instants, and how people write them.

use std::{fmt, ops::Range, time::Duration};

use super::parse_duration;

/// An instant: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The instant `seconds` seconds after the epoch.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as Prometheus' API has them.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// This instant moved on by `duration`; stays at the end of time where it would overflow.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(duration)))
    }

    /// This instant moved back by `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(duration)))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The last multiple of `step` since the epoch that is not after this instant; the beginning of
    /// time where that lies before it.
    #[must_use]
    pub fn aligned(self, step: Duration) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(millis_of(step).max(1))))
    }

    /// The stretch of time of this length that holds the instant, on the one grid that partitions and
    /// rollups share: from just after a multiple of `length` since the epoch up to the next one, which
    /// belongs to it, as it does to a PromQL window that ends there. Instants are whole milliseconds, so
    /// that it begins 1 ms after one multiple and ends, exclusively, 1 ms after the next. A length of zero
    /// is the instant alone.
    #[must_use]
    pub fn stretch(self, length: Duration) -> Range<Self> {
        let length = millis_of(length).max(1);
        let over = self.0.rem_euclid(length);
        let start = self.0.saturating_sub(if over == 0 { length - 1 } else { over - 1 });
        Self(start)..Self(start.saturating_add(length))
    }
}

fn millis_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid time {text:?}: write RFC 3339 (\"2026-01-31T09:00:00Z\"), Unix seconds (\"1769850000\"), \
     \"now\", or a time ago (\"-1h\")"
)]
pub struct InvalidTime {
    text: String,
}

/// Reads a time as people write it: RFC 3339, Unix seconds (with a fraction), `now`, or relative to
/// `now` (`-1h`).
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, InvalidTime> {
    let invalid = || InvalidTime { text: text.to_owned() };
    if text == "now" {
        return Ok(now);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // A bare `-1` is before 1970, which nobody means; `-1h` is read below.
        return from_unix_seconds(seconds).ok_or_else(invalid);
    }
    if let Some(ago) = text.strip_prefix('-') {
        return parse_duration(ago).map(|ago| now.minus(ago)).map_err(|_| invalid());
    }
    let instant: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
    Ok(Timestamp(instant.as_millisecond()))
}

/// Seconds that fall into the years 0 to 9999.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn from_unix_seconds(seconds: f64) -> Option<Timestamp> {
    (0.0..=253_402_300_799.0)
        .contains(&seconds)
        .then(|| Timestamp((seconds * 1000.0).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[track_caller]
    fn check(text: &str, millis: Option<i64>) {
        assert_eq!(parse_time(text, NOW).ok().map(Timestamp::as_millis), millis, "{text:?}");
    }

    #[test]
    fn reads_times_as_people_write_them() {
        check("now", Some(1_700_000_000_000));
        check("1700000000", Some(1_700_000_000_000));
        check("1700000000.25", Some(1_700_000_000_250));
        check("-1h", Some(1_699_996_400_000));
        check("2023-11-14T22:13:20Z", Some(1_700_000_000_000));
        check("2023-11-14T23:13:20+01:00", Some(1_700_000_000_000));
    }

    #[test]
    fn refuses_other_texts() {
        for text in ["", "yesterday", "-5", "2023-11-14", "1h", "NaN", "inf", "1e300"] {
            check(text, None);
        }
    }

    #[test]
    fn aligns_downwards() {
        let step = Duration::from_secs(30);
        assert_eq!(Timestamp::from_secs(59).aligned(step), Timestamp::from_secs(30));
        assert_eq!(Timestamp::from_secs(-1).aligned(step), Timestamp::from_secs(-30));
        let beginning = Timestamp::from_millis(i64::MIN);
        assert_eq!(beginning.aligned(step), beginning);
    }

    #[test]
    fn a_stretch_begins_after_one_multiple_and_holds_the_next() {
        let check = |millis, length, start, end| {
            let stretch = Timestamp(millis).stretch(Duration::from_millis(length));
            assert_eq!(stretch, Timestamp(start)..Timestamp(end), "{length} ms around {millis}");
        };
        for inside in [1, 2, 299_999, 300_000] {
            check(inside, 300_000, 1, 300_001);
        }
        check(300_001, 300_000, 300_001, 600_001);
        check(0, 300_000, -299_999, 1);
        check(-300_000, 300_000, -599_999, -299_999);
        check(7, 0, 7, 8);
        check(7, 1, 7, 8);
        check(i64::MIN, 300_000, i64::MIN, i64::MIN + 300_000);
        check(i64::MAX, u64::MAX, 1, i64::MAX);
    }

    #[test]
    fn is_written_as_rfc_3339() {
        assert_eq!(NOW.to_string(), "2023-11-14T22:13:20.000Z");
    }
}
