//! A spawned server: its process group, and how it is made to go.
//!
//! The group is led by a *watchdog*, a tiny `/bin/sh` that waits for the end of a pipe whose other end
//! this process holds. Should the daemon die in any way, `kill -9` included, the pipe ends and the
//! watchdog kills the whole group, the server's own children among it. (The kernel's parent-death
//! signal would need `unsafe`, and would reach the server alone.) The watchdog's process id is the
//! group's, and it is reaped last, so that the id cannot pass to strangers while it is in use.
//! What moves itself into another session leaves the group, and is not reached.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::model::Secret;

use super::fault::Fault;

/// How long a server may take to end by itself once its input is closed, and again after SIGTERM.
pub(super) const GRACE: Duration = Duration::from_millis(400);
/// How long the kernel may take to bury what was killed.
pub(super) const BURIAL: Duration = Duration::from_millis(150);

/// Ignores what ends the others, waits for its input to end, then kills its group, itself included.
const WATCHDOG: &str = "trap '' HUP INT TERM; read -r _; kill -KILL 0";

/// What a server finds of our environment; the XDG variables come besides.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "USER", "LANG", "TMPDIR"];

/// A spawned server and its group. Dropping it kills the group.
#[derive(Debug)]
pub(super) struct Process {
    server: Child,
    /// Leads the group; its input is the lifeline.
    watchdog: Child,
    group: Option<Pid>,
}

/// The server's ends of its three pipes, for us.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// What it took to make a server go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    ByItself,
    Terminated,
    Killed,
}

impl Ending {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ByItself => "by_itself",
            Self::Terminated => "terminated",
            Self::Killed => "killed",
        }
    }
}

impl Process {
    /// Starts `command` in a group of its own and with a small clean environment.
    pub(super) fn spawn(
        command: &[String],
        env: &BTreeMap<String, Secret>,
        cwd: Option<&Path>,
    ) -> Result<(Self, Pipes), Fault> {
        check_directory(cwd)?;
        let (watchdog, group) = spawn_watchdog()?;
        let mut guard = Group(Some(group));
        let mut server = Command::from(server_command(command, env, cwd))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(group.as_raw_nonzero().get())
            .spawn()
            .map_err(|source| spawn_fault(command, source))?;
        let taken = (server.stdin.take(), server.stdout.take(), server.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = taken else {
            unreachable!("all three were asked for as pipes");
        };
        let group = guard.0.take();
        Ok((Self { server, watchdog, group }, Pipes { stdin, stdout, stderr }))
    }

    /// How the server ended, in words, where it ends within `limit`.
    pub(super) async fn ended(&mut self, limit: Duration) -> Option<String> {
        let status = timeout(limit, self.server.wait()).await.ok()?.ok()?;
        Some(describe(status))
    }

    /// Makes the server and its whole group go. Its input must be closed already. Takes a second at
    /// most.
    pub(super) async fn stop(mut self) -> Ending {
        let ending = self.wind_down().await;
        self.kill_group();
        let buried = async {
            // An error would mean that there is nothing left to wait for.
            let _ = self.server.wait().await;
            let _ = self.watchdog.wait().await;
        };
        // Whoever cannot be killed within this time hangs in the kernel; the runtime reaps it later.
        let _ = timeout(BURIAL, buried).await;
        ending
    }

    async fn wind_down(&mut self) -> Ending {
        if timeout(GRACE, self.server.wait()).await.is_ok() {
            return Ending::ByItself;
        }
        if let Some(group) = self.group {
            // Fails only where nobody is left.
            let _ = kill_process_group(group, Signal::TERM);
        }
        match timeout(GRACE, self.server.wait()).await {
            Ok(_) => Ending::Terminated,
            Err(_) => Ending::Killed,
        }
    }

    fn kill_group(&mut self) {
        drop(Group(self.group.take()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both children are reaped by the runtime, which keeps those that were dropped unreaped.
        self.kill_group();
    }
}

/// Kills a process group when it is dropped, so that no way out of a function forgets it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // Fails only where nobody is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn spawn_watchdog() -> Result<(Child, Pid), Fault> {
    let fault = |source| Fault::Spawn { program: "/bin/sh".to_owned(), source };
    let watchdog = Command::new("/bin/sh")
        .args(["-c", WATCHDOG])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(fault)?;
    let pid = watchdog.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    Ok((watchdog, pid.expect("a child that nobody waited for has a process id")))
}

/// A server may start only in a directory that is there.
pub(super) fn check_directory(cwd: Option<&Path>) -> Result<(), Fault> {
    match cwd.filter(|directory| !directory.is_dir()) {
        Some(missing) => Err(Fault::WorkingDirectory(missing.to_owned())),
        None => Ok(()),
    }
}

/// The command of a server with its small clean environment; without its pipes and its group.
pub(super) fn server_command(
    command: &[String],
    env: &BTreeMap<String, Secret>,
    cwd: Option<&Path>,
) -> std::process::Command {
    let (program, arguments) =
        command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let mut server = std::process::Command::new(program);
    server.args(arguments).env_clear().envs(own_environment());
    server.envs(env.iter().map(|(name, value)| (name, value.reveal())));
    if let Some(directory) = cwd {
        server.current_dir(directory);
    }
    server
}

fn own_environment() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| ENVIRONMENT.contains(&name) || name.starts_with("XDG_"))
    })
}

pub(super) fn spawn_fault(command: &[String], source: std::io::Error) -> Fault {
    Fault::Spawn { program: command.first().cloned().unwrap_or_default(), source }
}

/// How a server ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
