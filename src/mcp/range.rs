//! Times and ranges as tool arguments have them.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::{
    limits,
    time::{Timestamp, format_duration, parse_duration, parse_time},
};

use super::error::ToolError;

/// Steps that read well, in seconds; a chosen one is the first that gives few enough samples.
const STEPS: [u64; 14] =
    [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/// A time as an agent writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected RFC 3339, Unix seconds, or a time ago such as \"-1h\"")]
pub(super) enum Time {
    Seconds(f64),
    Text(String),
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number"]})
    }
}

impl Time {
    /// The instant that the argument `field` means.
    pub(super) fn at(&self, field: &str, now: Timestamp) -> Result<Timestamp, ToolError> {
        let text = match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text.clone(),
        };
        parse_time(&text, now).map_err(|error| ToolError::argument(field, error.to_string()))
    }
}

/// What `start_time` and `end_time` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
}

impl Range {
    /// Reads both ends, and checks their order.
    pub(super) fn read(
        start: Option<&Time>,
        end: Option<&Time>,
        now: Timestamp,
    ) -> Result<Self, ToolError> {
        let start = start.map(|time| time.at("start_time", now)).transpose()?;
        let end = end.map(|time| time.at("end_time", now)).transpose()?;
        if let Some(start) = start
            && start > end.unwrap_or(now)
        {
            let end = end.unwrap_or(now);
            let problem = format!("{start} is after end_time ({end}): swap them");
            return Err(ToolError::argument("start_time", problem));
        }
        Ok(Self { start, end })
    }
}

/// The duration that the argument `field` means.
pub(super) fn duration(field: &str, text: &str) -> Result<Duration, ToolError> {
    parse_duration(text).map_err(|error| ToolError::argument(field, error.to_string()))
}

/// The step of a range: the one that is asked for, where it is not too fine, else one that gives a
/// few dozen samples.
pub(super) fn step(asked: Option<&str>, range: Duration) -> Result<Duration, ToolError> {
    let Some(asked) = asked else {
        return Ok(coarse_enough(range, limits::TOOL_SERIES_SAMPLES));
    };
    let step = duration("step", asked)?;
    let most = u128::try_from(limits::QUERY_STEPS_MAX).unwrap_or(u128::MAX);
    if !step.is_zero() && range.as_millis() / step.as_millis() < most {
        return Ok(step);
    }
    let better = format_duration(coarse_enough(range, limits::QUERY_STEPS_MAX));
    let problem = format!(
        "{asked:?} gives more than {most} steps over this range: take \"{better}\" or a shorter range"
    );
    Err(ToolError::argument("step", problem))
}

fn coarse_enough(range: Duration, samples: usize) -> Duration {
    let samples = u64::try_from(samples).unwrap_or(u64::MAX).max(1);
    let least = range.as_secs().div_ceil(samples);
    let days = least.div_ceil(86_400) * 86_400;
    Duration::from_secs(STEPS.into_iter().find(|step| *step >= least).unwrap_or(days))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn text(time: &str) -> Time {
        Time::Text(time.to_owned())
    }

    #[test]
    fn reads_times_of_either_type() {
        let range = Range::read(Some(&text("-1h")), Some(&Time::Seconds(1.7e9)), NOW).unwrap();
        assert_eq!(range.start, Some(Timestamp::from_secs(1_699_996_400)));
        assert_eq!(range.end, Some(NOW));
    }

    #[track_caller]
    fn check_refused(start: Option<&Time>, end: Option<&Time>, field: &str) {
        let error = Range::read(start, end, NOW).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }

    #[test]
    fn refuses_a_range_upside_down_or_in_the_future() {
        let expected = "start_time: 2023-11-14T22:13:20.000Z is after";
        check_refused(Some(&text("now")), Some(&text("-1h")), expected);
        check_refused(Some(&text("1700000001")), None, "start_time: ");
        check_refused(Some(&text("yesterday")), None, "start_time: invalid time");
        check_refused(None, Some(&text("tomorrow")), "end_time: invalid time");
    }

    #[test]
    fn chooses_steps_that_read_well() {
        for (range, expected) in [(60, 15), (3600, 60), (86_400, 1800), (30 * 86_400, 43_200)] {
            let step = step(None, Duration::from_secs(range)).unwrap();
            assert_eq!(step, Duration::from_secs(expected), "{range}");
        }
        let years = step(None, Duration::from_hours(10 * 365 * 24)).unwrap();
        assert_eq!(years.as_secs() % 86_400, 0);
    }

    #[test]
    fn refuses_steps_that_are_too_fine() {
        let day = Duration::from_hours(24);
        assert_eq!(step(Some("1m"), day), Ok(Duration::from_mins(1)));
        for fine in ["1s", "0", "1ms"] {
            let error = step(Some(fine), day).unwrap_err().to_string();
            assert!(error.starts_with("step: ") && error.contains("\"15s\""), "{error}");
        }
        assert!(step(Some("soon"), day).unwrap_err().to_string().starts_with("step: invalid"));
    }
}
