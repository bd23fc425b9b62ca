//! Text as samples.

use std::collections::BTreeMap;

use crate::{
    limits,
    model::{Batch, Labels, METRIC_NAME, Metadata, MetricKind, SeriesSample, is_metric_name},
    time::Timestamp,
};

use super::families::unknown;

/// A line that is not in the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidExposition {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Reads the text format: samples and metadata; samples without a timestamp get `now`. A text that ends with
/// `# EOF` is read as OpenMetrics, whose timestamps are seconds; exemplars are passed over.
pub fn parse(text: &str, now: Timestamp) -> Result<Batch, InvalidExposition> {
    let is_open = text.trim_end().ends_with("# EOF");
    let mut reader = Reader { is_open, now, samples: Vec::new(), metadata: BTreeMap::new() };
    for (index, line) in text.lines().enumerate() {
        reader.line(line.trim()).map_err(|reason| InvalidExposition { line: index + 1, reason })?;
    }
    Ok(reader.into_batch())
}

struct Reader {
    is_open: bool,
    now: Timestamp,
    samples: Vec<SeriesSample>,
    metadata: BTreeMap<String, Metadata>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            return self.comment(comment.trim_start());
        }
        if line.is_empty() {
            return Ok(());
        }
        if self.samples.len() == limits::BATCH_SAMPLES_MAX {
            let max = limits::BATCH_SAMPLES_MAX;
            return Err(format!("more than {max} samples: write them in several pieces"));
        }
        let sample = self.sample(line)?;
        self.samples.push(sample);
        Ok(())
    }

    /// `HELP name text`, `TYPE name kind`, `UNIT name unit`; any other comment is nobody's.
    fn comment(&mut self, comment: &str) -> Result<(), String> {
        let Some((word, rest)) = comment.split_once([' ', '\t']) else { return Ok(()) };
        if !matches!(word, "HELP" | "TYPE" | "UNIT") {
            return Ok(());
        }
        let (name, rest) = rest.trim_start().split_once([' ', '\t']).unwrap_or((rest.trim(), ""));
        if !is_metric_name(name) {
            return Err(format!("{word} of an invalid metric name {name:?}"));
        }
        let metadata = self.metadata.entry(name.to_owned()).or_insert_with(|| unknown(name));
        match word {
            "HELP" => metadata.help = unescaped_help(rest),
            "UNIT" => rest.trim().clone_into(&mut metadata.unit),
            _ => metadata.kind = kind(rest.trim())?,
        }
        Ok(())
    }

    /// `name{label="value",…} value [timestamp]`.
    fn sample(&self, line: &str) -> Result<SeriesSample, String> {
        let end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        if !is_metric_name(name) {
            return Err(format!(
                "invalid metric name {name:?}: use letters, digits, '_' and ':', no digit first"
            ));
        }
        let mut pairs = vec![(METRIC_NAME.to_owned(), name.to_owned())];
        let rest = match rest.trim_start().strip_prefix('{') {
            Some(rest) => read_labels(rest, &mut pairs)?,
            None => rest,
        };
        let labels = Labels::new(pairs).map_err(|error| error.to_string())?;
        let numbers = rest.split_once('#').map_or(rest, |(numbers, _exemplar)| numbers);
        let mut words = numbers.split_ascii_whitespace();
        let value = words.next().ok_or_else(|| format!("no value after {name}"))?;
        let timestamp = words.next().map_or(Ok(self.now), |word| self.timestamp(word))?;
        if let Some(word) = words.next() {
            return Err(format!("unexpected {word:?} after the timestamp"));
        }
        Ok(SeriesSample::new(labels, timestamp, number(value)?))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    fn timestamp(&self, word: &str) -> Result<Timestamp, String> {
        if !self.is_open {
            let millis = word.parse().map_err(|_| {
                format!("invalid timestamp {word:?}: write milliseconds since 1970, a whole number")
            })?;
            return Ok(Timestamp::from_millis(millis));
        }
        // Up to the year 9999, as elsewhere.
        let seconds = word.parse::<f64>().ok().filter(|s| s.abs() < 253_402_300_800.0);
        let seconds = seconds
            .ok_or_else(|| format!("invalid timestamp {word:?}: write seconds since 1970"))?;
        Ok(Timestamp::from_millis((seconds * 1000.0).round() as i64))
    }

    fn into_batch(self) -> Batch {
        let is_open = self.is_open;
        let metadata = self.metadata.into_values().map(|mut metadata| {
            // OpenMetrics calls a counter's family without the suffix that its samples have.
            if is_open && metadata.kind == MetricKind::Counter && !metadata.name.ends_with("_total")
            {
                metadata.name.push_str("_total");
            }
            metadata
        });
        Batch { metadata: metadata.collect(), samples: self.samples, ..Batch::default() }
    }
}

