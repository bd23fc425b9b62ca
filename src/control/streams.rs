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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::StopSwitch;

    #[tokio::test]
    async fn a_stream_ends_with_its_answers() {
        let answers = until_stopped(stream::iter([Ok(1), Ok(2)]), StopSwitch::default().signal());
        let answers: Vec<i32> = answers.map(Result::unwrap).collect().await;
        assert_eq!(answers, [1, 2]);
    }

    #[tokio::test]
    async fn a_stop_ends_a_stream_that_waits() {
        let stop = StopSwitch::default();
        let mut answers = until_stopped(stream::pending::<Result<(), _>>(), stop.signal());
        stop.stop();
        let end = answers.next().await.unwrap().unwrap_err();
        assert_eq!(end.code(), tonic::Code::Unavailable);
        assert!(answers.next().await.is_none());
    }
}
