//! History moves from one daemon to another by each of the export formats, bit by bit.

use std::{fs, path::PathBuf};

use balefire::{
    time::Clock,
    wire::v1::{
        Histogram, HistogramBucket, ImportFormat, ImportRequest, MetricMetadata, MetricType,
        Sample, TimeSeries, WriteRequest,
    },
};
use tokio_stream::iter;

use crate::fixture::{Daemon, text};

/// Prometheus' staleness marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;
const SERIES: &str = "{__name__=~\"moved_.*\"}";

fn series(name: &str, label: &str, samples: Vec<Sample>) -> TimeSeries {
    let labels = [("__name__".to_owned(), name.to_owned()), ("l".to_owned(), label.to_owned())];
    TimeSeries { labels: labels.into(), samples, histograms: Vec::new() }
}

fn samples(values: &[f64]) -> Vec<Sample> {
    let start = Clock::System.now().as_millis() - 600_000;
    let at = |(n, value): (usize, &f64)| {
        let timestamp_ms = start + 15_007 * i64::try_from(n).expect("a few samples");
        Sample { timestamp_ms, value: *value }
    };
    values.iter().enumerate().map(at).collect()
}

/// Everything that a format may stumble over; native histograms where it has a word for them.
fn history(with_histograms: bool) -> WriteRequest {
    let odd = [1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, 0.1 + 0.2];
    let ended = [3.0, f64::from_bits(STALE), f64::from_bits(STALE), 4.0, f64::from_bits(STALE)];
    let hostile = "C:\\new\\,\"quoted\" = {x}\r\n#\u{2028}ü\t\\";
    let mut all = vec![
        series("moved_total", hostile, samples(&odd)),
        series("moved_total", "a", samples(&ended)),
        series("moved_total", "b", samples(&ended[1..])),
        series("moved_seconds_count", "a", samples(&[1e15, 123_456.789])),
    ];
    if with_histograms {
        let histogram = Histogram {
            timestamp_ms: Clock::System.now().as_millis() - 1000,
            count: 3.0,
            sum: -1.7,
            schema: 3,
            zero_threshold: 1e-9,
            zero_count: 1.0,
            positive: vec![HistogramBucket { index: -12, count: 2.0 }],
            ..Histogram::default()
        };
        let mut native = series("moved_native", "a", Vec::new());
        native.histograms.push(histogram);
        all.push(native);
    }
    let described = |name: &str, kind: MetricType| MetricMetadata {
        name: name.to_owned(),
        r#type: kind.into(),
        help: "What \"moved\"\nand \\how.".to_owned(),
        unit: String::new(),
    };
    let metadata = vec![
        described("moved_total", MetricType::Counter),
        described("moved_seconds", MetricType::Summary),
    ];
    WriteRequest { series: all, metadata }
}

fn export(daemon: &Daemon, format: &str, name: &str) -> (PathBuf, String) {
    let path = daemon.home().path(name);
    let file = path.display().to_string();
    let asked = ["export", "--format", format, "--match", SERIES, "--file", &file];
    let output = daemon.cli(&asked);
    assert!(output.status.success(), "{}", text(&output));
    (path.clone(), fs::read_to_string(path).expect("the export is there"))
}

fn import(daemon: &Daemon, file: &str) -> serde_json::Value {
    let output = daemon.cli(&["-o", "json", "import", file]);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("an answer in JSON")
}

async fn moves(format: &str, with_histograms: bool) {
    let (from, to) = (Daemon::start(""), Daemon::start(""));
    let written = history(with_histograms);
    let answer = from.metrics().await.write(written).await.expect("a sound write").into_inner();
    assert_eq!(answer.rejected_count, 0, "{answer:?}");
    let count = answer.accepted_count;

    let (path, first) = export(&from, format, "first");
    let file = path.display().to_string();
    assert_eq!(import(&to, &file)["accepted"], count, "{first}");
    let (_, second) = export(&to, format, "second");
    assert_eq!(first, second);
    for daemon in [&from, &to] {
        let again = import(daemon, &file);
        assert_eq!(
            (&again["accepted"], &again["duplicates"]),
            (&0.into(), &count.into()),
            "{again}"
        );
    }
    from.assert_sound().await;
    to.assert_sound().await;
}

#[tokio::test]
async fn history_moves_as_json() {
    moves("json", true).await;
}

#[tokio::test]
async fn history_moves_as_csv() {
    moves("csv", true).await;
}

#[tokio::test]
async fn history_moves_as_openmetrics() {
    moves("prometheus", false).await;
}

#[tokio::test]
async fn history_moves_as_line_protocol() {
    moves("influx", true).await;
}

#[tokio::test]
async fn what_openmetrics_cannot_hold_is_told() {
    let daemon = Daemon::start("");
    let written = daemon.metrics().await.write(history(true)).await;
    assert_eq!(written.expect("a sound write").into_inner().rejected_count, 0);
    let output = daemon.cli(&["export", "--format", "prometheus", "--match", SERIES]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("left out: 1 native histograms"), "{}", text(&output));
}

#[tokio::test]
async fn an_import_tells_each_line_that_is_wrong_and_takes_the_others() {
    let daemon = Daemon::start("");
    let pieces = ["moved 1\nmoved o", "ne\n1moved 1\nmoved{l=\"a\"} 2", ""];
    let requests = pieces.map(|piece| ImportRequest {
        format: ImportFormat::Text.into(),
        chunk: piece.as_bytes().to_vec(),
    });
    let mut answers =
        daemon.metrics().await.import(iter(requests)).await.expect("an import").into_inner();
    let mut problems = Vec::new();
    let mut last = None;
    while let Some(answer) = answers.message().await.expect("an answer") {
        problems.extend(answer.problems.clone());
        last = Some(answer);
    }
    let last = last.expect("an answer for the end");
    assert!(last.complete);
    assert_eq!((last.accepted_count, last.invalid_line_count, last.line_count), (2, 2, 4));
    let places: Vec<_> =
        problems.iter().map(|problem| (problem.first_line, problem.column)).collect();
    assert_eq!(places, [(2, 7), (3, 1)]);

    let file = daemon.home().path("wrong.prom");
    fs::write(&file, "moved one\n").expect("a writable folder");
    let output = daemon.cli(&["import", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("line 1, column 7: invalid value \"one\""), "{}", text(&output));
}

#[tokio::test]
async fn an_import_without_a_format_is_refused() {
    let daemon = Daemon::start("");
    let request = ImportRequest { format: 0, chunk: b"up 1\n".to_vec() };
    let mut metrics = daemon.metrics().await;
    for requests in [vec![request], Vec::new()] {
        let mut answers = metrics.import(iter(requests)).await.expect("a stream").into_inner();
        let refused = answers.message().await.expect_err("a refusal");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    }
    daemon.assert_sound().await;
}
