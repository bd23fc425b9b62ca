//! What a partition costs: `cargo bench --bench partition`. Prints figures, asserts none.
//!
//! 20,000 series with six labels, a sample each 30 s, the mix of values of an ordinary host; two hours
//! of them as sealing writes them, and a day as compaction does.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use balefire::{
    model::{Labels, MatchOp, Matcher, Sample},
    store::testing::{OnePartition, empty_database, mix, open_database},
    time::Timestamp,
};

const START: Timestamp = Timestamp::from_secs(1_700_006_400);
const STEP: Duration = Duration::from_secs(30);
const INSTANCES: u32 = 20;
/// Metrics, and series of each on one instance.
const METRICS: u32 = 125;
const PER_METRIC: u32 = 8;

fn main() {
    databases();
    for (name, steps) in [("two hours", 240), ("a day", 2880)] {
        println!("== {name}: {} series x {steps} samples", METRICS * PER_METRIC * INSTANCES);
        partition(steps);
    }
}

/// What databases cost that have nothing in them.
fn databases() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = |n: u32| temp.path().join(n.to_string());
    empty_database(&dir(0)).expect("a database");
    let (written, began) = (written_bytes(), now());
    for n in 1..=10 {
        empty_database(&dir(n)).expect("a database");
    }
    let (took, written) = (began.elapsed() / 10, written_bytes() - written);
    println!("empty database made, flushed, closed: {took:?}, {} B written", written / 10);
    let (rss, files, written) = (rss_kib(), open_files(), written_bytes());
    let began = now();
    let open: Vec<_> = (0..10).map(|n| open_database(&dir(n)).expect("a database")).collect();
    println!(
        "empty database opened: {:?}, {} KiB of memory, {} descriptors, {} B written",
        began.elapsed() / 10,
        rss_kib().saturating_sub(rss) / 10,
        (open_files() - files) / 10,
        (written_bytes() - written) / 10,
    );
    drop(open);
}

fn partition(steps: u32) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let range = (START, START.plus(STEP * steps));
    let (written, began) = (written_bytes(), now());
    let all = series(steps);
    let made = OnePartition::write(temp.path(), range, all).expect("a partition");
    let (took, written) = (began.elapsed(), written_bytes() - written);
    let count = f64::from(METRICS * PER_METRIC * INSTANCES * steps);
    let per_sample = |bytes: u64| bytes as f64 / count;
    println!("written in {took:?}, peak RSS so far {} MB", status_kib("VmHWM:") / 1024);
    println!(
        "{:.3} B a sample on disk, {:.3} written to disk",
        per_sample(made.bytes()),
        per_sample(written)
    );
    let [chunks, labels, terms] = made.payloads().expect("payloads").map(per_sample);
    println!("  handed over: chunks {chunks:.3}, label sets {labels:.4}, index {terms:.4}");
    reads(&made, temp.path());
}

fn reads(made: &OnePartition, dir: &Path) {
    let equal = |name: &str, value: &str| vec![Matcher::equal(name, value)];
    let regex = Matcher::new("cpu", MatchOp::Regex, "[1-3]").expect("a matcher");
    let metric = Matcher::equal("__name__", "metric_047");
    let queries = [
        (
            "one series",
            vec![metric.clone(), Matcher::equal("instance", "host-7:9100"), regex.clone()],
        ),
        ("one metric of all instances", vec![metric]),
        ("one instance, scattered", equal("instance", "host-7:9100")),
        ("one instance, other", equal("instance", "host-13:9100")),
    ];
    for (name, matchers) in queries {
        made.close();
        let began = now();
        let found = made.select(&matchers).expect("an answer");
        let first = began.elapsed();
        let mut again: Vec<Duration> = (0..9)
            .map(|_| {
                let began = now();
                made.select(&matchers).expect("an answer");
                began.elapsed()
            })
            .collect();
        again.sort();
        println!("{name}: {found:?}, open and read {first:?}, again {:?}", again[4]);
    }
    let (rss, began) = (rss_kib(), now());
    let scanned = made.scan().expect("a walk");
    let grown = rss_kib().saturating_sub(rss);
    println!("walk over {scanned} series: {:?}, +{grown} KiB", began.elapsed());
    println!("{} files", count_files(dir));
}

/// All series in the order of a partition.
fn series(steps: u32) -> impl Iterator<Item = (Labels, Vec<Sample>)> {
    (0..METRICS).flat_map(move |metric| {
        let mut all: Vec<(Labels, u32)> = (0..PER_METRIC * INSTANCES)
            .map(|n| (labels(metric, n), metric * PER_METRIC * INSTANCES + n))
            .collect();
        all.sort();
        all.into_iter().map(move |(labels, number)| {
            (labels, mix::samples(number, START, STEP, steps as usize))
        })
    })
}

fn labels(metric: u32, n: u32) -> Labels {
    let (instance, within) = (n % INSTANCES, n / INSTANCES);
    Labels::of(
        &format!("metric_{metric:03}"),
        [
            ("instance", &format!("host-{instance}:9100")),
            ("job", "node"),
            ("cpu", &(within / 2).to_string()),
            ("mode", if within.is_multiple_of(2) { "idle" } else { "user" }),
            ("env", if instance < 15 { "production" } else { "staging" }),
        ],
    )
}

#[expect(clippy::disallowed_methods, reason = "a measurement is about real time")]
fn now() -> Instant {
    Instant::now()
}

fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn rss_kib() -> u64 {
    status_kib("VmRSS:")
}

fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find(|line| line.starts_with("write_bytes:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").into_iter().flatten().count()
}

fn count_files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}
