//! The helper's end: starts one server, watches it and whoever asked for it, and makes it go.
//!
//! It has no runtime and no threads: there are two things to wait for, and poll(2) waits for both.
//! Should the helper itself be killed, systemd kills what is left in its control group.

use std::{
    io::{self, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use super::{ENDED, LINE_BYTES_MAX, REFUSED, REQUEST_TIMEOUT, STARTED};
use crate::{
    model::Check,
    probe::{
        fault::Fault,
        process::{Ending, GRACE, check_directory, describe, server_command, spawn_fault},
    },
};

/// The server's input, output and standard error.
type Descriptors = [OwnedFd; 3];

/// Serves one connection, `control`, to its end: starts what `find` says of the name that comes over
/// it, and returns when the server and its group are gone. Blocking. The error is why nothing was
/// started, or why it could not be watched; whoever asked was told.
pub fn serve(
    control: OwnedFd,
    find: impl FnOnce(&str) -> Result<Check, String>,
) -> Result<(), String> {
    let control = UnixStream::from(control);
    let (name, descriptors) = receive(&control).inspect_err(|why| say(&control, REFUSED, why))?;
    match find(&name).and_then(|check| start(&check, descriptors)) {
        Ok(server) => {
            say(&control, STARTED, "");
            watch(&control, server).map_err(|error| format!("cannot watch the server: {error}"))
        }
        Err(why) => {
            say(&control, REFUSED, &why);
            Err(format!("target {name:?}: {why}"))
        }
    }
}

/// The name of a target, and the descriptors that came with it: all in one message.
fn receive(control: &UnixStream) -> Result<(String, Descriptors), String> {
    let failed = |error: io::Error| format!("cannot read which target is meant: {error}");
    control.set_read_timeout(Some(REQUEST_TIMEOUT)).map_err(failed)?;
    let mut line = [0; LINE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut line)];
    let received = recvmsg(control, into, &mut beside, RecvFlags::CMSG_CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    let descriptors: Vec<OwnedFd> = beside
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let name = name_in(&line[..received.bytes]);
    name.zip(descriptors.try_into().ok()).ok_or_else(|| {
        "this is no request: it is a target's name, a line end, and three descriptors".to_owned()
    })
}

fn name_in(line: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    (!name.is_empty() && !name.contains('\n')).then(|| name.to_owned())
}

/// Starts the server at the head of a group of its own.
fn start(check: &Check, [stdin, stdout, stderr]: Descriptors) -> Result<Child, String> {
    let Check::McpStdio { command, env, cwd } = check else {
        return Err("it is none that is spawned: it has no `command`".to_owned());
    };
    let start = || {
        check_directory(cwd.as_deref())?;
        server_command(command, env, cwd.as_deref())
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .process_group(0)
            .spawn()
            .map_err(|source| spawn_fault(command, source))
    };
    start().map_err(|fault: Fault| fault.to_string())
}

/// Waits until the server ends or nobody wants it any more, and sees to it that its group is gone.
fn watch(control: &UnixStream, mut server: Child) -> io::Result<()> {
    let group = Pid::from_child(&server);
    let ending = pidfd_open(group, PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|handle| wind_down(control, &handle, group));
    // Before the server is reaped: until then nobody else can have the group's number.
    kill(group, Signal::KILL);
    let how = describe(server.wait()?);
    say(control, ENDED, &format!("{} {how}", ending?.name()));
    Ok(())
}

fn wind_down(control: &UnixStream, server: &OwnedFd, group: Pid) -> io::Result<Ending> {
    let server = (server.as_fd(), PollFlags::IN);
    await_any([server, (control.as_fd(), PollFlags::RDHUP)], None)?;
    if await_any([server], Some(GRACE))? {
        return Ok(Ending::ByItself);
    }
    kill(group, Signal::TERM);
    Ok(if await_any([server], Some(GRACE))? { Ending::Terminated } else { Ending::Killed })
}

/// Whether one of these came within `limit`; without one it waits as long as it takes.
fn await_any<const N: usize>(
    awaited: [(BorrowedFd<'_>, PollFlags); N],
    limit: Option<Duration>,
) -> io::Result<bool> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let mut awaited = awaited.map(|(descriptor, what)| PollFd::from_borrowed_fd(descriptor, what));
    loop {
        match poll(&mut awaited, limit.as_ref()) {
            Ok(came) => return Ok(came > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn kill(group: Pid, signal: Signal) {
    // Fails only where nobody is left.
    let _ = kill_process_group(group, signal);
}

/// A line for whoever asked, who may have gone meanwhile.
fn say(mut control: &UnixStream, word: &str, more: &str) {
    let mut line = format!("{word} {more}").trim_end().replace('\n', "; ");
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - 1));
    line.push('\n');
    let _gone = control.write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line() {
        for (line, name) in
            [("time\n", Some("time")), ("time", None), ("\n", None), ("a\nb\n", None)]
        {
            assert_eq!(name_in(line.as_bytes()).as_deref(), name, "{line:?}");
        }
        assert_eq!(name_in(b"\xff\n"), None);
    }

    #[test]
    fn only_what_is_spawned_is_started() {
        let ends = || -> Descriptors { std::array::from_fn(|_| io::pipe().unwrap().0.into()) };
        let refused = start(&Check::Balefire, ends()).unwrap_err();
        assert!(refused.contains("`command`"), "{refused}");
        let command = vec!["/nonexistent/server".to_owned()];
        let check = Check::McpStdio { command, env: [].into(), cwd: Some("/nonexistent".into()) };
        let refused = start(&check, ends()).unwrap_err();
        assert!(refused.contains("mend `cwd`"), "{refused}");
    }

    /// Without descriptors there is nothing to serve a server with.
    #[test]
    fn a_name_alone_is_refused() {
        let (mut caller, control) = UnixStream::pair().unwrap();
        caller.write_all(b"time\n").unwrap();
        let refused = serve(control.into(), |_| unreachable!("nothing is looked up")).unwrap_err();
        assert!(refused.contains("no request"), "{refused}");
        let said = io::read_to_string(caller).unwrap();
        assert_eq!(said, format!("{REFUSED} {refused}\n"));
    }
}
