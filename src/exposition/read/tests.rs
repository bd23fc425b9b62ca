//! What is written is read again, and what others write.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    exposition::{ExportFormat, ExportWriter, Points, text_value},
    model::{
        Bounds, Bucket, Histogram, HistogramParts, HistogramSample, Labels, METRIC_NAME, Metadata,
        MetricKind, ResetHint, STALE_NAN_BITS, Sample, SeriesSample, stale_nan,
    },
};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Reads a text in pieces of this size.
fn read_in(format: ImportFormat, text: &str, size: usize) -> (Batch, LineCounts, Vec<InvalidLine>) {
    let mut reader = ImportReader::new(format, NOW);
    let mut all = Batch::default();
    let mut add = |piece: ImportPiece| {
        assert!(piece.first_line <= piece.last_line + 1, "{piece:?}");
        all.samples.extend(piece.batch.samples);
        all.histograms.extend(piece.batch.histograms);
        all.metadata.extend(piece.batch.metadata);
    };
    for mut piece in text.as_bytes().chunks(size) {
        while let Some(full) = reader.read(&mut piece) {
            add(full);
        }
    }
    add(reader.finish());
    (all, reader.counts(), reader.take_invalid())
}

#[track_caller]
fn read(format: ImportFormat, text: &str) -> Batch {
    let (batch, _, invalid) = read_in(format, text, text.len().max(1));
    assert_eq!(invalid, [], "{text}");
    batch
}

#[track_caller]
fn fails(format: ImportFormat, text: &str, place: (u64, usize), reason: &str) {
    let (_, counts, invalid) = read_in(format, text, 64);
    assert_eq!((counts.invalid, invalid.len()), (1, 1), "{invalid:?}");
    assert_eq!((invalid[0].line, invalid[0].column), place, "{}", invalid[0]);
    assert!(invalid[0].reason.contains(reason), "{}", invalid[0]);
}

fn one(labels: Labels, millis: i64, value: f64) -> SeriesSample {
    SeriesSample::new(labels, Timestamp::from_millis(millis), value)
}

/// Series with their points in the order of time.
type Stored = BTreeMap<Labels, (Vec<Sample>, Vec<HistogramSample>)>;

fn labels() -> impl Strategy<Value = Labels> {
    let hostile = r#"([a-z ]|[,=\\"'{}#\n\r\t]|\PC|n|r){1,12}"#;
    let pairs = proptest::collection::btree_map("[a-z][a-z0-9_]{0,5}", hostile, 0..4);
    ("[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", pairs).prop_map(|(name, pairs)| {
        Labels::new(pairs.into_iter().chain([(METRIC_NAME.to_owned(), name)])).unwrap()
    })
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => any::<u64>().prop_map(f64::from_bits),
        3 => (-100_000_i32..100_000).prop_map(|n| f64::from(n) / 100.0),
        2 => Just(stale_nan()),
        1 => prop_oneof![
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(f64::NAN),
            Just(-0.0),
            Just(5e-324),
            Just(f64::from_bits(0x7ff8_0000_0000_0001)),
            Just(f64::from_bits(0xfff8_0000_0000_0000)),
        ],
    ]
}

/// Before 1970, too, and up to the year 5138.
fn millis() -> impl Strategy<Value = i64> {
    prop_oneof![
        -100_000_000_000..100_000_000_000_000_i64,
        1_700_000_000_000..1_700_000_005_000_i64,
        -3000..3000_i64
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let count = || (1..1_000_000_u32).prop_map(|n| f64::from(n) / 7.0);
    let buckets = || proptest::collection::btree_map(-900..900_i32, count(), 0..4);
    (buckets(), buckets(), value(), -4..=8_i32, 0..3_u8).prop_map(|parts| {
        let (positive, negative, sum, schema, reset) = parts;
        let list = |buckets: BTreeMap<i32, f64>| {
            buckets.into_iter().map(|(index, count)| Bucket { index, count }).collect()
        };
        let reset = [ResetHint::Unknown, ResetHint::Reset, ResetHint::Gauge][usize::from(reset)];
        Histogram::new(HistogramParts {
            count: 0.1,
            sum,
            zero_threshold: 1e-128,
            zero_count: 3.0,
            bounds: Bounds::Exponential(schema),
            positive: list(positive),
            negative: list(negative),
            reset,
        })
        .unwrap()
    })
}

fn stored() -> impl Strategy<Value = Stored> {
    let point = (value(), proptest::option::weighted(0.2, histogram()));
    let points = proptest::collection::btree_map(millis(), point, 1..12);
    proptest::collection::btree_map(labels(), points, 0..4).prop_map(|series| {
        let split = |points: BTreeMap<i64, (f64, Option<Histogram>)>| {
            let (mut samples, mut histograms) = (Vec::new(), Vec::new());
            for (millis, (value, histogram)) in points {
                let timestamp = Timestamp::from_millis(millis);
                match histogram {
                    Some(histogram) => {
                        let histogram = Arc::new(histogram);
                        histograms.push(HistogramSample { timestamp, histogram });
                    }
                    None => samples.push(Sample { timestamp, value }),
                }
            }
            (samples, histograms)
        };
        series.into_iter().map(|(labels, points)| (labels, split(points))).collect()
    })
}

fn written(format: ExportFormat, stored: &Stored, known: &[Metadata]) -> (String, u64) {
    let mut writer = ExportWriter::new(format);
    let mut out = Vec::new();
    writer.begin(&mut out);
    let mut sorted: Vec<_> = stored.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp_by_metric(b.0));
    let mut metric = "";
    for (labels, (samples, histograms)) in sorted {
        if labels.metric() != metric {
            metric = labels.metric();
            writer.metric(metric, known, &mut out);
        }
        writer.points(labels, &mut Points { samples, histograms }, &mut out);
    }
    let altered = writer.finish(&mut out).nans_altered;
    (String::from_utf8(out).unwrap(), altered)
}

