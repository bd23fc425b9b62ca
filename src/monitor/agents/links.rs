//! Who reports, and for whom; pure, told the time.
//!
//! Each user has one agent here at most, known by the number that the kernel gives; nothing that an agent says
//! of itself decides whose it is.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    limits,
    model::{Agent, Target, TargetSource},
    time::Timestamp,
};

/// What is asked of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentAction {
    /// Probe it now.
    Check,
    /// Probe it from now on.
    Adopt,
    /// Probe it no more.
    Forget,
}

/// Something that an agent is asked to do.
#[derive(Debug)]
pub struct AgentRequest {
    /// What.
    pub action: AgentAction,
    /// The agent's own name of the target.
    pub target: String,
    /// Where it says what came of it: why it was not done, in words.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// The agents, by the number of their users.
#[derive(Debug, Default)]
pub(in crate::monitor) struct Links {
    links: BTreeMap<u32, Link>,
    streams: u64,
}

/// One agent.
#[derive(Debug)]
struct Link {
    user: String,
    targets: Vec<Target>,
    presence: Presence,
    /// Whether its targets are told to be stale.
    stale: bool,
}

#[derive(Debug)]
enum Presence {
    Here {
        stream: u64,
        requests: mpsc::Sender<AgentRequest>,
    },
    /// Since `since` by the wall clock; who has time to come back has it until `until`.
    Gone {
        since: Timestamp,
        until: Instant,
    },
}

/// There are agents of as many users as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyAgents;

/// What an agent that came is told, and by what it is asked.
pub(super) struct Came {
    /// Tells its stream from one before or after.
    pub(super) stream: u64,
    pub(super) user: String,
    pub(super) requests: mpsc::Receiver<AgentRequest>,
}

impl Links {
    /// Those that were known when the daemon stopped: whoever reported then has time to come back.
    pub(in crate::monitor) fn recalled(agents: Vec<Agent>, now: Timestamp) -> Self {
        let link = |agent: Agent| {
            let grace = agent.gone_since.map_or(limits::AGENT_GRACE, |_| Duration::ZERO);
            let since = agent.gone_since.unwrap_or(now);
            let presence = Presence::Gone { since, until: Instant::now() + grace };
            let Agent { uid, user, targets, .. } = agent;
            (uid, Link { user, targets, presence, stale: false })
        };
        Self { links: agents.into_iter().map(link).collect(), streams: 0 }
    }

    /// An agent of this user came; one that is there already is superseded: it is asked for nothing more.
    pub(super) fn came(&mut self, uid: u32, user: &str) -> Result<Came, TooManyAgents> {
        if self.links.len() >= limits::AGENTS_MAX && !self.links.contains_key(&uid) {
            return Err(TooManyAgents);
        }
        let user = self.name_for(uid, user);
        let (sender, requests) = mpsc::channel(limits::AGENT_REQUESTS_MAX);
        self.streams += 1;
        let stream = self.streams;
        let here = Presence::Here { stream, requests: sender };
        let before = self.links.remove(&uid);
        let (targets, stale) = before.map(|link| (link.targets, link.stale)).unwrap_or_default();
        self.links.insert(uid, Link { user: user.clone(), targets, presence: here, stale });
        Ok(Came { stream, user, requests })
    }

    /// The user's name, where it is one that nobody else can have here; else the number.
    fn name_for(&self, uid: u32, user: &str) -> String {
        let is_number = user.bytes().all(|byte| byte.is_ascii_digit());
        let taken = || self.links.iter().any(|(other, link)| *other != uid && link.user == user);
        if is_number || user.contains('/') || taken() { uid.to_string() } else { user.to_owned() }
    }

    /// The stream of an agent ended; nothing where another one took over.
    pub(super) fn left(&mut self, uid: u32, stream: u64, now: Timestamp) {
        if let Some(link) = self.current(uid, stream) {
            let until = Instant::now() + limits::AGENT_GRACE;
            link.presence = Presence::Gone { since: now, until };
        }
    }

    fn current(&mut self, uid: u32, stream: u64) -> Option<&mut Link> {
        let is_current = |link: &&mut Link| matches!(&link.presence, Presence::Here { stream: own, .. } if *own == stream);
        self.links.get_mut(&uid).filter(is_current)
    }

