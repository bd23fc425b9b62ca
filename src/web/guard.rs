//! What every request passes: its limits, Host, Origin, who asks, the time it may take, and the headers of
//! the answer.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts, uri::Authority,
};
use tokio::time::{Instant, timeout};

use crate::{
    access::{self, Admission, Limiter, Need, Role},
    limits,
    monitor::{Caller, Monitor},
    telemetry::events::WebEvents,
};

use super::{
    failure::ApiError,
    held::Held,
    hosts::{Hosts, is_same_origin},
    identity::{Identity, Peer},
    refusal::Refusal,
    routes::{OTHER, route_of},
    tls::Tls,
};

/// Sent with every answer. There is no CORS header at all: no other page may read us.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What browsers tell of a request (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What the guard knows; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) hosts: Hosts,
    pub(super) tls: Option<Tls>,
    pub(super) limiter: Limiter,
    pub(super) events: WebEvents,
    /// Knows the tokens, and writes refusals down; `None` in tests without a daemon.
    pub(super) monitor: Option<Monitor>,
}

impl Guard {
    /// Whether a request may be made, and counts as under way then.
    fn admit(&self, request: &Parts, route: &str) -> Result<Admission, Box<Refused>> {
        let (peer, headers) = (peer_of(request), &request.headers);
        let known = Identity::of(headers, peer, self.monitor.as_ref());
        // A token that does not count is tried at the pace of strangers.
        let (identity, known) = match known {
            Ok(identity) => (identity, Ok(())),
            Err(unknown) => (Identity::Stranger, Err(Refusal::Unknown(unknown))),
        };
        let who = identity.who(peer, access::route(route));
        let admission = self.limiter.admit(&who, Instant::now()).map_err(Refusal::Limit);
        let checked = admission.and_then(|admission| {
            self.check_page(request)?;
            known?;
            check_role(route, &identity)?;
            Ok(admission)
        });
        checked.map_err(|why| {
            Box::new(Refused { why, caller: identity.caller(peer, call_of(request, route)) })
        })
    }

