//! Errors in Prometheus' form: a status code, an `errorType` and a sentence
//! (`web/api/v1/api.go`, `respondError`).

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::{error_code::ErrorCode, monitor::Failure, promql::QueryError};

use super::json::{Json, Object};

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
        Self::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }

    /// A request that is wrong.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    /// An expression that is wrong.
    pub(super) fn query(error: &QueryError) -> Self {
        Failure::query("expr", error).into()
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Object(&[("status", &"error"), ("errorType", &self.kind), ("error", &self.message)])
            .write(&mut out);
        out
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        if let (ErrorCode::InvalidArgument, [violation, ..]) = (failure.code, &*failure.violations)
        {
            return Self::bad_parameter(parameter(&violation.field), &violation.description);
        }
        let (status, kind) = status_of(failure.code);
        Self { status, kind, message: failure.message }
    }
}

/// The parameter that a field of the monitor's comes from.
fn parameter(field: &str) -> &str {
    match field {
        "expr" => "query",
        field if field.starts_with("matchers") => "match[]",
        field => field,
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
        let error = ApiError::bad_parameter("time", "no <\"time\"");
        assert_eq!(
            String::from_utf8(error.body()).unwrap(),
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": no \u003c\"time\""}"#
        );
    }

    #[test]
    fn statuses_are_prometheus_own() {
        check(ErrorCode::InvalidArgument, 400, "bad_data");
        check(ErrorCode::ResourceExhausted, 422, "execution");
        check(ErrorCode::DeadlineExceeded, 503, "timeout");
        check(ErrorCode::Internal, 500, "internal");
    }

    #[test]
    fn what_is_wrong_is_told_by_its_parameter() {
        let told = |error: QueryError| {
            let error = ApiError::query(&error);
            (error.status.as_u16(), error.message)
        };
        let (status, message) = told(QueryError::Parse("1:1: odd".into()));
        assert_eq!(status, 400);
        assert!(message.starts_with("invalid parameter \"query\": "), "{message}");
        assert_eq!(told(QueryError::Execution("two of one".into())), (422, "two of one".into()));
        let selector = Failure::field("matchers[2]", "odd").into();
        assert_eq!(ApiError::bad_parameter("match[]", "odd"), selector);
    }
}
