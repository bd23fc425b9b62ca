//! MCP servers, in both eras of the protocol and over both transports.
//!
//! The ladder: a server whose dialect is unknown is asked `server/discover` first; whatever comes of
//! it but a plain yes, `initialize` is tried next, over stdio on a *new* process. Only when both eras
//! have failed is there a verdict. A dialect once learned is tried first. Start with [`check`].

mod answer;
mod conversation;
mod era;
mod pipe;
mod post;
mod remote;
mod sse;
mod stdio;

use std::{fmt, time::Duration};

use crate::telemetry::events::ProbeEvents;

use super::{
    fault::Fault,
    report::{Deadline, Report},
};

use conversation::{Broken, Plan};
use era::{Dialect, Era};

pub(super) use era::Dialects;
pub(super) use remote::Remote;
pub(super) use stdio::Stdio;

/// What part of its time an attempt spends on the modern era where the dialect is unknown.
const FIRST_SHARE: f64 = 0.4;
/// With less time than this there is no point in trying the other era.
const SECOND_TRY_MIN: Duration = Duration::from_millis(100);

/// How a server is reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route<'a> {
    /// By spawning it.
    Stdio(Stdio<'a>),
    /// By its URL.
    Remote(Remote<'a>),
}

impl Route<'_> {
    async fn attempt(&self, plan: &Plan, report: &mut Report) -> Result<Dialect, Broken> {
        match self {
            Self::Stdio(stdio) => Box::pin(stdio.attempt(plan, report)).await,
            Self::Remote(remote) => Box::pin(remote.attempt(plan, report)).await,
        }
    }
}

/// Why no era was understood; with the fault of the first one tried where it tells more.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What failed last.
    pub(super) fault: Fault,
    /// What failed before, in the other era.
    pub(super) before: Option<Fault>,
}

impl Verdict {
    /// Which era to try next time with all the time there is, where both were tried in a part of it.
    fn hint(&self) -> Option<Era> {
        match (&self.before, &self.fault) {
            // `UnsupportedProtocolVersion` is of the modern era: it was too slow for its share.
            (Some(_), Fault::Rpc { method: "initialize", code: -32022, .. }) => Some(Era::Modern),
            // A slow start. Most servers have `initialize`, many of the modern era among them.
            (
                Some(Fault::Silent { awaiting: "server/discover", .. }),
                Fault::Silent { awaiting: "initialize", .. },
            ) => Some(Era::Legacy),
            _ => None,
        }
    }
}

impl From<Fault> for Verdict {
    fn from(fault: Fault) -> Self {
        Self { fault, before: None }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)?;
        match &self.before {
            Some(before) => write!(f, " (before that: {before})"),
            None => Ok(()),
        }
    }
}

/// Climbs the ladder for the target `name`.
pub(super) async fn check(
    name: &str,
    route: Route<'_>,
    dialects: &Dialects,
    events: &ProbeEvents,
    (deadline, report): (Deadline, &mut Report),
) -> Result<(), Verdict> {
    let climbed = climb(route, dialects.recall(name), deadline, report).await;
    match climbed {
        Ok(dialect) => {
            dialects.learn(name, dialect, events);
            Ok(())
        }
        Err(verdict) => {
            match verdict.hint() {
                Some(era) => dialects.guess(name, era),
                None => dialects.fail(name),
            }
            Err(verdict)
        }
    }
}

async fn climb(
    route: Route<'_>,
    known: Option<Dialect>,
    deadline: Deadline,
    report: &mut Report,
) -> Result<Dialect, Verdict> {
    let era = known.as_ref().map_or(Era::Modern, |dialect| dialect.era);
    let ping = known.as_ref().is_none_or(|dialect| dialect.pings);
    let first = if known.is_some() { deadline } else { deadline.share(FIRST_SHARE) };
    let plan = Plan { era, deadline: first, ping };
    let broken = match route.attempt(&plan, report).await {
        Ok(dialect) => return Ok(dialect),
        Err(broken) => broken,
    };
    let settled = broken.era_proven || broken.fault.settles_both_eras();
    if settled || deadline.left() < SECOND_TRY_MIN {
        return Err(broken.fault.into());
    }
    // What the second try shows is what counts; the first one's phases would only confuse.
    *report = Report::new();
    let plan = Plan { era: era.other(), deadline: deadline.rest(), ping: true };
    let again = route.attempt(&plan, report).await;
    again.map_err(|again| Verdict { fault: again.fault, before: Some(broken.fault) })
}

/// Greets a server of our own, which speaks both eras, and counts its tools.
pub(super) async fn check_own(
    stdio: Stdio<'_>,
    deadline: Deadline,
    report: &mut Report,
) -> Result<(), Fault> {
    let plan = Plan { era: Era::Legacy, deadline, ping: true };
    Box::pin(stdio.attempt(&plan, report)).await.map(drop).map_err(|broken| broken.fault)
}