/// Bit by bit: a NaN is the same as itself.
fn sorted(batch: &Batch) -> Vec<(Labels, i64, u64)> {
    let samples = batch.samples.iter();
    let mut all: Vec<_> = samples
        .map(|one| {
            (one.labels.clone(), one.sample.timestamp.as_millis(), one.sample.value.to_bits())
        })
        .collect();
    all.sort();
    all
}

fn expected(stored: &Stored, map: impl Fn(f64) -> f64) -> Vec<(Labels, i64, u64)> {
    let points = stored.iter().flat_map(|(labels, (samples, _))| {
        samples.iter().map(|s| (labels.clone(), s.timestamp.as_millis(), map(s.value).to_bits()))
    });
    points.collect()
}

fn histograms(stored: &Stored) -> Vec<(Labels, HistogramSample)> {
    let all = stored.iter().flat_map(|(labels, (_, histograms))| {
        histograms.iter().map(|one| (labels.clone(), one.clone()))
    });
    all.collect()
}

const LOSSLESS: [(ExportFormat, ImportFormat); 3] = [
    (ExportFormat::Json, ImportFormat::Json),
    (ExportFormat::Csv, ImportFormat::Csv),
    (ExportFormat::Influx, ImportFormat::Influx),
];

proptest! {
    #[test]
    fn json_csv_and_line_protocol_give_back_every_bit(stored in stored(), size in 1..200_usize) {
        for (export, import) in LOSSLESS {
            let (text, altered) = written(export, &stored, &[]);
            let (batch, counts, invalid) = read_in(import, &text, size);
            prop_assert_eq!(invalid, [], "{}", text);
            prop_assert_eq!(sorted(&batch), expected(&stored, |value| value), "{}", text);
            let mut read: Vec<_> =
                batch.histograms.into_iter().map(|one| (one.labels, one.sample)).collect();
            read.sort_by(|a, b| (&a.0, a.1.timestamp).cmp(&(&b.0, b.1.timestamp)));
            prop_assert_eq!(read, histograms(&stored), "{}", text);
            prop_assert_eq!((altered, counts.lines), (0, text.lines().count() as u64));
        }
    }

    #[test]
    fn openmetrics_gives_back_every_sample(stored in stored(), size in 1..200_usize) {
        // Of NaNs it tells those apart that programs make.
        let known = |bits: u64| {
            let told = [STALE_NAN_BITS, 0x7ff8_0000_0000_0001, 0xfff8_0000_0000_0000];
            told.contains(&bits) || bits == f64::NAN.to_bits()
        };
        let told = |value: f64| {
            if value.is_nan() && !known(value.to_bits()) { f64::NAN } else { value }
        };
        let (text, altered) = written(ExportFormat::Prometheus, &stored, &[]);
        let (batch, _, invalid) = read_in(ImportFormat::Prometheus, &text, size);
        prop_assert_eq!(invalid, [], "{}", text);
        prop_assert_eq!(sorted(&batch), expected(&stored, told), "{}", text);
        let samples = stored.values().flat_map(|(samples, _)| samples);
        let odd = samples.filter(|s| s.value.is_nan() && !known(s.value.to_bits())).count();
        prop_assert_eq!(altered, odd as u64);
    }

    #[test]
    fn what_is_known_of_a_metric_comes_back(
        help in r#"([a-z ]|[\\"\n#]|\PC){0,12}"#,
        unit in "[a-z]{0,5}",
        kind in 0..5_usize,
    ) {
        let kinds = [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram];
        let kinds = [&kinds[..], &[MetricKind::Summary, MetricKind::Unknown]].concat();
        let known = Metadata { name: "m_total".into(), kind: kinds[kind], help, unit };
        let samples = vec![Sample { timestamp: NOW, value: 1.0 }];
        let stored = Stored::from([(Labels::of("m_total", []), (samples, Vec::new()))]);
        for (export, import) in [LOSSLESS[0], LOSSLESS[2]] {
            let (text, _) = written(export, &stored, std::slice::from_ref(&known));
            prop_assert_eq!(read(import, &text).metadata, [known.clone()], "{}", text);
        }
        // A unit that does not end the name is none there, nor has a part of a histogram a type.
        if known.unit.is_empty() && matches!(known.kind, MetricKind::Counter) {
            let (text, _) = written(ExportFormat::Prometheus, &stored, std::slice::from_ref(&known));
            prop_assert_eq!(read(ImportFormat::Prometheus, &text).metadata, [known], "{}", text);
        }
    }

    #[test]
    fn nothing_makes_it_panic(text in "(\\PC|\n|[{}\\[\\]\"\\\\#=, :0-9a-z]){0,80}", size in 1..20_usize) {
        for format in [
            ImportFormat::Json,
            ImportFormat::Csv,
            ImportFormat::Prometheus,
            ImportFormat::Text,
            ImportFormat::Influx,
        ] {
            read_in(format, &text, size);
            read_in(format, &format!("# Balefire line protocol 1\n#= {text}"), size);
        }
    }
}

