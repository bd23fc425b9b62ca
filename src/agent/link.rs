//! The stream to the service: kept up for ever, with pauses where there is no service.
//!
//! Results stay in the outbox until the service says that they are durable; a new stream begins after the last
//! of those. Where the service is away nothing is lost but what no longer fits.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{info, warn};

use crate::{
    client::{ClientError, Connection, Search, take},
    limits,
    supervise::TaskContext,
    wire::{
        agent::probe_to_wire,
        v1::{self, report_request::Message as Told, report_response::Message as Answer},
    },
};

use super::Agent;

/// The first pause before another try; doubled up to [`limits::AGENT_RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// How long the service may take to say welcome, or to take a message.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Messages between us and the connection.
const MESSAGES_MAX: usize = 4;

/// Reports what an agent finds; cheap to clone.
#[derive(Clone, Debug)]
pub struct Link {
    agent: Agent,
    connection: Connection,
    socket: Arc<str>,
    instance: Arc<str>,
    /// How it stands, in words.
    state: watch::Sender<String>,
    superseded: Arc<Notify>,
}

/// Why a stream ended.
enum End {
    /// Another agent of this user reports.
    Superseded,
    /// In words.
    Lost(String),
}

impl<E: Into<ClientError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Lost(error.into().to_string())
    }
}

/// An open stream.
struct Stream<'a> {
    agent: &'a Agent,
    messages: mpsc::Sender<v1::ReportRequest>,
    /// Which targets were sent.
    version: watch::Receiver<u64>,
    /// The last result that was sent.
    sent: u64,
}

impl Link {
    /// A link to the service at `socket`; `instance` names this run of the agent. Must be called within a tokio
    /// runtime.
    pub fn new(agent: Agent, socket: &Path, instance: &str) -> Self {
        Self {
            agent,
            connection: Connection::with_search(Search::of(vec![socket.to_owned()])),
            socket: socket.display().to_string().into(),
            instance: instance.into(),
            state: watch::Sender::new("looks for the service".to_owned()),
            superseded: Arc::default(),
        }
    }

    /// How it stands, in words.
    pub fn state(&self) -> watch::Receiver<String> {
        self.state.subscribe()
    }

    /// Ends when another agent of the same user has taken over.
    pub async fn superseded(&self) {
        self.superseded.notified().await;
    }

