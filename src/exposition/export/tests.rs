//! What each form looks like.

use std::sync::Arc;

use super::*;
use crate::{
    model::{Bounds, Bucket, Histogram, HistogramParts, MetricKind, stale_nan},
    time::Timestamp,
};

const START: i64 = 1_700_000_000_000;

/// Writes all points.
fn push(
    writer: &mut ExportWriter,
    labels: &Labels,
    samples: &[Sample],
    histograms: &[HistogramSample],
    out: &mut Vec<u8>,
) {
    let mut points = Points { samples, histograms };
    writer.points(labels, &mut points, out);
    assert!(points.is_empty());
}

fn sample(offset: i64, value: f64) -> Sample {
    Sample { timestamp: Timestamp::from_millis(START + offset), value }
}

fn histogram(offset: i64) -> HistogramSample {
    let parts = HistogramParts {
        count: 2.0,
        sum: 0.5,
        bounds: Bounds::Exponential(1),
        positive: vec![Bucket { index: -1, count: 2.0 }],
        ..HistogramParts::default()
    };
    let histogram = Arc::new(Histogram::new(parts).unwrap());
    HistogramSample { timestamp: Timestamp::from_millis(START + offset), histogram }
}

fn export(format: ExportFormat) -> (String, ExportSummary) {
    let (kind, unit) = (MetricKind::Counter, String::new());
    let known = Metadata { name: "a_total".into(), kind, help: "A.".into(), unit };
    let mut writer = ExportWriter::new(format);
    let mut out = Vec::new();
    writer.begin(&mut out);
    writer.metric("a_total", &[known], &mut out);
    let labels = Labels::of("a_total", [("p", "x, \"y\"=z\n")]);
    let samples = [sample(0, 0.5), sample(30, stale_nan()), sample(40, f64::INFINITY)];
    push(&mut writer, &labels, &samples[..1], &[], &mut out);
    push(&mut writer, &labels, &samples[1..], &[], &mut out);
    writer.metric("b", &[], &mut out);
    let odd = f64::from_bits(0x7ff8_0000_0000_0123);
    let b = [sample(0, 1e6), sample(9, odd)];
    push(&mut writer, &Labels::of("b", []), &b, &[histogram(5)], &mut out);
    let summary = writer.finish(&mut out);
    (String::from_utf8(out).unwrap(), summary)
}

/// A line that is longer than a reader takes would be lost.
#[test]
fn lines_of_large_histograms_stay_short() {
    let positive: Vec<_> = (0..1000).map(|index| Bucket { index, count: 0.123_456_789 }).collect();
    let parts = HistogramParts { count: 123.0, positive, ..HistogramParts::default() };
    let large = Arc::new(Histogram::new(parts).unwrap());
    let at = |offset| Timestamp::from_millis(START + offset);
    let all: Vec<_> = (0..500)
        .map(|offset| HistogramSample { timestamp: at(offset), histogram: large.clone() })
        .collect();
    let mut writer = ExportWriter::new(ExportFormat::Json);
    let mut out = Vec::new();
    writer.begin(&mut out);
    writer.metric("h", &[], &mut out);
    let mut points = Points { samples: &[], histograms: &all };
    let mut piece = Vec::new();
    while !points.is_empty() {
        writer.points(&Labels::of("h", []), &mut points, &mut piece);
        out.append(&mut piece);
    }
    writer.finish(&mut out);
    let longest = out.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap();
    assert!(out.len() > 8 << 20 && longest < 1 << 20, "{longest}");
}

const HISTOGRAM: &str = "{\"count\":\"2\",\"sum\":\"0.5\",\"zero_threshold\":\"0\",\"zero_count\":\"0\",\
                         \"schema\":1,\"positive\":[[-1,\"2\"]]}";

#[test]
fn json_is_one_object_a_line() {
    let (text, summary) = export(ExportFormat::Json);
    let expected = format!(
        "{{\"metadata\":{{\"help\":\"A.\",\"name\":\"a_total\",\"type\":\"counter\",\"unit\":\"\"}}}}\n\
         {{\"labels\":{{\"__name__\":\"a_total\",\"p\":\"x, \\\"y\\\"=z\\n\"}},\"samples\":\
         [[1700000000000,\"0.5\"],[1700000000030,\"StaleNaN\"],[1700000000040,\"+Inf\"]]}}\n\
         {{\"labels\":{{\"__name__\":\"b\"}},\"samples\":[[1700000000000,\"1e+06\"]]}}\n\
         {{\"labels\":{{\"__name__\":\"b\"}},\"histograms\":[[1700000000005,{HISTOGRAM}]]}}\n\
         {{\"labels\":{{\"__name__\":\"b\"}},\"samples\":[[1700000000009,\"NaN(7ff8000000000123)\"]]}}\n"
    );
    assert_eq!(text, expected);
    assert_eq!(summary, ExportSummary { series: 2, samples: 6, ..ExportSummary::default() });
}

