//! The JSON that programs read: field names here are a promise.
//!
//! Times are RFC 3339 or null, lengths are seconds, what is absent is null.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    time::Timestamp,
    wire::{from_wire::word, v1},
};

use super::human::{instant, length};

/// An instant as JSON has it.
pub(super) fn time(wire: Option<prost_types::Timestamp>) -> Option<String> {
    instant(wire).map(|time| time.to_string())
}

/// A length as JSON has it.
pub(super) fn seconds(wire: Option<prost_types::Duration>) -> Option<f64> {
    length(wire).map(|length| length.as_secs_f64())
}

/// A text, null where it is empty.
pub(super) fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A value: a number, or a text where JSON has no number for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Number {
    Finite(f64),
    Other(String),
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Self::Finite(value)
        } else {
            Self::Other(super::human::value(value))
        }
    }
}

/// A target, as `targets list`, `show` and `check` have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) since: Option<String>,
    pub(super) last_check: Option<String>,
    pub(super) latency_seconds: Option<f64>,
    pub(super) error: Option<String>,
    pub(super) source: Option<String>,
    pub(super) transport: Option<String>,
    pub(super) protocol_version: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) interval_seconds: Option<f64>,
    pub(super) timeout_seconds: Option<f64>,
    pub(super) probed: bool,
    pub(super) next_check: Option<String>,
    /// For the age in tables.
    #[serde(skip)]
    pub(super) checked_at: Option<Timestamp>,
    #[serde(skip)]
    pub(super) since_at: Option<Timestamp>,
}

impl From<&v1::Target> for Target {
    fn from(wire: &v1::Target) -> Self {
        Self {
            name: wire.name.clone(),
            kind: wire.kind.clone(),
            state: target_state(wire.state()),
            since: time(wire.since),
            last_check: time(wire.last_check),
            latency_seconds: seconds(wire.latency),
            error: some(&wire.error),
            source: some(&wire.source),
            transport: some(&wire.transport),
            protocol_version: some(&wire.protocol_version),
            endpoint: some(&wire.endpoint),
            interval_seconds: seconds(wire.interval),
            timeout_seconds: seconds(wire.timeout),
            probed: wire.probed,
            next_check: time(wire.next_check),
            checked_at: instant(wire.last_check),
            since_at: instant(wire.since),
        }
    }
}

impl Target {
    /// The line of a check: what is known of its target (`None` for the host's own checks and for
    /// URLs), with what the check found.
    pub(super) fn checked(wire: &v1::HealthCheck, target: Option<&v1::Target>) -> Self {
        let known = target.cloned().unwrap_or_else(|| v1::Target {
            name: wire.name.clone(),
            kind: "check".to_owned(),
            ..v1::Target::default()
        });
        Self {
            state: target_state(wire.state()),
            last_check: time(wire.last_check),
            latency_seconds: seconds(wire.response_time),
            error: some(&wire.error),
            endpoint: some(&wire.endpoint),
            probed: true,
            checked_at: instant(wire.last_check),
            ..Self::from(&known)
        }
    }
}

/// `healthy`, `auth_required` …
pub(super) fn target_state(state: v1::TargetState) -> String {
    word(state.as_str_name(), "TARGET_STATE_")
}

/// `pending`, `firing` …
pub(super) fn alert_state(state: v1::AlertState) -> String {
    word(state.as_str_name(), "ALERT_STATE_")
}

/// `critical`, `high` …
pub(super) fn severity(severity: v1::Severity) -> String {
    word(severity.as_str_name(), "SEVERITY_")
}

/// One recorded probe.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Probe {
    pub(super) target: String,
    pub(super) state: String,
    pub(super) started_at: Option<String>,
    pub(super) duration_seconds: Option<f64>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) phases: Vec<Phase>,
    pub(super) error: Option<String>,
    pub(super) stderr_tail: Option<String>,
    pub(super) status_code: Option<u32>,
    pub(super) protocol_version: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) server_version: Option<String>,
    pub(super) tool_count: Option<u32>,
    #[serde(skip)]
    pub(super) at: Option<Timestamp>,
}

/// One try within a probe.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Attempt {
    pub(super) started_at: Option<String>,
    pub(super) duration_seconds: Option<f64>,
    pub(super) error: Option<String>,
}

/// A timed part of a probe.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) duration_seconds: Option<f64>,
}

impl From<&v1::ProbeRecord> for Probe {
    fn from(wire: &v1::ProbeRecord) -> Self {
        let attempts = wire.attempts.iter().map(|attempt| Attempt {
            started_at: time(attempt.started_at),
            duration_seconds: seconds(attempt.duration),
            error: some(&attempt.error),
        });
        let phases = wire.phases.iter().map(|phase| Phase {
            name: phase.name.clone(),
            duration_seconds: seconds(phase.duration),
        });
        Self {
            target: wire.target.clone(),
            state: target_state(wire.state()),
            started_at: time(wire.started_at),
            duration_seconds: seconds(wire.duration),
            attempts: attempts.collect(),
            phases: phases.collect(),
            error: some(&wire.error),
            stderr_tail: some(&wire.stderr_tail),
            status_code: wire.status_code,
            protocol_version: some(&wire.protocol_version),
            server_name: some(&wire.server_name),
            server_version: some(&wire.server_version),
            tool_count: wire.tool_count,
            at: instant(wire.started_at),
        }
    }
}

/// A pending or firing alert.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Alert {
    pub(super) id: String,
    pub(super) rule_id: String,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) severity: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) description: Option<String>,
    pub(super) value: Number,
    pub(super) active_at: Option<String>,
    pub(super) fired_at: Option<String>,
    pub(super) acknowledged_by: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) suppressed: bool,
    #[serde(skip)]
    pub(super) active: Option<Timestamp>,
}

