//! Input that is wrong: each kind gives an error that names the field and the fix, over gRPC and on the
//! command line; nothing is lost, and nothing panics. (Configurations: `life.rs`; MCP: `tests/peers/mcp`.)

use balefire::wire::v1::{
    AcknowledgeAlertRequest, CheckTargetRequest, CollectMetricsRequest, CreateRuleRequest,
    DeleteRuleRequest, GetTargetRequest, ListSeriesRequest, ListTargetsRequest, MetricSource,
    MetricType, Observation, QueryRangeRequest, QueryRequest, Sample, SetLogLevelRequest, Severity,
    TimeSeries, WriteRequest,
};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::fixture::{Daemon, Home, text};

/// That a call was refused with this code, and that the refusal names `field`: in its details where the
/// request is wrong in itself, in words where it names what is not there.
#[track_caller]
fn check<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, code: Code, field: &str) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), code, "{what}: {status}");
    assert!(!status.message().is_empty(), "{what}: no words");
    if code == Code::InvalidArgument {
        let request = status.get_details_bad_request();
        let fields: Vec<String> = request
            .iter()
            .flat_map(|details| &details.field_violations)
            .map(|violation| violation.field.clone())
            .collect();
        assert!(fields.iter().any(|name| name.contains(field)), "{what}: {fields:?}, {status}");
    } else {
        assert!(status.message().contains(field), "{what}: {status}");
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn query(expr: &str) -> QueryRequest {
    QueryRequest { expr: expr.into(), ..QueryRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn queries() {
    let daemon = Daemon::start("");
    let mut metrics = daemon.metrics().await;
    for expr in ["", "up{", "rate(up)", "sum by (", "up{job=~\"(\"}", "nonsense(up)", "up +"] {
        check(expr, metrics.query(query(expr)).await, Code::InvalidArgument, "expr");
    }
    let long = "up + ".repeat(10_000) + "up";
    check("a long one", metrics.query(query(&long)).await, Code::InvalidArgument, "expr");
    let deep = "(".repeat(5_000) + "up" + &")".repeat(5_000);
    check("a deep one", metrics.query(query(&deep)).await, Code::ResourceExhausted, "nests");
    let unknown = query("rate(no_such_metric[1m]) + no_such_other");
    check("an unknown metric", metrics.query(unknown).await, Code::NotFound, "no_such_other");
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ranges() {
    let daemon = Daemon::start("");
    let mut metrics = daemon.metrics().await;
    let range = |start, end, step| QueryRangeRequest {
        expr: "up".into(),
        start: Some(at(start)),
        end: Some(at(end)),
        step: Some(Duration { seconds: step, nanos: 0 }),
        timeout: None,
    };
    let cases = [
        ("upside down", range(2000, 1000, 10), "end"),
        ("no step", range(1000, 2000, 0), "step"),
        ("a step backwards", range(1000, 2000, -1), "step"),
        ("too many steps", range(0, 1_000_000, 1), "step"),
    ];
    for (what, request, field) in cases {
        check(what, metrics.query_range(request).await, Code::InvalidArgument, field);
    }
    let nothing = QueryRangeRequest { start: None, ..range(0, 1000, 10) };
    check("no start", metrics.query_range(nothing).await, Code::InvalidArgument, "start");
    let series = ListSeriesRequest { matchers: vec!["{".into()], ..Default::default() };
    check("a broken matcher", metrics.list_series(series).await, Code::InvalidArgument, "matchers");
    daemon.assert_sound().await;
}

fn observation(name: &str, tag: &str) -> Observation {
    Observation {
        name: name.into(),
        value: 1.0,
        metric_type: MetricType::Gauge.into(),
        tags: [(tag.to_owned(), "x".to_owned())].into(),
        timestamp: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn observations() {
    let daemon = Daemon::start("");
    let mut metrics = daemon.metrics().await;
    let cases = [
        ("no name", observation("", "a"), "name"),
        ("a name with a space", observation("two words", "a"), "name"),
        ("a reserved tag", observation("fine", "__name__"), "tags"),
        ("no type", Observation { metric_type: 0, ..observation("fine", "a") }, "metric_type"),
        (
            "a type of tomorrow",
            Observation { metric_type: 99, ..observation("fine", "a") },
            "metric_type",
        ),
    ];
    for (what, observation, field) in cases {
        let request = CollectMetricsRequest {
            source: MetricSource::Custom.into(),
            metrics: vec![observation],
        };
        check(what, metrics.collect_metrics(request).await, Code::InvalidArgument, field);
    }
    let nowhere = CollectMetricsRequest { source: 0, metrics: vec![observation("fine", "a")] };
    check("no source", metrics.collect_metrics(nowhere).await, Code::InvalidArgument, "source");
    daemon.assert_sound().await;
}

/// A write that is malformed is refused whole; of a sound one, what fits is taken, and the rest told.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn writes() {
    let daemon = Daemon::start("");
    let mut metrics = daemon.metrics().await;
    let now = daemon.status().await.timestamp.expect("a status tells its time").seconds * 1000;
    let series = |labels: &[(&str, &str)], timestamp_ms| TimeSeries {
        labels: labels.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        samples: vec![Sample { timestamp_ms, value: 1.0 }],
        ..TimeSeries::default()
    };
    let sound = || series(&[("__name__", "sound")], now);
    let write = |series| WriteRequest { series, metadata: Vec::new() };
    let cases = [
        ("a series without a name", series(&[("job", "nameless")], now)),
        ("a label with a space", series(&[("__name__", "bad"), ("with space", "x")], now)),
    ];
    for (what, wrong) in cases {
        let answer = metrics.write(write(vec![sound(), wrong])).await;
        check(what, answer, Code::InvalidArgument, "series[1].labels");
    }
    let of_tomorrow = series(&[("__name__", "of_tomorrow")], now + 86_400_000);
    let answer = metrics.write(write(vec![sound(), of_tomorrow])).await;
    let answer = answer.expect("the write as such is sound").into_inner();
    assert_eq!((answer.accepted_count, answer.rejected_count), (1, 1), "{:?}", answer.rejections);
    assert!(answer.rejections.iter().all(|rejection| !rejection.reason.is_empty()));
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rules() {
    let daemon = Daemon::start("");
    let mut alerts = daemon.alerts().await;
    let sound = CreateRuleRequest {
        name: "busy".into(),
        condition: "up > 1".into(),
        severity: Severity::Low.into(),
        ..CreateRuleRequest::default()
    };
    alerts.create_rule(sound.clone()).await.expect("a sound rule");
    check(
        "a second of that name",
        alerts.create_rule(sound.clone()).await,
        Code::AlreadyExists,
        "busy",
    );
    let named = |name: &str| CreateRuleRequest { name: name.into(), ..sound.clone() };
    let negative = Some(Duration { seconds: -1, nanos: 0 });
    let cases = [
        ("no name", named(""), "name"),
        ("no condition", CreateRuleRequest { condition: String::new(), ..named("a") }, "condition"),
        ("a broken one", CreateRuleRequest { condition: "up >".into(), ..named("b") }, "condition"),
        ("no severity", CreateRuleRequest { severity: 0, ..named("c") }, "severity"),
        ("a time backwards", CreateRuleRequest { r#for: negative, ..named("d") }, "for"),
    ];
    for (what, request, field) in cases {
        check(what, alerts.create_rule(request).await, Code::InvalidArgument, field);
    }
    let unknown = AcknowledgeAlertRequest { alert_id: "nobody".into(), ..Default::default() };
    check("an unknown alert", alerts.acknowledge_alert(unknown).await, Code::NotFound, "nobody");
    let unknown = DeleteRuleRequest { id: "nobody".into() };
    check("an unknown rule", alerts.delete_rule(unknown).await, Code::NotFound, "nobody");
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lists_targets_and_levels() {
    let daemon = Daemon::start("");
    let mut targets = daemon.targets().await;
    let page = ListTargetsRequest { page_size: -1, ..Default::default() };
    check(
        "a page below nothing",
        targets.list_targets(page).await,
        Code::InvalidArgument,
        "page_size",
    );
    let unknown = GetTargetRequest { name: "nobody".into() };
    check("an unknown target", targets.get_target(unknown).await, Code::NotFound, "nobody");
    let unknown = CheckTargetRequest { target: "nobody".into(), endpoints: Vec::new() };
    check("an unknown target", targets.check_target(unknown).await, Code::NotFound, "nobody");
    let endpoint =
        CheckTargetRequest { target: "system".into(), endpoints: vec!["ftp://x".into()] };
    check(
        "a strange endpoint",
        targets.check_target(endpoint).await,
        Code::InvalidArgument,
        "endpoints",
    );
    let level = SetLogLevelRequest { filter: "loud=very".into() };
    let refusal = daemon.system().await.set_log_level(level).await;
    check("a level unheard of", refusal, Code::InvalidArgument, "filter");
    daemon.assert_sound().await;
}

/// The command line says the same, and ends with the status that scripts rely on.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn commands() {
    let daemon = Daemon::start("");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["qurey", "up"], 2, "qurey"),
        (&["query"], 2, "EXPR"),
        (&["query", "up{"], 1, "expr"),
        (&["query", "up", "--start", "-1h", "--end", "-2h", "--step", "1m"], 2, "end"),
        (&["query", "up", "--time", "teatime"], 2, "teatime"),
        (&["query", "no_such_metric"], 1, "expr: nothing is stored under \"no_such_metric\""),
        (&["query", "no_such_metric", "--range", "1h"], 1, "balefire labels __name__"),
        (&["alerts", "ack", "nobody"], 1, "nobody"),
        (&["targets", "show", "nobody"], 1, "nobody"),
        (&["targets", "check", "nobody"], 1, "nobody"),
        (&["status", "--output", "xml"], 2, "xml"),
    ];
    for (arguments, status, word) in cases {
        let output = daemon.cli(arguments);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}: {said}");
        assert!(said.contains(word) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    daemon.assert_sound().await;
}

#[test]
fn a_command_without_a_daemon_says_how_to_start_one() {
    let output = Home::new("").cli(&["status"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("balefired"), "{}", text(&output));
}
