//! Prometheus' text format and OpenMetrics.

use super::{
    super::{
        export::{STALE_DIGITS, TIME_DIGITS},
        special::open_value,
    },
    Fault, Lines,
    describe::Descriptions,
};
use crate::{
    model::{Batch, Labels, METRIC_NAME, Sample, SeriesSample, is_metric_name, stale_nan},
    time::Timestamp,
};

/// Seconds up to the year 9999, as elsewhere.
const SECONDS_END: i64 = 253_402_300_800;

/// Reads either format.
pub(in crate::exposition) struct TextLines {
    is_open: bool,
    now: Timestamp,
    described: Descriptions,
    last: LastSeries,
    has_ended: bool,
}

/// The series of the line before, which is often that of the next one, too.
#[derive(Default)]
pub(super) struct LastSeries {
    text: String,
    labels: Option<Labels>,
}

impl LastSeries {
    /// The series that `line` begins with, and the rest, if it is the last one's before a space.
    pub(super) fn of<'a>(&self, line: &'a str) -> Option<(Labels, &'a str)> {
        let labels = self.labels.as_ref()?;
        let rest = line.strip_prefix(&self.text)?;
        rest.starts_with(' ').then(|| (labels.clone(), rest))
    }

    pub(super) fn set(&mut self, text: &str, labels: &Labels) {
        text.clone_into(&mut self.text);
        self.labels = Some(labels.clone());
    }
}

impl TextLines {
    /// Timestamps in milliseconds.
    pub(in crate::exposition) fn text(now: Timestamp) -> Self {
        Self {
            is_open: false,
            now,
            described: Descriptions::default(),
            last: LastSeries::default(),
            has_ended: false,
        }
    }

    /// Timestamps in seconds, and an end that is marked.
    pub(in crate::exposition) fn open_metrics(now: Timestamp) -> Self {
        Self { is_open: true, described: Descriptions::open_metrics(), ..Self::text(now) }
    }

    /// A line without its end.
    pub(in crate::exposition) fn read(
        &mut self,
        line: &str,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let line = line.trim_start();
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim_start();
            self.has_ended |= comment.trim_end() == "EOF";
            return self.described.comment(comment);
        }
        if line.trim_end().is_empty() {
            return Ok(());
        }
        self.sample(line, batch)
    }

    /// Adds what was said of families.
    pub(in crate::exposition) fn describe(&mut self, batch: &mut Batch) {
        self.described.flush(batch);
    }

    /// `name{label="value",…} value [timestamp]`.
    fn sample(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        let known = self.last.of(line).filter(|(_, rest)| !rest.trim_start().starts_with('{'));
        let (labels, rest) = match known {
            Some(known) => known,
            None => series(line).inspect(|(labels, rest)| {
                self.last.set(&line[..line.len() - rest.len()], labels);
            })?,
        };
        let numbers = rest.split_once('#').map_or(rest, |(numbers, _exemplar)| numbers);
        let exemplar = rest.len() - numbers.len();
        let (value, after_value) = word(numbers);
        let (time, after) = word(after_value);
        let (more, _) = word(after);
        if value.is_empty() {
            return Err(Fault::new(rest, format!("no value after {}", labels.metric())));
        }
        if !more.is_empty() {
            return Err(Fault::new(after, format!("unexpected {more:?} after the timestamp")));
        }
        let before = |word: &str, after: &str| word.len() + after.len() + exemplar;
        let value =
            number(value).map_err(|reason| Fault { left: before(value, after_value), reason })?;
        let (timestamp, end) =
            self.times(time).map_err(|reason| Fault { left: before(time, after), reason })?;
        batch.samples.extend(end.map(|_| SeriesSample::new(labels.clone(), timestamp, value)));
        let last = end.map_or((timestamp, value), |end| (end, stale_nan()));
        batch
            .samples
            .push(SeriesSample { labels, sample: Sample { timestamp: last.0, value: last.1 } });
        Ok(())
    }

    /// The time of a sample, and when its series ended, where that is told.
    fn times(&self, word: &str) -> Result<(Timestamp, Option<Timestamp>), String> {
        if word.is_empty() {
            return Ok((self.now, None));
        }
        if self.is_open {
            return open_times(word)
                .ok_or_else(|| format!("invalid timestamp {word:?}: write seconds since 1970"));
        }
        let millis = word.parse().map_err(|_| {
            format!("invalid timestamp {word:?}: write milliseconds since 1970, a whole number")
        })?;
        Ok((Timestamp::from_millis(millis), None))
    }
}

