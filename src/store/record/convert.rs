//! Changes of the model as records, and back.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::Mutex;

use super::{
    AccumulatorRecord, AcknowledgementRecord, AnswerRecord, AttemptRecord, AuditRecordRecord,
    BadRecord, ChangeRecord, InstanceRecord, InstancesRecord, Kind, MetadataRecord, PhaseRecord,
    ProbeRecordRecord, RuleRecord, TargetStateRecord, TokenUseRecord, events::encode_event, labels,
    time,
};
use crate::{
    model::{
        Accumulator, Acknowledgement, AlertInstance, AlertState, AuditOutcome, AuditRecord, Event,
        Metadata, MetricKind, ProbeAnswer, ProbeAttempt, ProbePhase, ProbeRecord, Rule, RuleOrigin,
        Severity, TargetState,
    },
    store::Change,
    time::Timestamp,
};

pub(super) const STATES: [AlertState; 4] =
    [AlertState::Inactive, AlertState::Pending, AlertState::Firing, AlertState::Resolved];
const ORIGINS: [RuleOrigin; 3] = [RuleOrigin::Default, RuleOrigin::Config, RuleOrigin::Api];
const KINDS: [MetricKind; 5] = [
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::Summary,
    MetricKind::Unknown,
];

/// The place of a value in its table: the tables above, and `ALL` of the model, are on disk in this
/// order.
pub(super) fn place<T: PartialEq>(table: &[T], value: &T) -> u32 {
    table.iter().position(|v| v == value).and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
}

