//! `kill -9` while four clients write, again and again: what was acknowledged is there, alerts keep
//! their state. What a power cut leaves is in tests/crash.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use balefire::wire::v1::{
    Alert, AlertState, CreateRuleRequest, ListAlertsRequest, QueryRequest, Sample, Severity,
    TimeSeries, WriteRequest, metrics_service_client::MetricsServiceClient, query_response,
};
use futures_util::future::join_all;
use tonic::transport::Channel;

use crate::fixture::{Daemon, Home, eventually};

/// `BALEFIRE_TEST_CRASHES` asks for more, as tests/long does.
const ROUNDS: u64 = 50;
const WRITERS: u64 = 4;
const SERIES_PER_WRITE: u64 = 10;
const SAMPLES_PER_SERIES: i64 = 10;
const CONFIG: &str = "[global]\nevaluation_interval = \"1s\"\n";

/// A small generator (`SplitMix64`), so that a failing run can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A number from the environment.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[expect(clippy::disallowed_methods, reason = "the test writes as a client does, by its own clock")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// What a round has been promised: by series, timestamps with values.
type Promise = BTreeMap<String, BTreeMap<i64, u64>>;

/// One write of a writer in a round: each of its series gets the next few samples, a millisecond apart.
fn batch(round: u64, writer: u64, number: i64, start_ms: i64) -> WriteRequest {
    let series = (0..SERIES_PER_WRITE).map(|index| TimeSeries {
        labels: labels("crash_samples", round, &format!("{writer}-{index}")),
        samples: (0..SAMPLES_PER_SERIES)
            .map(|offset| number * SAMPLES_PER_SERIES + offset)
            .map(|tick| Sample { timestamp_ms: start_ms + tick, value: value(round, tick) })
            .collect(),
        ..TimeSeries::default()
    });
    WriteRequest { series: series.collect(), metadata: Vec::new() }
}

fn labels(name: &str, round: u64, series: &str) -> std::collections::HashMap<String, String> {
    [("__name__", name), ("round", &round.to_string()), ("series", series)]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into()
}

/// Not a straight line, and with a fraction: a wrong order or a lost bit shows.
fn value(round: u64, tick: i64) -> f64 {
    (tick * 7919 % 1000) as f64 / 8.0 + round as f64
}

fn remember(promise: &mut Promise, request: &WriteRequest) {
    for series in &request.series {
        let samples = promise.entry(series.labels["series"].clone()).or_default();
        let stored =
            series.samples.iter().map(|sample| (sample.timestamp_ms, sample.value.to_bits()));
        samples.extend(stored);
    }
}

/// Writes until the daemon is gone; what it has acknowledged is in `promise`.
async fn write_until_killed(
    mut client: MetricsServiceClient<Channel>,
    round: u64,
    writer: u64,
    promise: &Mutex<Promise>,
) {
    let start_ms = now_ms() - 60_000;
    for number in 0.. {
        let request = batch(round, writer, number, start_ms);
        let Ok(answer) = client.write(request.clone()).await else { return };
        let answer = answer.into_inner();
        assert_eq!(answer.rejected_count, 0, "{:?}", answer.rejections);
        remember(&mut promise.lock().expect("nobody panics with it"), &request);
    }
}

/// Runs one round: write, kill at a random moment. What was promised by then, and what is left.
async fn crash(daemon: Daemon, round: u64, delay: Duration) -> (Home, Promise) {
    let promise = Mutex::new(Promise::new());
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(daemon.metrics().await);
    }
    let pid = rustix::process::Pid::from_raw(daemon.pid().cast_signed()).expect("a pid is not 0");
    let killer = thread::spawn(move || {
        thread::sleep(delay);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .expect("it runs until now");
    });
    let writers = (0..)
        .zip(clients)
        .map(|(writer, client)| write_until_killed(client, round, writer, &promise));
    join_all(writers).await;
    killer.join().expect("the killer does not panic");
    (daemon.kill(), promise.into_inner().expect("nobody panics with it"))
}

