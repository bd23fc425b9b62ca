//! Errors in Prometheus' form: a status code, an `errorType` and a sentence
//! (`web/api/v1/api.go`, `respondError`).

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::Value as Json;

use crate::{error_code::ErrorCode, monitor::Failure};

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl ApiError {
    /// A parameter that is wrong.
    pub(super) fn bad_parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "bad_data",
            message: format!("invalid parameter {name:?}: {reason}"),
        }
    }

    /// In Prometheus' order, which a JSON map would not keep.
    fn body(&self) -> String {
        let (kind, message) = (self.kind, Json::from(self.message.as_str()));
        format!("{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":{message}}}")
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let (status, kind) = status_of(failure.code);
        Self { status, kind, message: failure.message }
    }
}

/// The one place where outcomes become HTTP statuses.
fn status_of(code: ErrorCode) -> (StatusCode, &'static str) {
    match code {
        ErrorCode::InvalidArgument => (StatusCode::BAD_REQUEST, "bad_data"),
        ErrorCode::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorCode::PermissionDenied => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorCode::AlreadyExists
        | ErrorCode::FailedPrecondition
        | ErrorCode::ResourceExhausted
        | ErrorCode::Unimplemented => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        ErrorCode::DeadlineExceeded => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        ErrorCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorCode::DataLoss | ErrorCode::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        (self.status, json, self.body()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: ErrorCode, status: u16, kind: &str) {
        let error = ApiError::from(Failure::new(code, "it broke"));
        assert_eq!((error.status.as_u16(), error.kind), (status, kind));
    }

    #[test]
    fn bodies_are_prometheus_own() {
        let error = ApiError::bad_parameter("time", "no \"time\"");
        assert_eq!(
            error.body(),
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": no \"time\""}"#
        );
    }

    #[test]
    fn statuses_are_prometheus_own() {
        check(ErrorCode::InvalidArgument, 400, "bad_data");
        check(ErrorCode::ResourceExhausted, 422, "execution");
        check(ErrorCode::DeadlineExceeded, 503, "timeout");
        check(ErrorCode::Internal, 500, "internal");
    }
}