pub(super) fn at<T: Copy>(table: &[T], place: u32, what: &'static str) -> Result<T, BadRecord> {
    table.get(place as usize).copied().ok_or(BadRecord(what))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A change as a record; `sequence` is its place in the history, where it has one.
pub(in crate::store) fn encode_change(change: &Change, sequence: u64) -> ChangeRecord {
    let kind = match change {
        Change::PutRule(rule) => Kind::PutRule(rule.into()),
        Change::DeleteRule(id) => Kind::DeleteRule(id.clone()),
        Change::PutInstances { rule_id, instances } => Kind::PutInstances(InstancesRecord {
            rule_id: rule_id.clone(),
            instances: instances.iter().map(InstanceRecord::from).collect(),
        }),
        Change::AddEvent(event) => encode_event(event),
        Change::AddAudit(audit) => Kind::Audit(audit.into()),
        Change::AddProbe(probe) => Kind::Probe(probe.into()),
        Change::PutTargetState { name, state, since } => Kind::TargetState(TargetStateRecord {
            name: name.clone(),
            state: place(&TargetState::ALL, state),
            since: since.as_millis(),
        }),
        Change::DeleteTarget(name) => Kind::DeleteTarget(name.clone()),
        Change::PutAdoption(name) => Kind::PutAdoption(name.clone()),
        Change::DeleteAdoption(name) => Kind::DeleteAdoption(name.clone()),
        Change::PutAccumulator(accumulator) => Kind::Accumulator(accumulator.into()),
        Change::PutToken(token) => Kind::Token(token.into()),
        Change::UseToken { id, at } => {
            Kind::UseToken(TokenUseRecord { id: id.clone(), at: at.as_millis() })
        }
        Change::DeleteToken(id) => Kind::DeleteToken(id.clone()),
        Change::PutAgent(agent) => Kind::PutAgent(agent.into()),
        Change::DeleteAgent(uid) => Kind::DeleteAgent(*uid),
        Change::PutAgentMark(mark) => Kind::AgentMark(mark.into()),
    };
    ChangeRecord { sequence, kind: Some(kind) }
}

/// A record as the change it was; `None` for kinds that are no [`Change`].
pub(in crate::store) fn decode_change(record: &ChangeRecord) -> Result<Option<Change>, BadRecord> {
    let kind = record.kind.as_ref().ok_or(BadRecord("change"))?;
    Ok(Some(match kind {
        Kind::PutRule(rule) => Change::PutRule(rule.try_into()?),
        Kind::DeleteRule(id) => Change::DeleteRule(id.clone()),
        Kind::PutInstances(record) => Change::PutInstances {
            rule_id: record.rule_id.clone(),
            instances: record.instances.iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        },
        Kind::Transition(transition) => {
            Change::AddEvent(Event::AlertTransition(transition.try_into()?))
        }
        Kind::TargetChanged(change) => Change::AddEvent(change.try_into()?),
        Kind::ConfigReloaded(reload) => Change::AddEvent(reload.into()),
        Kind::Audit(audit) => Change::AddAudit(audit.try_into()?),
        Kind::Probe(probe) => Change::AddProbe(probe.try_into()?),
        Kind::TargetState(record) => Change::PutTargetState {
            name: record.name.clone(),
            state: at(&TargetState::ALL, record.state, "target state")?,
            since: time(record.since),
        },
        Kind::DeleteTarget(name) => Change::DeleteTarget(name.clone()),
        Kind::PutAdoption(name) => Change::PutAdoption(name.clone()),
        Kind::DeleteAdoption(name) => Change::DeleteAdoption(name.clone()),
        Kind::Accumulator(accumulator) => Change::PutAccumulator(accumulator.try_into()?),
        Kind::Token(token) => Change::PutToken(token.try_into()?),
        Kind::UseToken(used) => Change::UseToken { id: used.id.clone(), at: time(used.at) },
        Kind::DeleteToken(id) => Change::DeleteToken(id.clone()),
        Kind::PutAgent(agent) => Change::PutAgent(agent.into()),
        Kind::DeleteAgent(uid) => Change::DeleteAgent(*uid),
        Kind::AgentMark(mark) => Change::PutAgentMark(mark.into()),
        Kind::Metadata(_) | Kind::Hidden(_) => return Ok(None),
    }))
}

impl From<&Rule> for RuleRecord {
    fn from(rule: &Rule) -> Self {
        Self {
            id: rule.id.clone(),
            name: rule.name.clone(),
            condition: rule.condition.clone(),
            severity: place(&Severity::ALL, &rule.severity),
            description: rule.description.clone(),
            enabled: rule.enabled,
            hold_ms: millis(rule.hold),
            cooldown_ms: millis(rule.cooldown),
            labels: rule.labels.clone(),
            origin: place(&ORIGINS, &rule.origin),
            created_at: rule.created_at.as_millis(),
            updated_at: rule.updated_at.as_millis(),
        }
    }
}

impl TryFrom<&RuleRecord> for Rule {
    type Error = BadRecord;

    fn try_from(record: &RuleRecord) -> Result<Self, BadRecord> {
        Ok(Self {
            id: record.id.clone(),
            name: record.name.clone(),
            condition: record.condition.clone(),
            severity: at(&Severity::ALL, record.severity, "severity")?,
            description: record.description.clone(),
            enabled: record.enabled,
            hold: Duration::from_millis(record.hold_ms),
            cooldown: Duration::from_millis(record.cooldown_ms),
            labels: record.labels.clone(),
            origin: at(&ORIGINS, record.origin, "rule origin")?,
            created_at: time(record.created_at),
            updated_at: time(record.updated_at),
        })
    }
}

impl From<&AlertInstance> for InstanceRecord {
    fn from(instance: &AlertInstance) -> Self {
        let acknowledgement = instance.acknowledgement.as_ref().map(|a| AcknowledgementRecord {
            by: a.by.clone(),
            comment: a.comment.clone(),
            at: a.at.as_millis(),
        });
        Self {
            rule_id: instance.rule_id.clone(),
            labels: Some((&instance.labels).into()),
            state: place(&STATES, &instance.state),
            value: instance.value.to_bits(),
            active_at: instance.active_at.as_millis(),
            fired_at: instance.fired_at.map(Timestamp::as_millis),
            notified_at: instance.notified_at.map(Timestamp::as_millis),
            acknowledgement,
        }
    }
}

impl TryFrom<&InstanceRecord> for AlertInstance {
    type Error = BadRecord;

    fn try_from(record: &InstanceRecord) -> Result<Self, BadRecord> {
        let acknowledgement = record.acknowledgement.as_ref().map(|a| Acknowledgement {
            by: a.by.clone(),
            comment: a.comment.clone(),
            at: time(a.at),
        });
        Ok(Self {
            rule_id: record.rule_id.clone(),
            labels: labels(record.labels.as_ref())?,
            state: at(&STATES, record.state, "alert state")?,
            value: f64::from_bits(record.value),
            active_at: time(record.active_at),
            fired_at: record.fired_at.map(time),
            notified_at: record.notified_at.map(time),
            acknowledgement,
        })
    }
}

impl From<&AuditRecord> for AuditRecordRecord {
    fn from(audit: &AuditRecord) -> Self {
        Self {
            time: audit.time.as_millis(),
            actor: audit.actor.clone(),
            action: audit.action.clone(),
            subject: audit.subject.clone(),
            before: audit.before.clone(),
            after: audit.after.clone(),
            user: audit.user.clone(),
            pid: audit.pid,
            origin: audit.origin.clone(),
            call: audit.call.clone(),
            outcome: place(&AuditOutcome::ALL, &audit.outcome),
            // It depends on the place in the audit.
            hash: Vec::new(),
        }
    }
}

impl TryFrom<&AuditRecordRecord> for AuditRecord {
    type Error = BadRecord;

    fn try_from(record: &AuditRecordRecord) -> Result<Self, BadRecord> {
        Ok(Self {
            time: time(record.time),
            actor: record.actor.clone(),
            action: record.action.clone(),
            subject: record.subject.clone(),
            before: record.before.clone(),
            after: record.after.clone(),
            user: record.user.clone(),
            pid: record.pid,
            origin: record.origin.clone(),
            call: record.call.clone(),
            outcome: at(&AuditOutcome::ALL, record.outcome, "outcome")?,
        })
    }
}

impl From<&ProbeRecord> for ProbeRecordRecord {
    fn from(probe: &ProbeRecord) -> Self {
        let attempts = probe.attempts.iter().map(|attempt| AttemptRecord {
            started_at: attempt.started_at.as_millis(),
            duration_us: micros(attempt.duration),
            error: attempt.error.clone(),
        });
        Self {
            target: probe.target.clone(),
            state: place(&TargetState::ALL, &probe.state),
            started_at: probe.started_at.as_millis(),
            duration_us: micros(probe.duration),
            attempts: attempts.collect(),
            answer: Some((&probe.answer).into()),
            error: probe.error.clone(),
            stderr_tail: probe.stderr_tail.clone(),
        }
    }
}

impl TryFrom<&ProbeRecordRecord> for ProbeRecord {
    type Error = BadRecord;

    fn try_from(record: &ProbeRecordRecord) -> Result<Self, BadRecord> {
        let attempts = record.attempts.iter().map(|attempt| ProbeAttempt {
            started_at: time(attempt.started_at),
            duration: Duration::from_micros(attempt.duration_us),
            error: attempt.error.clone(),
        });
        Ok(Self {
            target: record.target.clone(),
            state: at(&TargetState::ALL, record.state, "target state")?,
            started_at: time(record.started_at),
            duration: Duration::from_micros(record.duration_us),
            attempts: attempts.collect(),
            answer: record.answer.as_ref().map(ProbeAnswer::from).unwrap_or_default(),
            error: record.error.clone(),
            stderr_tail: record.stderr_tail.clone(),
        })
    }
}

impl From<&ProbeAnswer> for AnswerRecord {
    fn from(answer: &ProbeAnswer) -> Self {
        let phases = answer.phases.iter().map(|phase| PhaseRecord {
            name: phase.name.to_owned(),
            duration_us: micros(phase.duration),
        });
        Self {
            phases: phases.collect(),
            status_code: answer.status_code.map(u32::from),
            protocol_version: answer.protocol_version.clone(),
            server_name: answer.server_name.clone(),
            server_version: answer.server_version.clone(),
            tool_count: answer.tool_count,
            auth_required: answer.auth_required.clone(),
        }
    }
}

impl From<&AnswerRecord> for ProbeAnswer {
    fn from(record: &AnswerRecord) -> Self {
        let phases = record.phases.iter().map(|phase| ProbePhase {
            name: phase_name(&phase.name),
            duration: Duration::from_micros(phase.duration_us),
        });
        Self {
            phases: phases.collect(),
            status_code: record.status_code.and_then(|code| u16::try_from(code).ok()),
            protocol_version: record.protocol_version.clone(),
            server_name: record.server_name.clone(),
            server_version: record.server_version.clone(),
            tool_count: record.tool_count,
            auth_required: record.auth_required.clone(),
        }
    }
}

/// Phase names that are told apart: probes have a dozen.
const PHASE_NAMES_MAX: usize = 64;

/// A stored phase name with the lifetime that the model wants: each different one is kept for good,
/// and there are few.
fn phase_name(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return known;
    }
    if names.len() >= PHASE_NAMES_MAX {
        return "other";
    }
    let name = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}

