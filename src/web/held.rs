//! An answer that counts as under way until its last byte is sent, or its client has gone.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use crate::access::Admission;

/// A body with what was let in for it.
pub(super) struct Held {
    body: Body,
    _admission: Admission,
}

impl Held {
    /// Holds the admission until the body ends.
    pub(super) fn until_end_of(body: Body, admission: Admission) -> Body {
        Body::new(Self { body, _admission: admission })
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
