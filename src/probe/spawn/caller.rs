//! The daemon's end: has a server started by the helper, and made to go.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{ChildStderr, ChildStdin, ChildStdout},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::UnixStream,
    process,
    time::timeout,
};

use super::{ENDED, LINE_BYTES_MAX, REFUSED, STARTED};
use crate::probe::{
    fault::{Fault, first_line},
    process::{BURIAL, Ending, GRACE, Pipes},
};

/// Longest reason of the helper's that is told.
const REASON_CHARS_MAX: usize = 500;

/// A server that the helper holds. Dropping it has the helper stop the server.
#[derive(Debug)]
pub(in crate::probe) struct Spawned {
    control: BufReader<UnixStream>,
    /// The line so far: kept here, since whoever waits for it may lose patience.
    line: Vec<u8>,
    /// What it took to make it go, and how it ended, once that is known.
    end: Option<(Ending, String)>,
}

impl Spawned {
    /// Has the configured target `name` started by the helper behind `socket`.
    pub(in crate::probe) async fn spawn(socket: &Path, name: &str) -> Result<(Self, Pipes), Fault> {
        let unreachable = |source| Fault::SpawnSocket { socket: socket.to_owned(), source };
        let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
        let (pipes, theirs) = pipes().map_err(unreachable)?;
        let request = format!("{name}\n");
        // Where the helper hung up already, its answer may still be there, and tells more.
        let asked = stream
            .async_io(Interest::WRITABLE, || send(stream.as_fd(), request.as_bytes(), &theirs))
            .await;
        // The server's ends are the helper's alone now: what it closes is closed.
        drop(theirs);
        let mut spawned = Self { control: BufReader::new(stream), line: Vec::new(), end: None };
        match (spawned.next_line().await, asked) {
            (Some(line), _) => started(&line).map(|()| (spawned, pipes)),
            (None, Err(source)) => Err(unreachable(source)),
            (None, Ok(())) => Err(Fault::SpawnRefused(
                "the helper hung up: see `journalctl -u 'balefire-spawn@*'`".to_owned(),
            )),
        }
    }

    /// How the server ended, in words, where it ends within `limit`.
    pub(in crate::probe) async fn ended(&mut self, limit: Duration) -> Option<String> {
        self.wait(limit).await;
        self.end.as_ref().map(|(_, how)| how.clone())
    }

    /// Has the helper make the server and its whole group go. The server's input must be closed
    /// already. Takes a second at most; the helper goes on where that is not enough.
    pub(in crate::probe) async fn stop(mut self) -> Ending {
        // Fails only where the helper is gone.
        let _ = self.control.get_mut().shutdown().await;
        self.wait(2 * GRACE + BURIAL).await;
        self.end.map_or(Ending::Killed, |(ending, _)| ending)
    }

    async fn wait(&mut self, limit: Duration) {
        if self.end.is_none() {
            let line = timeout(limit, self.next_line()).await.ok().flatten();
            self.end = line.as_deref().and_then(end);
        }
    }

    /// The helper's next line; `None` where it hung up.
    async fn next_line(&mut self) -> Option<String> {
        let left = LINE_BYTES_MAX.saturating_sub(self.line.len()) as u64;
        (&mut self.control).take(left).read_until(b'\n', &mut self.line).await.ok()?;
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n")?;
        Some(String::from_utf8_lossy(line).into_owned())
    }
}

/// Our ends of a server's three pipes, and its own.
fn pipes() -> io::Result<(Pipes, [OwnedFd; 3])> {
    let (their_input, input) = io::pipe()?;
    let (output, their_output) = io::pipe()?;
    let (errors, their_errors) = io::pipe()?;
    let pipes = Pipes {
        stdin: process::ChildStdin::from_std(ChildStdin::from(OwnedFd::from(input)))?,
        stdout: process::ChildStdout::from_std(ChildStdout::from(OwnedFd::from(output)))?,
        stderr: process::ChildStderr::from_std(ChildStderr::from(OwnedFd::from(errors)))?,
    };
    Ok((pipes, [their_input.into(), their_output.into(), their_errors.into()]))
}

/// Short enough to go, or not, as a whole.
fn send(control: BorrowedFd<'_>, request: &[u8], descriptors: &[OwnedFd; 3]) -> io::Result<()> {
    let descriptors = descriptors.each_ref().map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(control, &[IoSlice::new(request)], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn started(line: &str) -> Result<(), Fault> {
    if line == STARTED {
        return Ok(());
    }
    let reason = line.strip_prefix(REFUSED).unwrap_or(line).trim_start();
    // Which it says of itself, too.
    let reason = reason.strip_prefix("spawn failed: ").unwrap_or(reason);
    Err(Fault::SpawnRefused(first_line(reason, REASON_CHARS_MAX)))
}

/// `ended terminated was killed by signal 15`
fn end(line: &str) -> Option<(Ending, String)> {
    let (ending, how) = line.strip_prefix(ENDED)?.trim_start().split_once(' ')?;
    let known = [Ending::ByItself, Ending::Terminated, Ending::Killed];
    let ending = known.into_iter().find(|known| known.name() == ending)?;
    Some((ending, first_line(how, REASON_CHARS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_helper_says_is_understood() {
        assert!(started("started").is_ok());
        let refused = started("refused there is no target \"x\"").unwrap_err();
        assert_eq!(refused.to_string(), "spawn failed: there is no target \"x\"");
        let refused = started("refused spawn failed: `x`: not found").unwrap_err();
        assert_eq!(refused.to_string(), "spawn failed: `x`: not found");
        let how = "exited with status 3".to_owned();
        assert_eq!(end("ended by_itself exited with status 3"), Some((Ending::ByItself, how)));
        assert_eq!(end("ended somehow exited with status 3"), None);
        assert_eq!(end("started"), None);
    }
}
