//! What several tools show alike.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    mcp::{
        answer::brief,
        convert::{Number, seconds, time},
    },
    wire::{from_wire::word, v1},
};

// A pending or firing alert.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AlertView {
    id: String,
    rule_id: String,
    name: String,
    state: String,
    severity: String,
    labels: BTreeMap<String, String>,
    value: Number,
    active_at: Option<String>,
    acknowledged_by: Option<String>,
}

impl From<v1::Alert> for AlertView {
    fn from(alert: v1::Alert) -> Self {
        Self {
            state: word(alert.state().as_str_name(), "ALERT_STATE_"),
            severity: severity(alert.severity()),
            id: alert.id,
            rule_id: alert.rule_id,
            name: alert.name,
            labels: alert.labels.into_iter().collect(),
            value: Number(alert.value),
            active_at: alert.active_at.map(time),
            acknowledged_by: alert.acknowledgement.map(|acknowledgement| acknowledgement.by),
        }
    }
}

// A target and how it fares.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TargetView {
    name: String,
    state: String,
    since: Option<String>,
    last_check: Option<String>,
    latency_seconds: Option<f64>,
    error: Option<String>,
    transport: String,
    probed: bool,
}

impl From<v1::Target> for TargetView {
    fn from(target: v1::Target) -> Self {
        Self {
            state: state(target.state()),
            name: target.name,
            since: target.since.map(time),
            last_check: target.last_check.map(time),
            latency_seconds: target.latency.map(seconds),
            error: some_text(&target.error),
            transport: target.transport,
            probed: target.probed,
        }
    }
}

pub(super) fn severity(severity: v1::Severity) -> String {
    word(severity.as_str_name(), "SEVERITY_")
}

pub(super) fn state(state: v1::TargetState) -> String {
    word(state.as_str_name(), "TARGET_STATE_")
}

/// A text of the wire, where there is one, not too long.
pub(super) fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| brief(text))
}
