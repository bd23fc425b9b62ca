//! What Balefire says of itself: logs, and metrics of its own.
//!
//! Every `balefire_*` metric is registered in the one [`Telemetry`]; `/metrics` and the self-samples
//! come from its [`Telemetry::gather`]. Each reportable event is one method of a struct in
//! [`events`], which writes the log line and moves the counter together, so that the two cannot
//! drift apart. Nothing here knows a word of the domain: events take texts and numbers.

pub mod events;
pub mod log;
mod registry;

pub use log::{LogError, LogFormat, LogHandle, LogOptions};
pub use registry::Telemetry;
