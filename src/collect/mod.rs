//! Host metrics, one file per collector, with node_exporter's names, labels and units.
//! Knows no schedule and no storage.

use crate::{
    model::{Metadata, SeriesSample},
    time::Timestamp,
};

/// What a pass collected; one buffer, used again and again.
#[derive(Debug, Default)]
pub struct Buffer {/* helper: private; emit(metric, &[(name,value)], value) etc., adds job/instance labels itself */}

/// A collector's row in [`COLLECTORS`].
#[derive(Debug)]
pub struct CollectorRow {
    /// Its name in the configuration and in `balefire_collector_success{collector}`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Whether it runs where nothing is said.
    pub default_on: bool,
    // helper: constructor fn
}

/// Every collector.
pub const COLLECTORS: &[CollectorRow] = &[];

/// The collectors that run, with what they keep from pass to pass.
#[derive(Debug)]
pub struct Collectors {/* private */}

impl Collectors {
    /// The named collectors of the table; `hostname` becomes `instance`.
    pub fn new(
        names: &[&'static str],
        hostname: &str,
        telemetry: &crate::telemetry::Telemetry,
    ) -> Self {
        let _ = (names, hostname, telemetry);
        todo!()
    }
    /// One pass over all collectors, stamped `now`. Blocking (reads /proc), a few milliseconds. A collector that fails
    /// is counted and logged, and the rest goes on.
    pub fn collect(&mut self, now: Timestamp) -> Vec<SeriesSample> {
        let _ = now;
        todo!()
    }
    /// short
    pub fn summary(&self) -> crate::model::HostSummary {
        todo!()
    }
    /// What the collected metrics mean; told once.
    pub fn metadata(&self) -> Vec<Metadata> {
        todo!()
    }
}
