//! InfluxDB line protocol
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>).

use std::sync::Arc;

use super::{
    super::{
        export::{ESCAPED, HIDDEN},
        histogram::from_json,
        value::exact_value,
    },
    Fault, Lines,
    describe::Descriptions,
    text::LastSeries,
};
use crate::{
    model::{Batch, HistogramSample, Labels, METRIC_NAME, Sample, SeriesHistogram, SeriesSample},
    time::Timestamp,
};

const NANOS_PER_MILLI: i128 = 1_000_000;
/// The field whose samples are called as the measurement.
const VALUE: &str = "value";

pub(super) struct InfluxLines {
    now: Timestamp,
    /// An export of ours: with escapes of our own, and comments that hold something.
    is_ours: bool,
    described: Descriptions,
    last: LastSeries,
    texts: u64,
}

/// A field's value.
enum Field {
    Number(f64),
    Histogram(crate::model::Histogram),
    Text,
}

impl InfluxLines {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            is_ours: false,
            described: Descriptions::exact(),
            last: LastSeries::default(),
            texts: 0,
        }
    }

    fn comment(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        if line == ESCAPED {
            self.is_ours = true;
            self.last = LastSeries::default();
            return Ok(());
        }
        match line.strip_prefix(HIDDEN) {
            _ if !self.is_ours => Ok(()),
            Some(hidden) => self.points(hidden, batch),
            None => self.described.comment(line.trim_start_matches(['#', ' '])),
        }
    }

    /// `measurement,tag=value field=1,other=2 nanoseconds`
    fn points(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        let (labels, rest) = match self.last.of(line) {
            Some(known) => known,
            None => self.series(line).inspect(|(labels, rest)| {
                self.last.set(&line[..line.len() - rest.len()], labels);
            })?,
        };
        let mut rest = rest.trim_start_matches(' ');
        let mut fields = Vec::new();
        loop {
            let (name, after) = self.word(rest, ",= ");
            let Some(value) = after.strip_prefix('=').filter(|_| !name.is_empty()) else {
                return Err(Fault::new(rest, "no field: write name=value"));
            };
            let (field, after) = self.field(value)?;
            fields.push((name, field));
            rest = after;
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        let timestamp = self.time(rest)?;
        for (name, field) in fields {
            let labels = self.named(&labels, &name).map_err(|reason| Fault::new(line, reason))?;
            self.point(labels, timestamp, field, batch);
        }
        Ok(())
    }

    fn point(&mut self, labels: Labels, timestamp: Timestamp, field: Field, batch: &mut Batch) {
        match field {
            Field::Number(value) => {
                let sample = Sample { timestamp, value };
                batch.samples.push(SeriesSample { labels, sample });
            }
            Field::Histogram(histogram) => {
                let sample = HistogramSample { timestamp, histogram: Arc::new(histogram) };
                batch.histograms.push(SeriesHistogram { labels, sample });
            }
            Field::Text => self.texts += 1,
        }
    }

    /// What stands before the fields; the measurement is the metric name.
    fn series<'a>(&self, line: &'a str) -> Result<(Labels, &'a str), Fault> {
        let (measurement, mut rest) = self.word(line, ", ");
        let mut pairs = vec![(METRIC_NAME.to_owned(), self.name(measurement))];
        while let Some(tag) = rest.strip_prefix(',') {
            let (name, after) = self.word(tag, ",= ");
            let Some(value) = after.strip_prefix('=').filter(|_| !name.is_empty()) else {
                return Err(Fault::new(tag, "a tag has no value: write name=value"));
            };
            let (value, after) = self.word(value, ", ");
            pairs.push((self.name(name).replace(':', "_"), value));
            rest = after;
        }
        let labels = Labels::new(pairs).map_err(|error| Fault::new(line, error.to_string()))?;
        if labels.metric().is_empty() {
            return Err(Fault::new(line, "no measurement"));
        }
        Ok((labels, rest))
    }

    /// Others' names may hold what ours may not.
    fn name(&self, name: String) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if self.is_ours || name.chars().all(fits) {
            return name;
        }
        name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
    }

    /// The labels of a field of a series.
    fn named(&self, labels: &Labels, field: &str) -> Result<Labels, String> {
        if field == VALUE || self.is_ours {
            return Ok(labels.clone());
        }
        let metric = format!("{}_{}", labels.metric(), self.name(field.to_owned()));
        let pairs = labels
            .iter()
            .map(|(name, value)| (name, if name == METRIC_NAME { metric.as_str() } else { value }));
        Labels::new(pairs).map_err(|error| error.to_string())
    }

    /// The text up to one of `ends` that is not escaped, without escapes, and what follows.
    fn word<'a>(&self, text: &'a str, ends: &str) -> (String, &'a str) {
        let mut word = String::new();
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            if ends.contains(c) {
                return (word, &text[at..]);
            }
            let next = text[at + c.len_utf8()..].chars().next().filter(|_| c == '\\');
            match next.and_then(|next| self.unescaped(next)) {
                Some(meant) => {
                    word.push(meant);
                    chars.next();
                }
                None => word.push(c),
            }
        }
        (word, "")
    }

    /// What a character behind a backslash means; `None`: itself, and the backslash, too.
    fn unescaped(&self, next: char) -> Option<char> {
        match next {
            ',' | '=' | ' ' => Some(next),
            '\\' if self.is_ours => Some('\\'),
            'n' if self.is_ours => Some('\n'),
            'r' if self.is_ours => Some('\r'),
            _ => None,
        }
    }

    fn field<'a>(&self, text: &'a str) -> Result<(Field, &'a str), Fault> {
        if text.starts_with('"') {
            let rest =
                after_text(text).ok_or_else(|| Fault::new(text, "a text has no closing quote"))?;
            return Ok((Field::Text, rest));
        }
        if text.starts_with('{') && self.is_ours {
            let (json, rest) = text.split_once(' ').unwrap_or((text, ""));
            let histogram = serde_json::from_str(json).map_err(|error| error.to_string());
            let histogram = histogram.and_then(|json| from_json(&json));
            let histogram = histogram.map_err(|reason| Fault::new(text, reason))?;
            return Ok((Field::Histogram(histogram), rest));
        }
        let end = text.find([',', ' ']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let number = number(word).ok_or_else(|| {
            let reason = format!(
                "invalid value {word:?}: write a number, one with i or u behind it, true, false, or a \
                 text in quotes"
            );
            Fault::new(text, reason)
        })?;
        Ok((Field::Number(number), rest))
    }

    fn time(&self, text: &str) -> Result<Timestamp, Fault> {
        let word = text.trim();
        if word.is_empty() {
            return Ok(self.now);
        }
        let millis = word.parse::<i128>().ok().map(|nanos| nanos.div_euclid(NANOS_PER_MILLI));
        let millis = millis.and_then(|millis| i64::try_from(millis).ok());
        let invalid = || {
            let text = text.trim_start();
            Fault::new(text, format!("invalid timestamp {word:?}: write nanoseconds since 1970"))
        };
        millis.map(Timestamp::from_millis).ok_or_else(invalid)
    }
}

impl Lines for InfluxLines {
    fn line(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        if line.trim().is_empty() {
            return Ok(());
        }
        if line.starts_with('#') { self.comment(line, batch) } else { self.points(line, batch) }
    }

    fn flush(&mut self, batch: &mut Batch) {
        self.described.flush(batch);
    }

    fn texts(&self) -> u64 {
        self.texts
    }
}

/// What follows a text in quotes.
fn after_text(text: &str) -> Option<&str> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(&text[at + 1..]),
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    None
}

fn number(word: &str) -> Option<f64> {
    match word {
        "t" | "T" | "true" | "True" | "TRUE" => return Some(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Some(0.0),
        _ => {}
    }
    let whole = word.strip_suffix('i').map(|whole| whole.parse::<i64>().map(|n| n as f64));
    let whole = whole
        .or_else(|| word.strip_suffix('u').map(|whole| whole.parse::<u64>().map(|n| n as f64)));
    whole.map_or_else(|| exact_value(word), Result::ok)
}