    /// Reports until it is told to stop.
    pub async fn run(self, context: TaskContext) -> Result<(), String> {
        let mut pause = RETRY_MIN;
        loop {
            context.heartbeat.beat();
            let mut welcomed = false;
            let end = tokio::select! {
                biased;
                () = context.stop.stopped() => return Ok(()),
                end = self.report(&context, &mut welcomed) => end,
            };
            match end {
                End::Superseded => {
                    self.superseded.notify_one();
                    context.stop.stopped().await;
                    return Ok(());
                }
                End::Lost(reason) => self.lost(&context, reason),
            }
            pause = if welcomed { RETRY_MIN } else { (pause * 2).min(limits::AGENT_RETRY_MAX) };
            tokio::select! {
                () = context.stop.stopped() => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    /// Says once why there is no stream.
    fn lost(&self, context: &TaskContext, reason: String) {
        let text = format!("waits for the service: {reason}");
        if *self.state.borrow() != text {
            warn!("nobody to report to, so results wait here: {reason}");
            self.state.send_replace(text);
        }
        context.heartbeat.failed(reason);
    }

    /// One stream, from the hello to its end.
    async fn report(&self, context: &TaskContext, welcomed: &mut bool) -> End {
        match self.stream(context, welcomed).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn stream(
        &self,
        context: &TaskContext,
        welcomed: &mut bool,
    ) -> Result<std::convert::Infallible, End> {
        let (messages, outgoing) = mpsc::channel(MESSAGES_MAX);
        let hello = v1::AgentHello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.instance.to_string(),
        };
        send(&messages, Told::Hello(hello)).await?;
        let mut client = self.connection.agent();
        let begun = async {
            let mut answers = take(client.report(ReceiverStream::new(outgoing)).await)?;
            let welcome = answers.message().await?;
            Ok::<_, ClientError>((answers, welcome))
        };
        // Where systemd holds the socket of a service that starts, nobody answers for a while.
        let begun = timeout(ANSWER_MAX, begun).await;
        let (mut answers, welcome) =
            begun.map_err(|_| End::Lost("the service does not answer".to_owned()))??;
        let Some(Answer::Welcome(welcome)) = welcome.and_then(|answer| answer.message) else {
            return Err(End::Lost(
                "the service ended the stream before it said welcome".to_owned(),
            ));
        };
        *welcomed = true;
        self.welcomed(context, &welcome);
        let mut version = self.agent.0.version.subscribe();
        version.mark_changed();
        let sent = welcome.durable_sequence;
        let mut stream = Stream { agent: &self.agent, messages, version, sent };

        let mut beats = interval(limits::AGENT_HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        loop {
            stream.catch_up().await?;
            context.heartbeat.beat();
            tokio::select! {
                answer = answers.message() => match self.heard(answer?)? {
                    Some(request) => under_way.push(self.agent.carry_out(request)),
                    None => context.heartbeat.succeeded(),
                },
                Some(outcome) = under_way.next() => {
                    // First what follows from it, so that whoever asked finds it.
                    stream.catch_up().await?;
                    send(&stream.messages, Told::Outcome(outcome)).await?;
                }
                () = self.agent.0.outbox.more() => {}
                // The sender lives in the agent.
                Ok(()) = stream.version.changed() => stream.version.mark_changed(),
                _ = beats.tick() => {
                    send(&stream.messages, Told::Heartbeat(v1::AgentHeartbeat {})).await?;
                }
            }
        }
    }

    fn welcomed(&self, context: &TaskContext, welcome: &v1::AgentWelcome) {
        self.agent.0.outbox.acknowledged(welcome.durable_sequence);
        let (socket, user, waiting) = (&self.socket, &welcome.user, self.agent.0.outbox.waiting());
        info!(waiting, "reports to the service at {socket}: targets are named {user}/… there");
        self.state.send_replace(format!("reports to {socket} as {user}"));
        context.heartbeat.succeeded();
    }

    /// Takes an answer in; what is asked for, where it asks for something.
    fn heard(&self, answer: Option<v1::ReportResponse>) -> Result<Option<v1::AgentRequest>, End> {
        let ended = || End::Lost("the service ended the stream".to_owned());
        match answer.ok_or_else(ended)?.message {
            Some(Answer::Acknowledged(answer)) => {
                self.agent.0.outbox.acknowledged(answer.durable_sequence);
                Ok(None)
            }
            Some(Answer::Request(request)) => Ok(Some(request)),
            Some(Answer::Superseded(_)) => Err(End::Superseded),
            // A newer service may say more.
            Some(Answer::Welcome(_)) | None => Ok(None),
        }
    }
}

impl Stream<'_> {
    /// Sends the targets where they changed, and all results that were not sent.
    async fn catch_up(&mut self) -> Result<(), End> {
        if self.version.has_changed().unwrap_or(false) {
            self.version.mark_unchanged();
            send(&self.messages, Told::Targets(self.agent.to_wire())).await?;
        }
        loop {
            let queued = self.agent.0.outbox.after(self.sent);
            let Some(last) = queued.last() else { return Ok(()) };
            self.sent = last.sequence;
            let probes = queued.into_iter().map(|queued| {
                let record = Arc::unwrap_or_clone(queued.record);
                probe_to_wire(queued.sequence, record)
            });
            let probes = v1::AgentProbes { probes: probes.collect() };
            send(&self.messages, Told::Probes(probes)).await?;
        }
    }
}

async fn send(messages: &mpsc::Sender<v1::ReportRequest>, told: Told) -> Result<(), End> {
    let sent = messages.send_timeout(v1::ReportRequest { message: Some(told) }, ANSWER_MAX).await;
    sent.map_err(|error| {
        End::Lost(match error {
            mpsc::error::SendTimeoutError::Timeout(_) => {
                "the service takes nothing any more".to_owned()
            }
            mpsc::error::SendTimeoutError::Closed(_) => "the stream broke".to_owned(),
        })
    })
}
