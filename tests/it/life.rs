//! Starting, stopping, reloading; and what is said when that cannot be.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use balefire::{limits, wire::v1::ListTargetsRequest};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::fixture::{Daemon, Home, PATIENCE, eventually, is_listening, text};

const ONE_TARGET: &str = r#"
[[targets]]
name = "lighthouse"
kind = "http"
url = "http://127.0.0.1:9/"
"#;

const TWO_TARGETS: &str = r#"
[[targets]]
name = "lighthouse"
kind = "http"
url = "http://127.0.0.1:9/"

[[targets]]
name = "foghorn"
kind = "http"
url = "http://127.0.0.1:9/"
"#;

/// How a client of HTTP/2 begins: a fixed text, and settings without any.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn target_names(daemon: &Daemon) -> Vec<String> {
    let answer = daemon.targets().await.list_targets(ListTargetsRequest::default()).await;
    let targets = answer.expect("targets can be listed").into_inner().targets;
    targets.into_iter().map(|target| target.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tells_within_two_seconds_what_it_watches_and_where_to_look() {
    let daemon = Daemon::start(ONE_TARGET);
    assert!(daemon.start_time < Duration::from_secs(2), "{:?}", daemon.start_time);
    let status = daemon.status().await;
    let facts = [
        "lighthouse",
        &format!("http://{}", status.http_address),
        &daemon.home().path("sock").display().to_string(),
        &daemon.home().path("state").display().to_string(),
    ];
    let log = daemon.log();
    for fact in facts {
        assert!(log.contains(fact), "does not tell {fact}:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_one_on_the_same_state_names_the_first() {
    let first = Daemon::start("");
    let second = first.home().run_daemon(&[]);
    assert_eq!(second.status.code(), Some(1));
    let error = text(&second);
    assert!(error.contains(&first.pid().to_string()), "{error}");
    assert!(error.contains(&first.home().path("state").display().to_string()), "{error}");
    first.assert_sound().await;
}

#[test]
fn stops_cleanly_when_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start("");
        let started = Instant::now();
        daemon.signal(signal);
        daemon.wait_for_notification("STOPPING=1");
        let status = daemon.wait_for_end(limits::STOP_DEADLINE);
        assert!(status.success(), "{status} after {:?}", started.elapsed());
        assert!(!is_listening(&daemon.home().path("sock")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_signal_ends_it_at_once() {
    let mut daemon = Daemon::start("");
    // A stream that stays open is what a stop has to wait for.
    let mut client = daemon.metrics().await;
    let held = client.write_stream(tokio_stream::pending()).await.expect("a stream opens");
    daemon.signal(Signal::TERM);
    daemon.wait_for_notification("STOPPING=1");
    daemon.signal(Signal::TERM);
    daemon.wait_for_end(Duration::from_secs(1));
    drop(held);
}

/// As with a socket unit of systemd, which outlives the service.
#[test]
fn clients_of_a_socket_that_was_passed_wait_while_there_is_no_daemon() {
    let home = Home::new("");
    let path = home.path("sock");
    let listener = UnixListener::bind(&path).expect("a short path");
    let mut daemon = home.start_with(&listener);
    assert!(daemon.cli(&["status"]).status.success());
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for_end(limits::STOP_DEADLINE).success(), "{}", daemon.log());
    let home = daemon.into_home();
    assert!(path.exists(), "the file is systemd's");
    let early = UnixStream::connect(&path).expect("somebody listens, if nobody answers");
    let daemon = home.start_with(&listener);
    assert!(daemon.cli(&["status"]).status.success());
    // HTTP/2's server speaks first, to whoever has waited.
    early.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (&early).write_all(PREFACE).expect("it is open");
    (&early).read_exact(&mut [0; 9]).expect("it is answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hang_up_reads_the_configuration_again() {
    let daemon = Daemon::start(ONE_TARGET);
    daemon.home().configure(TWO_TARGETS);
    daemon.signal(Signal::HUP);
    eventually("the new target is known", || async {
        target_names(&daemon).await.iter().any(|name| name == "foghorn").then_some(())
    })
    .await;
}

/// It has opened HTTP/2, and never reads an answer, nor that it should go.
#[test]
fn a_client_that_does_not_listen_cannot_hold_up_the_stop() {
    let mut daemon = Daemon::start("");
    let mut client = UnixStream::connect(daemon.home().path("sock")).expect("the daemon listens");
    client.write_all(PREFACE).expect("it takes it");
    daemon.signal(Signal::TERM);
    let status = daemon.wait_for_end(limits::STOP_DEADLINE);
    assert!(status.success(), "{status}\n{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wrong_configuration_changes_nothing() {
    let daemon = Daemon::start(ONE_TARGET);
    daemon.home().configure("[[targets]]\nname = \"foghorn\"\nkind = \"htpp\"\n");
    let answer = daemon.cli(&["reload"]);
    assert_eq!(answer.status.code(), Some(1), "{}", text(&answer));
    assert!(text(&answer).contains("balefire.toml:3"), "{}", text(&answer));
    let names = target_names(&daemon).await;
    assert!(names.iter().any(|name| name == "lighthouse"), "{names:?}");
    daemon.assert_sound().await;
}

/// Every configuration that is wrong is refused with the file, the line and the key.
#[test]
fn says_where_a_configuration_is_wrong() {
    let cases = [
        ("broken TOML", "[http\nlisten = 1\n", "balefire.toml:1", "TOML"),
        ("unknown table", "[colect]\n", "balefire.toml:1", "colect"),
        ("unknown key", "[http]\nlisen = \"127.0.0.1:1\"\n", "balefire.toml:2", "lisen"),
        ("wrong type", "[[targets]]\nname = 7\n", "balefire.toml:2", "name"),
        (
            "wrong duration",
            "[global]\n\nevaluation_interval = \"soon\"\n",
            "balefire.toml:3",
            "evaluation_interval",
        ),
        ("unknown kind", "[[targets]]\nname = \"a\"\nkind = \"htpp\"\n", "balefire.toml:3", "kind"),
    ];
    for (what, config, place, key) in cases {
        let home = Home::new(config);
        for arguments in [&["--check"][..], &[]] {
            let output = home.run_daemon(arguments);
            let said = text(&output);
            assert_eq!(output.status.code(), Some(1), "{what}: {said}");
            assert!(said.contains(place) && said.contains(key), "{what}: {said}");
            assert!(!said.contains("panicked"), "{what}: {said}");
        }
    }
}

#[test]
fn tells_all_problems_at_once() {
    let home = Home::new("[http]\nlisen = 1\n\n[[targets]]\nname = \"a\"\nkind = \"htpp\"\n");
    let said = text(&home.run_daemon(&["--check"]));
    assert!(said.contains("lisen") && said.contains("htpp"), "{said}");
}

#[test]
fn a_sound_configuration_passes_the_check() {
    let output = Home::new(TWO_TARGETS).run_daemon(&["--check"]);
    assert!(output.status.success(), "{}", text(&output));
}
