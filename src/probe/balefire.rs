//! Balefire itself, through its own front doors: gRPC health over the socket, `/-/ready` over HTTP,
//! and the shim as an agent would start it. The first door that fails is the verdict.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio::time::Instant;

use crate::{
    model::{Check, ProbeAnswer, ProbePhase},
    telemetry::events::ProbeEvents,
};

use super::{
    OwnDoors,
    fault::Fault,
    grpc_health,
    http::{self, Address, Trust, connect},
    mcp::{self, Stdio},
    report::{Deadline, Report},
    scrub::Scrubber,
};

/// Knocks at every door; phases `grpc`, `ready`, `shim`.
pub(super) async fn check(
    doors: &OwnDoors,
    trust: &Arc<Trust>,
    events: &ProbeEvents,
    (deadline, report): (Deadline, &mut Report),
) -> Result<(), Fault> {
    deadline.bound(knock_network(doors, trust, report)).await.unwrap_or_else(|| {
        Err(Fault::Timeout { during: report.during, within: deadline.whole() })
    })?;
    if let Some(shim) = &doors.shim {
        let began = Instant::now();
        report.during = "shim";
        let inner = knock_shim(shim, &doors.socket, events, (deadline, report)).await?;
        let phases = std::mem::take(&mut report.answer.phases);
        let shim = ProbePhase { name: "shim", duration: began.elapsed() };
        report.answer = ProbeAnswer { phases: [phases, vec![shim]].concat(), ..inner };
    }
    Ok(())
}

async fn knock_network(
    doors: &OwnDoors,
    trust: &Arc<Trust>,
    report: &mut Report,
) -> Result<(), Fault> {
    report.time("grpc", grpc_health::check(&doors.socket)).await?;
    if let Some(base) = &doors.http {
        let began = Instant::now();
        report.during = "ready";
        knock_http(base, trust).await?;
        report.phase("ready", began.elapsed());
    }
    Ok(())
}

/// Our certificate need not be one that this host trusts, or for this address: there, that somebody takes
/// connections has to do.
async fn knock_http(base: &str, trust: &Arc<Trust>) -> Result<(), Fault> {
    let url = format!("{base}/-/ready");
    let address = Address::parse(&url)?;
    if address.tls {
        return connect(&address.host, address.port, &mut Report::new()).await.map(drop);
    }
    http::check(&url, &BTreeMap::new(), &[200], trust, &mut Report::new()).await
}

/// What the shim says of itself.
async fn knock_shim(
    shim: &Path,
    socket: &Path,
    events: &ProbeEvents,
    (deadline, report): (Deadline, &mut Report),
) -> Result<ProbeAnswer, Fault> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let command = [text(shim), "--socket".to_owned(), text(socket)];
    let (env, scrubber) = (BTreeMap::new(), Scrubber::of(&Check::Balefire));
    let stdio = Stdio {
        command: &command,
        env: &env,
        cwd: None,
        scrubber: &scrubber,
        events,
        helper: None,
    };
    let mut inner = Report::new();
    let checked = mcp::check_own(stdio, deadline.rest(), &mut inner).await;
    report.stderr_tail = inner.stderr_tail;
    checked.map(|()| inner.answer)
}