impl From<&Accumulator> for AccumulatorRecord {
    fn from(accumulator: &Accumulator) -> Self {
        Self {
            labels: Some((&accumulator.labels).into()),
            kind: place(&KINDS, &accumulator.kind),
            count: accumulator.count,
            sum: accumulator.sum.to_bits(),
            bounds: accumulator.buckets.iter().map(|(bound, _)| bound.to_bits()).collect(),
            counts: accumulator.buckets.iter().map(|(_, count)| *count).collect(),
            updated_at: accumulator.updated_at.as_millis(),
        }
    }
}

impl TryFrom<&AccumulatorRecord> for Accumulator {
    type Error = BadRecord;

    fn try_from(record: &AccumulatorRecord) -> Result<Self, BadRecord> {
        let bounds = record.bounds.iter().map(|bits| f64::from_bits(*bits));
        Ok(Self {
            labels: labels(record.labels.as_ref())?,
            kind: at(&KINDS, record.kind, "metric kind")?,
            count: record.count,
            sum: f64::from_bits(record.sum),
            updated_at: Timestamp::from_millis(record.updated_at),
            buckets: bounds.zip(record.counts.iter().copied()).collect(),
        })
    }
}

impl From<&Metadata> for MetadataRecord {
    fn from(metadata: &Metadata) -> Self {
        Self {
            name: metadata.name.clone(),
            kind: place(&KINDS, &metadata.kind),
            help: metadata.help.clone(),
            unit: metadata.unit.clone(),
        }
    }
}

