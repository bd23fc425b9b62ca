//! The reportable events, one file for each module that has any.

mod supervise;

pub use supervise::SuperviseEvents;
