//! The reportable events, one file for each module that has any.

pub mod store;
