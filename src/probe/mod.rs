//! Checking one target once, one file per probe kind. Knows no schedule, no storage, no alerts.

use std::time::Duration;

use crate::{
    model::{Check, ProbeAnswer, ProbeFailure},
    telemetry::Telemetry,
};

/// Checks targets; cheap to clone. Remembers each MCP server's dialect.
#[derive(Clone, Debug)]
pub struct Prober {/* private */}

/// What the `balefire` probe calls upon: Balefire's own front doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDoors {
    /// The control socket.
    pub socket: std::path::PathBuf,
    /// `http://127.0.0.1:9494`; `None` where HTTP does not listen.
    pub http: Option<String>,
    /// The shim's program; `None` where it is not installed beside the daemon.
    pub shim: Option<std::path::PathBuf>,
}

impl Prober {
    /// A prober.
    pub fn new(telemetry: &Telemetry) -> Self {
        let _ = telemetry;
        todo!()
    }
    /// Where Balefire's own doors are, for the built-in target.
    pub fn set_own_doors(&self, doors: OwnDoors) {
        let _ = doors;
        todo!()
    }
    /// One attempt, over within `timeout` whatever the target does; a spawned process and its group are gone when it
    /// returns, or soon after where the attempt is dropped.
    pub async fn attempt(
        &self,
        name: &str,
        check: &Check,
        timeout: Duration,
    ) -> Result<ProbeAnswer, ProbeFailure> {
        let _ = (name, check, timeout);
        todo!()
    }
}

/// The address or command line of a check, secrets left out.
pub fn endpoint(check: &Check) -> String {
    let _ = check;
    todo!()
}
