//! The reportable events, one file for each module that has any.

pub mod collect;
mod control;
mod pipeline;
mod supervise;

pub use control::ControlEvents;
pub use pipeline::{CollectingEvents, EvaluatingEvents, ProbingEvents, UpkeepEvents};
pub use supervise::SuperviseEvents;
