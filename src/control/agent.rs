//! `AgentService`: a user's agent tells what it watches and finds, and is asked for checks.
//!
//! A stream belongs to the user whom the kernel names at the other end of the connection. Messages are taken
//! one at a time: while results are made durable, the flow control of HTTP/2 holds the agent back.

use std::collections::HashMap;

use futures_util::{Stream, stream};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    access::Peer,
    error_code::ErrorCode,
    limits,
    model::{ProbeRecord, Target},
    monitor::{AgentAction, AgentRequest, AgentStream, Monitor},
    supervise::StopSignal,
    wire::{
        InvalidField, agent, from_wire, status,
        v1::{
            self, agent_service_server::AgentService, report_request::Message as Told,
            report_response::Message as Answer,
        },
    },
};

use super::{
    App,
    streams::{Answers, stopping},
};

/// Longest name of an agent's run.
const INSTANCE_BYTES_MAX: usize = 64;

/// What users' agents report.
#[derive(Debug)]
pub(super) struct Agents {
    monitor: Monitor,
    stop: StopSignal,
}

impl Agents {
    pub(super) fn new(app: &App, stop: &StopSignal) -> Self {
        Self { monitor: app.monitor.clone(), stop: stop.clone() }
    }
}

#[tonic::async_trait]
impl AgentService for Agents {
    type ReportStream = Answers<v1::ReportResponse>;

    async fn report(
        &self,
        request: Request<Streaming<v1::ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let peer = request.extensions().get::<Peer>().filter(|peer| peer.uid != u32::MAX);
        let peer = peer.cloned().ok_or_else(|| {
            let message = "agents report by way of the control socket only";
            status(ErrorCode::FailedPrecondition, message, &[])
        })?;
        let report = Report {
            messages: request.into_inner(),
            monitor: self.monitor.clone(),
            stop: self.stop.clone(),
            peer,
            agent: None,
            pending: Pending::default(),
            heard: Instant::now(),
        };
        Ok(Response::new(Box::pin(report.answers())))
    }
}

/// One stream.
struct Report {
    messages: Streaming<v1::ReportRequest>,
    monitor: Monitor,
    stop: StopSignal,
    peer: Peer,
    /// `None` before its hello.
    agent: Option<AgentStream>,
    pending: Pending,
    /// When it last said something.
    heard: Instant,
}

/// What there is to answer to.
enum Event {
    Told(Option<v1::ReportRequest>),
    Asked(Option<AgentRequest>),
}

