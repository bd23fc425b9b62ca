//! Users' agents: what they watch, and what they tell of it.
//!
//! [`Links`] knows who reports; here what follows from it is done: targets are declared, results written down
//! as those of own probes are, requests passed on, and what a gone agent leaves is told to be stale.

mod links;

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    error_code::ErrorCode,
    limits,
    model::{Agent, AgentMark, ProbeRecord, Target, TargetSource, TargetState, TargetStatus},
    store::Change,
    supervise::TaskContext,
    time::Timestamp,
};

use super::{Caller, Failure, Monitor, TargetView};

pub(super) use links::Links;
pub use links::{AgentAction, AgentRequest};

/// How often it is looked whether an agent is gone for too long.
const LOOK: Duration = Duration::from_secs(1);
/// How long an agent may take to adopt a target, or to forget one.
const CHANGE_MAX: Duration = Duration::from_secs(30);

/// The stream of an agent, from its hello on. Dropped, the agent is gone.
#[derive(Debug)]
pub struct AgentStream {
    monitor: Monitor,
    uid: u32,
    stream: u64,
    requests: mpsc::Receiver<AgentRequest>,
    /// What its targets are named with: `ada` where they are `ada/time`.
    pub user: String,
    /// How far its probes are durable.
    pub mark: AgentMark,
}

impl Monitor {
    /// An agent of this user says hello; one of the same user that is there already is superseded. `instance`
    /// names the run of the agent, within which its probes are numbered.
    pub fn welcome_agent(
        &self,
        uid: u32,
        user: &str,
        instance: String,
    ) -> Result<AgentStream, Failure> {
        let came = self.agents.lock().came(uid, user).map_err(|links::TooManyAgents| {
            let message = format!(
                "agents of {} users report already: `balefire targets forget` those of one that is gone",
                limits::AGENTS_MAX
            );
            Failure::new(ErrorCode::ResourceExhausted, message)
        })?;
        let known = self.parts.store.agent_mark(uid).filter(|mark| mark.instance == instance);
        let mark = known.unwrap_or(AgentMark { uid, instance, sequence: 0 });
        self.agent_events.came(uid, &came.user);
        let links::Came { stream, user, requests } = came;
        Ok(AgentStream { monitor: self.clone(), uid, stream, requests, user, mark })
    }

