//! Stands before every service: lets in who may come in, and keeps a panic to its request.

use std::{
    any::Any,
    future::{Future, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::{error_code::ErrorCode, telemetry::events::ControlEvents, wire};

use super::peer::Peer;

/// Puts a [`Guard`] before a service.
#[derive(Clone, Debug)]
pub(super) struct GuardLayer {
    pub(super) events: ControlEvents,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, events: self.events.clone() }
    }
}

/// A service with a guard before it.
#[derive(Clone, Debug)]
pub(super) struct Guard<S> {
    inner: S,
    events: ControlEvents,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let peer = request.extensions().get::<Peer>().copied();
        if let Some(refusal) = self.refusal(peer, &path) {
            return Box::pin(ready(Ok(refusal)));
        }
        let events = self.events.clone();
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            answer.await.unwrap_or_else(|panic| Ok(after_panic(&events, &path, &*panic)))
        })
    }
}

impl<S> Guard<S> {
    /// The answer to somebody who may not ask.
    fn refusal(&self, peer: Option<Peer>, path: &str) -> Option<Response<Body>> {
        if let Some(peer) = peer.filter(|peer| peer.admitted) {
            tracing::trace!(uid = peer.uid, path, "request");
            if let Some(service) = served(path) {
                self.events.requested(service);
            }
            return None;
        }
        self.events.peer_refused(peer.map_or(u32::MAX, |peer| peer.uid), path);
        let message = "this user may not use the control socket; ask for membership of the group: \
                       `sudo usermod -aG balefire $USER`, then log in again";
        Some(wire::status(ErrorCode::PermissionDenied, message, &[]).into_http())
    }
}

/// The service of a path, for the counter: names that a client made up are not counted apart.
fn served(path: &str) -> Option<&str> {
    let service = path.strip_prefix('/')?.split('/').next()?;
    super::health::SERVICES.contains(&service).then_some(service)
}

fn after_panic(events: &ControlEvents, path: &str, panic: &(dyn Any + Send)) -> Response<Body> {
    let reason = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    events.panicked(path, reason);
    let message = "a defect in balefire: the log of the daemon says more";
    wire::status(ErrorCode::Internal, message, &[]).into_http()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;
    use std::convert::Infallible;

    /// The `grpc-status` that a request of `peer` gets from a service that panics where it is asked.
    async fn check(peer: Option<Peer>, panics: bool) -> (Telemetry, Option<String>) {
        let telemetry = Telemetry::new();
        let layer = GuardLayer { events: ControlEvents::new(&telemetry) };
        let mut service = layer.layer(tower::service_fn(move |_: Request<Body>| async move {
            assert!(!panics, "on purpose");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/balefire.v1.SystemService/GetStatus".parse().unwrap();
        request.extensions_mut().extend(peer.map(extension).unwrap_or_default());
        let response = service.call(request).await.unwrap();
        let status = response.headers().get("grpc-status");
        let status = status.map(|value| value.to_str().unwrap().to_owned());
        (telemetry, status)
    }

    fn extension(peer: Peer) -> http::Extensions {
        let mut extensions = http::Extensions::new();
        extensions.insert(peer);
        extensions
    }

    fn counted(telemetry: &Telemetry, name: &str) -> f64 {
        let families = telemetry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum()
    }

    #[tokio::test]
    async fn lets_an_admitted_peer_pass() {
        let (telemetry, status) = check(Some(Peer { uid: 7, admitted: true }), false).await;
        assert_eq!(status, None);
        assert!((counted(&telemetry, "balefire_grpc_requests_total") - 1.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn refuses_others_and_counts_them() {
        for peer in [Some(Peer { uid: 7, admitted: false }), None] {
            let (telemetry, status) = check(peer, false).await;
            assert_eq!(status.as_deref(), Some("7"), "PERMISSION_DENIED");
            assert!(
                (counted(&telemetry, "balefire_grpc_refused_total") - 1.0).abs() < f64::EPSILON
            );
        }
    }

    #[tokio::test]
    async fn a_panic_ends_one_request() {
        let (telemetry, status) = check(Some(Peer { uid: 7, admitted: true }), true).await;
        assert_eq!(status.as_deref(), Some("13"), "INTERNAL");
        assert!((counted(&telemetry, "balefire_grpc_panics_total") - 1.0).abs() < f64::EPSILON);
    }
}