impl Report {
    /// Answers until the agent goes, or says something wrong, or another one takes over.
    fn answers(self) -> impl Stream<Item = Result<v1::ReportResponse, Status>> + Send {
        stream::unfold(Some(self), |report| async move {
            let mut report = report?;
            match report.next().await {
                Ok(Some(answer)) => {
                    let is_last = matches!(answer, Answer::Superseded(_));
                    let answer = v1::ReportResponse { message: Some(answer) };
                    Some((Ok(answer), (!is_last).then_some(report)))
                }
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Answer>, Status> {
        loop {
            let answer = match self.wait().await? {
                Event::Asked(None) => Some(Answer::Superseded(v1::AgentSuperseded {})),
                Event::Asked(Some(request)) => self.pending.put(request).map(Answer::Request),
                Event::Told(None) => return Ok(None),
                Event::Told(Some(request)) => {
                    self.heard = Instant::now();
                    self.take(request).await?
                }
            };
            if answer.is_some() {
                return Ok(answer);
            }
        }
    }

    async fn wait(&mut self) -> Result<Event, Status> {
        let request = async {
            match &mut self.agent {
                Some(agent) => agent.request().await,
                None => std::future::pending().await,
            }
        };
        let until = self.heard + limits::AGENT_SILENCE_MAX;
        tokio::select! {
            biased;
            () = self.stop.stopped() => Err(stopping()),
            request = request => Ok(Event::Asked(request)),
            message = timeout_at(until, self.messages.message()) => match message {
                Ok(message) => Ok(Event::Told(message?)),
                Err(_) => Err(silent()),
            },
        }
    }

    async fn take(&mut self, request: v1::ReportRequest) -> Result<Option<Answer>, Status> {
        let told = from_wire::required("message", request.message)?;
        if let Told::Hello(hello) = told {
            return self.hello(hello).map(Some);
        }
        let Some(agent) = &mut self.agent else {
            let description = "missing: the first message of a stream says who speaks";
            return Err(InvalidField::new("hello", description).into());
        };
        match told {
            Told::Targets(wire) => {
                agent.declare(targets(wire)?).await?;
                Ok(None)
            }
            Told::Probes(wire) => {
                let durable_sequence = agent.record(probes(wire)?).await?;
                Ok(Some(Answer::Acknowledged(v1::AgentAcknowledged { durable_sequence })))
            }
            Told::Outcome(outcome) => {
                self.pending.answer(outcome);
                Ok(None)
            }
            Told::Heartbeat(_) | Told::Hello(_) => Ok(None),
        }
    }

    fn hello(&mut self, hello: v1::AgentHello) -> Result<Answer, Status> {
        if self.agent.is_some() {
            return Err(InvalidField::new("hello", "said already").into());
        }
        let instance = from_wire::text("hello.instance_id", hello.instance_id)?;
        if instance.len() > INSTANCE_BYTES_MAX {
            let description = format!("longer than {INSTANCE_BYTES_MAX} bytes");
            return Err(InvalidField::new("hello.instance_id", description).into());
        }
        let agent = self.monitor.welcome_agent(self.peer.uid, &self.peer.user, instance)?;
        let welcome =
            v1::AgentWelcome { user: agent.user.clone(), durable_sequence: agent.mark.sequence };
        self.agent = Some(agent);
        Ok(Answer::Welcome(welcome))
    }
}

fn targets(wire: v1::AgentTargets) -> Result<Vec<Target>, InvalidField> {
    let count = wire.targets.len();
    if count > limits::AGENT_TARGETS_MAX {
        let max = limits::AGENT_TARGETS_MAX;
        let description = format!("{count} where an agent may have {max}");
        return Err(InvalidField::new("targets.targets", description));
    }
    let targets = wire.targets.into_iter().enumerate();
    targets.map(|(index, wire)| agent::target(&format!("targets.targets[{index}]"), wire)).collect()
}

fn probes(wire: v1::AgentProbes) -> Result<Vec<(u64, ProbeRecord)>, InvalidField> {
    let count = wire.probes.len();
    if count > limits::AGENT_PROBES_MAX {
        let max = limits::AGENT_PROBES_MAX;
        let description = format!("{count} in a message where {max} are allowed: send several");
        return Err(InvalidField::new("probes.probes", description));
    }
    let probes = wire.probes.into_iter().enumerate();
    probes.map(|(index, wire)| agent::probe(&format!("probes.probes[{index}]"), wire)).collect()
}

fn silent() -> Status {
    let message = format!(
        "nothing was heard for {} s: a heartbeat is due every {} s",
        limits::AGENT_SILENCE_MAX.as_secs(),
        limits::AGENT_HEARTBEAT.as_secs()
    );
    status(ErrorCode::DeadlineExceeded, &message, &[])
}

/// What the agent was asked and has not answered.
#[derive(Debug, Default)]
struct Pending {
    waiting: HashMap<u64, oneshot::Sender<Result<(), String>>>,
    last: u64,
}

impl Pending {
    /// The request as the agent gets it; `None` where too much is under way.
    fn put(&mut self, request: AgentRequest) -> Option<v1::AgentRequest> {
        // Who asked may have given up.
        self.waiting.retain(|_, reply| !reply.is_closed());
        if self.waiting.len() >= limits::AGENT_REQUESTS_MAX {
            let _gone = request.reply.send(Err("it has too much to do already: try again".into()));
            return None;
        }
        self.last += 1;
        self.waiting.insert(self.last, request.reply);
        let action = match request.action {
            AgentAction::Check => v1::AgentAction::Check,
            AgentAction::Adopt => v1::AgentAction::Adopt,
            AgentAction::Forget => v1::AgentAction::Forget,
        };
        let (request_id, target) = (self.last, request.target);
        Some(v1::AgentRequest { request_id, action: action.into(), target })
    }

    fn answer(&mut self, outcome: v1::AgentOutcome) {
        let Some(reply) = self.waiting.remove(&outcome.request_id) else { return };
        let error = crate::wire::agent::cut(outcome.error, limits::AGENT_TEXT_BYTES_MAX);
        let _gone = reply.send(if error.is_empty() { Ok(()) } else { Err(error) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answered = oneshot::Receiver<Result<(), String>>;

    fn ask(pending: &mut Pending) -> (Option<u64>, Answered) {
        let (reply, answer) = oneshot::channel();
        let request = AgentRequest { action: AgentAction::Check, target: "time".into(), reply };
        (pending.put(request).map(|request| request.request_id), answer)
    }

    #[test]
    fn outcomes_come_to_who_asked() {
        let mut pending = Pending::default();
        let (first, mut first_answer) = ask(&mut pending);
        let (second, mut second_answer) = ask(&mut pending);
        let outcome = |id: Option<u64>, error: &str| v1::AgentOutcome {
            request_id: id.unwrap(),
            error: error.into(),
        };
        pending.answer(outcome(second, "no such target"));
        pending.answer(outcome(Some(99), "nobody asked"));
        assert_eq!(second_answer.try_recv(), Ok(Err("no such target".to_owned())));
        assert!(first_answer.try_recv().is_err());
        pending.answer(outcome(first, ""));
        assert_eq!(first_answer.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn so_much_is_asked_at_once_and_no_more() {
        let mut pending = Pending::default();
        let mut asked: Vec<_> =
            (0..limits::AGENT_REQUESTS_MAX).map(|_| ask(&mut pending)).collect();
        let (refused, mut answer) = ask(&mut pending);
        assert!(refused.is_none() && matches!(answer.try_recv(), Ok(Err(_))));
        asked.pop();
        assert!(ask(&mut pending).0.is_some(), "who gave up makes room");
    }

    #[test]
    fn messages_are_bounded() {
        let targets = v1::AgentTargets {
            targets: vec![v1::AgentTarget::default(); limits::AGENT_TARGETS_MAX + 1],
        };
        assert_eq!(super::targets(targets).unwrap_err().field, "targets.targets");
        let probes = v1::AgentProbes {
            probes: vec![v1::AgentProbe::default(); limits::AGENT_PROBES_MAX + 1],
        };
        assert_eq!(super::probes(probes).unwrap_err().field, "probes.probes");
    }
}
