//! Timestamps, durations and the clock.
//!
//! Everything that needs the time is handed a [`Timestamp`], or a [`Clock`] where it has to read it
//! again and again; nothing else in the project reads the wall clock. A timestamp is milliseconds
//! since the Unix epoch, as everywhere in the Prometheus world.

mod clock;
mod duration;
mod timestamp;

pub use clock::Clock;
pub use duration::{InvalidDuration, format_duration, parse_duration};
pub use timestamp::{InvalidTime, Timestamp, parse_time};