impl Lines for TextLines {
    fn line(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        self.read(line, batch)
    }

    fn flush(&mut self, batch: &mut Batch) {
        self.describe(batch);
    }

    fn end(&mut self) -> Result<(), Fault> {
        if !self.is_open || self.has_ended {
            return Ok(());
        }
        Err(Fault::new("", "the text ends without \"# EOF\": it was cut off, or is no OpenMetrics"))
    }
}

/// The next word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    text.split_at(end)
}

fn number(word: &str) -> Result<f64, String> {
    open_value(word)
        .ok_or_else(|| format!("invalid value {word:?}: write a number, NaN, +Inf or -Inf"))
}

/// Seconds, and the end that finer digits than those of a time may tell (`docs/export.md`).
fn open_times(word: &str) -> Option<(Timestamp, Option<Timestamp>)> {
    let Some((millis, finer)) = exact_millis(word) else {
        return float_millis(word).map(|time| (time, None));
    };
    let time = Timestamp::from_millis(millis);
    let later = (finer.len() == STALE_DIGITS).then(|| finer.parse().ok()).flatten();
    let end = later.filter(|later| *later > 0);
    Some((time, end.map(|later: i64| Timestamp::from_millis(millis.saturating_add(later)))))
}

/// The milliseconds of plain digits, to the nearest one, and the digits that are finer than a time's.
fn exact_millis(word: &str) -> Option<(i64, &str)> {
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return None;
    }
    let seconds = whole.parse::<i64>().ok().filter(|seconds| *seconds < SECONDS_END)?;
    let places = fraction.bytes().chain(std::iter::repeat(b'0')).take(4);
    let tenths = places.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let finer = fraction.get(TIME_DIGITS..).unwrap_or_default();
    Some((sign * (seconds * 1000 + (tenths + 5) / 10), finer))
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn float_millis(word: &str) -> Option<Timestamp> {
    let seconds = word.parse::<f64>().ok().filter(|s| s.abs() < SECONDS_END as f64)?;
    Some(Timestamp::from_millis((seconds * 1000.0).round() as i64))
}

/// Reads `name{label="value",…}`; gives what follows.
pub(super) fn series(line: &str) -> Result<(Labels, &str), Fault> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if !is_metric_name(name) {
        return Err(Fault::new(
            line,
            format!(
                "invalid metric name {name:?}: use letters, digits, '_' and ':', no digit first"
            ),
        ));
    }
    let mut pairs = vec![(METRIC_NAME.to_owned(), name.to_owned())];
    let rest = match rest.trim_start().strip_prefix('{') {
        Some(rest) => read_labels(rest, &mut pairs)?,
        None => rest,
    };
    let labels = Labels::new(pairs).map_err(|error| Fault::new(line, error.to_string()))?;
    Ok((labels, rest))
}

/// Reads `label="value",…}`; gives what follows the bracket.
fn read_labels<'a>(mut rest: &'a str, pairs: &mut Vec<(String, String)>) -> Result<&'a str, Fault> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let parts = rest.split_once('=');
        let (name, after) = parts
            .ok_or_else(|| Fault::new(rest, "labels without an end: write {name=\"value\",…}"))?;
        let name = name.trim().to_owned();
        let begun = after.trim_start().strip_prefix('"');
        let begun = begun
            .ok_or_else(|| Fault::new(after, format!("no quoted value after label {name:?}")))?;
        let (value, after) = quoted(begun).ok_or_else(|| {
            Fault::new(begun, format!("the value of label {name:?} has no closing quote"))
        })?;
        pairs.push((name, value));
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if !rest.starts_with('}') {
            return Err(Fault::new(rest, "expected ',' or '}' after a label's value"));
        }
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => push_unescaped(chars.next()?.1, &mut value),
            c => value.push(c),
        }
    }
    None
}

/// A help text as it was meant.
pub(super) fn unescaped_help(text: &str) -> String {
    let mut help = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => push_unescaped(chars.next().unwrap_or('\\'), &mut help),
            c => help.push(c),
        }
    }
    help
}

/// What follows a backslash; an escape that is none stands for itself, as in Prometheus.
fn push_unescaped(c: char, out: &mut String) {
    match c {
        'n' => out.push('\n'),
        '"' | '\\' => out.push(c),
        c => out.extend(['\\', c]),
    }
}
