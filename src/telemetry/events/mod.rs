//! The reportable events, one file for each module that has any.

mod control;

pub use control::ControlEvents;
