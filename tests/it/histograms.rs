//! Native histograms from outside: written over gRPC, read again after a crash.

use balefire::wire::v1::{
    Histogram, HistogramBucket, HistogramResetHint, QueryRequest, TimeSeries, WriteRequest,
    query_response,
};

use crate::fixture::Daemon;

fn histograms() -> Vec<Histogram> {
    let now = balefire::time::Clock::System.now().as_millis();
    let bucket = |index, count| HistogramBucket { index, count };
    let one = |n: i32| Histogram {
        timestamp_ms: now - i64::from(60 - n) * 1000,
        count: f64::from(n) * 3.0,
        sum: f64::from(n) * 1.7,
        schema: 3,
        zero_threshold: 1e-9,
        zero_count: f64::from(n),
        positive: vec![bucket(-12, f64::from(n)), bucket(40, f64::from(n))],
        ..Histogram::default()
    };
    let own = Histogram {
        timestamp_ms: now - 500,
        count: 5.0,
        sum: f64::INFINITY,
        schema: -53,
        custom_bounds: vec![0.5, 2.5],
        positive: vec![bucket(0, 2.0), bucket(2, 3.0)],
        reset_hint: HistogramResetHint::Gauge.into(),
        ..Histogram::default()
    };
    (1..50).map(one).chain([own]).collect()
}

fn request(histograms: Vec<Histogram>) -> WriteRequest {
    let labels = [("__name__".to_owned(), "took_seconds".to_owned())].into();
    let series = TimeSeries { labels, samples: Vec::new(), histograms };
    WriteRequest { series: vec![series], metadata: Vec::new() }
}

async fn read(daemon: &Daemon) -> Vec<Histogram> {
    let request = QueryRequest { expr: "took_seconds[1h]".to_owned(), ..QueryRequest::default() };
    let answer = daemon.metrics().await.query(request).await.expect("a sound query").into_inner();
    let Some(query_response::Result::Matrix(matrix)) = answer.result else { panic!("a matrix") };
    matrix.series.into_iter().flat_map(|series| series.histograms).collect()
}

#[tokio::test]
async fn what_was_acknowledged_is_read_again_after_a_crash() {
    let daemon = Daemon::start("");
    let written = histograms();
    let mut metrics = daemon.metrics().await;
    let answer = metrics.write(request(written.clone())).await.expect("a sound write").into_inner();
    assert_eq!((answer.accepted_count, answer.rejected_count), (50, 0));
    assert_eq!(read(&daemon).await, written);
    let again = metrics.write(request(written.clone())).await.expect("a sound write").into_inner();
    assert_eq!((again.accepted_count, again.duplicate_count), (0, 50));

    let daemon = daemon.kill().start();
    assert_eq!(read(&daemon).await, written);
}

#[tokio::test]
async fn a_histogram_that_is_none_is_refused_by_its_place() {
    let daemon = Daemon::start("");
    let mut wrong = histograms();
    wrong[7].positive.reverse();
    let refused = daemon.metrics().await.write(request(wrong)).await.expect_err("a refusal");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let told = refused.message();
    assert!(told.contains("series[0].histograms[7]") && told.contains("ascending"), "{told}");
}