    /// The agent watches these targets from now on, by its own names; the agent as it is then, and whether its
    /// targets are told to be stale. `None` where another one took over.
    pub(super) fn declare(
        &mut self,
        uid: u32,
        stream: u64,
        targets: Vec<Target>,
    ) -> Option<(Agent, bool)> {
        let link = self.current(uid, stream)?;
        link.targets =
            targets.into_iter().map(|target| attributed(target, uid, &link.user)).collect();
        let is_stale = link.stale;
        Some((agent_of(uid, link), is_stale))
    }

    /// The targets of this user's agent are stale no more.
    pub(super) fn freshened(&mut self, uid: u32) {
        if let Some(link) = self.links.get_mut(&uid) {
            link.stale = false;
        }
    }

    /// All targets of all agents.
    pub(in crate::monitor) fn targets(&self) -> Vec<Target> {
        self.links.values().flat_map(|link| link.targets.iter().cloned()).collect()
    }

    /// Where a user's agent takes requests; `None` while it is gone.
    pub(super) fn requests(&self, uid: u32) -> Option<mpsc::Sender<AgentRequest>> {
        match &self.links.get(&uid)?.presence {
            Presence::Here { requests, .. } => Some(requests.clone()),
            Presence::Gone { .. } => None,
        }
    }

    /// The agents that are gone for too long: their targets are to be told stale, once.
    pub(super) fn take_overdue(&mut self) -> Vec<Agent> {
        let now = Instant::now();
        let overdue = |link: &Link| match link.presence {
            Presence::Gone { until, .. } => until <= now && !link.stale,
            Presence::Here { .. } => false,
        };
        let mut taken = Vec::new();
        for (uid, link) in &mut self.links {
            if overdue(link) {
                link.stale = true;
                taken.push(agent_of(*uid, link));
            }
        }
        taken
    }

    /// Forgets the agents that went before `limit`, and those that are gone and leave nothing.
    pub(super) fn forget_before(&mut self, limit: Timestamp) -> Vec<Agent> {
        let gone = self.links.iter().filter(|(_, link)| match link.presence {
            Presence::Gone { since, .. } => {
                link.stale && (since < limit || link.targets.is_empty())
            }
            Presence::Here { .. } => false,
        });
        let gone: Vec<Agent> = gone.map(|(uid, link)| agent_of(*uid, link)).collect();
        for agent in &gone {
            self.links.remove(&agent.uid);
        }
        gone
    }

