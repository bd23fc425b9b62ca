//! A socket that notes when its other end first said something, and does not wait for that for ever.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::{Sleep, sleep},
};

use super::{error::SILENT, retry::UNGREETED};

/// How long a daemon may take to say something: one that starts has its log to read first.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far the latest connection has come; shared by all connections of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<Latest>>);

#[derive(Debug, Default)]
struct Latest {
    /// Took the connection, and said nothing yet.
    waited_for: Option<PathBuf>,
    /// Answered last.
    answered: Option<PathBuf>,
}

impl Progress {
    pub(super) fn connected(&self, socket: PathBuf) {
        self.0.lock().waited_for = Some(socket);
    }

    fn greeted(&self) {
        let mut latest = self.0.lock();
        if let Some(socket) = latest.waited_for.take() {
            latest.answered = Some(socket);
        }
    }

    pub(super) fn waited_for(&self) -> Option<PathBuf> {
        self.0.lock().waited_for.clone()
    }

    pub(super) fn answered(&self) -> Option<PathBuf> {
        self.0.lock().answered.clone()
    }
}

/// A connection whose end before the first byte is an error of its own ([`UNGREETED`]), as is silence
/// ([`SILENT`]).
#[derive(Debug)]
pub(super) struct Greeted {
    stream: UnixStream,
    progress: Progress,
    patience: Pin<Box<Sleep>>,
    has_spoken: bool,
}

impl Greeted {
    pub(super) fn new(stream: UnixStream, progress: Progress) -> Self {
        let patience = Box::pin(sleep(PATIENCE));
        Self { stream, progress, patience, has_spoken: false }
    }

    fn ended<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| if self.has_spoken { error } else { ungreeted() })
    }

    /// Where the other end is silent: waits for it, and gives it up in time.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_spoken {
            return Poll::Pending;
        }
        ready!(self.patience.as_mut().poll(context));
        let socket = self.progress.waited_for().unwrap_or_default();
        let silence = format!("nobody has answered on {} for {PATIENCE:?}", socket.display());
        Poll::Ready(Err(io::Error::new(SILENT, silence)))
    }
}

fn ungreeted() -> io::Error {
    io::Error::new(UNGREETED, "the connection ended before the daemon said anything")
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) else {
            return self.wait(context);
        };
        let has_more = buffer.filled().len() > before;
        if has_more && !self.has_spoken {
            self.has_spoken = true;
            self.progress.greeted();
        }
        let ended_early = read.is_ok() && !has_more && !self.has_spoken;
        Poll::Ready(if ended_early { Err(ungreeted()) } else { self.ended(read) })
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        Poll::Ready(self.ended(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let written = ready!(stream.poll_write_vectored(context, bytes));
        Poll::Ready(self.ended(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
