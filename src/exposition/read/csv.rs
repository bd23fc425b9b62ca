//! RFC 4180: `timestamp,series,value[,detail]`.

use std::{borrow::Cow, sync::Arc};

use super::{
    super::{
        histogram::from_json,
        value::{exact_value, nan_of},
    },
    Fault, Lines,
    text::series,
};
use crate::{
    model::{Batch, HistogramSample, Labels, Sample, SeriesHistogram, SeriesSample, stale_nan},
    time::{Timestamp, parse_time},
};

/// `2026-01-31T`.
const DATE_BYTES: usize = 11;

pub(super) struct CsvLines {
    now: Timestamp,
    /// The series of the last line, as it was written.
    last: Option<(String, Labels)>,
    /// The day of the last line, as it was written.
    day: Option<(String, i64)>,
}

impl CsvLines {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, last: None, day: None }
    }

    fn row(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        let (time, rest) = field(line)?;
        let (name, after_name) = field(rest)?;
        let (value, after_value) = field(after_name)?;
        let (detail, after) = field(after_value)?;
        if name.is_empty() || (value.is_empty() && detail.is_empty()) || !after.is_empty() {
            return Err(Fault::new(line, "not a row of timestamp,series,value,detail"));
        }
        let timestamp = self.time(&time).ok_or_else(|| {
            Fault::new(line, format!("invalid time {time:?}: write RFC 3339 or Unix seconds"))
        })?;
        let labels = self.labels(&name).map_err(|reason| Fault::new(rest, reason))?;
        if value.is_empty() {
            let histogram = histogram(&detail).map_err(|reason| Fault::new(after_value, reason))?;
            let sample = HistogramSample { timestamp, histogram: Arc::new(histogram) };
            batch.histograms.push(SeriesHistogram { labels, sample });
            return Ok(());
        }
        let value = number(&value, &detail).map_err(|reason| Fault::new(after_name, reason))?;
        let sample = Sample { timestamp, value };
        batch.samples.push(SeriesSample { labels, sample });
        Ok(())
    }

    /// Asks the calendar where the day is not that of the last line.
    fn time(&mut self, text: &str) -> Option<Timestamp> {
        let split = text.split_at_checked(DATE_BYTES);
        let Some((date, millis)) = split.and_then(|(date, rest)| Some((date, millis(rest)?)))
        else {
            return parse_time(text, self.now).ok();
        };
        if self.day.as_ref().is_none_or(|(known, _)| known != date) {
            let midnight = parse_time(&format!("{date}00:00:00Z"), self.now).ok()?;
            self.day = Some((date.to_owned(), midnight.as_millis()));
        }
        let (_, midnight) = self.day.as_ref()?;
        Some(Timestamp::from_millis(midnight + millis))
    }

    fn labels(&mut self, text: &str) -> Result<Labels, String> {
        if let Some((_, labels)) = self.last.as_ref().filter(|(known, _)| known == text) {
            return Ok(labels.clone());
        }
        let (labels, rest) = series(text).map_err(|fault| fault.reason)?;
        if !rest.trim().is_empty() {
            return Err(format!("unexpected {rest:?} after the series"));
        }
        self.last = Some((text.to_owned(), labels.clone()));
        Ok(labels)
    }
}

impl Lines for CsvLines {
    fn line(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        if line.is_empty() || line.starts_with("timestamp,series,value") {
            return Ok(());
        }
        self.row(line, batch)
    }
}

/// The next field, and what follows the comma behind it.
fn field(text: &str) -> Result<(Cow<'_, str>, &str), Fault> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (field, rest) = text.split_once(',').unwrap_or((text, ""));
        return Ok((field.into(), rest));
    };
    let mut from = 0;
    while let Some(at) = quoted[from..].find('"').map(|at| from + at) {
        let rest = &quoted[at + 1..];
        if !rest.starts_with('"') {
            let rest = match rest.strip_prefix(',') {
                None if !rest.is_empty() => {
                    return Err(Fault::new(rest, "expected ',' after a field in quotes"));
                }
                after => after.unwrap_or_default(),
            };
            return Ok((quoted[..at].replace("\"\"", "\"").into(), rest));
        }
        from = at + 2;
    }
    Err(Fault::new(text, "a field in quotes has no closing quote"))
}

/// The milliseconds of `HH:MM:SS.mmmZ`, and of nothing else.
fn millis(text: &str) -> Option<i64> {
    let shape = b"00:00:00.000Z";
    let fits = |(byte, like): (u8, &u8)| {
        if *like == b'0' { byte.is_ascii_digit() } else { byte == *like }
    };
    if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
        return None;
    }
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (hours, minutes, seconds) = (part(0, 2)?, part(3, 5)?, part(6, 8)?);
    (hours < 24 && minutes < 60 && seconds < 60)
        .then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + part(9, 12)?)
}

fn number(value: &str, detail: &str) -> Result<f64, String> {
    let number = match detail {
        "" => exact_value(value),
        "stale" => Some(stale_nan()),
        bits => nan_of(bits),
    };
    number.ok_or_else(|| {
        format!("invalid value {value:?} {detail:?}: write a number, NaN, +Inf or -Inf, and nothing after it")
    })
}

fn histogram(detail: &str) -> Result<crate::model::Histogram, String> {
    let json = serde_json::from_str(detail);
    from_json(&json.map_err(|error| format!("a histogram is not JSON: {error}"))?)
}
