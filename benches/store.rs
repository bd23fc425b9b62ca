//! What the store costs: `cargo bench --bench store`. Prints figures, asserts none.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{fs, path::Path, time::Duration, time::Instant};

use balefire::{
    model::{Batch, Labels, SeriesSample},
    store::{Options, Store},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

const START: Timestamp = Timestamp::from_secs(1_700_006_400);
const SERIES: u32 = 1000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let temp = tempfile::tempdir().expect("a temporary directory");
    let clock = Clock::manual(START);
    let labels: Vec<Labels> = (0..SERIES)
        .map(|n| {
            Labels::of(&format!("metric_{}", n % 40), [("n", &n.to_string()), ("job", "bench")])
        })
        .collect();
    let before = rss_kib();
    let store = open(temp.path(), &clock);
    let send = |store: &Store, at: Timestamp, step: u32| {
        let value = |n: u32| match n % 4 {
            0 => f64::from(n),
            1 => f64::from(step * n),
            2 => f64::from((step * 37 + n) % 5000) / 100.0,
            _ => f64::from(step + n).sqrt(),
        };
        let samples = (0_u32..).zip(&labels);
        let samples = samples.map(|(n, labels)| SeriesSample::new(labels.clone(), at, value(n)));
        let batch = Batch { samples: samples.collect(), metadata: Vec::new() };
        runtime.block_on(store.append(batch)).expect("a commit");
    };

    let mut took = Vec::new();
    for step in 0..240 {
        let at = START.plus(Duration::from_secs(30) * step);
        clock.set(at);
        let began = now();
        send(&store, at, step);
        took.push(began.elapsed());
    }
    took.sort();
    println!("commit of {SERIES} samples: p50 {:?}, p99 {:?}", took[120], took[237]);
    println!("1,000 series x 2 h at 30 s: +{} KiB RSS", rss_kib().saturating_sub(before));
    println!("log: {} KiB", size_kib(&temp.path().join("wal")));

    for step in 240..1000 {
        let at = START.plus(Duration::from_secs(30) * step);
        clock.set(at);
        send(&store, at, step);
    }
    drop(store);
    let began = now();
    let store = open(temp.path(), &clock);
    println!("recovery of a log of 1,000,000 samples: {:?}", began.elapsed());
    let began = now();
    let sealed = store.seal().expect("sealing");
    println!("sealing {sealed} samples: {:?}", began.elapsed());
    drop(store);
    let began = now();
    let store = open(temp.path(), &clock);
    println!("recovery from the checkpoint: {:?}", began.elapsed());
    println!("{:?}", store.stats());
}

fn open(dir: &Path, clock: &Clock) -> Store {
    Store::open(dir, Options::default(), clock.clone(), &Telemetry::new()).expect("a store").0
}

#[expect(clippy::disallowed_methods, reason = "a measurement is about real time")]
fn now() -> Instant {
    Instant::now()
}

fn rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn size_kib(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum::<u64>() / 1024
}
