//! The generated protobuf types of `proto/balefire/v1`, and the translations to and from the model.

/// Generated from `proto/balefire/v1`.
#[expect(
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("balefire.v1");
}

/// The compiled proto files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