#[test]
fn a_wrong_line_is_told_of_and_takes_nothing_else_with_it() {
    let text = "up 1 5\nup one 6\nup 3 7\n";
    fails(ImportFormat::Text, text, (2, 4), "invalid value \"one\"");
    let (batch, ..) = read_in(ImportFormat::Text, text, 3);
    assert_eq!(batch.samples.len(), 2);
    let json = "{\"labels\":{\"__name__\":\"a\"},\"samples\":[[1,\"2\"],[2,\"x\"]]}\n";
    fails(ImportFormat::Json, json, (1, 1), "\"x\" is not a value");
    assert_eq!(read_in(ImportFormat::Json, json, 9).0.samples, []);
}

#[test]
fn says_what_is_wrong_where() {
    fails(ImportFormat::Json, "\n{\"labels\":", (2, 10), "JSON");
    fails(ImportFormat::Json, "{\"samples\":[]}", (1, 1), "\"labels\"");
    fails(ImportFormat::Json, "{\"labels\":{\"a\":\"b\"}}", (1, 1), "__name__");
    fails(
        ImportFormat::Json,
        "{\"labels\":{\"__name__\":\"a\"},\"samples\":[[1.5,\"2\"]]}",
        (1, 1),
        "whole",
    );
    fails(
        ImportFormat::Json,
        "{\"metadata\":{\"name\":\"a\",\"type\":\"b\"}}",
        (1, 1),
        "unknown type",
    );
    fails(ImportFormat::Csv, "yesterday,up,1", (1, 1), "RFC 3339");
    fails(ImportFormat::Csv, "2026-01-31T09:00:00.000Z,\"up\" 1", (1, 30), "expected ','");
    fails(ImportFormat::Csv, "2026-01-31T09:00:00.000Z,up", (1, 1), "row");
    fails(ImportFormat::Csv, "2026-01-31T09:00:00.000Z,up,one", (1, 29), "invalid value");
    fails(ImportFormat::Csv, "2026-01-31T09:00:00.000Z,up,,{}", (1, 30), "schema");
    fails(ImportFormat::Influx, "cpu,host value=1", (1, 5), "a tag has no value");
    fails(ImportFormat::Influx, "cpu value", (1, 5), "no field");
    fails(ImportFormat::Influx, "cpu value=1x", (1, 11), "invalid value");
    fails(ImportFormat::Influx, "cpu value=1 1.5", (1, 13), "nanoseconds");
    fails(ImportFormat::Influx, "cpu value=\"a", (1, 11), "closing quote");
    fails(ImportFormat::Prometheus, "up 1 1e99\n# EOF\n", (1, 6), "seconds");
    fails(ImportFormat::Prometheus, "up 1 1\n", (1, 1), "# EOF");
}

#[test]
fn bytes_that_are_no_text_and_endless_lines_are_passed_over() {
    let mut reader = ImportReader::new(ImportFormat::Text, NOW);
    let mut bytes: &[u8] = b"up{a=\"\xff\"} 1\nup 2\n";
    assert!(reader.read(&mut bytes).is_none());
    let long = vec![b'x'; 1 << 20];
    for _ in 0..9 {
        assert!(reader.read(&mut &long[..]).is_none());
        assert!(reader.begun.len() <= LINE_BYTES_MAX);
    }
    assert!(reader.read(&mut &b"\nup 3\n"[..]).is_none());
    let piece = reader.finish();
    assert_eq!(piece.batch.samples.len(), 2);
    let invalid = reader.take_invalid();
    let told: Vec<_> = invalid.iter().map(|line| (line.line, line.column)).collect();
    assert_eq!(told, [(1, 7), (3, 1)]);
    assert!(invalid[0].reason.contains("UTF-8") && invalid[1].reason.contains("longer"));
}

