//! The generated protobuf types of `proto/balefire/v1`, and the translations to and from the model.
//!
//! Everything that comes from outside is checked here, once: [`from_wire`] gives model types or an
//! [`InvalidField`] that names the field by its path in the request. [`to_wire`] cannot fail.
//! [`status()`] is the one place where an [`ErrorCode`](crate::error_code::ErrorCode) becomes a gRPC
//! status. [`near`] finds what a mistyped name may have meant. The module knows no service and no
//! storage; what `monitor` speaks in is translated in `control`, out of the pieces made here.

pub mod agent;
pub mod from_wire;
pub mod near;
mod status;
pub mod to_wire;

pub use from_wire::InvalidField;
pub use status::{ERROR_DOMAIN, excess, refusal, status};

/// Generated from `proto/balefire/v1`.
#[expect(clippy::pedantic, missing_docs, clippy::allow_attributes, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("balefire.v1");
}

/// The metadata of a call that a peer makes for somebody who shows no token, whatever its value: the call
/// may read, and no more. Who shows one has it passed on as `authorization`.
pub const ON_BEHALF: &str = "balefire-on-behalf";

/// The metadata of a stream of events that has the number after which it begins.
pub const BEGINS_AFTER: &str = "balefire-begins-after";

/// The compiled proto files with all they import, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
