//! Which path leads where.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{Method, StatusCode, Uri, header};

use crate::limits;

use super::{
    AppState, Hosts,
    failure::ApiError,
    guard::{self, Guard},
    pages, query,
};

/// The paths that people may want to open, with what they give.
pub(super) const LISTED: [(&str, &str); 5] = [
    ("/metrics", "Balefire's own metrics, the host's and the probes', for a scraper"),
    ("/federate", "everything stored, or what match[] selects"),
    ("/-/healthy", "whether the process answers"),
    ("/-/ready", "whether it can answer questions, else why not"),
    ("/api/v1/query?query=up", "PromQL at one instant, in Prometheus' JSON"),
];

/// The paths that own metrics name; any other is `other`.
const KNOWN: [&str; 6] = ["/", "/metrics", "/federate", "/-/healthy", "/-/ready", "/api/v1/query"];

/// A path as own metrics name it: a bounded number of names.
pub(super) fn route_of(path: &str) -> &'static str {
    KNOWN.into_iter().find(|known| *known == path).unwrap_or("other")
}

/// All routes behind the guard.
pub(super) fn router(app: AppState, hosts: Hosts) -> Router {
    let guard = Guard::new(hosts, app.events.clone());
    let routes = Router::new()
        .route("/", get(pages::index))
        .route("/metrics", get(pages::metrics))
        .route("/federate", get(pages::federate))
        .route("/-/healthy", get(pages::healthy))
        .route("/-/ready", get(pages::ready))
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .with_state(app);
    guarded(routes, guard)
}

/// Routes with everything that holds for all of them.
pub(super) fn guarded(routes: Router, guard: Guard) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, guard::watch))
}

async fn not_found(uri: Uri) -> Response {
    let message = format!("no {} here; / lists what there is", uri.path());
    refusal(&uri, StatusCode::NOT_FOUND, "not_found", message)
}

async fn not_allowed(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let message = format!("{method} {path} is not allowed: HTTP is read-only");
    refusal(&uri, StatusCode::METHOD_NOT_ALLOWED, "bad_data", message)
}

/// JSON where the API's clients look, text elsewhere.
fn refusal(uri: &Uri, status: StatusCode, kind: &'static str, message: String) -> Response {
    if uri.path().starts_with("/api/") {
        return ApiError { status, kind, message }.into_response();
    }
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, plain, format!("{message}\n")).into_response()
}
