//! The reportable events, one file for each module that has any.

mod agents;
mod collect;
mod control;
mod pipeline;
mod probe;
mod store;
mod supervise;
mod web;

pub use agents::AgentEvents;
pub use collect::CollectEvents;
pub use control::ControlEvents;
pub use pipeline::{CollectingEvents, EvaluatingEvents, ProbingEvents};
pub use probe::ProbeEvents;
pub use store::{Audited, StoreEvents};
pub use supervise::SuperviseEvents;
pub use web::WebEvents;
