//! Stands before every service: lets a call through whose caller has the role that it needs and has not
//! asked for too much, and keeps a panic to its request.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::{
    access::{
        self, Access, Admission, Call, Excess, InvalidToken, Limiter, Need, Peer, Refusal, Role,
        Roles, Surroundings, Token, Who,
    },
    error_code::ErrorCode,
    monitor::Monitor,
    telemetry::events::ControlEvents,
    wire,
};

use super::{behalf::Behalf, convert};

/// Decides who may call what.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) access: Access,
    pub(super) limiter: Limiter,
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
    /// For the bearer of this token.
    pub(super) bearer: Option<Arc<Token>>,
    /// By somebody who may do everything.
    pub(super) is_admin: bool,
}

/// What comes of a request before it is served.
enum Verdict {
    /// … by somebody who may do everything, where that is true.
    Serve {
        call: &'static Call,
        admission: Admission,
        is_admin: bool,
    },
    Refuse(Refusal),
    Limit(Excess),
    NotServed,
}

impl Keeper {
    /// What `peer` may do is looked up for each call: new rules hold for open connections, too.
    fn judge(&self, peer: &Peer, behalf: &Result<Behalf, InvalidToken>, path: &str) -> Verdict {
        let admission = match self.limiter.admit(&Who::User(peer.uid), Instant::now()) {
            Ok(admission) => admission,
            Err(excess) => return Verdict::Limit(excess),
        };
        let rules = self.access.rules();
        let call = access::call(path);
        let need = call.map_or(Need::AnyRole, |call| call.need);
        // Names that a client made up are not told apart.
        let name = || call.map_or_else(|| "an unknown call".to_owned(), Call::name);
        let held = rules.roles(peer, &self.around);
        if !need.is_met_by(held) {
            return Verdict::Refuse(rules.refusal(peer, &self.around, (&name(), need), &self.file));
        }
        if let Err(refusal) = check_behalf(behalf, name, need) {
            return Verdict::Refuse(refusal);
        }
        let on_behalf = behalf.as_ref().ok().and_then(Behalf::roles);
        let is_admin =
            held.include(Role::Admin) && on_behalf.is_none_or(|had| had.include(Role::Admin));
        call.map_or(Verdict::NotServed, |call| Verdict::Serve { call, admission, is_admin })
    }
}

/// Whether those for whom a peer calls may, too.
fn check_behalf(
    behalf: &Result<Behalf, InvalidToken>,
    name: impl Fn() -> String,
    need: Need,
) -> Result<(), Refusal> {
    let needed = need.least();
    let behalf =
        behalf.as_ref().map_err(|invalid| Refusal::invalid_token(&name(), needed, invalid))?;
    match behalf.roles() {
        Some(had) if !need.is_met_by(had) => {
            let token = behalf.token().map(|token| token.name.as_str());
            Err(Refusal::on_behalf(&name(), needed, token, had))
        }
        _ => Ok(()),
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
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
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
        // The one that is ready answers, the other one waits for the next call.
        let other = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, other);
        Box::pin(answer(Arc::clone(&self.keeper), ready, request))
    }
}

/// Serves a call, or refuses it.
async fn answer<S>(
    keeper: Arc<Keeper>,
    mut inner: S,
    request: Request<Body>,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let (mut head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let peer = head.extensions.get::<Peer>().cloned().unwrap_or_else(Peer::unknown);
    let behalf = Behalf::of(&head.headers, keeper.monitor.as_ref());
    let bearer = behalf.as_ref().ok().and_then(Behalf::token).cloned();
    let (call, admission, is_admin) = match keeper.judge(&peer, &behalf, &path) {
        Verdict::Serve { call, admission, is_admin } => (call, admission, is_admin),
        Verdict::Limit(excess) => return Ok(keeper.limit(&peer, &excess)),
        Verdict::Refuse(refusal) => {
            return Ok(keeper.refuse(&peer, bearer.as_deref(), &refusal).await);
        }
        Verdict::NotServed => return Ok(not_served(&path)),
    };
    tracing::trace!(uid = peer.uid, path, "request");
    if super::health::SERVICES.contains(&call.service) {
        keeper.events.requested(call.service);
    }
    let origin = Arc::clone(&keeper.origin);
    head.extensions.insert(Asked { call, origin, bearer, is_admin });
    let answer = inner.call(Request::from_parts(head, body));
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    let answer = answer.unwrap_or_else(|panic| Ok(after_panic(&keeper.events, &path, &*panic)));
    answer.map(|answer| answer.map(|body| held(body, admission)))
}

impl Keeper {
    /// The answer to somebody who asks for too much.
    fn limit(&self, peer: &Peer, excess: &Excess) -> Response<Body> {
        let message = excess.to_string();
        self.events.call_limited(peer.uid, excess.bound.name(), &message, excess.is_news);
        wire::excess(&message, excess.retry_after).into_http()
    }

    /// The answer to somebody who may not ask.
    async fn refuse(
        &self,
        peer: &Peer,
        bearer: Option<&Token>,
        refusal: &Refusal,
    ) -> Response<Body> {
        let Refusal { call, needed, had, grant, message } = refusal;
        self.events.call_refused(peer.uid, call, *had != Roles::NONE, message);
        if let Some(monitor) = &self.monitor {
            let caller = convert::caller_of(Some(peer), bearer, &self.origin, call.clone());
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

/// A body that counts as under way until it ends, or its client has gone.
fn held(body: Body, admission: Admission) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _until_the_end = &admission;
        frame
    }))
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
        access::{Group, Rate, Role, Rules, Subject},
        telemetry::Telemetry,
    };
    use std::{collections::BTreeSet, convert::Infallible};

    const STATUS: &str = "/balefire.v1.SystemService/GetStatus";

    const RATE: Rate = Rate { per_second: 1, burst: 1, under_way: 1 };

    /// User 7 is named in the list of `role`.
    fn keeper(role: Option<Role>, telemetry: &Telemetry) -> Keeper {
        let mut rules = Rules::default();
        rules.grant(role, Subject::User("7".to_owned()));
        Keeper {
            access: Access::new(rules),
            limiter: Limiter::new("socket", RATE),
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
