//! Prometheus' HTTP API below `/api/v1`, one file for each kind of question. What it answers follows
//! `web/api/v1/api.go` of the version named in [`status`]; docs/http.md tells where Balefire differs.

pub(super) mod metadata;
pub(super) mod query;
pub(super) mod rules;
pub(super) mod series;
pub(super) mod status;
pub(super) mod syntax;
pub(super) mod targets;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::header;

use super::{failure::ApiError, json::Json};

/// What a handler comes to.
type Answered = Result<Response, ApiError>;

/// An answer with this data.
fn success(data: &dyn Json) -> Response {
    with_warnings(data, &[])
}

fn with_warnings(data: &dyn Json, warnings: &[&str]) -> Response {
    let mut out = b"{\"status\":\"success\",\"data\":".to_vec();
    data.write(&mut out);
    if !warnings.is_empty() {
        out.extend_from_slice(b",\"warnings\":");
        warnings.write(&mut out);
    }
    out.push(b'}');
    json(out.into())
}

fn empty_list() -> Response {
    let none: &[&str] = &[];
    success(&none)
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn warnings_stand_behind_the_data() {
        let data = ["a"].as_slice();
        for (warnings, tail) in [(&[][..], "]}"), (&["odd"][..], r#"],"warnings":["odd"]}"#)] {
            let body = with_warnings(&data, warnings).into_body().collect().await.unwrap();
            let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
            assert_eq!(text, format!(r#"{{"status":"success","data":["a"{tail}"#));
        }
    }
}
