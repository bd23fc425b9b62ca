//! The store as such: its sizes, whether it is whole, a copy of it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::timeout};

use crate::{
    error_code::ErrorCode,
    model::AuditOutcome,
    store::{BackupPart, Erased, Inventory, Problem, Step, Store, StoreError, Verification},
    time::{Timestamp, format_duration},
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
        let begun = (AuditOutcome::Begun, ("backup", "store"));
        let audit = self.audit_outcome(caller, begun.0, begun.1, String::new());
        self.parts.store.commit(vec![audit]).await?;
        Ok(self.streamed(|store, reader| {
            store.begin_backup()?.stream(&mut |part| reader.hand_over(part))
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
        let what = matchers.join(", ");
        // Before anything goes, so that nothing goes untold; and again when it is known how much.
        let audit = self.audit_outcome(caller, AuditOutcome::Begun, ("erase", &what), span);
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
        let erased = erased.map_err(panicked).and_then(|erased| Ok(erased?));
        let (outcome, after) = match &erased {
            Ok(erased) => (
                AuditOutcome::Applied,
                format!("{} samples of {} series", erased.samples, erased.series),
            ),
            Err(failure) => (AuditOutcome::Failed, failure.message.clone()),
        };
        let audit = self.audit_outcome(caller, outcome, ("erase", &what), after);
        self.parts.store.commit(vec![audit]).await?;
        erased
    }

    /// Reads everything on disk and tells what is damaged.
    pub async fn verify_store(&self) -> VerifyStream {
        let place = self.queries.clone().acquire_owned().await;
        self.streamed(move |store, reader| {
            let _place = place;
            let done = store.verify(&mut |step| reader.hand_over(step.into()))?;
            reader.hand_over(VerifyStep::Done(done));
            Ok(())
        })
    }

    /// Runs what hands its results over one by one, off the async threads. It ends by itself when
    /// the reader is gone or stands still.
    fn streamed<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &Reader<T>) -> Result<(), StoreError> + Send + 'static,
    ) -> mpsc::Receiver<Result<T, Failure>> {
        let (reader, stream) = Reader::new(READER_TIMEOUT);
        let store = self.parts.store.clone();
        let _detached = spawn_blocking(move || reader.serve(|reader| work(&store, reader)));
        stream
    }
}

/// Whoever reads a stream.
struct Reader<T> {
    parts: mpsc::Sender<Result<T, Failure>>,
    /// Room for the last word, also where nothing is taken.
    last: Option<mpsc::OwnedPermit<Result<T, Failure>>>,
    runtime: Handle,
    /// How long it may stand still.
    patience: Duration,
    stands_still: AtomicBool,
}

impl<T> Reader<T> {
    /// A reader, and what it reads. Made on a thread of the runtime.
    fn new(patience: Duration) -> (Self, mpsc::Receiver<Result<T, Failure>>) {
        let (parts, stream) = mpsc::channel(PARTS_WAITING_MAX + 1);
        let last = parts.clone().try_reserve_owned().ok();
        let runtime = Handle::current();
        (Self { parts, last, runtime, patience, stands_still: AtomicBool::new(false) }, stream)
    }

    /// Does the work, and tells the reader where that fails, or where it stood still for too long.
    fn serve(mut self, work: impl FnOnce(&Self) -> Result<(), StoreError>) {
        let done = work(&self).map_err(Failure::from);
        let stood_still = self.stands_still.load(Ordering::Relaxed).then(|| {
            let text = format!(
                "nothing of the stream was taken for {}: it was given up; call again, and read it as it \
                 comes",
                format_duration(self.patience)
            );
            Failure::new(ErrorCode::DeadlineExceeded, text)
        });
        if let (Some(failure), Some(last)) = (done.err().or(stood_still), self.last.take()) {
            last.send(Err(failure));
        }
    }

    /// Waits for the reader, but not for one that stands still; tells whether it goes on.
    fn hand_over(&self, part: T) -> bool {
        let sent = self.runtime.block_on(timeout(self.patience, self.parts.send(Ok(part))));
        self.stands_still.store(sent.is_err(), Ordering::Relaxed);
        matches!(sent, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_stands_still_is_given_up_and_told() {
        let (reader, mut stream) = Reader::new(Duration::from_millis(5));
        let work = spawn_blocking(move || {
            let mut taken = 0;
            reader.serve(|reader| {
                while reader.hand_over(taken) {
                    taken += 1;
                }
                Ok(())
            });
            taken
        });
        let taken = work.await.unwrap();
        for part in 0..taken {
            assert_eq!(stream.recv().await.unwrap().unwrap(), part);
        }
        let end = stream.recv().await.unwrap().unwrap_err();
        assert_eq!(end.code, ErrorCode::DeadlineExceeded);
        assert!(stream.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_takes_everything_is_told_nothing_more() {
        let (reader, mut stream) = Reader::new(READER_TIMEOUT);
        let work = spawn_blocking(move || {
            reader.serve(|reader| {
                assert!((0..20).all(|part| reader.hand_over(part)));
                Ok(())
            });
        });
        for part in 0..20 {
            assert_eq!(stream.recv().await.unwrap().unwrap(), part);
        }
        assert!(stream.recv().await.is_none());
        work.await.unwrap();
    }
}
