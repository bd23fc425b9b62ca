//! What happened, as records and back.

use super::{
    BadRecord, ConfigReloadedRecord, Kind, TargetChangedRecord, TransitionRecord,
    convert::{STATES, at, place},
    labels, time,
};
use crate::model::{Event, Severity, TargetState, Transition};

/// An event as a record's kind.
pub(super) fn encode_event(event: &Event) -> Kind {
    match event {
        Event::AlertTransition(transition) => Kind::Transition(transition.into()),
        Event::TargetChanged { time, name, from, to, reason } => {
            Kind::TargetChanged(TargetChangedRecord {
                time: time.as_millis(),
                name: name.clone(),
                from: place(&TargetState::ALL, from),
                to: place(&TargetState::ALL, to),
                reason: reason.clone(),
            })
        }
        Event::ConfigReloaded { time, changes } => Kind::ConfigReloaded(ConfigReloadedRecord {
            time: time.as_millis(),
            changes: changes.clone(),
        }),
    }
}

impl TryFrom<&TargetChangedRecord> for Event {
    type Error = BadRecord;

    fn try_from(record: &TargetChangedRecord) -> Result<Self, BadRecord> {
        Ok(Self::TargetChanged {
            time: time(record.time),
            name: record.name.clone(),
            from: at(&TargetState::ALL, record.from, "target state")?,
            to: at(&TargetState::ALL, record.to, "target state")?,
            reason: record.reason.clone(),
        })
    }
}

impl From<&ConfigReloadedRecord> for Event {
    fn from(record: &ConfigReloadedRecord) -> Self {
        Self::ConfigReloaded { time: time(record.time), changes: record.changes.clone() }
    }
}

impl From<&Transition> for TransitionRecord {
    fn from(transition: &Transition) -> Self {
        Self {
            time: transition.time.as_millis(),
            rule_id: transition.rule_id.clone(),
            name: transition.name.clone(),
            severity: place(&Severity::ALL, &transition.severity),
            labels: Some((&transition.labels).into()),
            from: place(&STATES, &transition.from),
            to: place(&STATES, &transition.to),
            value: transition.value.to_bits(),
            notified: transition.notified,
        }
    }
}

impl TryFrom<&TransitionRecord> for Transition {
    type Error = BadRecord;

    fn try_from(record: &TransitionRecord) -> Result<Self, BadRecord> {
        Ok(Self {
            time: time(record.time),
            rule_id: record.rule_id.clone(),
            name: record.name.clone(),
            severity: at(&Severity::ALL, record.severity, "severity")?,
            labels: labels(record.labels.as_ref())?,
            from: at(&STATES, record.from, "alert state")?,
            to: at(&STATES, record.to, "alert state")?,
            value: f64::from_bits(record.value),
            notified: record.notified,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AlertState, Labels},
        store::{
            Change,
            record::{decode_change, encode_change},
        },
        time::Timestamp,
    };

    #[track_caller]
    fn check(event: Event) {
        let change = Change::AddEvent(event);
        assert_eq!(decode_change(&encode_change(&change, 7)), Ok(Some(change)));
    }

    #[test]
    fn events_come_back_as_they_were() {
        let at = Timestamp::from_millis(-5);
        check(Event::AlertTransition(Transition {
            time: at,
            rule_id: "a".into(),
            name: "A".into(),
            severity: Severity::Info,
            labels: Labels::of("x", [("a", "b")]),
            from: AlertState::Pending,
            to: AlertState::Resolved,
            value: -0.5,
            notified: true,
        }));
        check(Event::TargetChanged {
            time: at,
            name: "time".into(),
            from: TargetState::Healthy,
            to: TargetState::Unhealthy,
            reason: "exited with 1".into(),
        });
        check(Event::ConfigReloaded { time: at, changes: vec!["access changed".into()] });
    }
}
