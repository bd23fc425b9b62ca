//! The reportable events, one file for each module that has any.

mod pipeline;
mod supervise;

pub use pipeline::{CollectingEvents, EvaluatingEvents, ProbingEvents, UpkeepEvents};
pub use supervise::SuperviseEvents;
