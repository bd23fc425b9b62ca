//! MCP over standard input and output: one fresh process for each try.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio::time::Instant;

use crate::{
    model::Secret,
    probe::{fault::Fault, process::Process, report::Report, scrub::Scrubber, stderr::Tail},
    telemetry::events::ProbeEvents,
};

use super::{
    conversation::{Broken, Plan, converse},
    era::Dialect,
    pipe::{PipeTransport, Seen},
};

/// How long a server that closed its output may take to end, for the reason to be known.
const EXIT_PATIENCE: Duration = Duration::from_millis(250);

/// A server to be spawned.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct Stdio<'a> {
    pub(in crate::probe) command: &'a [String],
    pub(in crate::probe) env: &'a BTreeMap<String, Secret>,
    pub(in crate::probe) cwd: Option<&'a PathBuf>,
    pub(in crate::probe) scrubber: &'a Scrubber,
    pub(in crate::probe) events: &'a ProbeEvents,
}

impl Stdio<'_> {
    /// Spawns the server, converses with it, and makes it go.
    pub(super) async fn attempt(
        &self,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<Dialect, Broken> {
        let began = Instant::now();
        let (mut process, pipes) =
            Process::spawn(self.command, self.env, self.cwd.map(PathBuf::as_path))?;
        report.phase("spawn", began.elapsed());
        let seen = Seen::default();
        let tail = Tail::new(self.scrubber.clone());
        let transport = PipeTransport::new(pipes.stdin, pipes.stdout, seen.clone());
        let conversation = async {
            let mut result = converse(transport, plan, report).await;
            if let Err(broken) = &mut result {
                refine(&mut broken.fault, &seen, &mut process).await;
            }
            // rmcp has let go of the transport by now, so that the server's input is closed.
            (result, process.stop().await)
        };
        let (result, ending) = tokio::select! {
            done = conversation => done,
            never = tail.follow(pipes.stderr) => match never {},
        };
        self.events.process_ended(&self.command[0], ending.name());
        if result.is_err() {
            report.stderr_tail = tail.text();
        }
        result
    }
}

/// Puts what the process and its output tell into a fault that rmcp could not know better.
async fn refine(fault: &mut Fault, seen: &Seen, process: &mut Process) {
    match fault {
        Fault::Silent { noise, .. } => *noise = seen.noise(),
        Fault::Closed { awaiting, .. } if seen.flooded() => {
            *fault = Fault::Flooded { awaiting, noise: seen.noise() };
        }
        Fault::Closed { awaiting, noise } => {
            *noise = seen.noise();
            if let Some(how) = process.ended(EXIT_PATIENCE).await {
                *fault = Fault::Exited { how, awaiting };
            }
        }
        _ => {}
    }
}
