//! The audit of a real daemon: what stands in it, that it outlives the process, and that harm shows.

use std::{fs, path::Path};

use balefire::wire::v1::{CreateRuleRequest, ReloadRequest, Severity};
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Daemon, Home, eventually, text};

fn viewer() -> String {
    format!("[access]\nviewer = [\"{}\"]\n", rustix::process::geteuid().as_raw())
}

/// The audit as the command line gives it, newest first.
fn entries(daemon: &Daemon) -> Vec<Value> {
    let output = daemon.cli(&["-o", "json", "audit", "--limit", "1000"]);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("a list in JSON")
}

#[track_caller]
fn is_whole(daemon: &Daemon) {
    let verified = daemon.cli(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains("is whole"), "{}", text(&verified));
}

async fn create(daemon: &Daemon, name: &str) {
    let request = CreateRuleRequest {
        name: name.into(),
        condition: "up > 1".into(),
        severity: Severity::Low.into(),
        ..CreateRuleRequest::default()
    };
    daemon.alerts().await.create_rule(request).await.expect("a sound rule");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changes_say_who_from_where_by_which_call_and_what() {
    let mut daemon = Daemon::start("[log]\nlevel = \"info\"\n");
    create(&daemon, "audited rule").await;
    daemon.home().configure("[log]\nlevel = \"debug\"\n");
    daemon.system().await.reload(ReloadRequest {}).await.expect("sound");
    daemon.wait_for_notification("READY=1");
    daemon.home().configure("[log]\nlevel = \"loud\"\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for_notification("READY=1");
    let found = eventually("the failed reload is in the audit", async || {
        let found = entries(&daemon);
        (found[0]["actor"] == "signal:HUP").then_some(found)
    })
    .await;
    let uid = format!("uid:{}", rustix::process::geteuid().as_raw());
    let socket = daemon.home().path("sock").display().to_string();
    let [failed, reload, rule] = [&found[0], &found[1], &found[2]];
    assert_eq!((&failed["action"], &failed["outcome"]), (&"reload".into(), &"failed".into()));
    assert!(failed["after"].as_str().is_some_and(|why| why.contains("loud")), "{failed}");
    assert_eq!(reload["before"], "log.level = \"info\"");
    assert_eq!(reload["after"], "log.level = \"debug\"");
    assert_eq!(rule["subject"], "audited_rule");
    for (entry, call) in [(reload, "SystemService.Reload"), (rule, "AlertsService.CreateRule")] {
        assert_eq!((&entry["actor"], &entry["call"]), (&uid.clone().into(), &call.into()));
        assert_eq!(entry["origin"], socket.as_str());
        assert_eq!(entry["pid"], std::process::id(), "{entry}");
        assert_eq!(entry["outcome"], "applied");
        // The journal's copy has the same hash.
        let hash = entry["hash"].as_str().expect("a hash");
        assert!(daemon.log().contains(hash), "{entry}\n{}", daemon.log());
    }
    is_whole(&daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refusal_is_written_once_and_counted_then() {
    let mut daemon = Daemon::start(&viewer());
    for _ in 0..3 {
        assert!(!daemon.cli(&["reload"]).status.success());
    }
    daemon.home().configure("");
    daemon.signal(Signal::HUP);
    daemon.wait_for_notification("READY=1");
    let refusals: Vec<Value> =
        entries(&daemon).into_iter().filter(|entry| entry["outcome"] == "refused").collect();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0]["subject"], "SystemService.Reload");
    let why = refusals[0]["after"].as_str().unwrap_or_default();
    assert!(why.contains("needs the role admin"), "{why}");
    is_whole(&daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_chain_goes_on_after_a_crash() {
    let mut home = Home::new("");
    for life in 0..3 {
        let daemon = home.start();
        create(&daemon, &format!("of life {life}")).await;
        home = daemon.kill();
    }
    let daemon = home.start();
    let found = entries(&daemon);
    assert!(found.iter().all(|entry| entry["hash"].is_string()), "{found:?}");
    for life in 0..3 {
        assert!(found.iter().any(|entry| entry["subject"] == format!("of_life_{life}")));
    }
    is_whole(&daemon);
}

/// Changes a letter of `text` in each file below `dir` that has it; tells how many there were.
fn change_letter(dir: &Path, text: &str) -> usize {
    let mut changed = 0;
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let Ok(mut bytes) = fs::read(&path) else { continue };
        if let Some(at) = bytes.windows(text.len()).position(|found| found == text.as_bytes()) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("our own file");
            changed += 1;
        }
    }
    changed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_entry_that_is_taken_out_is_missed() {
    let daemon = Daemon::start("");
    for name in ["first one", "second one", "third one"] {
        create(&daemon, name).await;
    }
    let found = entries(&daemon);
    let third = found[0]["sequence"].as_u64().expect("a number");
    let home = daemon.kill();
    assert!(change_letter(&home.path("state/store/wal"), "second_one") > 0);
    let daemon = home.start();
    let verified = daemon.cli(&["-o", "json", "audit", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    let told: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(told["broken_at"], third, "{told}");
    assert!(told["reason"].as_str().is_some_and(|why| why.contains("missing")), "{told}");
}
