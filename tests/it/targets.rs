//! Targets that hang, flood or die are told apart, and leave nothing behind.

use std::fs;

use balefire::wire::v1::{CheckTargetRequest, GetTargetRequest, ProbeRecord, TargetState};

use crate::fixture::{Daemon, text};

/// Their odd numbers are what we know the processes by.
const WRONG_TARGETS: &str = r#"
[[targets]]
name = "hangs"
kind = "mcp"
command = ["sleep", "61.0417"]
timeout = "1s"
retries = 0

[[targets]]
name = "hides"
kind = "mcp"
command = ["sh", "-c", "sleep 61.0418 & sleep 61.0419"]
timeout = "1s"
retries = 0

[[targets]]
name = "floods"
kind = "mcp"
command = ["yes", "61.0420"]
timeout = "5s"
retries = 0

[[targets]]
name = "dies"
kind = "mcp"
command = ["sh", "-c", "echo the oil is out >&2; exit 3"]
timeout = "5s"
retries = 0

[[targets]]
name = "missing"
kind = "mcp"
command = ["no-such-program-61"]
retries = 0

[[targets]]
name = "refuses"
kind = "http"
url = "http://127.0.0.1:9/"
retries = 0
"#;

/// The command lines of processes that run with one of the odd numbers.
fn left_behind() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("Linux has one").flatten();
    let command_lines =
        processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    command_lines
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| {
            line.contains("61.04") && (line.starts_with("sleep") || line.starts_with("yes"))
        })
        .collect()
}

async fn check_now(daemon: &Daemon, name: &str) -> ProbeRecord {
    let mut targets = daemon.targets().await;
    let request = CheckTargetRequest { target: name.into(), endpoints: Vec::new() };
    let answer = targets.check_target(request).await.expect("a known target").into_inner();
    assert!(!answer.overall_healthy, "{name}: {answer:?}");
    let request = GetTargetRequest { name: name.into() };
    let answer = targets.get_target(request).await.expect("a known target").into_inner();
    answer.last_probe.expect("it was probed just now")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wrong_targets_are_told_apart() {
    let daemon = Daemon::start(WRONG_TARGETS);
    let cases = [
        ("hangs", ""),
        ("hides", ""),
        ("floods", ""),
        ("dies", "3"),
        ("missing", "no-such-program-61"),
        ("refuses", ""),
    ];
    for (name, word) in cases {
        let probe = check_now(&daemon, name).await;
        assert_eq!(probe.state(), TargetState::Unhealthy, "{name}: {probe:?}");
        assert!(!probe.error.is_empty() && probe.error.contains(word), "{name}: {probe:?}");
        assert!(probe.error.len() < 1000, "{name}: a flood of an error");
    }
    let probe = check_now(&daemon, "dies").await;
    assert!(probe.stderr_tail.contains("the oil is out"), "{probe:?}");
    let output = daemon.cli(&["targets", "check", "dies"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    daemon.assert_sound().await;
    drop(daemon);
    assert_eq!(left_behind(), Vec::<String>::new());
}
