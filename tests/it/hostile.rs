//! Questions that would take all there is: each ends, within its bounds and with a clear word, and the
//! rules are evaluated in time meanwhile.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use balefire::{
    time::Clock,
    wire::v1::{ListRulesRequest, Sample, TimeSeries, WriteRequest},
};
use serde_json::Value;

use crate::fixture::{Daemon, PATIENCE, eventually};

/// So much time each question gets, in seconds.
const SECONDS: u32 = 3;
const SERIES: usize = 1500;

/// The status, and what the answer says of itself.
fn ask(address: &str, question: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("more than nothing");
    let len = question.len();
    write!(
        stream,
        "POST /api/v1/query_range HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {len}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{question}"
    )
    .expect("a small request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer that ends");
    let status = text.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status");
    let body = text.split_once("\r\n\r\n").expect("a head and a body").1;
    let json = body.find('{').zip(body.rfind('}'));
    // A large answer comes in chunks; of it, the status says enough.
    let answer = json.and_then(|(from, to)| serde_json::from_str(&body[from..=to]).ok());
    (status, answer.unwrap_or_default())
}

fn escaped(expr: &str) -> String {
    expr.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).map(char::from).collect()
}

/// Series of one metric with a sample every 15 s for the last quarter of an hour.
async fn fill(daemon: &Daemon, now: i64) {
    for rooms in (0..SERIES).collect::<Vec<_>>().chunks(500) {
        let series = rooms.iter().map(|room| TimeSeries {
            labels: [("__name__", "heat".to_owned()), ("room", room.to_string())]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            samples: (0..60)
                .map(|at| Sample { timestamp_ms: now - 15_000 * (60 - at), value: at as f64 })
                .collect(),
            histograms: Vec::new(),
        });
        let request = WriteRequest { series: series.collect(), metadata: Vec::new() };
        daemon.metrics().await.write(request).await.expect("a sound write");
    }
}

/// An expression and the step of its range of 11,000 seconds.
fn questions() -> Vec<(String, u32)> {
    let nested = |depth: usize, window: &str| {
        format!("{}heat{}", "max_over_time(".repeat(depth), format!("[{window}])").repeat(depth))
    };
    let everything = r#"{__name__=~".+"}"#;
    vec![
        (nested(10, "1h:1s"), 1),
        (nested(10, "20m:100ms"), 60),
        (format!("count({everything} * on() group_left() {everything})"), 15),
        ("heat * on() group_left() heat".into(), 1),
        ("count(heat * on(room) group_left() heat) by (room)".into(), 1),
        (format!("sum_over_time({everything}[1d])"), 1),
        (format!("quantile_over_time(0.5, {everything}[1d:1s])"), 1),
        (format!("topk(1e9, sort_desc({everything}))"), 1),
        (format!("count_values(\"v\", {everything} + time())"), 1),
        (format!("label_replace({everything}, \"a\", \"$1$1$1$1\", \"room\", \"((.*)*)*\")"), 1),
        (r#"heat{room=~"(x+x+)+y|(.*.*.*.*)*z"}"#.into(), 1),
        (r#"heat{room=~"((a{100}){100}){100}"}"#.into(), 60),
        (format!("max_over_time(vector({})[578d:1s])", vec!["1"; 150].join("^")), 60),
        ("max_over_time(clamp_max(abs(vector(1)), 2)[578d:1s])".into(), 60),
        (format!("{}1{}", "(".repeat(5000), ")".repeat(5000)), 60),
        (vec!["heat"; 3000].join(" or "), 60),
    ]
}

/// When the rules were last evaluated, in seconds.
async fn last_evaluation(daemon: &Daemon) -> Option<i64> {
    let answer = daemon.alerts().await.list_rules(ListRulesRequest::default()).await;
    let rules = answer.expect("rules can be listed").into_inner().rules;
    rules.iter().filter_map(|rule| rule.last_evaluation).map(|time| time.seconds).max()
}

fn missed(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("a small request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer that ends");
    let name = "balefire_ticks_missed_total{task=\"evaluating\"}";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_would_take_all_end_and_rules_do_not_wait() {
    let daemon = Daemon::start("[global]\nevaluation_interval = \"2s\"\n");
    let address = daemon.status().await.http_address;
    let now = Clock::System.now().as_millis();
    fill(&daemon, now).await;
    eventually("rules are evaluated", || last_evaluation(&daemon)).await;
    let before = last_evaluation(&daemon).await.expect("just seen");

    let (start, end) = ((now / 1000) - 11_000, now / 1000);
    let asking: Vec<_> = questions()
        .into_iter()
        .map(|(expr, step)| {
            let address = address.clone();
            let query = escaped(&expr);
            let question =
                format!("query={query}&start={start}&end={end}&step={step}&timeout={SECONDS}s");
            thread::spawn(move || (expr, ask(&address, &question)))
        })
        .collect();
    for asked in asking {
        let (expr, (status, answer)) = asked.join().expect("an answer");
        let shown: String = expr.chars().take(80).collect();
        let kind = answer["errorType"].as_str().unwrap_or_default();
        let fits = match status {
            200 => true,
            400 => kind == "bad_data",
            422 => kind == "execution",
            503 => kind == "timeout",
            _ => false,
        };
        assert!(fits, "{shown}: {status} {answer}");
        let explained = answer["error"].as_str().is_some_and(|error| error.len() > 10);
        assert!(status == 200 || explained, "{shown}: {answer}");
    }

    eventually("rules went on", || async {
        (last_evaluation(&daemon).await? > before + 4).then_some(())
    })
    .await;
    assert_eq!(missed(&address), "0");
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn more_points_than_anybody_draws_are_refused() {
    let daemon = Daemon::start("");
    let address = daemon.status().await.http_address;
    let (status, answer) = ask(&address, "query=1&start=0&end=11001&step=1");
    assert_eq!((status, answer["errorType"].as_str()), (400, Some("bad_data")), "{answer}");
    assert!(answer["error"].as_str().is_some_and(|e| e.contains("11,000 points")), "{answer}");
    assert_eq!(ask(&address, "query=1&start=0&end=11000&step=1").0, 200);
}
