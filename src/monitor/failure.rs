//! Why a question has no answer.

use crate::{error_code::ErrorCode, model::InvalidPage, promql::QueryError, store::StoreError};

/// Why a question has no answer or a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What was wrong, where, and what to do.
    pub message: String,
    /// The fields that are wrong, where that is the reason.
    pub violations: Vec<Violation>,
}

/// A field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the request: `metrics[3].tags`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

impl Failure {
    /// A failure that is not about a field.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), violations: Vec::new() }
    }

    /// A field that is wrong.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        Self {
            code: ErrorCode::InvalidArgument,
            message: format!("{field}: {description}"),
            violations: vec![Violation { field, description }],
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<InvalidPage> for Failure {
    fn from(invalid: InvalidPage) -> Self {
        Self::field("page_token", invalid.to_string())
    }
}

impl Failure {
    /// A query that failed; `field` held its expression.
    pub fn query(field: &str, error: &QueryError) -> Self {
        match error.code() {
            code @ (ErrorCode::InvalidArgument | ErrorCode::Unimplemented) => {
                Self { code, ..Self::field(field, error.to_string()) }
            }
            code => Self::new(code, error.to_string()),
        }
    }
}
