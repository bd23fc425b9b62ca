//! Stored samples as text, series by series: the forms of `balefire export`.
//!
//! An export may be larger than the memory, so a writer holds nothing of it: it appends one series
//! after the other to a text that its caller hands on. Staleness markers are left out everywhere: no
//! form but Prometheus' own has a word for them.

mod csv;
mod influx;
mod json;
mod openmetrics;

use std::cmp::Ordering;

use super::escape::push_fmt;
use crate::model::{Labels, Metadata, Sample, is_stale};

/// Writes an export: [`ExportWriter::begin`], then each series, then [`ExportWriter::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportWriter {
    /// One JSON object a line for each series: `{"labels":{…},"samples":[[1700000000000,"0.5"],…]}`,
    /// timestamps in milliseconds, values as texts so that `NaN` and `+Inf` survive.
    Json,
    /// RFC 4180 with the header `timestamp,series,value`: time in RFC 3339 to the millisecond, the
    /// series as Prometheus writes it, the value with the digits that give the same number again.
    Csv,
    /// InfluxDB line protocol: the metric is the measurement, labels are tags, the field is `value`,
    /// time in nanoseconds. It has no word for NaN and infinities: they are left out and counted.
    Influx {
        /// Samples left out so far.
        left_out: u64,
    },
    /// OpenMetrics with timestamps, for `promtool tsdb create-blocks-from openmetrics`. Series have to
    /// come in the order of [`by_metric`], for a family may not be interrupted.
    Prometheus {
        /// The metric that is being written.
        metric: String,
    },
}

impl ExportWriter {
    /// A writer of line protocol.
    pub fn influx() -> Self {
        Self::Influx { left_out: 0 }
    }

    /// A writer of OpenMetrics.
    pub fn prometheus() -> Self {
        Self::Prometheus { metric: String::new() }
    }

    /// What comes before the first series.
    pub fn begin(&mut self, out: &mut String) {
        if *self == Self::Csv {
            out.push_str(csv::HEADER);
        }
    }

    /// A series, or a piece of a long one; `metadata` is what is known of its metric.
    pub fn series(
        &mut self,
        labels: &Labels,
        samples: &[Sample],
        metadata: Option<&Metadata>,
        out: &mut String,
    ) {
        let mut live = samples.iter().copied().filter(|s| !is_stale(s.value)).peekable();
        if live.peek().is_none() {
            return;
        }
        match self {
            Self::Json => json::push(labels, live, out),
            Self::Csv => csv::push(labels, live, out),
            Self::Influx { left_out } => *left_out += influx::push(labels, live, out),
            Self::Prometheus { metric } => {
                if metric != labels.metric() {
                    labels.metric().clone_into(metric);
                    openmetrics::push_metadata(metric, metadata, out);
                }
                openmetrics::push(labels, live, out);
            }
        }
    }

    /// What comes after the last series.
    pub fn finish(&mut self, out: &mut String) {
        match self {
            Self::Prometheus { .. } => out.push_str(openmetrics::END),
            Self::Influx { left_out } if *left_out > 0 => {
                let count = *left_out;
                push_fmt(
                    out,
                    format_args!("# left out: {count} samples with NaN or infinite values\n"),
                );
            }
            _ => {}
        }
    }
}

/// Series by metric name, then by labels: the order that keeps families together.
pub fn by_metric(a: &Labels, b: &Labels) -> Ordering {
    a.metric().cmp(b.metric()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exposition::parse,
        model::{MetricKind, stale_nan},
        time::Timestamp,
    };

    const START: i64 = 1_700_000_000_000;

    fn export(mut writer: ExportWriter) -> String {
        let kind = MetricKind::Counter;
        let metadata =
            Metadata { name: "a_total".into(), kind, help: "A.".into(), unit: String::new() };
        let sample =
            |offset, value| Sample { timestamp: Timestamp::from_millis(START + offset), value };
        let mut out = String::new();
        writer.begin(&mut out);
        let labels = Labels::of("a_total", [("p", "x, \"y\"=z\n")]);
        let samples = [sample(0, 0.5), sample(1, stale_nan()), sample(2, f64::INFINITY)];
        writer.series(&labels, &samples, Some(&metadata), &mut out);
        writer.series(&Labels::of("b", []), &[sample(0, 1e6)], None, &mut out);
        writer.series(&Labels::of("c", []), &[sample(0, stale_nan())], None, &mut out);
        writer.finish(&mut out);
        out
    }

    #[test]
    fn json_is_one_object_a_line() {
        assert_eq!(
            export(ExportWriter::Json),
            "{\"labels\":{\"__name__\":\"a_total\",\"p\":\"x, \\\"y\\\"=z\\n\"},\
             \"samples\":[[1700000000000,\"0.5\"],[1700000000002,\"+Inf\"]]}\n\
             {\"labels\":{\"__name__\":\"b\"},\"samples\":[[1700000000000,\"1e+06\"]]}\n"
        );
    }

    #[test]
    fn csv_is_quoted_where_needed() {
        assert_eq!(
            export(ExportWriter::Csv),
            "timestamp,series,value\n\
             2023-11-14T22:13:20.000Z,\"a_total{p=\"\"x, \\\"\"y\\\"\"=z\\n\"\"}\",0.5\n\
             2023-11-14T22:13:20.002Z,\"a_total{p=\"\"x, \\\"\"y\\\"\"=z\\n\"\"}\",+Inf\n\
             2023-11-14T22:13:20.000Z,b,1e+06\n"
        );
    }

    #[test]
    fn line_protocol_is_escaped_and_says_what_is_missing() {
        assert_eq!(
            export(ExportWriter::influx()),
            "a_total,p=x\\,\\ \"y\"\\=z\\n value=0.5 1700000000000000000\n\
             b value=1e+06 1700000000000000000\n\
             # left out: 1 samples with NaN or infinite values\n"
        );
    }

    #[test]
    fn openmetrics_can_be_read_again() {
        let text = export(ExportWriter::prometheus());
        assert!(text.starts_with("# HELP a A.\n# TYPE a counter\na_total{"), "{text}");
        assert!(text.ends_with("# TYPE b unknown\nb 1e+06 1700000000\n# EOF\n"), "{text}");
        let batch = parse(&text, Timestamp::default()).unwrap();
        assert_eq!(batch.samples.len(), 3);
        assert_eq!(batch.samples[1].sample.timestamp.as_millis(), START + 2);
    }

    #[test]
    fn the_order_goes_by_metric_first() {
        // "A" sorts before "__name__".
        let (a, b) = (Labels::of("b", [("A", "x")]), Labels::of("a", []));
        assert!(a < b);
        assert_eq!(by_metric(&a, &b), Ordering::Greater);
    }
}
