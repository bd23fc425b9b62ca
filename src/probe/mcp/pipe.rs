//! Carries rmcp's messages over a spawned server's standard input and output, a JSON text a line, and
//! never reads more than it may.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::Mutex,
};

use crate::limits;

/// What was seen on a server's output; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    noise: AtomicU64,
    flooded: AtomicBool,
}

impl Seen {
    /// Bytes that were no JSON-RPC.
    pub(super) fn noise(&self) -> u64 {
        self.0.noise.load(Ordering::Relaxed)
    }

    /// Whether the server wrote more than is read.
    pub(super) fn flooded(&self) -> bool {
        self.0.flooded.load(Ordering::Relaxed)
    }

    fn add_noise(&self, bytes: usize) {
        self.0.noise.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The way to a spawned server.
#[derive(Debug)]
pub(super) struct PipeTransport {
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    stdout: BufReader<ChildStdout>,
    /// The line so far: kept here, since rmcp may drop `receive` at any moment.
    line: Vec<u8>,
    /// Bytes read in all.
    read: usize,
    seen: Seen,
}

impl PipeTransport {
    pub(super) fn new(stdin: ChildStdin, stdout: ChildStdout, seen: Seen) -> Self {
        let stdin = Arc::new(Mutex::new(Some(stdin)));
        Self { stdin, stdout: BufReader::new(stdout), line: Vec::new(), read: 0, seen }
    }

    /// The next line, without its end; `None` at the end of the output or of our patience.
    async fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let chunk = self.stdout.fill_buf().await.ok()?;
            if chunk.is_empty() {
                self.seen.add_noise(std::mem::take(&mut self.line).len());
                return None;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |end| end + 1);
            self.line.extend_from_slice(&chunk[..taken]);
            self.stdout.consume(taken);
            self.read += taken;
            if self.read > limits::PROBE_ANSWER_BYTES_MAX {
                self.seen.add_noise(std::mem::take(&mut self.line).len());
                self.seen.0.flooded.store(true, Ordering::Relaxed);
                return None;
            }
            if end.is_some() {
                return Some(std::mem::take(&mut self.line));
            }
        }
    }
}

impl Transport<RoleClient> for PipeTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let stdin = Arc::clone(&self.stdin);
        async move {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            let mut stdin = stdin.lock().await;
            let stdin = stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            stdin.write_all(&line).await?;
            stdin.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let line = self.next_line().await?;
            match serde_json::from_slice(&line) {
                Ok(message) => return Some(message),
                Err(_) => self.seen.add_noise(line.trim_ascii().len()),
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.stdin.lock().await.take();
        Ok(())
    }
}
