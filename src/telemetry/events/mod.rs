//! The reportable events, one file for each module that has any.

pub mod collect;
mod control;
mod pipeline;
mod probe;
mod supervise;

pub use control::ControlEvents;
pub use pipeline::{CollectingEvents, EvaluatingEvents, ProbingEvents, UpkeepEvents};
pub use probe::ProbeEvents;
pub use supervise::SuperviseEvents;
