//! Stands before every service: lets a call through whose caller has the role that it needs, and keeps
//! a panic to its request.

use std::{
    any::Any,
    future::{Future, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::{
    access::{self, Access, Call, Need, Peer, Refusal, Role, Roles, Surroundings},
    error_code::ErrorCode,
    monitor::Monitor,
    telemetry::events::ControlEvents,
    wire,
};

use super::convert;

/// Decides who may call what.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) access: Access,
    /// Whose daemon and socket it is.
    pub(super) around: Surroundings,
    /// The configuration file, for whoever is to be told what to write there.
    pub(super) file: String,
    /// The socket's path.
    pub(super) origin: Arc<str>,
    pub(super) events: ControlEvents,
    /// Where refusals are written down; `None` in tests without a daemon.
    pub(super) monitor: Option<Monitor>,
}

/// What was asked for, for the services.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) call: &'static Call,
    /// By way of this socket.
    pub(super) origin: Arc<str>,
    /// By somebody who may do everything.
    pub(super) is_admin: bool,
}

/// What comes of a request before it is served.
enum Verdict {
    /// … somebody who may do everything, where that is true.
    Serve(&'static Call, bool),
    Refuse(Refusal),
    NotServed,
}

impl Keeper {
    /// What `peer` may do is looked up for each call: new rules hold for open connections, too.
    fn judge(&self, peer: &Peer, path: &str) -> Verdict {
        let rules = self.access.rules();
        let call = access::call(path);
        let need = call.map_or(Need::AnyRole, |call| call.need);
        let held = rules.roles(peer, &self.around);
        if !need.is_met_by(held) {
            // Names that a client made up are not told apart.
            let name = call.map_or_else(|| "an unknown call".to_owned(), Call::name);
            return Verdict::Refuse(rules.refusal(peer, &self.around, (&name, need), &self.file));
        }
        let is_admin = held.include(Role::Admin);
        call.map_or(Verdict::NotServed, |call| Verdict::Serve(call, is_admin))
    }
}

/// Puts a [`Guard`] before a service.
#[derive(Clone, Debug)]
pub(super) struct GuardLayer {
    pub(super) keeper: Arc<Keeper>,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, keeper: Arc::clone(&self.keeper) }
    }
}

/// A service with a guard before it.
#[derive(Clone, Debug)]
pub(super) struct Guard<S> {
    inner: S,
    keeper: Arc<Keeper>,
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_else(Peer::unknown);
        let keeper = Arc::clone(&self.keeper);
        let (call, is_admin) = match keeper.judge(&peer, &path) {
            Verdict::Serve(call, is_admin) => (call, is_admin),
            Verdict::Refuse(refusal) => {
                return Box::pin(async move { Ok(keeper.refuse(&peer, &refusal).await) });
            }
            Verdict::NotServed => return Box::pin(ready(Ok(not_served(&path)))),
        };
        tracing::trace!(uid = peer.uid, path, "request");
        if super::health::SERVICES.contains(&call.service) {
            keeper.events.requested(call.service);
        }
        let origin = Arc::clone(&keeper.origin);
        request.extensions_mut().insert(Asked { call, origin, is_admin });
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            answer.await.unwrap_or_else(|panic| Ok(after_panic(&keeper.events, &path, &*panic)))
        })
    }
}

impl Keeper {
    /// The answer to somebody who may not ask.
    async fn refuse(&self, peer: &Peer, refusal: &Refusal) -> Response<Body> {
        let Refusal { call, needed, had, grant, message } = refusal;
        self.events.call_refused(peer.uid, call, *had != Roles::NONE, message);
        if let Some(monitor) = &self.monitor {
            let caller = convert::caller_of(Some(peer), &self.origin, call.clone());
            monitor.note_refusal(&caller, message).await;
        }
        let facts = [
            ("call", call.clone()),
            ("role_needed", needed.to_string()),
            ("roles_had", had.to_string()),
            ("access", grant.clone()),
        ];
        wire::refusal(message, &facts).into_http()
    }
}