fn kind(word: &str) -> Result<MetricKind, String> {
    Ok(match word {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "summary" => MetricKind::Summary,
        "untyped" | "unknown" | "info" | "stateset" | "gaugehistogram" => MetricKind::Unknown,
        _ => {
            return Err(format!(
                "unknown type {word:?}: write counter, gauge, histogram, summary or untyped"
            ));
        }
    })
}

fn number(word: &str) -> Result<f64, String> {
    word.parse().map_err(|_| format!("invalid value {word:?}: write a number, NaN, +Inf or -Inf"))
}

/// Reads `label="value",…}`; gives what follows the bracket.
fn read_labels<'a>(
    mut rest: &'a str,
    pairs: &mut Vec<(String, String)>,
) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after) =
            rest.split_once('=').ok_or("labels without an end: write {name=\"value\",…}")?;
        let name = name.trim().to_owned();
        let after = after.trim_start().strip_prefix('"');
        let after = after.ok_or_else(|| format!("no quoted value after label {name:?}"))?;
        let (value, after) = quoted(after)
            .ok_or_else(|| format!("the value of label {name:?} has no closing quote"))?;
        pairs.push((name, value));
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if !rest.starts_with('}') {
            return Err("expected ',' or '}' after a label's value".into());
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

fn unescaped_help(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::*, *};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[track_caller]
    fn fails(text: &str, line: usize, reason: &str) {
        let error = parse(text, NOW).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.reason.contains(reason), "{error}");
    }

    #[test]
    fn reads_samples_and_metadata() {
        let batch = parse(
            "# HELP up Whether \\\\ it\\nis up.\n# TYPE up gauge\n# a remark\n\n\
             up{job=\"a\\\"b\",} 1 1500\n  other  \t+Inf\n",
            NOW,
        )
        .unwrap();
        let up = SeriesSample::new(
            Labels::of("up", [("job", "a\"b")]),
            Timestamp::from_millis(1500),
            1.0,
        );
        let other = SeriesSample::new(Labels::of("other", []), NOW, f64::INFINITY);
        assert_eq!(batch.samples, [up, other]);
        assert_eq!(batch.metadata[0].help, "Whether \\ it\nis up.");
        assert_eq!(batch.metadata[0].kind, MetricKind::Gauge);
    }

    #[test]
    fn reads_openmetrics() {
        let text = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{k=\"#\"} 1.5 1700000000.25 # {trace=\"x\"} 1\n# EOF\n";
        let batch = parse(text, NOW).unwrap();
        assert_eq!(batch.samples[0].sample.timestamp, Timestamp::from_millis(1_700_000_000_250));
        assert_eq!(batch.metadata[0].name, "a_seconds_total");
        assert_eq!(batch.metadata[0].unit, "seconds");
    }

    #[test]
    fn says_which_line_is_wrong_and_why() {
        fails("up 1\n1up 1\n", 2, "invalid metric name \"1up\"");
        fails("up", 1, "no value");
        fails("up one", 1, "invalid value \"one\"");
        fails("up 1 1.5", 1, "whole number");
        fails("up 1 2 3", 1, "unexpected \"3\"");
        fails("up{a=\"b", 1, "closing quote");
        fails("up{a=b} 1", 1, "no quoted value");
        fails("up{a=\"b\" c=\"d\"} 1", 1, "expected ','");
        fails("up{a-b=\"c\"} 1", 1, "invalid label name");
        fails("up{a=\"1\",a=\"2\"} 1", 1, "given twice");
        fails("\n# TYPE up meter\n", 2, "unknown type \"meter\"");
    }

    fn labels() -> impl Strategy<Value = Labels> {
        let pairs = proptest::collection::btree_map("[a-z][a-z0-9_]{0,5}", ".{1,12}", 0..4);
        ("[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", pairs).prop_map(|(name, pairs)| {
            Labels::new(pairs.into_iter().chain([(METRIC_NAME.to_owned(), name)])).unwrap()
        })
    }

    fn sample() -> impl Strategy<Value = SeriesSample> {
        let value = prop_oneof![
            proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::INFINITE,
        ];
        (labels(), 0..4_000_000_000_000_i64, value).prop_map(|(labels, millis, value)| {
            SeriesSample::new(labels, Timestamp::from_millis(millis), value)
        })
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(
            samples in proptest::collection::vec(sample(), 0..6),
            help in "\\PC{0,20}",
        ) {
            let describe = |name: &str| {
                Some(Metadata { help: help.trim().to_owned(), kind: MetricKind::Gauge, ..unknown(name) })
            };
            let families = into_families(samples, &describe);
            let expected: Vec<_> = families.iter().flat_map(|f| f.samples.clone()).collect();
            for format in [Format::Text, Format::OpenMetrics] {
                let batch = parse(&write(&families, format, true), NOW).unwrap();
                prop_assert_eq!(&batch.samples, &expected);
                prop_assert!(batch.metadata.iter().all(|m| m.help == help.trim()));
            }
        }

        #[test]
        fn never_panics(text in "(\\PC|\n|[{}\"\\\\#=, ]){0,60}") {
            let _ = parse(&text, NOW);
        }
    }
}
