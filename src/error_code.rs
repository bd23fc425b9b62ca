//! The closed list of outcomes that an operation can have, known to every floor.
//!
//! Each transport of the daemon maps these once: gRPC status codes in `wire`, HTTP statuses in `web`.
//! The clients, `cli` and `mcp`, see the gRPC status.

/// What kind of failure an error is, for whoever has to react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request is wrong, and stays wrong: mend it.
    InvalidArgument,
    /// What it names does not exist.
    NotFound,
    /// What it would make exists already.
    AlreadyExists,
    /// Right in itself, but not in the present state.
    FailedPrecondition,
    /// The caller may not do this.
    PermissionDenied,
    /// A limit was reached: ask for less, or later.
    ResourceExhausted,
    /// It took longer than it may.
    DeadlineExceeded,
    /// Not now: stopping, starting, or a part is away. Try again.
    Unavailable,
    /// Part of the language or protocol that Balefire does not have.
    Unimplemented,
    /// Stored data is damaged.
    DataLoss,
    /// A defect in Balefire.
    Internal,
}

impl ErrorCode {
    /// The name in `UPPER_SNAKE_CASE`, as `google.rpc.ErrorInfo` carries it in `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::DataLoss => "DATA_LOSS",
            Self::Internal => "INTERNAL",
        }
    }
}