#[test]
fn many_wrong_lines_are_counted_and_the_first_hundred_told() {
    let (_, counts, invalid) = read_in(ImportFormat::Text, &"1up\n".repeat(300), 50);
    assert_eq!((counts.lines, counts.invalid, invalid.len()), (300, 300, 100));
}

#[test]
fn a_long_text_comes_in_batches() {
    let mut reader = ImportReader::new(ImportFormat::Text, NOW);
    let text = "up 1 5\n".repeat(50_000);
    let mut rest = text.as_bytes();
    let mut pieces = Vec::new();
    while let Some(piece) = reader.read(&mut rest) {
        pieces.push((piece.batch.samples.len(), piece.first_line, piece.last_line));
    }
    let last = reader.finish();
    pieces.push((last.batch.samples.len(), last.first_line, last.last_line));
    assert_eq!(pieces, [(20_000, 1, 20_000), (20_000, 20_001, 40_000), (10_000, 40_001, 50_000)]);
}

#[test]
fn reads_the_line_protocol_of_others() {
    let text = "cpu,host-name=a\\ b,path=C:\\new\\\\x usage=1.5,value=7i,up=t,os=\"De\\\"b, ian\" 1700000000123456789\n\
                # a remark\nm.x value=3u\n#= b value=1 0\n";
    let (batch, counts, invalid) = read_in(ImportFormat::Influx, text, 1000);
    assert_eq!(invalid, []);
    let pairs = [("host_name", "a b"), ("path", "C:\\new\\\\x")];
    let at = 1_700_000_000_123;
    assert_eq!(
        batch.samples,
        [
            one(Labels::of("cpu_usage", pairs), at, 1.5),
            one(Labels::of("cpu", pairs), at, 7.0),
            one(Labels::of("cpu_up", pairs), at, 1.0),
            one(Labels::of("m_x", []), NOW.as_millis(), 3.0),
        ]
    );
    assert_eq!(counts.texts, 1);
}

#[test]
fn reads_csv_of_three_columns_and_other_times() {
    let text = "timestamp,series,value\r\n2023-11-14T23:13:20+01:00,up,1\r\n1700000000.25,\"up{a=\"\"b\"\"}\",2\r\n";
    assert_eq!(
        read(ImportFormat::Csv, text).samples,
        [
            one(Labels::of("up", []), 1_700_000_000_000, 1.0),
            one(Labels::of("up", [("a", "b")]), 1_700_000_000_250, 2.0),
        ]
    );
}

#[test]
fn timestamps_in_seconds_are_exact() {
    for millis in (1_700_000_000_000..1_700_000_003_000).chain(-1500..1500) {
        let (sign, rest) = (if millis < 0 { "-" } else { "" }, i64::abs(millis));
        let text = format!("up 1 {sign}{}.{:03}\n# EOF\n", rest / 1000, rest % 1000);
        assert_eq!(
            read(ImportFormat::Prometheus, &text).samples[0].sample.timestamp.as_millis(),
            millis
        );
    }
    let text = "up 1 1.7e9\nup 1 1700000000.0006\nup 1 1700000000.00049\n# EOF\n";
    let times: Vec<_> = read(ImportFormat::Prometheus, text)
        .samples
        .iter()
        .map(|one| one.sample.timestamp.as_millis() - 1_700_000_000_000)
        .collect();
    assert_eq!(times, [0, 1, 0]);
}

#[test]
fn metrics_of_one_family_name_are_told_apart() {
    let text = "# HELP a Gauge.\n# TYPE a gauge\na 1 1\n# HELP a Counter.\n# TYPE a counter\na_total 1 1\n# EOF\n";
    let told: Vec<_> = read(ImportFormat::Prometheus, text)
        .metadata
        .into_iter()
        .map(|known| (known.name, known.kind.name(), known.help))
        .collect();
    let expected = [("a", "gauge", "Gauge."), ("a_total", "counter", "Counter.")];
    assert_eq!(told, expected.map(|(name, kind, help)| (name.to_owned(), kind, help.to_owned())));
}

#[test]
fn other_programs_words_for_nan_are_values() {
    let text = "up NaN 1\nup nan 2\nup NAN 3\nup nAn 4\n# EOF\n";
    let samples = read(ImportFormat::Prometheus, text).samples;
    let stale: Vec<_> =
        samples.iter().map(|one| crate::model::is_stale(one.sample.value)).collect();
    assert_eq!(stale, [false, false, false, true]);
    assert_eq!(text_value(samples[3].sample.value), "NaN");
}
