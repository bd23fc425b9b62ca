//! The HTTP listener: metrics for scrapers, Prometheus' API, and whether we are well.
//!
//! Everything here is read-only. [`serve`] owns connections, TLS and their bounds (`server`, `tls`), every
//! request passes the `guard` (limits, Host, Origin, who asks, time, headers), and `routes`, a table, leads
//! it to a handler: `pages`, or one of `api`. Answers to queries are written in `result`, all other JSON by
//! `json`; `compress` makes gzip of it. It asks the monitor, and knows no storage and no loops.

mod api;
mod compress;
mod failure;
mod guard;
mod held;
mod hosts;
mod identity;
mod json;
mod pages;
mod params;
mod refusal;
mod result;
mod routes;
mod server;
mod tls;

use crate::{
    monitor::Monitor,
    telemetry::{Telemetry, events::WebEvents},
    time::Clock,
};

pub use hosts::Hosts;
pub use server::{Door, serve};
pub use tls::{Tls, TlsOptions, TlsProblem};

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
