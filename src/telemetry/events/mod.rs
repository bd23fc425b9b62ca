//! The reportable events, one file for each module that has any.

mod collect;
mod web;

pub use collect::CollectEvents;
pub use web::WebEvents;