fn not_served(path: &str) -> Response<Body> {
    let message = format!("this daemon has no call {path}: an older or newer one may");
    wire::status(ErrorCode::Unimplemented, &message, &[]).into_http()
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
    use crate::{
        access::{Group, Rules, Subject},
        telemetry::Telemetry,
    };
    use std::{collections::BTreeSet, convert::Infallible};

    const STATUS: &str = "/balefire.v1.SystemService/GetStatus";

    /// User 7 is named in the list of `role`.
    fn keeper(role: Option<Role>, telemetry: &Telemetry) -> Keeper {
        let mut rules = Rules::default();
        rules.grant(role, Subject::User("7".to_owned()));
        Keeper {
            access: Access::new(rules),
            around: Surroundings { uid: 1, group: Group { gid: 1, name: String::new() } },
            file: String::new(),
            origin: "".into(),
            monitor: None,
            events: ControlEvents::new(telemetry),
        }
    }

    /// The `grpc-status` that user 7 gets from a service that panics where it is asked.
    async fn check(role: Option<Role>, path: &str, panics: bool) -> (Telemetry, Option<String>) {
        let telemetry = Telemetry::new();
        let layer = GuardLayer { keeper: Arc::new(keeper(role, &telemetry)) };
        let mut service =
            layer.layer(tower::service_fn(move |request: Request<Body>| async move {
                assert!(!panics, "on purpose");
                let call = request.extensions().get::<Asked>().unwrap().call;
                assert_eq!(call.path(), request.uri().path());
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }));
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        request.extensions_mut().insert(Peer { uid: 7, ..Peer::unknown() });
        let response = service.call(request).await.unwrap();
        let status = response.headers().get("grpc-status");
        let status = status.map(|value| value.to_str().unwrap().to_owned());
        (telemetry, status)
    }

    fn counted(telemetry: &Telemetry, name: &str) -> f64 {
        let families = telemetry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum()
    }

    #[tokio::test]
    async fn lets_a_peer_with_the_role_pass() {
        let (telemetry, status) = check(Some(Role::Viewer), STATUS, false).await;
        assert_eq!(status, None);
        assert!((counted(&telemetry, "balefire_grpc_requests_total") - 1.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn refuses_others_and_counts_them() {
        for role in [Some(Role::Ingest), None] {
            let (telemetry, status) = check(role, STATUS, false).await;
            assert_eq!(status.as_deref(), Some("7"), "PERMISSION_DENIED");
            assert!(
                (counted(&telemetry, "balefire_grpc_refused_total") - 1.0).abs() < f64::EPSILON
            );
        }
    }

    #[tokio::test]
    async fn what_has_no_row_is_not_served() {
        let path = "/balefire.v1.SystemService/Forgotten";
        assert_eq!(check(Some(Role::Admin), path, false).await.1.as_deref(), Some("12"));
        assert_eq!(check(None, path, false).await.1.as_deref(), Some("7"), "PERMISSION_DENIED");
    }

    #[tokio::test]
    async fn a_panic_ends_one_request() {
        let (telemetry, status) = check(Some(Role::Viewer), STATUS, true).await;
        assert_eq!(status.as_deref(), Some("13"), "INTERNAL");
        assert!((counted(&telemetry, "balefire_grpc_panics_total") - 1.0).abs() < f64::EPSILON);
    }

    /// Every method of every service in these descriptors.
    fn methods(descriptors: &[u8]) -> Vec<String> {
        use prost::Message;
        let set = prost_types::FileDescriptorSet::decode(descriptors).unwrap();
        let mut found = Vec::new();
        for file in &set.file {
            for service in &file.service {
                let path =
                    |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                found.extend(service.method.iter().map(|method| path(method.name())));
            }
        }
        found
    }

    #[test]
    fn the_table_has_a_row_for_each_call_and_no_other() {
        let served = [
            wire::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let served: BTreeSet<String> = served.into_iter().flat_map(methods).collect();
        let rows: BTreeSet<String> = access::CALLS.iter().map(Call::path).collect();
        let missing: Vec<_> = served.difference(&rows).collect();
        let stale: Vec<_> = rows.difference(&served).collect();
        assert!(missing.is_empty(), "without a row in src/access/calls.rs: {missing:?}");
        assert!(stale.is_empty(), "rows for what is not served: {stale:?}");
    }
}
