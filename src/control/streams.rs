//! Answers that stream.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tonic::Status;

use crate::{error_code::ErrorCode, supervise::StopSignal, wire};

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a stream ends with when the daemon stops.
pub(super) fn stopping() -> Status {
    wire::status(ErrorCode::Unavailable, "the daemon is stopping: connect again", &[])
}

/// `answers` until they end, or until the daemon stops: then one `UNAVAILABLE`.
pub(super) fn until_stopped<T: Send + 'static>(
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    stop: StopSignal,
) -> Answers<T> {
    let state = Some((Box::pin(answers), stop));
    Box::pin(stream::unfold(state, |state| async move {
        let (mut answers, stop) = state?;
        tokio::select! {
            biased;
            () = stop.stopped() => Some((Err(stopping()), None)),
            answer = answers.next() => Some((answer?, Some((answers, stop)))),
        }
    }))
}
