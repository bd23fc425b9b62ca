//! The store from outside: its sizes, verification, backup and restore, with and without a daemon.

use std::{collections::BTreeMap, fs, path::Path};

use balefire::wire::v1::{
    BackupRequest, QueryRequest, Sample, TimeSeries, WriteRequest, backup_response::Part,
    query_response,
};
use serde_json::Value;

use crate::fixture::{Daemon, Home, eventually, text};

fn now_ms() -> i64 {
    balefire::time::Clock::System.now().as_millis()
}

/// Samples of `series` a second apart that end now.
async fn write(daemon: &Daemon, series: &str, count: i64) -> BTreeMap<i64, u64> {
    let start = now_ms() - count * 1000;
    let samples =
        (0..count).map(|n| Sample { timestamp_ms: start + n * 1000, value: n as f64 / 4.0 });
    let samples: Vec<Sample> = samples.collect();
    let labels = [("__name__", "kept"), ("series", series)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = WriteRequest {
        series: vec![TimeSeries {
            labels: labels.into(),
            samples: samples.clone(),
            ..TimeSeries::default()
        }],
        metadata: Vec::new(),
    };
    let answer = daemon.metrics().await.write(request).await.expect("a sound write").into_inner();
    assert_eq!(answer.rejected_count, 0);
    samples.iter().map(|sample| (sample.timestamp_ms, sample.value.to_bits())).collect()
}

async fn read(daemon: &Daemon, series: &str) -> BTreeMap<i64, u64> {
    let expr = format!("kept{{series=\"{series}\"}}[1h]");
    let request = QueryRequest { expr, ..QueryRequest::default() };
    let answer = match daemon.metrics().await.query(request).await {
        Err(status) if status.code() == tonic::Code::NotFound => return BTreeMap::new(),
        answer => answer.expect("a sound query").into_inner(),
    };
    let Some(query_response::Result::Matrix(matrix)) = answer.result else { panic!("a matrix") };
    let samples = matrix.series.into_iter().flat_map(|series| series.samples);
    samples.map(|sample| (sample.timestamp_ms, sample.value.to_bits())).collect()
}

/// Standard output of a command that worked, as JSON.
#[track_caller]
fn json(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn cli(home: &Home, arguments: &[&str]) -> std::process::Output {
    let state = home.path("state").display().to_string();
    home.cli(&[arguments, &["--state-dir", &state]].concat())
}

/// Stops a daemon and hands back its folder.
fn stop(daemon: Daemon) -> Home {
    daemon.signal(rustix::process::Signal::TERM);
    daemon.into_home()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_what_was_acknowledged_and_restores() {
    let daemon = Daemon::start("");
    let first = write(&daemon, "first", 200).await;
    let target = daemon.home().path("copy").display().to_string();
    let made = tokio::join!(
        async { tokio::task::block_in_place(|| daemon.cli(&["-o", "json", "backup", &target])) },
        async {
            for n in 0..20 {
                write(&daemon, &format!("during {n}"), 50).await;
            }
        },
    );
    let made = json(&made.0);
    assert!(made["files"].as_u64().expect("a number") > 0, "{made}");
    let later = write(&daemon, "later", 10).await;
    eventually("the links are gone", || async {
        let mut left = fs::read_dir(daemon.home().path("state/store/backup")).ok()?;
        left.next().is_none().then_some(())
    })
    .await;

    // A directory that holds something is not written to, and a running daemon is not restored.
    let again = daemon.cli(&["backup", &target]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    let refused = cli(daemon.home(), &["restore", "--yes", &target]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("is in use by process"), "{}", text(&refused));

    let home = stop(daemon);
    let unasked = cli(&home, &["restore", &target]);
    assert_eq!(unasked.status.code(), Some(2), "{}", text(&unasked));
    let restored = json(&cli(&home, &["-o", "json", "restore", "--yes", &target]));
    let aside = restored["set_aside"].as_str().expect("there was a store").to_owned();
    assert!(Path::new(&aside).is_dir());
    assert_eq!(
        json(&cli(&home, &["-o", "json", "store", "verify"]))["problems"],
        Value::Array(vec![])
    );
    let daemon = home.start();
    assert_eq!(read(&daemon, "first").await, first);
    assert_eq!(read(&daemon, "later").await, BTreeMap::new(), "it was written after the backup");
    daemon.assert_sound().await;

    // The way back that was shown.
    let home = stop(daemon);
    fs::remove_dir_all(home.path("state/store")).unwrap();
    fs::rename(&aside, home.path("state/store")).unwrap();
    let daemon = home.start();
    assert_eq!(read(&daemon, "later").await, later);
}

#[tokio::test]
async fn a_damaged_backup_replaces_nothing() {
    let daemon = Daemon::start("");
    let written = write(&daemon, "first", 100).await;
    let target = daemon.home().path("copy");
    let made = daemon.cli(&["backup", &target.display().to_string()]);
    assert!(made.status.success(), "{}", text(&made));
    let home = stop(daemon);
    let log = fs::read_dir(target.join("store/wal")).unwrap().next().unwrap().unwrap().path();
    let manifest = target.join("backup.json");
    for damaged in [log, manifest] {
        let bytes = fs::read(&damaged).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 3] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x04;
            fs::write(&damaged, wrong).unwrap();
            let refused = cli(&home, &["restore", "--yes", &target.display().to_string()]);
            assert_eq!(refused.status.code(), Some(1), "{damaged:?} {at}: {}", text(&refused));
        }
        fs::write(&damaged, bytes).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(home.path("state")).unwrap().flatten().collect();
    names.retain(|entry| entry.file_name().to_string_lossy().starts_with("store."));
    assert!(names.is_empty(), "{names:?}");
    let daemon = home.start();
    assert_eq!(read(&daemon, "first").await, written);
}

#[tokio::test]
async fn a_backup_restores_where_there_was_nothing() {
    let daemon = Daemon::start("");
    let written = write(&daemon, "first", 100).await;
    let target = daemon.home().path("copy");
    assert!(daemon.cli(&["backup", &target.display().to_string()]).status.success());
    let other = Home::new("");
    let restored =
        json(&cli(&other, &["-o", "json", "restore", "--yes", &target.display().to_string()]));
    assert_eq!(restored["set_aside"], Value::Null);
    let other = other.start();
    assert_eq!(read(&other, "first").await, written);
}

/// More than fits between a daemon and a client that does not read.
async fn write_much(daemon: &Daemon) {
    let start = now_ms() - 1_600_000;
    let mut bits = 1_u64;
    for batch in 0..16_i64 {
        let samples = (0..100_000).map(|n| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Sample { timestamp_ms: start + batch * 100_000 + n, value: (bits >> 11) as f64 }
        });
        let labels = [("__name__".to_owned(), "noise".to_owned())].into();
        let series =
            vec![TimeSeries { labels, samples: samples.collect(), ..TimeSeries::default() }];
        let request = WriteRequest { series, metadata: Vec::new() };
        daemon.metrics().await.write(request).await.expect("a sound write");
    }
}

/// A reader that goes away is let go of, and its links with it; meanwhile there is one backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_backup_is_refused_while_one_is_under_way() {
    let daemon = Daemon::start("");
    write_much(&daemon).await;
    let begin = || async {
        let mut system = daemon.system().await;
        let stream = system.backup(BackupRequest {}).await.expect("a stream");
        stream.into_inner()
    };
    let mut stream = begin().await;
    let first = stream.message().await.expect("a part").expect("a part").part;
    assert!(matches!(first, Some(Part::Begin(_))), "{first:?}");
    let links = daemon.home().path("state/store/backup");
    assert!(fs::read_dir(&links).unwrap().next().is_some(), "it is under way");
    let error = begin().await.message().await.expect_err("one at a time");
    assert_eq!(error.code(), tonic::Code::FailedPrecondition, "{error}");
    // Other work goes on.
    write(&daemon, "meanwhile", 10).await;
    drop(stream);
    eventually("the links are gone", || async {
        fs::read_dir(&links).ok()?.next().is_none().then_some(())
    })
    .await;
    let third = begin().await.message().await.expect("a part").expect("a part").part;
    assert!(matches!(third, Some(Part::Begin(_))), "{third:?}");
}

#[tokio::test]
async fn sizes_and_damage_are_told_with_and_without_a_daemon() {
    let daemon = Daemon::start("");
    write(&daemon, "first", 100).await;
    let stats = json(&daemon.cli(&["-o", "json", "store", "stats"]));
    assert!(stats["head"]["samples"].as_u64() >= Some(100), "{stats}");
    assert!(stats["wal"]["bytes"].as_u64() > Some(100), "{stats}");
    let table = text(&daemon.cli(&["store", "stats"]));
    assert!(table.contains("raw") && table.contains("checkpoint"), "{table}");
    let whole = daemon.cli(&["store", "verify"]);
    assert!(text(&whole).contains("no damage in"), "{}", text(&whole));
    let locked = cli(daemon.home(), &["store", "verify"]);
    assert_eq!(locked.status.code(), Some(1));
    assert!(text(&locked).contains("is in use by process"), "{}", text(&locked));

    let home = stop(daemon);
    let offline = json(&cli(&home, &["-o", "json", "store", "stats"]));
    assert_eq!(offline["head"], Value::Null);
    assert!(cli(&home, &["store", "verify"]).status.success());
    let log = home.path("state/store/wal");
    let log = fs::read_dir(log).unwrap().flatten().map(|e| e.path()).max().expect("a segment");
    let mut bytes = fs::read(&log).unwrap();
    bytes[20] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let damaged = cli(&home, &["-o", "json", "store", "verify"]);
    assert_eq!(damaged.status.code(), Some(1), "{}", text(&damaged));
    let report: Value = serde_json::from_slice(&damaged.stdout).unwrap();
    let path = report["problems"][0]["path"].as_str().unwrap();
    assert!(path.starts_with("wal/"), "{report}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing is changed");
    let nowhere = home.cli(&["store", "verify", "--state-dir", "/nowhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere).contains("there is no store in /nowhere/store"), "{}", text(&nowhere));
}

#[tokio::test]
async fn erased_samples_are_gone_and_the_audit_tells_of_it() {
    let daemon = Daemon::start("");
    write(&daemon, "goes", 100).await;
    let stays = write(&daemon, "stays", 100).await;
    let unnamed = daemon.cli(&["erase"]);
    assert_eq!(unnamed.status.code(), Some(2), "{}", text(&unnamed));
    let wrong = daemon.cli(&["erase", "--match", "{"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    let erased = json(&daemon.cli(&["-o", "json", "erase", "--match", "kept{series=\"goes\"}"]));
    assert_eq!((&erased["series"], &erased["samples"]), (&Value::from(1), &Value::from(100)));
    assert_eq!(read(&daemon, "goes").await, BTreeMap::new());
    assert_eq!(read(&daemon, "stays").await, stays);
    let audit = text(&daemon.cli(&["audit"]));
    assert!(audit.contains("erase") && audit.contains("kept{series=\"goes\"}"), "{audit}");
    let daemon = daemon.kill().start();
    assert_eq!(read(&daemon, "goes").await, BTreeMap::new());
    assert_eq!(read(&daemon, "stays").await, stays);
}
