//! Prometheus' HTTP API as its clients meet it: questions, forms, refusals.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use balefire::wire::v1::{
    CollectMetricsRequest, CreateRuleRequest, Histogram, HistogramBucket, MetricSource, MetricType,
    Observation, Sample, Severity, TimeSeries, WriteRequest,
};
use serde_json::{Value, json};

use crate::fixture::{Daemon, PATIENCE, eventually};

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    #[track_caller]
    fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        let answer: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    #[track_caller]
    fn refuses(&self, status: u16, kind: &str, part: &str) {
        let answer: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(
            (self.status, &answer["status"], &answer["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{answer}"
        );
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(part)), "{answer}");
    }
}

fn ask(address: &str, method: &str, path: &str, form: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("more than nothing");
    let len = form.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {len}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
    )
    .expect("a small request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer that ends");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Below `/api/v1`.
fn get(address: &str, path: &str) -> Answer {
    ask(address, "GET", &format!("/api/v1/{path}"), "")
}

/// Three series of two samples each, and one of a native histogram; `now` is the time of the last.
async fn filled() -> (Daemon, String, i64) {
    let daemon = Daemon::start("");
    let now = balefire::time::Clock::System.now().as_millis() / 1000 * 1000;
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut series: Vec<TimeSeries> = ["a", "b", "c"]
        .iter()
        .map(|room| TimeSeries {
            labels: [label("__name__", "heat"), label("room", room)].into(),
            samples: [(now - 600_000, 1.5), (now, 2.5)]
                .map(|(timestamp_ms, value)| Sample { timestamp_ms, value })
                .to_vec(),
            histograms: Vec::new(),
        })
        .collect();
    let histogram = Histogram {
        timestamp_ms: now,
        count: 3.0,
        sum: 4.5,
        schema: 0,
        zero_threshold: 0.25,
        zero_count: 1.0,
        positive: vec![HistogramBucket { index: 1, count: 2.0 }],
        ..Histogram::default()
    };
    series.push(TimeSeries {
        labels: [label("__name__", "took_seconds")].into(),
        samples: Vec::new(),
        histograms: vec![histogram],
    });
    let request = WriteRequest { series, metadata: Vec::new() };
    let answer = daemon.metrics().await.write(request).await.expect("a sound write").into_inner();
    assert_eq!(answer.accepted_count, 7);
    let address = daemon.status().await.http_address;
    (daemon, address, now / 1000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn queries_are_answered_in_both_forms() {
    let (daemon, address, now) = filled().await;
    let expected = json!({"resultType": "vector", "result": [
        {"metric": {"__name__": "heat", "room": "b"}, "value": [now, "2.5"]}]});
    let question = format!("query=heat%7Broom%3D%22b%22%7D&time={now}");
    assert_eq!(get(&address, &format!("query?{question}")).data(), expected);
    assert_eq!(ask(&address, "POST", "/api/v1/query", &question).data(), expected);
    // As text: field by field, in Prometheus' order.
    let text = get(&address, &format!("query?query=took_seconds[1m]&time={now}")).body;
    let histogram = format!(
        r#""histograms":[[{now},{{"count":"3","sum":"4.5","buckets":[[3,"-0.25","0.25","1"],[0,"1","2","2"]]}}]]"#
    );
    assert!(text.ends_with(&format!("{histogram}}}]}}}}")), "{text}");

    let range = format!("query=sum(heat)&start={}&end={now}&step=300", now - 600);
    let values = json!([[now - 600, "4.5"], [now - 300, "4.5"], [now, "7.5"]]);
    let data = get(&address, &format!("query_range?{range}")).data();
    // The look-back of five minutes is left-open: the sample of then is seen no more.
    assert_eq!(data["result"][0]["values"], json!([values[0], values[2]]));
    let data =
        ask(&address, "POST", "/api/v1/query_range", &format!("{range}&lookback_delta=6m")).data();
    assert_eq!(data["result"][0]["values"], values);
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn series_and_labels_can_be_listed() {
    let (daemon, address, now) = filled().await;
    let window = format!("match[]=heat&start={}&end={now}", now - 60);
    let found = get(&address, &format!("series?{window}")).data();
    assert_eq!(found[2], json!({"__name__": "heat", "room": "c"}));
    assert_eq!(get(&address, &format!("labels?{window}")).data(), json!(["__name__", "room"]));
    let rooms = ask(&address, "GET", &format!("/api/v1/label/U__room/values?{window}"), "").data();
    assert_eq!(rooms, json!(["a", "b", "c"]));
    let cut = get(&address, &format!("series?{window}&limit=2")).body;
    assert!(cut.ends_with(r#"],"warnings":["results truncated due to limit"]}"#), "{cut}");
    let both = "match[]=heat&match[]=took_seconds&match[]=heat";
    let all = ask(&address, "POST", "/api/v1/series", both).data();
    assert_eq!(all.as_array().map(Vec::len), Some(4));
    for nothing in ["series?match[]=heat&end=5", "labels?match[]=heat&start=9&end=5"] {
        assert_eq!(get(&address, nothing).data(), json!([]), "{nothing}");
    }
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_wrong_is_told_in_prometheus_terms() {
    let (daemon, address, now) = filled().await;
    let refused = |path: &str, status, kind: &str, part: &str| {
        get(&address, path).refuses(status, kind, part);
    };
    refused("query", 400, "bad_data", "\"query\"");
    refused("query?query=heat%7B", 400, "bad_data", "invalid parameter \"query\"");
    refused("query?query=heat&time=later", 400, "bad_data", "invalid parameter \"time\"");
    refused(&format!("query?query=heat*on()heat&time={now}"), 422, "execution", "many-to-many");
    refused("query_range?query=heat&start=0&end=11001&step=1", 400, "bad_data", "11,000 points");
    refused("query_range?query=heat&start=1&end=0&step=1", 400, "bad_data", "\"end\"");
    refused("query_range?query=heat&start=0&end=1&step=0", 400, "bad_data", "\"step\"");
    refused("query_range?query=heat[5m]&start=0&end=1&step=1", 400, "bad_data", "range vector");
    refused("series", 400, "bad_data", "match[]");
    refused("series?match[]=%7B%7D", 400, "bad_data", "match[]");
    refused("label/%FF/values", 400, "bad_data", "UTF-8");
    refused("nothing", 404, "not_found", "/api/v1/nothing");
    ask(&address, "PUT", "/api/v1/query", "").refuses(405, "bad_data", "read-only");
    ask(&address, "POST", "/api/v1/rules", "").refuses(405, "bad_data", "read-only");
    // As many steps as are allowed.
    get(&address, "query_range?query=heat&start=0&end=11000&step=1").data();
    let head = ask(&address, "HEAD", "/api/v1/query?query=heat", "");
    assert!(head.status == 200 && head.body.is_empty(), "{}", head.head);
    assert!(head.head.contains("content-type: application/json"), "{}", head.head);
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rules_and_alerts_are_told() {
    let daemon = Daemon::start("[global]\nevaluation_interval = \"1s\"\n");
    let address = daemon.status().await.http_address;
    let request = CreateRuleRequest {
        name: "queue too long".into(),
        condition: "queue_length > 5".into(),
        severity: Severity::High.into(),
        description: "Mail waits.".into(),
        ..CreateRuleRequest::default()
    };
    daemon.alerts().await.create_rule(request).await.expect("a sound rule");
    let metrics = vec![Observation {
        name: "queue_length".into(),
        value: 9.5,
        metric_type: MetricType::Gauge.into(),
        ..Observation::default()
    }];
    let request = CollectMetricsRequest { source: MetricSource::Custom.into(), metrics };
    daemon.metrics().await.collect_metrics(request).await.expect("a gauge is taken");
    let alert = eventually("it fires", || async {
        let alerts = get(&address, "alerts").data();
        alerts["alerts"].get(0).filter(|alert| alert["state"] == "firing").cloned()
    })
    .await;
    assert_eq!(alert["labels"]["alertname"], "queue too long");
    assert_eq!(
        (&alert["value"], &alert["annotations"]["description"]),
        (&json!("9.5e+00"), &json!("Mail waits."))
    );

    let named = "rules?rule_group[]=api&rule_name[]=queue+too+long&type=alert";
    let groups = get(&address, named).data()["groups"].clone();
    assert_eq!(groups.as_array().map(Vec::len), Some(1), "{groups}");
    let rule = &groups[0]["rules"][0];
    assert_eq!((&groups[0]["name"], &groups[0]["interval"]), (&json!("api"), &json!(1)));
    assert_eq!(
        (&rule["state"], &rule["health"], &rule["type"]),
        (&json!("firing"), &json!("ok"), &json!("alerting"))
    );
    assert_eq!(rule["alerts"][0]["labels"], alert["labels"]);
    let without = get(&address, &format!("{named}&exclude_alerts=true")).data();
    assert_eq!(without["groups"][0]["rules"][0]["alerts"], Value::Null);
    let selected = get(&address, "rules?match[]=%7Bseverity%3D%22critical%22%7D").data();
    assert_eq!(selected["groups"][0]["rules"][0]["name"], "mcp_server_down");
    for empty in ["rules?type=record", "rules?rule_name[]=none", "rules?file[]=none"] {
        assert_eq!(get(&address, empty).data(), json!({"groups": []}), "{empty}");
    }
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_daemon_tells_of_itself() {
    let daemon = Daemon::start("[global.external_labels]\nsite = \"a\\\"b\"\n");
    let address = daemon.status().await.http_address;
    let build = get(&address, "status/buildinfo").data();
    assert_eq!(
        (&build["version"], &build["application"]),
        (&json!("3.5.3"), &json!(concat!("Balefire ", env!("CARGO_PKG_VERSION"))))
    );
    let config = get(&address, "status/config").data();
    assert_eq!(
        config["yaml"],
        "global:\n  evaluation_interval: 30s\n  external_labels:\n    site: \"a\\\"b\"\n"
    );
    assert_eq!(get(&address, "status/flags").data()["query.lookback-delta"], "5m");
    assert!(get(&address, "status/runtimeinfo").data()["startTime"].is_string());
    let target = get(&address, "targets?state=active").data()["activeTargets"][0].clone();
    assert_eq!(
        (&target["labels"]["instance"], &target["scrapePool"]),
        (&json!("balefire"), &json!("probe"))
    );
    eventually("the host is stored, counted and described", || async {
        let counted =
            get(&address, "status/tsdb?limit=1").data()["seriesCountByMetricName"].clone();
        let known = get(&address, "metadata?metric=node_load1").data();
        let load = json!([{"type": "gauge", "unit": "", "help": "1m load average."}]);
        (counted.as_array().map(Vec::len) == Some(1) && known["node_load1"] == load).then_some(())
    })
    .await;
    let (tree, text) =
        (get(&address, "parse_query?query=-up"), get(&address, "format_query?query=a%3Cb"));
    assert_eq!(
        (&tree.data()["type"], text.body.as_str()),
        (&json!("unaryExpr"), r#"{"status":"success","data":"a \u003c b"}"#)
    );
    daemon.assert_sound().await;
}
