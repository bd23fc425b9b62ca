//! Checking one target once, one file per probe kind. Knows no schedule, no storage, no alerts.
//!
//! Start with [`Prober::attempt`]. The kinds are `http`, `tcp`, `mcp` (with its two transports and
//! the ladder of its two eras) and `balefire`; what they share is `fault` (why an attempt failed),
//! `report` (what it gathered, and its deadline), `process` (a spawned server, and how it is made
//! to go), `spawn` (one that a helper starts), and `scrub` (foreign texts without secrets). Each attempt uses fresh connections and fresh processes, and leaves none behind.

mod balefire;
mod endpoint;
mod fault;
mod grpc_health;
mod http;
mod mcp;
mod process;
mod report;
mod scrub;
mod spawn;
mod stderr;
mod tcp;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    model::{Check, ProbeAnswer, ProbeFailure, Target, TargetSource},
    telemetry::{Telemetry, events::ProbeEvents},
};

use fault::Fault;
use mcp::{Dialects, Remote, Route, Stdio, Verdict};
use report::{Deadline, Report};
use scrub::Scrubber;

pub use endpoint::endpoint;
pub use spawn::serve;

/// How long an attempt may go on after its time to make a spawned server go.
const CLEAN_UP: Duration = Duration::from_secs(1);

/// Checks targets; cheap to clone. Remembers each MCP server's dialect.
#[derive(Clone, Debug)]
pub struct Prober {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    events: ProbeEvents,
    dialects: Dialects,
    trust: Arc<http::Trust>,
    doors: Mutex<Option<OwnDoors>>,
    spawn_socket: Mutex<Option<PathBuf>>,
}

/// What the `balefire` probe calls upon: Balefire's own front doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDoors {
    /// The control socket.
    pub socket: PathBuf,
    /// `http://127.0.0.1:9494`; `None` where HTTP does not listen.
    pub http: Option<String>,
    /// The shim's program; `None` where it is not installed beside the daemon.
    pub shim: Option<PathBuf>,
}

impl Prober {
    /// A prober.
    pub fn new(telemetry: &Telemetry) -> Self {
        let shared = Shared {
            events: ProbeEvents::new(telemetry),
            dialects: Dialects::default(),
            trust: Arc::default(),
            doors: Mutex::new(None),
            spawn_socket: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Where Balefire's own doors are, for the built-in target.
    pub fn set_own_doors(&self, doors: OwnDoors) {
        *self.shared.doors.lock() = Some(doors);
    }

    /// Where configured MCP servers are started in our place; `None` starts them as our own children.
    pub fn set_spawn_socket(&self, socket: Option<PathBuf>) {
        *self.shared.spawn_socket.lock() = socket;
    }

    /// [`Prober::attempt`] on a target: one of the configuration is started by the helper, where
    /// there is one. What was found or adopted is not: it stands in no file of the administrator's.
    pub async fn attempt_target(&self, target: &Target) -> Result<ProbeAnswer, ProbeFailure> {
        let is_configured = matches!(target.source, TargetSource::Config(_));
        let helper = self.shared.spawn_socket.lock().clone().filter(|_| is_configured);
        self.attempt_by(helper, &target.name, &target.check, target.timeout).await
    }

    /// One attempt, over within `timeout` whatever the target does, and a second more where a
    /// spawned server has to be made to go; its process group is gone when this returns, or soon
    /// after where the attempt is dropped.
    pub async fn attempt(
        &self,
        name: &str,
        check: &Check,
        timeout: Duration,
    ) -> Result<ProbeAnswer, ProbeFailure> {
        self.attempt_by(None, name, check, timeout).await
    }

    async fn attempt_by(
        &self,
        helper: Option<PathBuf>,
        name: &str,
        check: &Check,
        timeout: Duration,
    ) -> Result<ProbeAnswer, ProbeFailure> {
        let mut report = Report::new();
        let deadline = Deadline::after(timeout);
        let helper = helper.as_deref();
        let result = self.run(helper, name, check, (deadline, &mut report)).await;
        self.conclude(name, check, (result, report))
    }

    /// Runs the check, each kind within its time.
    async fn run(
        &self,
        helper: Option<&Path>,
        name: &str,
        check: &Check,
        (deadline, report): (Deadline, &mut Report),
    ) -> Result<(), Verdict> {
        // MCP keeps its deadline by itself and tells better what it waited for; what spawns gets its
        // second to clean up.
        let limit = match check {
            Check::Http { .. } | Check::Tcp { .. } | Check::Reported { .. } => deadline,
            Check::McpStdio { .. } | Check::McpHttp { .. } | Check::Balefire => {
                deadline.and(CLEAN_UP)
            }
        };
        // Boxed, so that a loop that holds many attempts does not hold the largest kind's room for each.
        let work = Box::pin(self.dispatch(helper, name, check, (deadline, report)));
        let bounded = limit.bound(work).await;
        bounded.unwrap_or_else(|| {
            let fault = Fault::Timeout { during: report.during, within: deadline.whole() };
            Err(fault.into())
        })
    }

    async fn dispatch(
        &self,
        helper: Option<&Path>,
        name: &str,
        check: &Check,
        (deadline, report): (Deadline, &mut Report),
    ) -> Result<(), Verdict> {
        let Shared { events, dialects, trust, doors, .. } = &*self.shared;
        match check {
            Check::McpStdio { command, env, cwd } => {
                let scrubber = &Scrubber::of(check);
                let (cwd, helper) = (cwd.as_ref(), helper.map(|socket| (socket, name)));
                let stdio = Stdio { command, env, cwd, scrubber, events, helper };
                let route = Route::Stdio(stdio);
                mcp::check(name, route, dialects, events, (deadline, report)).await
            }
            Check::McpHttp { url, headers } => {
                let route = Route::Remote(Remote { url, headers, trust });
                mcp::check(name, route, dialects, events, (deadline, report)).await
            }
            Check::Http { url, headers, expected_status } => {
                Ok(http::check(url, headers, expected_status, trust, report).await?)
            }
            Check::Tcp { address } => Ok(tcp::check(address, report).await?),
            Check::Balefire => {
                let doors = doors.lock().clone().ok_or(Fault::NoDoors)?;
                Ok(balefire::check(&doors, trust, events, (deadline, report)).await?)
            }
            Check::Reported { .. } => Err(Fault::NotOurs.into()),
        }
    }

    /// Makes of what happened what callers want to know, and reports it.
    #[expect(clippy::result_large_err, reason = "what `attempt` gives, made once a probe")]
    fn conclude(
        &self,
        name: &str,
        check: &Check,
        (result, report): (Result<(), Verdict>, Report),
    ) -> Result<ProbeAnswer, ProbeFailure> {
        let mut answer = report.answer;
        let verdict = match result {
            Ok(()) => {
                self.shared.events.attempt_ended(name, check.kind(), "OK", "");
                return Ok(answer);
            }
            Err(verdict) => verdict,
        };
        let error = Scrubber::of(check).clean(&verdict.to_string());
        let outcome = verdict.fault.code().name();
        self.shared.events.attempt_ended(name, check.kind(), outcome, &error);
        if matches!(verdict.fault, Fault::AuthRequired { .. }) {
            answer.auth_required = Some(error);
            return Ok(answer);
        }
        Err(ProbeFailure { error, stderr_tail: report.stderr_tail, answer })
    }
}
