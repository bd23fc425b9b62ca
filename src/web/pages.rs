//! What is no JSON: metrics, health, and the page that says what is here.

use axum::{
    extract::State,
    response::{Html, IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};

use crate::exposition::{self, Family, Format};

use super::{
    AppState,
    failure::ApiError,
    params::Params,
    routes::{ROUTES, Route},
};

/// Own metrics, and the latest of the host and of the probes.
pub(super) async fn metrics(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let own = exposition::from_registry(&app.telemetry.gather(), app.clock.now());
    text(&merged(own, app.monitor.exposition()), &headers, false)
}

/// Everything stored, or what `match[]` selects, with timestamps.
pub(super) async fn federate(
    State(app): State<AppState>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let selectors: Vec<_> = params.all("match[]").map(str::to_owned).collect();
    match app.monitor.federate(&selectors).await {
        Ok(families) => text(&families, &headers, true),
        // A scraper shows the text of a refusal as it is.
        Err(failure) => {
            let ApiError { status, message, .. } = failure.into();
            (status, format!("{message}\n")).into_response()
        }
    }
}

/// The process answers.
pub(super) async fn healthy() -> &'static str {
    "Balefire is healthy.\n"
}

/// Balefire can answer questions; else why not.
pub(super) async fn ready(State(app): State<AppState>) -> Response {
    match app.monitor.readiness() {
        Ok(()) => "Balefire is ready.\n".into_response(),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("Balefire is not ready: {reason}\n"))
                .into_response()
        }
    }
}

/// What is here, and how it goes.
pub(super) async fn index(State(app): State<AppState>) -> Html<String> {
    let status = app.monitor.status();
    let state = if status.healthy { "healthy" } else { "not healthy" };
    let line = format!(
        "{state} on {}, {} series, {} active alerts",
        status.system.hostname, status.series, status.active_alerts
    );
    Html(page(&line))
}

fn page(status: &str) -> String {
    let row = |route: &Route| {
        let link = escaped(&route.link());
        format!("<li><a href=\"{link}\">{link}</a> {}</li>", escaped(route.help))
    };
    let rows: Vec<_> = ROUTES.iter().map(row).collect();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Balefire</title>\
         <h1>Balefire {}</h1><p>{}</p><ul>{}</ul></html>\n",
        env!("CARGO_PKG_VERSION"),
        escaped(status),
        rows.concat()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(families: &[Family], headers: &HeaderMap, with_timestamps: bool) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::negotiate(accept);
    let kind = [(header::CONTENT_TYPE, format.content_type())];
    (kind, exposition::write(families, format, with_timestamps)).into_response()
}

/// Both sorted by name, and a family that both have once: stored samples of own metrics would stand beside
/// the live ones otherwise, and a name may come only once.
fn merged(own: Vec<Family>, others: Vec<Family>) -> Vec<Family> {
    let mut all = own;
    for family in others {
        if !all.iter().any(|known| known.metadata.name == family.metadata.name) {
            all.push(family);
        }
    }
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Metadata, MetricKind};

    #[test]
    fn the_page_lists_what_is_there_and_escapes_names() {
        let page = page("healthy on <script>");
        assert!(page.contains("href=\"/metrics\""), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }

    #[test]
    fn a_family_comes_once() {
        let family = |name: &str, help: &str| Family {
            metadata: Metadata {
                name: name.into(),
                kind: MetricKind::Gauge,
                help: help.into(),
                unit: String::new(),
            },
            samples: Vec::new(),
        };
        let merged = merged(
            vec![family("b", "own")],
            vec![family("c", "other"), family("b", "other"), family("a", "other")],
        );
        let found: Vec<_> =
            merged.iter().map(|f| (f.metadata.name.as_str(), f.metadata.help.as_str())).collect();
        assert_eq!(found, [("a", "other"), ("b", "own"), ("c", "other")]);
    }
}
