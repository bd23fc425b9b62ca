//! MCP over streamable HTTP.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    model::{ProbePhase, Secret},
    probe::{
        fault::Fault,
        http::{Address, Trust, header_map},
        report::Report,
    },
};

use super::{
    conversation::{Broken, Plan, converse},
    era::{Dialect, Era},
    post::Endpoint,
};

/// How long saying good-bye to a session may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// What part of the time left the search for the old HTTP+SSE transport may take.
const SSE_SHARE: f64 = 0.5;

/// A server behind a URL.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct Remote<'a> {
    pub(in crate::probe) url: &'a str,
    pub(in crate::probe) headers: &'a BTreeMap<String, Secret>,
    pub(in crate::probe) trust: &'a Arc<Trust>,
}

impl Remote<'_> {
    /// Converses with the server.
    pub(super) async fn attempt(
        &self,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<Dialect, Broken> {
        let address = Address::parse(self.url)?;
        let endpoint = Endpoint::new(address, header_map(self.headers)?, Arc::clone(self.trust));
        let result = converse(endpoint.transport(), plan, report).await;
        note_dialling(&endpoint, plan.era, report);
        let _ = timeout(GOODBYE.min(plan.deadline.left()), endpoint.close_session()).await;
        let Err(mut broken) = result else { return result };
        if let Some(fault) = endpoint.take_fault() {
            broken.fault = fault;
        }
        if speaks_http_sse(&broken, &endpoint, plan).await {
            broken.fault = Fault::LegacySse;
        }
        Err(broken)
    }
}

/// Puts the dialling of the first request before the greeting, and takes its time out of it.
fn note_dialling(endpoint: &Endpoint, era: Era, report: &mut Report) {
    report.answer.status_code = endpoint.status();
    let Some(first) = endpoint.take_first() else { return };
    let mut phases = first.answer.phases;
    phases.retain(|phase| matches!(phase.name, "resolve" | "connect" | "tls"));
    let dialling: Duration = phases.iter().map(|phase| phase.duration).sum();
    for phase in std::mem::take(&mut report.answer.phases) {
        let own = if phase.name == era.phase() { dialling } else { Duration::ZERO };
        phases.push(ProbePhase { duration: phase.duration.saturating_sub(own), ..phase });
    }
    report.answer.phases = phases;
}

/// After `initialize` was refused as by a server of 2024-11-05, whether it is one.
async fn speaks_http_sse(broken: &Broken, endpoint: &Endpoint, plan: &Plan) -> bool {
    let refused = matches!(
        broken.fault,
        Fault::McpStatus { method: "initialize", status: 400 | 404 | 405, .. }
    );
    if !refused {
        return false;
    }
    plan.deadline.share(SSE_SHARE).bound(endpoint.offers_legacy_sse()).await.unwrap_or(false)
}
