//! Servers that a helper starts in the daemon's place, with the test in the place of systemd: the daemon
//! names them, and the helper takes the rest from a file that root alone can write.

use std::{
    fs::{self, Permissions},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use balefire::wire::v1::{CheckTargetRequest, GetTargetRequest, ProbeRecord, TargetState};

use crate::fixture::{Daemon, Home, eventually};

/// A real MCP server over stdio.
const SERVER: &str = env!("CARGO_BIN_EXE_balefire-mcp");

/// A home whose daemon has its servers started by a helper that reads `config` of that folder. The
/// numbers are what we know the processes by.
fn home(config: &str, number: &str) -> Home {
    let home = Home::new("");
    let (socket, nowhere) = (home.path("spawn.sock"), home.path("nowhere"));
    home.configure(&format!(
        r#"
[discovery]
enabled = false
[probe]
spawn_socket = "{}"
retries = 0
timeout = "15s"
[[targets]]
name = "fine"
kind = "mcp"
command = ["{SERVER}", "--socket", "{}"]
[[targets]]
name = "dies"
kind = "mcp"
command = ["sh", "-c", "tr '\\0' ' ' </proc/$PPID/cmdline >&2; exit 3"]
[[targets]]
name = "missing"
kind = "mcp"
command = ["no-such-program-61"]
[[targets]]
name = "hangs"
kind = "mcp"
command = ["sh", "-c", "sleep {number} & trap '' TERM; sleep {number}"]
timeout = "2s"
"#,
        socket.display(),
        nowhere.display(),
    ));
    listen(&socket, home.path(config));
    home
}

/// A helper for each connection, which is its standard input. Ends with the test's process.
fn listen(socket: &Path, config: PathBuf) {
    let listener = UnixListener::bind(socket).expect("a new folder");
    thread::spawn(move || {
        for control in listener.incoming().flatten() {
            let mut helper = Command::new(env!("CARGO_BIN_EXE_balefired"))
                .args(["--spawn", "--config"])
                .arg(&config)
                .stdin(OwnedFd::from(control))
                .stderr(Stdio::null())
                .spawn()
                .expect("balefired starts");
            thread::spawn(move || helper.wait());
        }
    });
}

async fn probe(daemon: &Daemon, name: &str) -> ProbeRecord {
    let mut targets = daemon.targets().await;
    let request = CheckTargetRequest { target: name.into(), endpoints: Vec::new() };
    targets.check_target(request).await.expect("a known target");
    let request = GetTargetRequest { name: name.into() };
    let answer = targets.get_target(request).await.expect("a known target").into_inner();
    answer.last_probe.expect("it was probed just now")
}

/// How many processes have this number as an argument.
fn running(number: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("Linux has one").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == number.as_bytes())).count()
}

async fn await_running(number: &str, count: usize) {
    let what = format!("{count} processes run with {number}");
    eventually(&what, || async { (running(number) == count).then_some(()) }).await;
}

/// What root does not own is refused, which is all that another user can see of it.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn configured_servers_are_started_by_the_helper() {
    let daemon = home("balefire.toml", "61.0517").start();
    if !is_root() {
        let refused = probe(&daemon, "fine").await;
        assert!(refused.error.contains("chown root"), "{refused:?}");
        return;
    }
    let fine = probe(&daemon, "fine").await;
    assert_eq!(fine.state(), TargetState::Healthy, "{fine:?}");

    let dies = probe(&daemon, "dies").await;
    assert!(dies.error.contains("exited with status 3"), "{dies:?}");
    assert!(dies.stderr_tail.contains("balefired --spawn --config"), "{dies:?}");

    let missing = probe(&daemon, "missing").await;
    assert!(missing.error.starts_with("spawn failed: `no-such-program-61`"), "{missing:?}");

    let hangs = probe(&daemon, "hangs").await;
    assert!(hangs.error.contains("no answer to initialize"), "{hangs:?}");
    await_running("61.0517", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_dies_leaves_no_server() {
    let daemon = home("balefire.toml", "61.0518").start();
    if !is_root() {
        return;
    }
    // It is probed soon after the start, without being asked.
    await_running("61.0518", 2).await;
    let _home = daemon.kill();
    await_running("61.0518", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_helper_starts_only_what_root_alone_configured() {
    let home = home("other.toml", "61.0519");
    let other = home.path("other.toml");
    fs::write(&other, "[[targets]]\nname = \"dies\"\nkind = \"tcp\"\naddress = \"[::1]:1\"\n")
        .expect("a writable folder");
    let daemon = home.start();
    let whose = if is_root() { "has no target of this name" } else { "chown root" };
    for (name, expected) in [("fine", whose), ("dies", if is_root() { "`command`" } else { whose })]
    {
        let refused = probe(&daemon, name).await;
        assert_eq!(refused.state(), TargetState::Unhealthy, "{refused:?}");
        assert!(refused.error.contains(expected), "{refused:?}");
    }
    fs::set_permissions(&other, Permissions::from_mode(0o666)).expect("our own file");
    let refused = probe(&daemon, "fine").await;
    assert!(refused.error.contains(if is_root() { "chmod go-w" } else { whose }), "{refused:?}");
}
