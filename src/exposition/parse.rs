//! A whole text as samples, all or nothing.

use crate::{limits, model::Batch, time::Timestamp};

use super::read::TextLines;

/// A line that is not in the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct InvalidExposition {
    /// From 1.
    pub line: usize,
    /// The character that it is wrong from, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Reads the text format: samples and metadata; samples without a timestamp get `now`. A text that ends with
/// `# EOF` is read as OpenMetrics, whose timestamps are seconds; exemplars are passed over.
pub fn parse(text: &str, now: Timestamp) -> Result<Batch, InvalidExposition> {
    let is_open = text.trim_end().ends_with("# EOF");
    let mut lines = if is_open { TextLines::open_metrics(now) } else { TextLines::text(now) };
    let mut batch = Batch::default();
    for (index, line) in text.lines().enumerate() {
        let invalid = |column, reason| InvalidExposition { line: index + 1, column, reason };
        lines.read(line, &mut batch).map_err(|fault| invalid(fault.column(line), fault.reason))?;
        let max = limits::BATCH_SAMPLES_MAX;
        if batch.samples.len() > max {
            let reason = format!("more than {max} samples: write them in several pieces");
            return Err(invalid(1, reason));
        }
    }
    lines.describe(&mut batch);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::*, *};
    use crate::{
        exposition::families::unknown,
        model::{Labels, METRIC_NAME, Metadata, MetricKind, SeriesSample},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn says_in_which_column() {
        let column = |text| parse(text, NOW).unwrap_err().column;
        assert_eq!(column("up 1\n up{a=\"ü\"} one 5"), 12);
        assert_eq!(column("up 1 1.5"), 6);
        assert_eq!(column("up{a=\"b"), 7);
        assert_eq!(column("# TYPE up meter"), 11);
        assert_eq!(column("1up 1"), 1);
    }

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