impl TryFrom<&MetadataRecord> for Metadata {
    type Error = BadRecord;

    fn try_from(record: &MetadataRecord) -> Result<Self, BadRecord> {
        Ok(Self {
            name: record.name.clone(),
            kind: at(&KINDS, record.kind, "metric kind")?,
            help: record.help.clone(),
            unit: record.unit.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::model::Labels;

    #[track_caller]
    fn check(change: Change) {
        let bytes = encode_change(&change, 7).encode_to_vec();
        let record = ChangeRecord::decode(&*bytes).unwrap();
        assert_eq!(decode_change(&record).unwrap(), Some(change));
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let labels = Labels::of("ALERTS", [("severity", "high")]);
        let at = Timestamp::from_millis(-5);
        check(Change::PutRule(Rule {
            id: "a".into(),
            name: "A".into(),
            condition: "up == 0".into(),
            severity: Severity::High,
            description: String::new(),
            enabled: true,
            hold: Duration::from_millis(300_001),
            cooldown: Duration::ZERO,
            labels: [("team".to_owned(), "x".to_owned())].into(),
            origin: RuleOrigin::Api,
            created_at: at,
            updated_at: Timestamp::from_secs(9),
        }));
        check(Change::PutInstances {
            rule_id: "a".into(),
            instances: vec![AlertInstance {
                rule_id: "a".into(),
                labels: labels.clone(),
                state: AlertState::Firing,
                value: f64::INFINITY,
                active_at: at,
                fired_at: Some(at),
                notified_at: None,
                acknowledgement: Some(Acknowledgement {
                    by: "uid:0".into(),
                    comment: "seen".into(),
                    at,
                }),
            }],
        });
        check(Change::PutAccumulator(Accumulator {
            labels,
            kind: MetricKind::Summary,
            count: 3,
            sum: 1.5,
            updated_at: Timestamp::from_secs(7),
            buckets: vec![(0.5, 2), (f64::INFINITY, 1)],
        }));
    }

    #[test]
    fn a_probe_comes_back_as_it_was() {
        let duration = Duration::from_micros(1234);
        check(Change::AddProbe(ProbeRecord {
            target: "time".into(),
            state: TargetState::AuthRequired,
            started_at: Timestamp::from_secs(5),
            duration,
            attempts: vec![ProbeAttempt {
                started_at: Timestamp::from_secs(5),
                duration,
                error: "no".into(),
            }],
            answer: ProbeAnswer {
                phases: vec![ProbePhase { name: "connect", duration }],
                status_code: Some(401),
                tool_count: Some(0),
                auth_required: Some("a token".into()),
                ..ProbeAnswer::default()
            },
            error: "no".into(),
            stderr_tail: "…".into(),
        }));
    }
}