impl From<&v1::Alert> for Alert {
    fn from(wire: &v1::Alert) -> Self {
        let seen = wire.acknowledgement.as_ref();
        Self {
            id: wire.id.clone(),
            rule_id: wire.rule_id.clone(),
            name: wire.name.clone(),
            state: alert_state(wire.state()),
            severity: severity(wire.severity()),
            labels: wire.labels.clone().into_iter().collect(),
            description: some(&wire.description),
            value: wire.value.into(),
            active_at: time(wire.active_at),
            fired_at: time(wire.fired_at),
            acknowledged_by: seen.map(|seen| seen.by.clone()),
            comment: seen.and_then(|seen| some(&seen.comment)),
            suppressed: wire.suppressed,
            active: instant(wire.active_at),
        }
    }
}

/// A change of an alert's state.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Transition {
    pub(super) sequence: u64,
    pub(super) time: Option<String>,
    pub(super) alert_id: String,
    pub(super) rule_id: String,
    pub(super) name: String,
    pub(super) severity: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) value: Number,
    pub(super) notified: bool,
    #[serde(skip)]
    pub(super) at: Option<Timestamp>,
}

impl From<&v1::AlertTransition> for Transition {
    fn from(wire: &v1::AlertTransition) -> Self {
        Self {
            sequence: wire.sequence,
            time: time(wire.time),
            alert_id: wire.alert_id.clone(),
            rule_id: wire.rule_id.clone(),
            name: wire.name.clone(),
            severity: severity(wire.severity()),
            labels: wire.labels.clone().into_iter().collect(),
            from: alert_state(wire.from()),
            to: alert_state(wire.to()),
            value: wire.value.into(),
            notified: wire.notified,
            at: instant(wire.time),
        }
    }
}

/// A rule, and how its last evaluation went.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) condition: String,
    pub(super) severity: String,
    pub(super) description: Option<String>,
    pub(super) enabled: bool,
    pub(super) for_seconds: Option<f64>,
    pub(super) cooldown_seconds: Option<f64>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) origin: String,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) last_evaluation: Option<String>,
    pub(super) last_evaluation_seconds: Option<f64>,
    pub(super) note: Option<String>,
    #[serde(skip)]
    pub(super) evaluated: Option<Timestamp>,
}

impl From<&v1::Rule> for Rule {
    fn from(wire: &v1::Rule) -> Self {
        Self {
            id: wire.id.clone(),
            name: wire.name.clone(),
            condition: wire.condition.clone(),
            severity: severity(wire.severity()),
            description: some(&wire.description),
            enabled: wire.enabled,
            for_seconds: seconds(wire.r#for),
            cooldown_seconds: seconds(wire.cooldown),
            labels: wire.labels.clone().into_iter().collect(),
            origin: wire.origin.clone(),
            created_at: time(wire.created_at),
            updated_at: time(wire.updated_at),
            last_error: some(&wire.last_error),
            last_evaluation: time(wire.last_evaluation),
            last_evaluation_seconds: seconds(wire.last_evaluation_duration),
            note: some(&wire.note),
            evaluated: instant(wire.last_evaluation),
        }
    }
}

/// What a rule would have done.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Backtest {
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
    pub(super) firing_count: u64,
    pub(super) firing_seconds: Option<f64>,
    pub(super) first_firing: Option<String>,
    pub(super) last_firing: Option<String>,
    pub(super) series_count: u64,
}

impl From<&v1::Backtest> for Backtest {
    fn from(wire: &v1::Backtest) -> Self {
        Self {
            start: time(wire.start),
            end: time(wire.end),
            firing_count: wire.firing_count,
            firing_seconds: seconds(wire.firing_time),
            first_firing: time(wire.first_firing),
            last_firing: time(wire.last_firing),
            series_count: wire.series_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_the_fields_that_scripts_rely_on() {
        let wire = v1::Target {
            name: "time".into(),
            kind: "mcp".into(),
            state: v1::TargetState::AuthRequired.into(),
            latency: Some(prost_types::Duration { seconds: 0, nanos: 250_000_000 }),
            last_check: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..v1::Target::default()
        };
        let json = serde_json::to_value(Target::from(&wire)).unwrap();
        for field in [
            "name",
            "kind",
            "state",
            "since",
            "last_check",
            "latency_seconds",
            "error",
            "source",
            "transport",
            "protocol_version",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert_eq!(json["state"], "auth_required");
        assert_eq!(json["latency_seconds"], 0.25);
        assert_eq!(json["last_check"], "2023-11-14T22:13:20.000Z");
        assert!(json["error"].is_null());
    }

    #[test]
    fn a_check_brings_news_of_its_target() {
        let target = v1::Target {
            name: "time".into(),
            kind: "mcp".into(),
            transport: "stdio".into(),
            state: v1::TargetState::Healthy.into(),
            ..v1::Target::default()
        };
        let check = v1::HealthCheck {
            name: "time".into(),
            state: v1::TargetState::Unhealthy.into(),
            error: "exited with 1".into(),
            ..v1::HealthCheck::default()
        };
        let view = Target::checked(&check, Some(&target));
        assert_eq!((&*view.state, view.transport.as_deref()), ("unhealthy", Some("stdio")));
        assert_eq!(view.error.as_deref(), Some("exited with 1"));
        assert_eq!(Target::checked(&check, None).kind, "check");
    }

    #[test]
    fn values_without_a_json_number_are_texts() {
        assert_eq!(serde_json::to_string(&Number::from(1.5)).unwrap(), "1.5");
        assert_eq!(serde_json::to_string(&Number::from(f64::NAN)).unwrap(), "\"NaN\"");
    }
}
