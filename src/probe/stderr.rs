//! The last stretch of a spawned server's standard error.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::{io::AsyncReadExt, process::ChildStderr};

use crate::limits;

use super::scrub::Scrubber;

/// The last stretch of a server's standard error, and who cleans it; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// As long as what is shown and the longest secret, so that no secret is cut before it is found.
    bytes: Arc<Mutex<VecDeque<u8>>>,
    scrubber: Scrubber,
}

impl Tail {
    pub(super) fn new(scrubber: Scrubber) -> Self {
        Self { bytes: Arc::default(), scrubber }
    }

    /// Reads `stderr` to its end, then waits for ever: to be raced against the conversation, so that
    /// a server never blocks on a full pipe.
    pub(super) async fn follow(&self, mut stderr: ChildStderr) -> std::convert::Infallible {
        let mut chunk = vec![0; limits::PROBE_STDERR_BYTES_MAX];
        while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
            self.push(&chunk[..read]);
        }
        std::future::pending().await
    }

    fn push(&self, bytes: &[u8]) {
        let mut tail = self.bytes.lock();
        tail.extend(bytes);
        let kept = limits::PROBE_STDERR_BYTES_MAX + self.scrubber.longest();
        let surplus = tail.len().saturating_sub(kept);
        tail.drain(..surplus);
    }

    /// The end of the text so far, clean.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.lock().iter().copied().collect();
        let cut = bytes.len().saturating_sub(limits::PROBE_STDERR_BYTES_MAX);
        let shown = &bytes[self.scrubber.clear_of_secrets(&bytes, cut)..];
        self.scrubber.clean(String::from_utf8_lossy(shown).trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Check, Secret};

    fn tail(secret: &str) -> Tail {
        let env = [("KEY".to_owned(), Secret::new(secret))].into();
        Tail::new(Scrubber::of(&Check::McpStdio { command: vec!["x".to_owned()], env, cwd: None }))
    }

    #[test]
    fn the_tail_keeps_the_end() {
        let tail = tail("sk-12345");
        tail.push(&vec![b'a'; limits::PROBE_STDERR_BYTES_MAX]);
        tail.push(b"end\n");
        let text = tail.text();
        assert_eq!(text.len(), limits::PROBE_STDERR_BYTES_MAX - 1);
        assert!(text.ends_with("aend"));
    }

    /// Wherever the cut falls, no half of the secret is left over.
    #[test]
    fn a_secret_at_the_cut_is_left_out_whole() {
        let secret = "0123456789";
        for behind in limits::PROBE_STDERR_BYTES_MAX - 12..=limits::PROBE_STDERR_BYTES_MAX + 2 {
            let tail = tail(secret);
            tail.push(b"before ");
            tail.push(secret.as_bytes());
            tail.push(&vec![b'x'; behind]);
            let text = tail.text();
            assert!(!text.contains(|c: char| c.is_ascii_digit()), "{behind}: {}", &text[..20]);
        }
    }
}
