//! Which path leads where: one row for each.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use http::{Method, StatusCode, Uri, header};

use crate::limits;

use super::{
    AppState,
    api::{metadata, query, rules, series, status, syntax, targets},
    compress,
    failure::ApiError,
    guard::{self, Guard},
    pages,
};

/// A path and what it leads to.
pub(super) struct Route {
    /// The path; `{name}` stands for one part of it.
    path: &'static str,
    /// What stands behind the path in a link that answers something.
    pub(super) example: &'static str,
    /// What it gives.
    pub(super) help: &'static str,
    serve: fn() -> MethodRouter<AppState>,
}

impl Route {
    /// A link to try it with.
    pub(super) fn link(&self) -> String {
        format!("{}{}", self.path.replace("{name}", "job"), self.example)
    }

    fn matches(&self, path: &str) -> bool {
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), given.next()) {
                (None, None) => return true,
                (Some("{name}"), Some(part)) if !part.is_empty() => {}
                (Some(own), Some(given)) if own == given => {}
                _ => return false,
            }
        }
    }
}

const fn route(
    path: &'static str,
    example: &'static str,
    help: &'static str,
    serve: fn() -> MethodRouter<AppState>,
) -> Route {
    Route { path, example, help, serve }
}

/// Everything that is here.
pub(super) const ROUTES: [Route; 25] = [
    route("/", "", "this page", || get(pages::index)),
    route(
        "/metrics",
        "",
        "Balefire's own metrics, the host's and the probes', for a scraper",
        || get(pages::metrics),
    ),
    route("/federate", "", "everything stored, or what match[] selects", || get(pages::federate)),
    route("/-/healthy", "", "whether the process answers", || get(pages::healthy)),
    route("/-/ready", "", "whether it can answer questions, else why not", || get(pages::ready)),
    route("/api/v1/query", "?query=up", "PromQL at one instant, in Prometheus' JSON", || {
        with_form(query::instant)
    }),
    route(
        "/api/v1/query_range",
        "?query=node_load1&start=-1h&end=now&step=60",
        "PromQL over a range of time",
        || with_form(query::range),
    ),
    route("/api/v1/query_exemplars", "?query=up", "empty: no exemplars are kept", || {
        with_form(query::exemplars)
    }),
    route("/api/v1/format_query", "?query=sum(up)by(job)", "PromQL laid out", || {
        with_form(syntax::format)
    }),
    route("/api/v1/parse_query", "?query=up", "PromQL as a tree", || with_form(syntax::parse)),
    route("/api/v1/series", "?match[]=up", "the series that match[] selects", || {
        with_form(series::series)
    }),
    route("/api/v1/labels", "", "the names of labels", || with_form(series::names)),
    route("/api/v1/label/{name}/values", "", "the values of a label", || get(series::values)),
    route("/api/v1/metadata", "", "type, unit and help of metrics", || get(metadata::metadata)),
    route("/api/v1/rules", "", "the rules with their alerts", || get(rules::rules)),
    route("/api/v1/alerts", "", "pending and firing alerts", || get(rules::alerts)),
    route("/api/v1/targets", "", "what is probed", || get(targets::targets)),
    route("/api/v1/targets/metadata", "", "empty: probes describe no metrics", || {
        get(targets::metadata)
    }),
    route("/api/v1/scrape_pools", "", "the one pool of all probes", || get(targets::pools)),
    route("/api/v1/alertmanagers", "", "empty: alerts are not sent to any", || {
        get(rules::alertmanagers)
    }),
    route("/api/v1/status/buildinfo", "", "whose API this is, and which Balefire", || {
        get(status::build)
    }),
    route("/api/v1/status/runtimeinfo", "", "since when it runs, and where", || {
        get(status::runtime)
    }),
    route("/api/v1/status/config", "", "the settings that Prometheus has, too", || {
        get(status::config)
    }),
    route("/api/v1/status/flags", "", "the bounds that Prometheus has, too", || get(status::flags)),
    route("/api/v1/status/tsdb", "", "which names and labels there are many of", || {
        get(status::tsdb)
    }),
];

/// GET and, for what is too long for a URL, POST with a form.
fn with_form<H, T>(handler: H) -> MethodRouter<AppState>
where
    H: Handler<T, AppState>,
    T: 'static,
{
    get(handler.clone()).post(handler)
}

/// What metrics call a path that leads nowhere.
pub(super) const OTHER: &str = "other";

/// A path as own metrics name it: a bounded number of names.
pub(super) fn route_of(path: &str) -> &'static str {
    ROUTES.iter().find(|route| route.matches(path)).map_or(OTHER, |route| route.path)
}

/// All routes behind the guard.
pub(super) fn router(app: AppState, guard: Guard) -> Router {
    let add = |router: Router<AppState>, route: &Route| router.route(route.path, (route.serve)());
    guarded(ROUTES.iter().fold(Router::new(), add).with_state(app), guard)
}

/// Routes with everything that holds for all of them.
pub(super) fn guarded(routes: Router, guard: Guard) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES_MAX))
        .layer(middleware::from_fn(compress::compress))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_access_has_a_row_for_each_route_and_no_other() {
        let mut own: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        let mut rows: Vec<&str> = crate::access::ROUTES.iter().map(|(path, _)| *path).collect();
        own.sort_unstable();
        rows.sort_unstable();
        assert_eq!(own, rows, "the router, and src/access/calls.rs");
    }

    #[test]
    fn paths_have_a_bounded_number_of_names() {
        assert_eq!(route_of("/"), "/");
        assert_eq!(route_of("/api/v1/query"), "/api/v1/query");
        assert_eq!(route_of("/api/v1/label/job/values"), "/api/v1/label/{name}/values");
        for other in ["/api/v1/label//values", "/api/v1/label/a/b/values", "/api/v1/query/", "//"] {
            assert_eq!(route_of(other), "other");
        }
    }
}
