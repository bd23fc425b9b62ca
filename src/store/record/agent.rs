//! Agents as records, and back.

use std::time::Duration;

use super::{AgentMarkRecord, AgentRecord, AgentTargetRecord, convert::millis, time};
use crate::model::{Agent, AgentMark, Check, Target, TargetSource};

impl From<&Agent> for AgentRecord {
    fn from(agent: &Agent) -> Self {
        Self {
            uid: agent.uid,
            user: agent.user.clone(),
            targets: agent.targets.iter().map(AgentTargetRecord::from).collect(),
            gone_since: agent.gone_since.map(crate::time::Timestamp::as_millis),
        }
    }
}

impl From<&AgentRecord> for Agent {
    fn from(record: &AgentRecord) -> Self {
        Self {
            uid: record.uid,
            user: record.user.clone(),
            targets: record.targets.iter().map(|target| target_of(target, record)).collect(),
            gone_since: record.gone_since.map(time),
        }
    }
}

impl From<&Target> for AgentTargetRecord {
    fn from(target: &Target) -> Self {
        let endpoint = match &target.check {
            Check::Reported { endpoint, .. } => endpoint.clone(),
            _ => String::new(),
        };
        let source = match &target.source {
            TargetSource::Agent { source, .. } => source.clone(),
            _ => String::new(),
        };
        Self {
            name: target.name.clone(),
            kind: target.check.kind().to_owned(),
            transport: target.check.transport().to_owned(),
            endpoint,
            source,
            probed: target.probed,
            interval_ms: millis(target.interval),
            timeout_ms: millis(target.timeout),
            retries: target.retries,
        }
    }
}

fn target_of(record: &AgentTargetRecord, agent: &AgentRecord) -> Target {
    Target {
        name: record.name.clone(),
        check: Check::Reported {
            kind: record.kind.clone(),
            transport: record.transport.clone(),
            endpoint: record.endpoint.clone(),
        },
        interval: Duration::from_millis(record.interval_ms),
        timeout: Duration::from_millis(record.timeout_ms),
        retries: record.retries,
        source: TargetSource::Agent {
            uid: agent.uid,
            user: agent.user.clone(),
            source: record.source.clone(),
        },
        probed: record.probed,
    }
}

impl From<&AgentMark> for AgentMarkRecord {
    fn from(mark: &AgentMark) -> Self {
        Self { uid: mark.uid, instance: mark.instance.clone(), sequence: mark.sequence }
    }
}

impl From<&AgentMarkRecord> for AgentMark {
    fn from(record: &AgentMarkRecord) -> Self {
        Self { uid: record.uid, instance: record.instance.clone(), sequence: record.sequence }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChangeRecord, decode_change, encode_change};
    use super::*;
    use crate::{store::Change, time::Timestamp};
    use prost::Message as _;

    #[track_caller]
    fn check(change: Change) {
        let bytes = encode_change(&change, 0).encode_to_vec();
        let record = ChangeRecord::decode(&*bytes).unwrap();
        assert_eq!(decode_change(&record).unwrap(), Some(change));
    }

    #[test]
    fn an_agent_comes_back_as_it_was() {
        let target = Target {
            name: "ada/time".to_owned(),
            check: Check::Reported {
                kind: "mcp".to_owned(),
                transport: "stdio".to_owned(),
                endpoint: "uvx time".to_owned(),
            },
            interval: Duration::from_mins(15),
            timeout: Duration::from_millis(1500),
            retries: 2,
            source: TargetSource::Agent {
                uid: 1000,
                user: "ada".to_owned(),
                source: "claude-code: /home/ada/.claude.json".to_owned(),
            },
            probed: true,
        };
        let here =
            Agent { uid: 1000, user: "ada".to_owned(), targets: vec![target], gone_since: None };
        check(Change::PutAgent(here.clone()));
        check(Change::PutAgent(Agent { gone_since: Some(Timestamp::from_millis(7)), ..here }));
        check(Change::DeleteAgent(1000));
        check(Change::PutAgentMark(AgentMark {
            uid: 1000,
            instance: "a run".to_owned(),
            sequence: u64::MAX,
        }));
    }
}
