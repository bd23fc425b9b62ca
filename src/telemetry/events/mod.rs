//! The reportable events, one file for each module that has any.

mod probe;

pub use probe::ProbeEvents;