    /// Against pages of others in a browser of ours: Host and Origin.
    fn check_page(&self, request: &Parts) -> Result<(), Refusal> {
        let headers = &request.headers;
        // An absolute URI goes before the header (RFC 9112, 3.2.2).
        let host = request.uri.authority().map(Authority::as_str);
        let host = host.or_else(|| text(headers, &header::HOST)).ok_or(Refusal::NoHost)?;
        if !self.hosts.allow(host) && !self.tls.as_ref().is_some_and(|tls| tls.is_named(host)) {
            return Err(Refusal::Host(host.to_owned()));
        }
        match headers.get(header::ORIGIN) {
            Some(origin) if !origin.to_str().is_ok_and(|origin| is_same_origin(origin, host)) => {
                Err(Refusal::Origin(String::from_utf8_lossy(origin.as_bytes()).into_owned()))
            }
            // Fetch metadata: a page elsewhere that asks without leave to read the answer. A link to us is fine.
            _ if text(headers, &SEC_FETCH_SITE) == Some("cross-site")
                && text(headers, &SEC_FETCH_MODE) != Some("navigate") =>
            {
                Err(Refusal::Origin("another site".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Tells the client, the log and the audit.
    async fn refuse(&self, Refused { why, caller }: Refused) -> Response {
        let message = why.message();
        // Neither log nor audit is to be filled by those who ask again and again.
        let is_news = match (&why, &self.monitor) {
            (Refusal::Limit(excess), _) => excess.is_news,
            (_, Some(monitor)) => monitor.note_refusal(&caller, &message).await,
            (_, None) => true,
        };
        let from = format!("{} from {}", caller.actor, caller.origin);
        self.events.request_refused(why.reason(), &from, &message, is_news);
        (&why).into_response()
    }
}

/// Why a request is refused, and whose it was.
struct Refused {
    why: Refusal,
    caller: Caller,
}

/// Where the request comes from; without a connection, from nowhere near.
fn peer_of(request: &Parts) -> Peer {
    let known = request.extensions.get::<Peer>().copied();
    known.unwrap_or(Peer(SocketAddr::from(([0, 0, 0, 0], 0))))
}

/// What was asked for, in a bounded number of words: `GET /api/v1/query`.
fn call_of(request: &Parts, route: &str) -> String {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    let method = known.iter().find(|known| *known == request.method);
    format!("{} {route}", method.map_or("?", Method::as_str))
}

/// Whether who asks may ask for `route`.
fn check_role(route: &str, identity: &Identity) -> Result<(), Refusal> {
    let need = match access::route(route) {
        Some(need) => need,
        // Leads nowhere, and whoever has a role is told so.
        None if route == OTHER => Need::AnyRole,
        None => Need::Role(Role::Admin),
    };
    let had = identity.roles();
    match identity {
        _ if need.is_met_by(had) => Ok(()),
        Identity::Stranger => Err(Refusal::NoToken),
        Identity::Local | Identity::Bearer(_) => Err(Refusal::Role { needed: need.least(), had }),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Lets a request through, or refuses it.
pub(super) async fn watch(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (start, route) = (Instant::now(), route_of(request.uri().path()));
    let (parts, body) = request.into_parts();
    let mut response = match guard.admit(&parts, route) {
        Ok(admission) => {
            let request = Request::from_parts(parts, body);
            in_time(request, next).await.map(|body| Held::until_end_of(body, admission))
        }
        Err(refused) => guard.refuse(*refused).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    guard.events.request_answered(route, response.status().as_u16(), start.elapsed());
    response
}

async fn in_time(request: Request, next: Next) -> Response {
    let answer = timeout(limits::HTTP_REQUEST_TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let seconds = limits::HTTP_REQUEST_TIMEOUT.as_secs();
        let message = format!("no answer within {seconds} s: ask for less, or try again");
        ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "timeout", message }
            .into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{
        Router,
        body::{Body, HttpBody},
        routing::get,
    };
    use tower::ServiceExt;

    use super::*;
    use crate::{access::Rate, telemetry::Telemetry, web::routes::guarded};

    const LOCAL: &str = "127.0.0.1:40000";

    /// A guard that lets three requests in.
    fn guard() -> Guard {
        Guard {
            hosts: Hosts::new(([127, 0, 0, 1], 9494).into(), &["box.lan".to_owned()]),
            tls: None,
            limiter: Limiter::new("http", Rate { per_second: 1, burst: 3, under_way: 3 }),
            events: WebEvents::new(&Telemetry::new()),
            monitor: None,
        }
    }

    async fn ask_from(guard: Guard, peer: &str, request: http::request::Builder) -> Response {
        let slow = get(std::future::pending::<()>);
        let healthy = get(async || "well");
        let routes = Router::new()
            .route("/", get(async || "fine"))
            .route("/-/healthy", healthy)
            .route("/api/v1/slow", slow);
        let request = request.extension(Peer(peer.parse().unwrap())).body(Body::empty()).unwrap();
        guarded(routes, guard).oneshot(request).await.unwrap()
    }

    async fn ask(request: http::request::Builder) -> Response {
        ask_from(guard(), LOCAL, request).await
    }

    #[tokio::test]
    async fn from_elsewhere_a_token_is_needed() {
        let asked = async |peer, path: &str| {
            ask_from(guard(), peer, Request::get(path).header("host", "box.lan")).await
        };
        for path in ["/", "/nowhere"] {
            let refused = asked("192.0.2.7:1", path).await;
            assert_eq!(refused.status(), 401, "{path}");
            assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer");
            has_headers(&refused);
        }
        // Whether the daemon lives is no secret.
        assert_eq!(asked("192.0.2.7:1", "/-/healthy").await.status(), 200);
        let passed_on = Request::get("/").header("host", "box.lan").header("via", "1.1 proxy");
        assert_eq!(ask(passed_on).await.status(), 401);
    }

    #[tokio::test]
    async fn pages_elsewhere_cannot_make_a_browser_ask() {
        let from_page = |mode: &str| {
            let request = Request::get("/").header("host", "localhost");
            request.header("sec-fetch-site", "cross-site").header("sec-fetch-mode", mode)
        };
        assert_eq!(ask(from_page("no-cors")).await.status(), 403);
        assert_eq!(ask(from_page("navigate")).await.status(), 200, "a link is followed");
    }

    #[tokio::test]
    async fn a_token_that_does_not_count_is_refused_everywhere() {
        for (shown, challenge) in [
            ("Bearer bf_0a1b2c3d", "Bearer error=\"invalid_token\""),
            ("Bearer ", "Bearer error=\"invalid_token\""),
            ("Basic YTpi", "Bearer"),
        ] {
            for path in ["/", "/-/healthy"] {
                let request = Request::get(path).header("host", "localhost");
                let refused = ask(request.header("authorization", shown)).await;
                assert_eq!(refused.status(), 401, "{shown} {path}");
                assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], challenge);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_much_is_told_when_to_try_again() {
        let guard = guard();
        let asked = async |peer| {
            ask_from(guard.clone(), peer, Request::get("/").header("host", "localhost")).await
        };
        for _ in 0..3 {
            assert_eq!(asked(LOCAL).await.status(), 200);
        }
        let refused = asked(LOCAL).await;
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        has_headers(&refused);
        assert_eq!(asked("127.0.0.2:1").await.status(), 429, "this host is one");
        assert_eq!(asked("192.0.2.7:1").await.status(), 401, "others are heard");
        let well = Request::get("/-/healthy").header("host", "localhost");
        assert_eq!(ask_from(guard.clone(), LOCAL, well).await.status(), 200, "as is a watcher");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(asked(LOCAL).await.status(), 200);
    }

    /// An answer that nobody has read to its end is under way.
    #[tokio::test(start_paused = true)]
    async fn answers_count_until_they_are_sent() {
        let guard = guard();
        let asked = async || {
            ask_from(guard.clone(), LOCAL, Request::get("/").header("host", "localhost")).await
        };
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(asked().await);
            tokio::time::advance(Duration::from_secs(9)).await;
        }
        assert_eq!(asked().await.status(), 429);
        assert_eq!(open[0].body().size_hint().exact(), Some(4), "known as before");
        open.pop();
        assert_eq!(asked().await.status(), 200);
    }

    #[track_caller]
    fn has_headers(response: &Response) {
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[tokio::test]
    async fn lets_local_requests_through() {
        for host in ["localhost:9494", "127.0.0.1", "[::1]:9494"] {
            let response = ask(Request::get("/").header("host", host)).await;
            assert_eq!(response.status(), 200, "{host}");
            has_headers(&response);
        }
    }

    #[tokio::test]
    async fn refuses_foreign_hosts_and_origins() {
        let foreign = ask(Request::get("/").header("host", "evil.example")).await;
        assert_eq!(foreign.status(), 403);
        has_headers(&foreign);
        assert_eq!(ask(Request::get("/")).await.status(), 400);
        let absolute = Request::get("http://evil.example/").header("host", "localhost");
        assert_eq!(ask(absolute).await.status(), 403);
        for origin in ["null", "http://evil.example", "http://localhost:1"] {
            let request =
                Request::get("/").header("host", "localhost:9494").header("origin", origin);
            assert_eq!(ask(request).await.status(), 403, "{origin}");
        }
        let own = Request::get("/")
            .header("host", "localhost:9494")
            .header("origin", "http://localhost:9494");
        assert_eq!(ask(own).await.status(), 200);
    }

    #[tokio::test]
    async fn nothing_can_be_changed() {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let request = Request::builder().method(method).uri("/").header("host", "localhost");
            let response = ask(request).await;
            assert_eq!(response.status(), 405, "{method}");
            assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
        }
        let head = Request::head("/").header("host", "localhost");
        assert_eq!(ask(head).await.status(), 200);
        assert_eq!(ask(Request::get("/nowhere").header("host", "localhost")).await.status(), 404);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_ends() {
        let response = ask(Request::get("/api/v1/slow").header("host", "localhost")).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    }
}
