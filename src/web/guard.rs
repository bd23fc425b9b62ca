//! What every request passes: Host, Origin, the time it may take, and the headers of the answer.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, uri::Authority};
use tokio::time::{Instant, timeout};

use crate::{
    access::{self, Need, Role, Roles},
    limits,
    telemetry::events::WebEvents,
};

use super::{
    failure::ApiError,
    hosts::{Hosts, is_same_origin},
    routes::{OTHER, route_of},
};

/// Sent with every answer. There is no CORS header at all: no other page may read us.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What the guard knows; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    hosts: Arc<Hosts>,
    events: WebEvents,
}

/// Why a request is refused before anybody reads it.
#[derive(Debug, PartialEq)]
enum Refusal {
    NoHost,
    Host(String),
    Origin(String),
    Role(Role),
}

impl Guard {
    pub(super) fn new(hosts: Hosts, events: WebEvents) -> Self {
        Self { hosts: Arc::new(hosts), events }
    }

    fn check(&self, request: &Request, route: &str) -> Result<(), Refusal> {
        let headers = request.headers();
        // An absolute URI goes before the header (RFC 9112, 3.2.2).
        let host = request.uri().authority().map(Authority::as_str);
        let host = host.or_else(|| text(headers, &header::HOST)).ok_or(Refusal::NoHost)?;
        if !self.hosts.allow(host) {
            return Err(Refusal::Host(host.to_owned()));
        }
        match headers.get(header::ORIGIN) {
            Some(origin) if !origin.to_str().is_ok_and(|origin| is_same_origin(origin, host)) => {
                Err(Refusal::Origin(String::from_utf8_lossy(origin.as_bytes()).into_owned()))
            }
            _ => check_role(route),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        let (status, reason, detail, message) = match refusal {
            Refusal::NoHost => (
                StatusCode::BAD_REQUEST,
                "no_host",
                String::new(),
                "the request has no Host header".to_owned(),
            ),
            Refusal::Host(host) => {
                let message = format!(
                    "Host {host:?} is not one of ours: use localhost, a loopback address or the \
                     address Balefire listens on"
                );
                (StatusCode::FORBIDDEN, "host", host, message)
            }
            Refusal::Origin(origin) => {
                let message = format!("pages of {origin:?} may not ask Balefire");
                (StatusCode::FORBIDDEN, "origin", origin, message)
            }
            Refusal::Role(role) => {
                let message = format!("this needs the role {role}, which nobody has over HTTP");
                (StatusCode::FORBIDDEN, "role", role.to_string(), message)
            }
        };
        self.events.request_refused(reason, &detail);
        ApiError { status, kind: "forbidden", message }.into_response()
    }
}

/// Whether everybody may ask for `route`: HTTP knows nobody apart yet, and who comes is a viewer.
fn check_role(route: &str) -> Result<(), Refusal> {
    let need = match access::route(route) {
        Some(need) => need,
        // Leads nowhere, and is told so.
        None if route == OTHER => Need::Nothing,
        None => Need::Role(Role::Admin),
    };
    if need.is_met_by(Roles::from(Role::Viewer)) {
        Ok(())
    } else {
        Err(Refusal::Role(need.least()))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Lets a request through, or refuses it.
pub(super) async fn watch(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (start, route) = (Instant::now(), route_of(request.uri().path()));
    let mut response = match guard.check(&request, route) {
        Ok(()) => in_time(request, next).await,
        Err(refusal) => guard.refuse(refusal),
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
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;
    use crate::{telemetry::Telemetry, web::routes::guarded};

    async fn ask(request: http::request::Builder) -> Response {
        let hosts = Hosts::new(([127, 0, 0, 1], 9494).into(), None);
        let guard = Guard::new(hosts, WebEvents::new(&Telemetry::new()));
        let slow = get(std::future::pending::<()>);
        let routes = Router::new().route("/", get(async || "fine")).route("/api/v1/slow", slow);
        guarded(routes, guard).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
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
