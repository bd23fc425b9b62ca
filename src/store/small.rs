//! The small state: rules, alert instances, targets, adoptions, agents, accumulators, tokens, metadata. In
//! memory as a whole; each change of it is in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message as _;

use super::{
    Change,
    record::{BadRecord, ChangeRecord, Kind, decode_change, encode_change},
};
use crate::{
    access::Token,
    model::{Accumulator, Agent, AgentMark, AlertInstance, Labels, Metadata, Rule, TargetState},
    time::Timestamp,
};

/// Metric names of which something is known, at most.
const METADATA_MAX: usize = 100_000;

/// What became of news about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Taken,
    /// It is none.
    Known,
    /// The name is one too many.
    TooMany,
}

/// The small state; a clone is a view that does not change, and costs a few pointers.
#[derive(Clone, Debug, Default)]
pub(super) struct Small {
    pub(super) rules: Arc<BTreeMap<String, Arc<Rule>>>,
    pub(super) instances: Arc<BTreeMap<Arc<str>, Arc<[AlertInstance]>>>,
    pub(super) targets: Arc<BTreeMap<Arc<str>, (TargetState, Timestamp)>>,
    pub(super) adoptions: Arc<BTreeSet<String>>,
    pub(super) accumulators: Arc<BTreeMap<Labels, Arc<Accumulator>>>,
    pub(super) metadata: Arc<BTreeMap<String, Arc<Metadata>>>,
    pub(super) tokens: Arc<BTreeMap<String, Arc<Token>>>,
    pub(super) agents: Arc<BTreeMap<u32, Arc<Agent>>>,
    pub(super) agent_marks: Arc<BTreeMap<u32, AgentMark>>,
}

impl Small {
    /// Applies a change; entries of the history are none of its business.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutRule(rule) => {
                Arc::make_mut(&mut self.rules).insert(rule.id.clone(), Arc::new(rule.clone()));
            }
            Change::DeleteRule(id) => {
                Arc::make_mut(&mut self.rules).remove(id);
                Arc::make_mut(&mut self.instances).remove(id.as_str());
            }
            Change::PutInstances { rule_id, instances } => self.put_instances(rule_id, instances),
            Change::PutTargetState { name, state, since } => {
                Arc::make_mut(&mut self.targets).insert(name.as_str().into(), (*state, *since));
            }
            Change::DeleteTarget(name) => {
                Arc::make_mut(&mut self.targets).remove(name.as_str());
            }
            Change::PutAdoption(name) => {
                Arc::make_mut(&mut self.adoptions).insert(name.clone());
            }
            Change::DeleteAdoption(name) => {
                Arc::make_mut(&mut self.adoptions).remove(name);
            }
            Change::PutAccumulator(accumulator) => {
                Arc::make_mut(&mut self.accumulators)
                    .insert(accumulator.labels.clone(), Arc::new(accumulator.clone()));
            }
            Change::PutToken(token) => {
                Arc::make_mut(&mut self.tokens).insert(token.id.clone(), Arc::new(token.clone()));
            }
            Change::UseToken { id, at } => self.use_token(id, *at),
            Change::DeleteToken(id) => {
                Arc::make_mut(&mut self.tokens).remove(id);
            }
            Change::PutAgent(agent) => {
                Arc::make_mut(&mut self.agents).insert(agent.uid, Arc::new(agent.clone()));
            }
            Change::DeleteAgent(uid) => {
                Arc::make_mut(&mut self.agents).remove(uid);
                Arc::make_mut(&mut self.agent_marks).remove(uid);
            }
            Change::PutAgentMark(mark) => {
                Arc::make_mut(&mut self.agent_marks).insert(mark.uid, mark.clone());
            }
            Change::AddEvent(_) | Change::AddAudit(_) | Change::AddProbe(_) => {}
        }
    }

    fn use_token(&mut self, id: &str, at: Timestamp) {
        if let Some(token) = Arc::make_mut(&mut self.tokens).get_mut(id) {
            let token = Arc::make_mut(token);
            token.last_used_at = token.last_used_at.max(Some(at));
        }
    }

    fn put_instances(&mut self, rule_id: &str, instances: &[AlertInstance]) {
        let all = Arc::make_mut(&mut self.instances);
        if instances.is_empty() {
            all.remove(rule_id);
        } else {
            all.insert(rule_id.into(), instances.into());
        }
    }

    /// Takes news about a metric, unless too many are known.
    pub(super) fn put_metadata(&mut self, metadata: &Metadata) -> News {
        match self.metadata.get(&metadata.name) {
            Some(known) if **known == *metadata => return News::Known,
            None if self.metadata.len() >= METADATA_MAX => return News::TooMany,
            _ => {}
        }
        let name = metadata.name.clone();
        Arc::make_mut(&mut self.metadata).insert(name, Arc::new(metadata.clone()));
        News::Taken
    }

    /// Forgets accumulators to which nothing was added since `limit`; tells how many, and their bytes.
    pub(super) fn forget_accumulators(&mut self, limit: Timestamp) -> (u64, u64) {
        let idle = |sum: &Arc<Accumulator>| sum.updated_at < limit;
        let put =
            |sum: &Arc<Accumulator>| encode_change(&Change::PutAccumulator((**sum).clone()), 0);
        let gone = self.accumulators.values().filter(|sum| idle(sum));
        let sizes: Vec<u64> = gone.map(|sum| put(sum).encoded_len() as u64).collect();
        if !sizes.is_empty() {
            Arc::make_mut(&mut self.accumulators).retain(|_, sum| !idle(sum));
        }
        (sizes.len() as u64, sizes.iter().sum())
    }

    /// Applies a stored record; entries of the history are none of its business.
    pub(super) fn apply_record(&mut self, record: &ChangeRecord) -> Result<(), BadRecord> {
        if let Some(Kind::Metadata(metadata)) = &record.kind {
            self.put_metadata(&metadata.try_into()?);
        } else if let Some(change) = decode_change(record)? {
            self.apply(&change);
        }
        Ok(())
    }

    /// The changes that make this state from nothing.
    pub(super) fn to_records(&self) -> Vec<ChangeRecord> {
        let put = |change: Change| encode_change(&change, 0);
        let rules = self.rules.values().map(|rule| put(Change::PutRule((**rule).clone())));
        let instances = self.instances.iter().map(|(rule_id, instances)| {
            put(Change::PutInstances { rule_id: (**rule_id).into(), instances: instances.to_vec() })
        });
        let targets = self.targets.iter().map(|(name, (state, since))| {
            put(Change::PutTargetState { name: (**name).into(), state: *state, since: *since })
        });
        let adoptions = self.adoptions.iter().map(|name| put(Change::PutAdoption(name.clone())));
        let accumulators =
            self.accumulators.values().map(|a| put(Change::PutAccumulator((**a).clone())));
        let tokens = self.tokens.values().map(|token| put(Change::PutToken((**token).clone())));
        let metadata = self.metadata.values().map(|metadata| metadata_record(metadata));
        let agents = self.agents.values().map(|agent| put(Change::PutAgent((**agent).clone())));
        let marks = self.agent_marks.values().map(|mark| put(Change::PutAgentMark(mark.clone())));
        rules
            .chain(instances)
            .chain(targets)
            .chain(adoptions)
            .chain(accumulators)
            .chain(tokens)
            .chain(metadata)
            .chain(agents)
            .chain(marks)
            .collect()
    }
}

/// News about a metric as a record.
pub(super) fn metadata_record(metadata: &Metadata) -> ChangeRecord {
    ChangeRecord { sequence: 0, kind: Some(Kind::Metadata(metadata.into())) }
}
