//! The store as such: its sizes, whether it is whole, a copy of it.

use std::time::Duration;

use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::timeout};

use crate::{
    error_code::ErrorCode,
    store::{BackupPart, Erased, Inventory, Problem, Step, Store, StoreError, Verification},
    time::Timestamp,
};

use super::{Caller, Failure, Monitor, queries::parse_selectors};

/// Parts that wait for a slow reader; then the work waits, too.
const PARTS_WAITING_MAX: usize = 4;
/// A reader that takes nothing for so long is given up.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

/// A backup as it comes.
pub type BackupStream = mpsc::Receiver<Result<BackupPart, Failure>>;
/// A verification as it goes on.
pub type VerifyStream = mpsc::Receiver<Result<VerifyStep, Failure>>;

/// What a verification tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyStep {
    /// What is looked at next.
    Next {
        /// Below the store.
        path: String,
        /// Bytes that were looked at.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something is damaged.
    Found(Problem),
    /// That was all.
    Done(Verification),
}

impl From<Step<'_>> for VerifyStep {
    fn from(step: Step<'_>) -> Self {
        match step {
            Step::Next { path, done, total } => Self::Next { path: path.to_owned(), done, total },
            Step::Found(problem) => Self::Found(problem.clone()),
        }
    }
}

impl Monitor {
    /// What is stored, and how much room it takes.
    pub async fn store_stats(&self) -> Result<Inventory, Failure> {
        Ok(self.blocking(Store::inventory).await??)
    }

    /// A copy of the store, for `caller` to write. It ends with a failure where another is under way.
    pub async fn backup(&self, caller: &Caller) -> Result<BackupStream, Failure> {
        let audit = self.audit_entry(caller, "backup", "store", (String::new(), String::new()));
        self.parts.store.commit(vec![audit]).await?;
        Ok(self.streamed(|store, reader| {
            store.begin_backup()?.stream(&mut |part| reader.hand_over(Ok(part)))
        }))
    }

    /// Erases the samples of the series that any of `matchers` matches; an absent end is that of time.
    pub async fn erase(
        &self,
        caller: &Caller,
        matchers: &[String],
        (start, end): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<Erased, Failure> {
        if matchers.is_empty() {
            let text = "name at least one selector; `{__name__=~\".+\"}` matches everything";
            return Err(Failure::field("matchers", text));
        }
        let selectors = parse_selectors(matchers)?;
        let shown = |time: Option<Timestamp>, open: &str| {
            time.map_or_else(|| open.to_owned(), |time| time.to_string())
        };
        let span = format!("{} to {}", shown(start, "the beginning"), shown(end, "the end"));
        let audit = self.audit_entry(caller, "erase", &matchers.join(", "), (span, String::new()));
        self.parts.store.commit(vec![audit]).await?;
        let range = (
            start.unwrap_or(Timestamp::from_millis(i64::MIN)),
            end.unwrap_or(Timestamp::from_millis(i64::MAX)),
        );
        let store = self.parts.store.clone();
        // It may take minutes: it takes no place from the queries.
        let erased = spawn_blocking(move || store.erase(selectors, range)).await;
        let panicked =
            |error| Failure::new(ErrorCode::Internal, format!("erasing panicked: {error}"));
        Ok(erased.map_err(panicked)??)
    }

    /// Reads everything on disk and tells what is damaged.
    pub async fn verify_store(&self) -> VerifyStream {
        let place = self.queries.clone().acquire_owned().await;
        self.streamed(move |store, reader| {
            let _place = place;
            let done = store.verify(&mut |step| reader.hand_over(Ok(step.into())))?;
            reader.hand_over(Ok(VerifyStep::Done(done)));
            Ok(())
        })
    }

    /// Runs what hands its results over one by one, off the async threads. It ends by itself when
    /// the reader is gone or stands still.
    fn streamed<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &Reader<T>) -> Result<(), StoreError> + Send + 'static,
    ) -> mpsc::Receiver<Result<T, Failure>> {
        let (parts, stream) = mpsc::channel(PARTS_WAITING_MAX);
        let reader = Reader { parts, runtime: Handle::current() };
        let store = self.parts.store.clone();
        let _detached = spawn_blocking(move || {
            if let Err(error) = work(&store, &reader) {
                reader.hand_over(Err(error.into()));
            }
        });
        stream
    }
}

/// Whoever reads a stream.
struct Reader<T> {
    parts: mpsc::Sender<Result<T, Failure>>,
    runtime: Handle,
}

impl<T> Reader<T> {
    /// Waits for the reader, but not for one that stands still; tells whether it goes on.
    fn hand_over(&self, part: Result<T, Failure>) -> bool {
        let sent = self.runtime.block_on(timeout(READER_TIMEOUT, self.parts.send(part)));
        matches!(sent, Ok(Ok(())))
    }
}
