//! The HTTP listener: metrics for scrapers, Prometheus' query API, and whether we are well.
//!
//! Everything here is read-only. [`serve`] owns connections and their bounds
//! (`server`), every request passes the `guard` (Host, Origin, time, headers), and `routes` leads it to a
//! handler; answers in JSON are made in `view`. It asks the monitor, and knows no storage and no loops.

mod failure;
mod guard;
mod hosts;
mod pages;
mod params;
mod query;
mod routes;
mod server;
mod view;

use crate::{
    monitor::Monitor,
    telemetry::{Telemetry, events::WebEvents},
    time::Clock,
};

pub use hosts::Hosts;
pub use server::serve;

/// What the handlers lean on; made once, cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    monitor: Monitor,
    telemetry: Telemetry,
    clock: Clock,
    events: WebEvents,
}

impl AppState {
    /// Registers the listener's own metrics, so it is made once per process.
    pub fn new(monitor: Monitor, telemetry: Telemetry, clock: Clock) -> Self {
        let events = WebEvents::new(&telemetry);
        Self { monitor, telemetry, clock, events }
    }
}