/// All samples of a round, bit by bit.
async fn read_back(daemon: &Daemon, round: u64) -> Promise {
    let request = QueryRequest {
        expr: format!("crash_samples{{round=\"{round}\"}}[1h]"),
        ..QueryRequest::default()
    };
    let answer = match daemon.metrics().await.query(request).await {
        // Killed before any write: nothing is stored under that name, and nothing was promised.
        Err(status) if status.code() == tonic::Code::NotFound => return Promise::new(),
        answer => answer.expect("a sound query").into_inner(),
    };
    let Some(query_response::Result::Matrix(matrix)) = answer.result else {
        panic!("a range selector gives a matrix")
    };
    let mut found = Promise::new();
    remember(&mut found, &WriteRequest { series: matrix.series, metadata: Vec::new() });
    found
}

/// The write that was under way may be there or not, and whole; nothing else may.
async fn assert_kept(daemon: &Daemon, round: u64, promise: &Promise) {
    let found = read_back(daemon, round).await;
    for (series, promised) in promise {
        let samples = &found[series];
        for (timestamp, bits) in promised {
            assert_eq!(
                samples.get(timestamp),
                Some(bits),
                "round {round}, series {series}, at {timestamp}"
            );
        }
        let extra = samples.len() - promised.len();
        assert!(extra == 0 || extra == 10, "half a write is there: {extra} samples of it");
    }
}

async fn firing_alert(daemon: &Daemon) -> Option<Alert> {
    let answer = daemon.alerts().await.list_alerts(ListAlertsRequest::default()).await;
    let alerts = answer.expect("alerts can be listed").into_inner().alerts;
    alerts.into_iter().find(|alert| alert.name == "beacon" && alert.state() == AlertState::Firing)
}

/// A rule whose condition holds for good, and its firing alert.
async fn light_beacon(daemon: &Daemon) -> Alert {
    let now = Sample { timestamp_ms: now_ms(), value: 1.0 };
    let series = TimeSeries {
        labels: labels("beacon_lit", 0, "0"),
        samples: vec![now],
        ..TimeSeries::default()
    };
    let write = WriteRequest { series: vec![series], metadata: Vec::new() };
    daemon.metrics().await.write(write).await.expect("a sound write");
    let rule = CreateRuleRequest {
        name: "beacon".into(),
        condition: "last_over_time(beacon_lit[1h]) > 0".into(),
        severity: Severity::Info.into(),
        ..CreateRuleRequest::default()
    };
    daemon.alerts().await.create_rule(rule).await.expect("a sound rule");
    eventually("the beacon fires", || firing_alert(daemon)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn crashes_lose_nothing_that_was_acknowledged() {
    let seed = given("BALEFIRE_TEST_SEED").unwrap_or_else(|| now_ms().unsigned_abs());
    let rounds = given("BALEFIRE_TEST_CRASHES").unwrap_or(ROUNDS);
    println!("BALEFIRE_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut daemon = Daemon::start(CONFIG);
    let beacon = light_beacon(&daemon).await;
    let (mut promises, mut starts) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let delay = Duration::from_micros(random.below(120_000));
        let (home, promise) = crash(daemon, round, delay).await;
        daemon = home.start();
        starts.push(daemon.start_time);
        assert_kept(&daemon, round, &promise).await;
        let kept = firing_alert(&daemon).await.expect("the alert still fires");
        assert_eq!(
            (&kept.id, kept.active_at, kept.fired_at),
            (&beacon.id, beacon.active_at, beacon.fired_at)
        );
        promises.push(promise);
    }
    // The oldest writes have lived through every crash by now.
    for (round, promise) in (0..).zip(&promises) {
        assert_kept(&daemon, round, promise).await;
    }
    daemon.assert_sound().await;
    println!("{}", report(&promises, starts));
}

/// The time to start is printed only: it says more of the machine, and of what else runs on it.
fn report(promises: &[Promise], mut starts: Vec<Duration>) -> String {
    let samples: usize = promises.iter().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
    starts.sort_unstable();
    let (median, worst) = (starts[starts.len() / 2], starts[starts.len() - 1]);
    assert!(samples > 0, "nothing was written between the crashes");
    let rounds = promises.len();
    format!(
        "{rounds} crashes, {samples} acknowledged samples kept; start: median {median:?}, worst {worst:?}"
    )
}
