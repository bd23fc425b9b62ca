//! MCP over standard input and output: one fresh process for each try.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    model::Secret,
    probe::{
        fault::Fault,
        process::{Ending, Pipes, Process},
        report::{Deadline, Report},
        scrub::Scrubber,
        spawn::Spawned,
        stderr::Tail,
    },
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
    /// Who starts it in the daemon's place, and as which configured target it is known there.
    pub(in crate::probe) helper: Option<(&'a Path, &'a str)>,
}

/// A server that runs.
#[derive(Debug)]
enum Server {
    Own(Box<Process>),
    Helpers(Spawned),
}

impl Server {
    async fn ended(&mut self, limit: Duration) -> Option<String> {
        match self {
            Self::Own(process) => process.ended(limit).await,
            Self::Helpers(spawned) => spawned.ended(limit).await,
        }
    }

    async fn stop(self) -> Ending {
        match self {
            Self::Own(process) => process.stop().await,
            Self::Helpers(spawned) => spawned.stop().await,
        }
    }
}

impl Stdio<'_> {
    /// Spawns the server, converses with it, and makes it go.
    pub(super) async fn attempt(
        &self,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<Dialect, Broken> {
        let began = Instant::now();
        let (mut server, pipes) = self.start(plan.deadline).await?;
        report.phase("spawn", began.elapsed());
        let seen = Seen::default();
        let tail = Tail::new(self.scrubber.clone());
        let transport = PipeTransport::new(pipes.stdin, pipes.stdout, seen.clone());
        let conversation = async {
            let mut result = converse(transport, plan, report).await;
            if let Err(broken) = &mut result {
                refine(&mut broken.fault, &seen, &mut server).await;
            }
            // rmcp has let go of the transport by now, so that the server's input is closed.
            (result, server.stop().await)
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

    async fn start(&self, deadline: Deadline) -> Result<(Server, Pipes), Fault> {
        let Some((socket, name)) = self.helper else {
            let own = Process::spawn(self.command, self.env, self.cwd.map(PathBuf::as_path));
            return own.map(|(process, pipes)| (Server::Own(Box::new(process)), pipes));
        };
        let spawned = deadline.bound(Spawned::spawn(socket, name)).await;
        let late = || Fault::Timeout { during: "spawn", within: deadline.whole() };
        let (spawned, pipes) = spawned.unwrap_or_else(|| Err(late()))?;
        Ok((Server::Helpers(spawned), pipes))
    }
}

/// Puts what the process and its output tell into a fault that rmcp could not know better.
async fn refine(fault: &mut Fault, seen: &Seen, server: &mut Server) {
    match fault {
        Fault::Silent { noise, .. } => *noise = seen.noise(),
        Fault::Closed { awaiting, .. } if seen.flooded() => {
            *fault = Fault::Flooded { awaiting, noise: seen.noise() };
        }
        Fault::Closed { awaiting, noise } => {
            *noise = seen.noise();
            if let Some(how) = server.ended(EXIT_PATIENCE).await {
                *fault = Fault::Exited { how, awaiting };
            }
        }
        _ => {}
    }
}