    /// Forgets a target of an agent that is gone; the agent without it, `None` where it is there.
    pub(super) fn forget(&mut self, uid: u32, name: &str) -> Option<Agent> {
        let link = self.links.get_mut(&uid)?;
        if matches!(link.presence, Presence::Here { .. }) {
            return None;
        }
        link.targets.retain(|target| target.name != name);
        Some(agent_of(uid, link))
    }
}

/// What a target of an agent is called here.
pub(super) fn named(user: &str, name: &str) -> String {
    format!("{user}/{name}")
}

fn attributed(target: Target, uid: u32, user: &str) -> Target {
    let source = match target.source {
        TargetSource::Agent { source, .. } => source,
        other => other.to_string(),
    };
    let source = TargetSource::Agent { uid, user: user.to_owned(), source };
    Target { name: named(user, &target.name), source, ..target }
}

fn agent_of(uid: u32, link: &Link) -> Agent {
    let gone_since = match link.presence {
        Presence::Here { .. } => None,
        Presence::Gone { since, .. } => Some(since),
    };
    Agent { uid, user: link.user.clone(), targets: link.targets.clone(), gone_since }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Check;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    /// A target as its agent tells of it, who may claim to be somebody else.
    fn target(name: &str) -> Target {
        let text = |text: &str| text.to_owned();
        Target {
            name: text(name),
            check: Check::Reported {
                kind: text("mcp"),
                transport: text("stdio"),
                endpoint: text("x"),
            },
            interval: Duration::from_mins(15),
            timeout: Duration::from_secs(10),
            retries: 2,
            source: TargetSource::Agent { uid: 0, user: text("root"), source: text("file") },
            probed: true,
        }
    }

    fn names(links: &Links) -> Vec<String> {
        links.targets().into_iter().map(|target| target.name).collect()
    }

    /// An agent of this user that watches `time`.
    fn join(links: &mut Links, uid: u32, user: &str) -> Came {
        let came = links.came(uid, user).unwrap();
        links.declare(uid, came.stream, vec![target("time")]).unwrap();
        came
    }

    #[test]
    fn a_target_is_its_users_whatever_the_agent_says() {
        let mut links = Links::default();
        let came = links.came(1000, "ada").unwrap();
        let (agent, _) = links.declare(1000, came.stream, vec![target("../bob/time")]).unwrap();
        assert_eq!(agent.targets[0].name, "ada/../bob/time");
        let expected =
            TargetSource::Agent { uid: 1000, user: "ada".to_owned(), source: "file".to_owned() };
        assert_eq!(agent.targets[0].source, expected);
    }

    #[test]
    fn nobody_takes_anothers_name() {
        let mut links = Links::default();
        for (uid, user, expected) in [
            (1000, "ada", "ada"),
            (1001, "ada", "1001"),
            (1002, "1000", "1002"),
            (1003, "", "1003"),
            (1004, "a/b", "1004"),
            (1000, "ada", "ada"),
        ] {
            assert_eq!(links.came(uid, user).unwrap().user, expected);
        }
    }

    #[tokio::test]
    async fn a_newer_agent_takes_over() {
        let mut links = Links::default();
        let mut old = join(&mut links, 1000, "ada");
        let new = links.came(1000, "ada").unwrap();
        assert!(old.requests.recv().await.is_none(), "it learns of it");
        assert!(links.declare(1000, old.stream, vec![target("other")]).is_none());
        links.left(1000, old.stream, NOW);
        assert!(links.requests(1000).is_some(), "the end of the old one is not the new one's");
        assert_eq!(names(&links), ["ada/time"]);
        links.left(1000, new.stream, NOW);
        assert!(links.requests(1000).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_in_time_is_not_missed() {
        let mut links = Links::default();
        let came = join(&mut links, 1000, "ada");
        links.left(1000, came.stream, NOW);
        tokio::time::advance(limits::AGENT_GRACE / 2).await;
        assert_eq!(links.take_overdue(), []);
        let came = join(&mut links, 1000, "ada");
        tokio::time::advance(limits::AGENT_GRACE).await;
        assert_eq!(links.take_overdue(), []);
        links.left(1000, came.stream, NOW);
        tokio::time::advance(limits::AGENT_GRACE).await;
        let overdue = links.take_overdue();
        assert_eq!((overdue[0].uid, overdue[0].gone_since), (1000, Some(NOW)));
        assert_eq!(links.take_overdue(), [], "told once");
        assert_eq!(names(&links), ["ada/time"], "it stays listed");
        let came = links.came(1000, "ada").unwrap();
        let (_, was_stale) = links.declare(1000, came.stream, vec![target("time")]).unwrap();
        assert!(was_stale);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_gives_time_to_whoever_reported() {
        let agent = |uid, gone_since| Agent {
            uid,
            user: uid.to_string(),
            targets: vec![target("time")],
            gone_since,
        };
        let long_ago = NOW.minus(Duration::from_hours(1));
        let mut links = Links::recalled(vec![agent(1, Some(long_ago)), agent(2, None)], NOW);
        let overdue: Vec<_> =
            links.take_overdue().into_iter().map(|a| (a.uid, a.gone_since)).collect();
        assert_eq!(overdue, [(1, Some(long_ago))]);
        tokio::time::advance(limits::AGENT_GRACE).await;
        let overdue: Vec<_> =
            links.take_overdue().into_iter().map(|a| (a.uid, a.gone_since)).collect();
        assert_eq!(overdue, [(2, Some(NOW))]);
        let forgotten: Vec<u32> = links.forget_before(NOW).into_iter().map(|a| a.uid).collect();
        assert_eq!(forgotten, [1]);
    }

    #[test]
    fn there_are_so_many_agents_and_no_more() {
        let mut links = Links::default();
        for uid in 0..limits::AGENTS_MAX {
            join(&mut links, u32::try_from(uid).unwrap(), "");
        }
        assert_eq!(links.came(5000, "late").err(), Some(TooManyAgents));
        assert!(links.came(7, "").is_ok(), "who is known may come back");
    }
}
