//! Those who listen, and those who wait: clients over the restarts of a daemon.

use std::{
    io::{self, BufRead, BufReader},
    os::unix::net::UnixListener,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Daemon, Home, PATIENCE};

/// A program that runs on, and the lines of one of its streams. Ends with the test.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Program {
    fn listening(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        Self { child, lines: lines(stdout) }
    }

    fn complaining(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("piped");
        Self { child, lines: lines(stderr) }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a further line in time")
    }

    /// The next event.
    fn event(&self) -> (u64, Value) {
        let event: Value = serde_json::from_str(&self.line()).expect("an event on each line");
        (event["sequence"].as_u64().expect("a number"), event)
    }

    /// Events up to a reload that changed a target of this name; their numbers.
    fn numbers_until_added(&self, target: &str) -> Vec<u64> {
        let change = format!("target {target} added");
        let mut numbers = Vec::new();
        loop {
            let (number, event) = self.event();
            numbers.push(number);
            if event["changes"].as_array().is_some_and(|all| all.iter().any(|c| *c == change)) {
                return numbers;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn lines(stream: impl io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(1000);
    thread::spawn(move || {
        let read = BufReader::new(stream).lines().map_while(Result::ok);
        read.map(|line| sender.send(line)).take_while(Result::is_ok).count()
    });
    lines
}

/// Something happens: a target is added by a reload.
fn add_target(daemon: &Daemon, name: &str) {
    let target =
        format!("[[targets]]\nname = \"{name}\"\nkind = \"tcp\"\naddress = \"127.0.0.1:9\"");
    daemon.home().configure(&format!("{target}\ninterval = \"1h\"\n"));
    let reloaded = daemon.cli(&["reload", "--wait"]);
    assert!(reloaded.status.success(), "{}", crate::fixture::text(&reloaded));
}

#[test]
fn a_listener_hears_everything_once_over_restarts() {
    let daemon = Daemon::start("");
    let follow = ["--output", "json", "events", "--follow"];
    let listener = Program::listening(daemon.home().cli_command(&follow));
    add_target(&daemon, "first");
    let mut numbers = listener.numbers_until_added("first");

    daemon.signal(Signal::TERM);
    let daemon = daemon.into_home().start();
    add_target(&daemon, "second");
    numbers.extend(listener.numbers_until_added("second"));

    let daemon = daemon.kill().start();
    add_target(&daemon, "third");
    numbers.extend(listener.numbers_until_added("third"));

    let last = *numbers.last().expect("three at least");
    assert_eq!(numbers, (numbers[0]..=last).collect::<Vec<_>>(), "none is lost, none told twice");
    let past = daemon.cli(&["--output", "json", "events", "--limit", "2"]);
    let past = String::from_utf8(past.stdout).expect("JSON");
    let past: Vec<Value> = past.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(past.len(), 2, "{past:?}");
    assert!(past[1]["sequence"].as_u64() >= Some(last), "{past:?}");
}

/// As where systemd holds the socket, and the daemon cannot start.
#[test]
fn who_waits_for_a_daemon_that_does_not_come_is_told_where_to_look() {
    let home = Home::new("");
    let _socket = UnixListener::bind(home.path("sock")).expect("a short path");
    let waiting = Program::complaining(home.cli_command(&["status"]));
    let line = waiting.line();
    assert!(line.contains("systemctl status balefire") && line.contains("sock"), "{line}");
}
