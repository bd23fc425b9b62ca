//! Bearer tokens and limits, as an administrator and a client over HTTP meet them.

use std::{fs, path::Path};

use balefire::wire::v1::GetStatusRequest;
use rustix::process::Signal;
use serde_json::Value;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    fixture::{Daemon, eventually, text},
    http::{get, get_with},
};

/// Makes a token by the command line; gives its text.
pub(crate) fn token(daemon: &Daemon, name: &str, scope: &str, more: &[&str]) -> String {
    let arguments = [&["token", "create", name, "--scope", scope], more].concat();
    let created = daemon.cli(&arguments);
    assert!(created.status.success(), "{}", text(&created));
    // A script takes standard output as it is.
    String::from_utf8(created.stdout).expect("a text").trim_end().to_owned()
}

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let output = daemon.cli(&[&["-o", "json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn status_with(address: &str, token: &str) -> u16 {
    get_with(address, "/metrics", &[format!("Authorization: Bearer {token}")]).0
}

/// Whether any file below `folder` has these bytes.
fn is_written(folder: &Path, bytes: &[u8]) -> bool {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    entries.into_iter().any(|path| {
        if path.is_dir() {
            return is_written(&path, bytes);
        }
        let content = fs::read(&path).unwrap_or_default();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_counts_over_restarts_until_it_is_revoked() {
    let daemon = Daemon::start("");
    let address = daemon.status().await.http_address;
    let shown = token(&daemon, "grafana", "viewer", &["--scope", "ingest", "--expires", "90d"]);
    let [_, id, secret] = shown.split('_').collect::<Vec<_>>()[..] else { panic!("{shown}") };
    assert_eq!((id.len(), secret.len()), (8, 64), "{shown}");
    assert_eq!(status_with(&address, &shown), 200);
    assert_eq!(status_with(&address, &shown.replace(&secret[..9], "000000000")), 401);
    let taken = daemon.cli(&["token", "create", "grafana", "--scope", "admin"]);
    assert!(text(&taken).contains("there is a token \"grafana\" already"), "{}", text(&taken));
    let listed = &json(&daemon, &["token", "list"])[0];
    assert_eq!((listed["id"].as_str(), listed["name"].as_str()), (Some(id), Some("grafana")));
    assert_eq!(listed["scopes"], serde_json::json!(["viewer", "ingest"]));
    assert!(listed["expires"].is_string() && listed["last_used"].is_string(), "{listed}");

    let daemon = daemon.kill().start();
    let address = daemon.status().await.http_address;
    assert_eq!(status_with(&address, &shown), 200, "it is durable when it is shown");
    let revoked = json(&daemon, &["token", "revoke", "grafana"]);
    assert_eq!(revoked["id"].as_str(), Some(id));
    assert_eq!(status_with(&address, &shown), 401);
    assert_eq!(json(&daemon, &["token", "list"]), serde_json::json!([]));

    let audit = json(&daemon, &["audit"]);
    let entries = audit.as_array().expect("a list");
    let told = |action: &str| {
        let found = entries.iter().find(|entry| entry["action"] == action);
        found.unwrap_or_else(|| panic!("no {action} in {audit}")).to_string()
    };
    assert!(told("token.create").contains("viewer, ingest"), "{audit}");
    assert!(told("token.revoke").contains(id), "{audit}");
    assert!(is_written(&daemon.home().path("state"), id.as_bytes()), "the search finds things");
    assert!(!is_written(
        daemon.home().path("state").parent().expect("a folder"),
        secret.as_bytes()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refusal_over_http_stands_in_the_audit_once() {
    let daemon = Daemon::start("");
    let address = daemon.status().await.http_address;
    let shown = token(&daemon, "writer", "ingest", &[]);
    for _ in 0..3 {
        assert_eq!(status_with(&address, &shown), 403);
    }
    let audit = json(&daemon, &["audit"]);
    let refused: Vec<&Value> = audit
        .as_array()
        .expect("a list")
        .iter()
        .filter(|entry| entry["outcome"] == "refused")
        .collect();
    let [entry] = refused[..] else { panic!("{audit}") };
    assert_eq!(entry["user"], "writer");
    assert_eq!(entry["call"], "GET /metrics");
    assert!(entry["actor"].as_str().is_some_and(|who| who.starts_with("token:")), "{entry}");
    assert!(entry["origin"].as_str().is_some_and(|at| at.starts_with("127.0.0.1:")), "{entry}");
    assert!(entry["after"].as_str().is_some_and(|why| why.contains("scope viewer")), "{entry}");
    assert!(daemon.cli(&["audit", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_asks_too_much_over_http_waits() {
    let mut daemon = Daemon::start("[limits]\nhttp_requests_per_second = 1\nhttp_burst = 5\n");
    let address = daemon.status().await.http_address;
    let shown = token(&daemon, "other", "viewer", &[]);
    let refused = eventually("too much", || async {
        let (status, answer) = get(&address, "/-/healthy");
        (status == 429).then_some(answer)
    })
    .await;
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("http_requests_per_second under [limits]"), "{refused}");
    let (_, metrics) = get_with(&address, "/metrics", &[format!("Authorization: Bearer {shown}")]);
    let counted = "balefire_http_requests_refused_total{reason=\"rate\"}";
    assert!(metrics.lines().any(|line| line.starts_with(counted)), "another is let in: {metrics}");
    daemon.home().configure("[limits]\nhttp_requests_per_second = 1000\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for_notification("READY=1");
    assert_eq!(get(&address, "/-/healthy").0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_asks_too_much_on_the_socket_waits() {
    let daemon = Daemon::start("[limits]\nsocket_requests_per_second = 1\nsocket_burst = 20\n");
    let mut system = daemon.system().await;
    let refused = loop {
        if let Err(refused) = system.get_status(GetStatusRequest {}).await {
            break refused;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(wait.is_some_and(|wait| !wait.is_zero() && wait.as_secs() <= 1), "{wait:?}");
    assert!(refused.message().contains("socket_requests_per_second"), "{refused}");
}
