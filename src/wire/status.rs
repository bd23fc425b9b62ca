//! Outcome codes as gRPC statuses.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error_code::ErrorCode;

use super::InvalidField;

/// The `domain` of every `google.rpc.ErrorInfo` that Balefire sends.
pub const ERROR_DOMAIN: &str = "balefire";

/// A status with `google.rpc.ErrorInfo`, and with `google.rpc.BadRequest` where fields are wrong.
pub fn status(code: ErrorCode, message: &str, fields: &[InvalidField]) -> Status {
    let mut details = ErrorDetails::with_error_info(code.name(), ERROR_DOMAIN, HashMap::new());
    for invalid in fields {
        details.add_bad_request_violation(&invalid.field, &invalid.description);
    }
    Status::with_error_details(grpc_code(code), message, details)
}

/// A status for somebody who asks for too much: `google.rpc.ErrorInfo`, and `google.rpc.RetryInfo` with when
/// to try again.
pub fn excess(message: &str, retry_after: Duration) -> Status {
    let code = ErrorCode::ResourceExhausted;
    let mut details = ErrorDetails::with_error_info(code.name(), ERROR_DOMAIN, HashMap::new());
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(grpc_code(code), message, details)
}

/// A status for somebody who may not: `google.rpc.ErrorInfo` with what would mend it.
pub fn refusal(message: &str, facts: &[(&str, String)]) -> Status {
    let code = ErrorCode::PermissionDenied;
    let facts = facts.iter().map(|(name, fact)| ((*name).to_owned(), fact.clone()));
    let facts: HashMap<String, String> = facts.collect();
    let details = ErrorDetails::with_error_info(code.name(), ERROR_DOMAIN, facts);
    Status::with_error_details(grpc_code(code), message, details)
}

impl From<InvalidField> for Status {
    fn from(invalid: InvalidField) -> Self {
        status(ErrorCode::InvalidArgument, &invalid.to_string(), &[invalid])
    }
}

fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::AlreadyExists => Code::AlreadyExists,
        ErrorCode::FailedPrecondition => Code::FailedPrecondition,
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::ResourceExhausted => Code::ResourceExhausted,
        ErrorCode::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::Unimplemented => Code::Unimplemented,
        ErrorCode::DataLoss => Code::DataLoss,
        ErrorCode::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_reason_domain_and_fields() {
        let status = Status::from(InvalidField::new("end", "lies before start"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "end: lies before start");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("INVALID_ARGUMENT", "balefire"));
        let bad = status.get_details_bad_request().unwrap();
        assert_eq!(bad.field_violations[0].field, "end");
        assert_eq!(bad.field_violations[0].description, "lies before start");
    }

    #[test]
    fn a_failure_without_fields_has_no_bad_request() {
        let status = status(ErrorCode::NotFound, "no such rule", &[]);
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.get_details_bad_request().is_none());
    }
}