#[test]
fn csv_is_quoted_where_needed() {
    let a = "\"a_total{p=\"\"x, \\\"\"y\\\"\"=z\\n\"\"}\"";
    let histogram = HISTOGRAM.replace('"', "\"\"");
    assert_eq!(
        export(ExportFormat::Csv).0,
        format!(
            "timestamp,series,value,detail\n\
             2023-11-14T22:13:20.000Z,{a},0.5,\n\
             2023-11-14T22:13:20.030Z,{a},NaN,stale\n\
             2023-11-14T22:13:20.040Z,{a},+Inf,\n\
             2023-11-14T22:13:20.000Z,b,1e+06,\n\
             2023-11-14T22:13:20.005Z,b,,\"{histogram}\"\n\
             2023-11-14T22:13:20.009Z,b,NaN,7ff8000000000123\n"
        )
    );
}

#[test]
fn line_protocol_keeps_what_it_has_no_word_for_in_comments() {
    let a = "a_total,p=x\\,\\ \"y\"\\=z\\n";
    assert_eq!(
        export(ExportFormat::Influx).0,
        format!(
            "# Balefire line protocol 1\n\
             # HELP a_total A.\n# TYPE a_total counter\n\
             {a} value=0.5 1700000000000000000\n\
             #= {a} value=StaleNaN 1700000000030000000\n\
             #= {a} value=+Inf 1700000000040000000\n\
             b value=1e+06 1700000000000000000\n\
             #= b histogram={HISTOGRAM} 1700000000005000000\n\
             #= b value=NaN(7ff8000000000123) 1700000000009000000\n"
        )
    );
}

#[test]
fn openmetrics_tells_an_end_within_a_timestamp_and_counts_what_it_cannot_tell() {
    let (text, summary) = export(ExportFormat::Prometheus);
    let a = "a_total{p=\"x, \\\"y\\\"=z\\n\"}";
    assert_eq!(
        text,
        format!(
            "# HELP a A.\n# TYPE a counter\n\
             {a} 0.5 1700000000.000000000000000000030\n\
             {a} +Inf 1700000000.040\n\
             # TYPE b unknown\n\
             b 1e+06 1700000000\n\
             b NaN 1700000000.009\n\
             # EOF\n"
        )
    );
    let counts = (summary.samples, summary.histograms_left_out, summary.nans_altered);
    assert_eq!(counts, (5, 1, 1));
}

#[test]
fn a_series_that_begins_with_its_end_has_a_line_of_its_own() {
    let mut writer = ExportWriter::new(ExportFormat::Prometheus);
    let mut out = Vec::new();
    let ends = [sample(0, stale_nan()), sample(1, stale_nan())];
    push(&mut writer, &Labels::of("a", []), &ends, &[], &mut out);
    push(&mut writer, &Labels::of("b", []), &ends[..1], &[], &mut out);
    writer.finish(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, "a nAn 1700000000\na nAn 1700000000.001\nb nAn 1700000000\n# EOF\n");
}

#[test]
fn an_empty_piece_is_no_series() {
    let mut writer = ExportWriter::new(ExportFormat::Json);
    let mut out = Vec::new();
    push(&mut writer, &Labels::of("a", []), &[], &[], &mut out);
    assert_eq!(writer.finish(&mut out), ExportSummary::default());
    assert!(out.is_empty());
}

#[test]
fn long_series_take_several_lines_of_json_wherever_they_are_cut() {
    let samples: Vec<Sample> = (0..2500).map(|n| sample(n, 1.0)).collect();
    let written = |pieces: &[&[Sample]]| {
        let mut writer = ExportWriter::new(ExportFormat::Json);
        let mut out = Vec::new();
        let labels = Labels::of("a", []);
        for piece in pieces {
            push(&mut writer, &labels, piece, &[], &mut out);
        }
        writer.finish(&mut out);
        String::from_utf8(out).unwrap()
    };
    let whole = written(&[&samples]);
    assert_eq!(whole.lines().count(), 3);
    assert_eq!(written(&[&samples[..7], &samples[7..1501], &samples[1501..]]), whole);
}

#[test]
fn a_text_that_is_long_enough_is_handed_on_before_the_series_ends() {
    let samples: Vec<Sample> = (0..20_000).map(|n| sample(n, 0.125)).collect();
    let mut writer = ExportWriter::new(ExportFormat::Prometheus);
    let (mut text, mut pieces) = (Vec::new(), 0);
    let mut points = Points { samples: &samples, histograms: &[] };
    while !points.is_empty() {
        let mut out = Vec::new();
        writer.points(&Labels::of("a", []), &mut points, &mut out);
        assert!(out.len() < PIECE_BYTES + 100);
        text.extend(out);
        pieces += 1;
    }
    writer.finish(&mut text);
    assert!(pieces > 1);
    assert_eq!(String::from_utf8(text).unwrap().lines().count(), samples.len() + 1);
}
