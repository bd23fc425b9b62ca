//! Calls that are made for somebody else: they say for whom, so that the daemon lets them do no more than
//! that.

use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, header};
use tower::Service;

use crate::wire::ON_BEHALF;

/// A channel that says in each call for whom it is made.
#[derive(Clone, Debug)]
pub struct OnBehalf<C> {
    channel: C,
    /// What is added to each call; `None`: it is made for whoever runs this program.
    says: Option<(HeaderName, HeaderValue)>,
}

impl<C> OnBehalf<C> {
    /// Calls of whoever runs this program.
    pub(super) fn own(channel: C) -> Self {
        Self { channel, says: None }
    }

    /// Calls of somebody who shows this, the value of an `Authorization`, or nothing.
    #[must_use]
    pub(super) fn of(mut self, shown: Option<&HeaderValue>) -> Self {
        let nobody = || (HeaderName::from_static(ON_BEHALF), HeaderValue::from_static("anybody"));
        let says = shown.map(|shown| (header::AUTHORIZATION, shown.clone()));
        self.says = Some(says.unwrap_or_else(nobody));
        self
    }
}

impl<C, B> Service<Request<B>> for OnBehalf<C>
where
    C: Service<Request<B>>,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> C::Future {
        if let Some((name, value)) = &self.says {
            request.headers_mut().insert(name, value.clone());
        }
        self.channel.call(request)
    }
}