    /// Tells the targets of agents that are gone to be stale, and forgets them when they are gone for longer
    /// than `keep`; until it is told to stop.
    pub async fn watch_agents(self, context: TaskContext, keep: Duration) -> Result<(), String> {
        loop {
            match self.look_after_agents(keep).await {
                Ok(()) => context.heartbeat.succeeded(),
                Err(failure) => context.heartbeat.failed(failure.message),
            }
            context.heartbeat.beat();
            tokio::select! {
                () = context.stop.stopped() => return Ok(()),
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn look_after_agents(&self, keep: Duration) -> Result<(), Failure> {
        let _changing = self.agents_changing.lock().await;
        let overdue = self.agents.lock().take_overdue();
        let mut done = Ok(());
        for agent in overdue {
            let names: Vec<String> = agent.targets.iter().map(|t| t.name.clone()).collect();
            let reason = gone(&agent.user, agent.gone_since.unwrap_or_default());
            self.agent_events.stale(agent.uid, &reason);
            // Told even where it cannot be written down.
            done = self.parts.probing.set_stale(&names, &reason).await.and(done);
            done = self.parts.store.commit(vec![Change::PutAgent(agent)]).await.and(done);
        }
        done?;
        let forgotten = self.agents.lock().forget_before(self.now().minus(keep));
        for agent in forgotten {
            self.declare_targets().await?;
            let targets = agent.targets.into_iter().map(|target| Change::DeleteTarget(target.name));
            let changes = [Change::DeleteAgent(agent.uid)].into_iter().chain(targets);
            self.parts.store.commit(changes.collect()).await?;
        }
        Ok(())
    }

    /// The targets that an agent had and has no more, by their names here.
    fn dropped(&self, agent: &Agent) -> Vec<String> {
        let before = self.parts.store.agents().into_iter().find(|before| before.uid == agent.uid);
        let names = before.into_iter().flat_map(|before| before.targets).map(|target| target.name);
        names.filter(|name| agent.targets.iter().all(|target| target.name != *name)).collect()
    }

    /// Has the target's agent probe it now; what is known then. Where it cannot, that is known.
    pub(super) async fn check_by_agent(
        &self,
        view: TargetView,
        within: Duration,
    ) -> Result<TargetView, Failure> {
        match self.ask_agent(&view.target, AgentAction::Check, within).await {
            Ok(()) => self.target(&view.target.name),
            // It is there, and busy.
            Err(failure) if failure.code == ErrorCode::DeadlineExceeded => Ok(view),
            Err(failure) => {
                let stale = Some(view.status.stale).filter(|stale| !stale.is_empty());
                let stale = stale.unwrap_or(failure.message);
                let status = TargetStatus { state: TargetState::Unknown, stale, ..view.status };
                Ok(TargetView { status, ..view })
            }
        }
    }

    /// Has the agent of the caller probe a target that it found.
    pub(super) async fn adopt_by_agent(
        &self,
        caller: &Caller,
        view: TargetView,
    ) -> Result<TargetView, Failure> {
        let name = view.target.name.clone();
        let (uid, user) = owner(&view.target);
        if !caller.is_user(uid) {
            return Err(not_theirs(user, "adopt", &name));
        }
        self.ask_agent(&view.target, AgentAction::Adopt, CHANGE_MAX).await?;
        let audit = self.audit_entry(caller, "target.adopt", &name, (String::new(), view.endpoint));
        self.parts.store.commit(vec![audit]).await?;
        self.target(&name)
    }

    /// Has the agent of the caller probe a target no more; where it is gone, the target is forgotten, and an
    /// administrator may do that as well.
    pub(super) async fn forget_by_agent(
        &self,
        caller: &Caller,
        view: TargetView,
    ) -> Result<(), Failure> {
        let name = view.target.name.clone();
        let (uid, user) = owner(&view.target);
        let is_here = self.agents.lock().requests(uid).is_some();
        if !caller.is_user(uid) && (is_here || !caller.is_admin) {
            return Err(not_theirs(user, "forget", &name));
        }
        let audit =
            self.audit_entry(caller, "target.forget", &name, (view.endpoint, String::new()));
        if is_here {
            self.ask_agent(&view.target, AgentAction::Forget, CHANGE_MAX).await?;
        } else {
            self.forget_of_gone(uid, &name).await?;
        }
        self.parts.store.commit(vec![Change::DeleteTarget(name), audit]).await?;
        Ok(())
    }

    async fn forget_of_gone(&self, uid: u32, name: &str) -> Result<(), Failure> {
        let _changing = self.agents_changing.lock().await;
        let agent = self.agents.lock().forget(uid, name).ok_or_else(|| {
            Failure::new(ErrorCode::Unavailable, "its agent has just come back: try again")
        })?;
        self.declare_targets().await?;
        Ok(self.parts.store.commit(vec![Change::PutAgent(agent)]).await?)
    }

    async fn ask_agent(
        &self,
        target: &Target,
        action: AgentAction,
        within: Duration,
    ) -> Result<(), Failure> {
        let (uid, user) = owner(target);
        let away = || {
            let message = format!(
                "the agent of {user} is not there, and only it can do this: `systemctl --user start \
                 balefire-agent` as {user}"
            );
            Failure::new(ErrorCode::Unavailable, message)
        };
        let requests = self.agents.lock().requests(uid).ok_or_else(away)?;
        let own_name = target.name.split_once('/').map_or("", |(_, name)| name);
        let (reply, answer) = oneshot::channel();
        let request = AgentRequest { action, target: own_name.to_owned(), reply };
        let asked = async {
            // Where much is asked already, it waits for its turn.
            requests.send(request).await.map_err(|_| away())?;
            Ok(answer.await)
        };
        match timeout(within, asked).await {
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(Ok(Ok(())))) => Ok(()),
            Ok(Ok(Ok(Err(error)))) => Err(Failure::new(ErrorCode::FailedPrecondition, error)),
            Ok(Ok(Err(_))) => Err(away()),
            Err(_) => {
                let message = format!(
                    "the agent of {user} did not answer within {} s: its journal may say why",
                    within.as_secs()
                );
                Err(Failure::new(ErrorCode::DeadlineExceeded, message))
            }
        }
    }
}

impl AgentStream {
    /// The next request to the agent; `None` when another agent of the same user took over.
    pub async fn request(&mut self) -> Option<AgentRequest> {
        self.requests.recv().await
    }

    /// Puts `targets`, by the agent's own names, in the place of all that it had.
    pub async fn declare(&self, targets: Vec<Target>) -> Result<(), Failure> {
        let monitor = &self.monitor;
        let _changing = monitor.agents_changing.lock().await;
        let declared = monitor.agents.lock().declare(self.uid, self.stream, targets);
        let Some((agent, is_stale)) = declared else { return Err(superseded()) };
        let gone = monitor.dropped(&agent);
        monitor.parts.store.commit(vec![Change::PutAgent(agent.clone())]).await?;
        monitor.declare_targets().await?;
        // First out of the book, so that nothing of them is written down afterwards.
        monitor.parts.store.commit(gone.into_iter().map(Change::DeleteTarget).collect()).await?;
        if is_stale {
            monitor.parts.probing.set_fresh(&self.known(&agent)).await?;
            // Only now: where that failed, the next declaration does it.
            monitor.agents.lock().freshened(self.uid);
        }
        Ok(())
    }

    /// The targets of which everything is known that there is: those of an agent that went on while it was not
    /// heard, and those that are not probed at all. An agent that was started anew probes the others soon.
    fn known(&self, agent: &Agent) -> Vec<String> {
        let went_on = self.mark.sequence > 0;
        let known = agent.targets.iter().filter(|target| went_on || !target.probed);
        known.map(|target| target.name.clone()).collect()
    }

    /// Takes in what the agent probed, with rising numbers; the highest number that is durable.
    pub async fn record(&mut self, probes: Vec<(u64, ProbeRecord)>) -> Result<u64, Failure> {
        let mut sequence = self.mark.sequence;
        let mut records = Vec::with_capacity(probes.len());
        for (number, record) in probes {
            // What was sent again, for its acknowledgement was lost.
            if number > sequence {
                sequence = number;
                records.push(record);
            }
        }
        if sequence == self.mark.sequence {
            return Ok(sequence);
        }
        let mark = AgentMark { sequence, ..self.mark.clone() };
        let records = self.attributed(records);
        let taken = self.monitor.parts.probing.take_in(records, Change::PutAgentMark(mark.clone()));
        taken.await?;
        self.mark = mark;
        Ok(sequence)
    }

    /// The records by the names that their targets have here; those of others are dropped.
    fn attributed(&self, records: Vec<ProbeRecord>) -> Vec<ProbeRecord> {
        let now = self.monitor.now();
        let all = records.len();
        let named = records.into_iter().filter_map(|record| {
            let target = links::named(&self.user, &record.target);
            let (known, _) = self.monitor.parts.targets.get(&target)?;
            if !known.probed || owner(&known).0 != self.uid {
                return None;
            }
            // Agents read the same clock; one that lies must not disturb the history's order.
            let started_at = record.started_at.min(now);
            Some(ProbeRecord { target, started_at, ..record })
        });
        let named: Vec<ProbeRecord> = named.collect();
        self.monitor.agent_events.took_in(named.len(), all - named.len());
        named
    }
}

impl Drop for AgentStream {
    fn drop(&mut self) {
        self.monitor.agents.lock().left(self.uid, self.stream, self.monitor.now());
        self.monitor.agent_events.left(self.uid, &self.user);
    }
}

impl Caller {
    /// Whether it is this user who calls, by the word of the kernel.
    fn is_user(&self, uid: u32) -> bool {
        self.actor == format!("uid:{uid}")
    }
}

/// The user whose agent probes a target.
fn owner(target: &Target) -> (u32, &str) {
    match &target.source {
        TargetSource::Agent { uid, user, .. } => (*uid, user),
        // Nobody has this number.
        _ => (u32::MAX, ""),
    }
}

fn gone(user: &str, since: Timestamp) -> String {
    format!(
        "stale: the agent of {user} has been gone since {since} (`systemctl --user status balefire-agent` \
         as {user} says more)"
    )
}

fn not_theirs(user: &str, verb: &str, name: &str) -> Failure {
    let message = format!(
        "target {name:?} is probed by the agent of {user}, and is {user}'s: only {user} may {verb} it, \
         by `balefire targets {verb} {name}`"
    );
    Failure { code: ErrorCode::PermissionDenied, ..Failure::field("name", message) }
}

/// Why a stream ends that another one took the place of.
fn superseded() -> Failure {
    Failure::new(
        ErrorCode::FailedPrecondition,
        "another agent of this user reports now: stop one of them",
    )
}
