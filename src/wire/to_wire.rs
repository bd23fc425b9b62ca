//! From the model to the wire. Nothing here can fail: what does not fit is cut to what fits.

use std::{collections::HashMap, time::Duration};

use crate::{
    model::{
        Acknowledgement, AlertInstance, AlertState, AuditEntry, AuditOutcome, Backtest, Bucket,
        Event, HistogramSample, Labels, MetricKind, ProbeAttempt, ProbePhase, ProbeRecord,
        ResetHint, Rule, Sample, Severity, Target, TargetState, TargetStatus, Transition,
    },
    time::Timestamp,
};

use super::v1;

/// An instant.
pub fn time(model: Timestamp) -> prost_types::Timestamp {
    let (seconds, millis) =
        (model.as_millis().div_euclid(1000), model.as_millis().rem_euclid(1000));
    let nanos = i32::try_from(millis * 1_000_000).unwrap_or_default();
    prost_types::Timestamp { seconds, nanos }
}

/// A length of time; at most what protobuf holds.
pub fn duration(model: Duration) -> prost_types::Duration {
    let nanos = i32::try_from(model.subsec_nanos()).unwrap_or_default();
    prost_types::Duration { seconds: i64::try_from(model.as_secs()).unwrap_or(i64::MAX), nanos }
}

/// A count.
pub fn count(model: usize) -> u64 {
    u64::try_from(model).unwrap_or(u64::MAX)
}

/// A set of labels.
pub fn labels(model: &Labels) -> HashMap<String, String> {
    model.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A sample.
pub fn sample(model: Sample) -> v1::Sample {
    v1::Sample { timestamp_ms: model.timestamp.as_millis(), value: model.value }
}

/// A native histogram.
pub fn histogram(model: &HistogramSample) -> v1::Histogram {
    let HistogramSample { timestamp, histogram } = model;
    let buckets = |buckets: &[Bucket]| {
        let bucket = |b: &Bucket| v1::HistogramBucket { index: b.index, count: b.count };
        buckets.iter().map(bucket).collect()
    };
    v1::Histogram {
        timestamp_ms: timestamp.as_millis(),
        count: histogram.count,
        sum: histogram.sum,
        schema: histogram.bounds.schema(),
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        positive: buckets(&histogram.positive),
        negative: buckets(&histogram.negative),
        custom_bounds: histogram.bounds.custom().to_vec(),
        reset_hint: match histogram.reset {
            ResetHint::Unknown => v1::HistogramResetHint::Unspecified,
            ResetHint::Reset => v1::HistogramResetHint::Reset,
            ResetHint::Gauge => v1::HistogramResetHint::Gauge,
        }
        .into(),
    }
}

/// What a metric means.
pub fn metric_type(model: MetricKind) -> v1::MetricType {
    match model {
        MetricKind::Counter => v1::MetricType::Counter,
        MetricKind::Gauge => v1::MetricType::Gauge,
        MetricKind::Histogram => v1::MetricType::Histogram,
        MetricKind::Summary => v1::MetricType::Summary,
        MetricKind::Unknown => v1::MetricType::Unspecified,
    }
}

/// How bad an alert is.
pub fn severity(model: Severity) -> v1::Severity {
    match model {
        Severity::Info => v1::Severity::Info,
        Severity::Low => v1::Severity::Low,
        Severity::Medium => v1::Severity::Medium,
        Severity::High => v1::Severity::High,
        Severity::Critical => v1::Severity::Critical,
    }
}

/// Where an alert stands.
pub fn alert_state(model: AlertState) -> v1::AlertState {
    match model {
        AlertState::Inactive => v1::AlertState::Inactive,
        AlertState::Pending => v1::AlertState::Pending,
        AlertState::Firing => v1::AlertState::Firing,
        AlertState::Resolved => v1::AlertState::Resolved,
    }
}

/// How a target fares.
pub fn target_state(model: TargetState) -> v1::TargetState {
    match model {
        TargetState::Unknown => v1::TargetState::Unknown,
        TargetState::Healthy => v1::TargetState::Healthy,
        TargetState::Degraded => v1::TargetState::Degraded,
        TargetState::Unhealthy => v1::TargetState::Unhealthy,
        TargetState::AuthRequired => v1::TargetState::AuthRequired,
        TargetState::Maintenance => v1::TargetState::Maintenance,
    }
}

/// A target and how it fares; `endpoint` has no secrets left in it.
pub fn target(target: &Target, endpoint: String, status: &TargetStatus) -> v1::Target {
    let last = status.last_probe.as_ref();
    let answered = last.filter(|probe| probe.state.is_healthy());
    v1::Target {
        name: target.name.clone(),
        kind: target.check.kind().to_owned(),
        state: target_state(status.state).into(),
        since: status.since.map(time),
        last_check: last.map(|probe| time(probe.started_at)),
        latency: answered.map(|probe| duration(probe.duration)),
        error: status.error().to_owned(),
        source: target.source.to_string(),
        transport: target.check.transport().to_owned(),
        protocol_version: last
            .map(|probe| probe.answer.protocol_version.clone())
            .unwrap_or_default(),
        endpoint,
        interval: Some(duration(target.interval)),
        timeout: Some(duration(target.timeout)),
        probed: target.probed,
        next_check: status.next_check.map(time),
    }
}

/// One check of one target.
pub fn probe_record(model: ProbeRecord) -> v1::ProbeRecord {
    let answer = model.answer;
    v1::ProbeRecord {
        target: model.target,
        state: target_state(model.state).into(),
        started_at: Some(time(model.started_at)),
        duration: Some(duration(model.duration)),
        attempts: model.attempts.into_iter().map(probe_attempt).collect(),
        phases: answer.phases.iter().map(probe_phase).collect(),
        error: model.error,
        stderr_tail: model.stderr_tail,
        status_code: answer.status_code.map(u32::from),
        protocol_version: answer.protocol_version,
        server_name: answer.server_name,
        server_version: answer.server_version,
        tool_count: answer.tool_count,
    }
}

fn probe_attempt(model: ProbeAttempt) -> v1::ProbeAttempt {
    v1::ProbeAttempt {
        started_at: Some(time(model.started_at)),
        duration: Some(duration(model.duration)),
        error: model.error,
    }
}

fn probe_phase(model: &ProbePhase) -> v1::ProbePhase {
    v1::ProbePhase { name: model.name.to_owned(), duration: Some(duration(model.duration)) }
}

/// A rule; how its last evaluation went is left empty.
pub fn rule(model: Rule) -> v1::Rule {
    v1::Rule {
        id: model.id,
        name: model.name,
        condition: model.condition,
        severity: severity(model.severity).into(),
        description: model.description,
        enabled: model.enabled,
        r#for: Some(duration(model.hold)),
        cooldown: Some(duration(model.cooldown)),
        labels: model.labels.into_iter().collect(),
        origin: model.origin.name().to_owned(),
        created_at: Some(time(model.created_at)),
        updated_at: Some(time(model.updated_at)),
        ..v1::Rule::default()
    }
}

/// An alert; what its rule says (name, severity, description) is left empty.
pub fn alert(model: AlertInstance) -> v1::Alert {
    v1::Alert {
        id: model.id(),
        state: alert_state(model.state).into(),
        labels: labels(&model.labels),
        value: model.value,
        active_at: Some(time(model.active_at)),
        fired_at: model.fired_at.map(time),
        acknowledgement: model.acknowledgement.map(acknowledgement),
        rule_id: model.rule_id,
        ..v1::Alert::default()
    }
}

fn acknowledgement(model: Acknowledgement) -> v1::Acknowledgement {
    v1::Acknowledgement { by: model.by, comment: model.comment, at: Some(time(model.at)) }
}

/// A transition with its place in the history; 0 for one that is just happening.
pub fn transition(sequence: u64, model: Transition) -> v1::AlertTransition {
    v1::AlertTransition {
        sequence,
        time: Some(time(model.time)),
        alert_id: model.alert_id(),
        name: model.name,
        severity: severity(model.severity).into(),
        labels: labels(&model.labels),
        from: alert_state(model.from).into(),
        to: alert_state(model.to).into(),
        value: model.value,
        notified: model.notified,
        rule_id: model.rule_id,
    }
}

/// What a rule would have done.
pub fn backtest(model: &Backtest) -> v1::Backtest {
    v1::Backtest {
        start: Some(time(model.start)),
        end: Some(time(model.end)),
        firing_count: model.firing_count,
        firing_time: Some(duration(model.firing_time)),
        first_firing: model.first_firing.map(time),
        last_firing: model.last_firing.map(time),
        series_count: model.series_count,
    }
}

/// An entry of the audit.
pub fn audit_entry(model: AuditEntry) -> v1::AuditEntry {
    let record = model.record;
    v1::AuditEntry {
        sequence: model.sequence,
        time: Some(time(record.time)),
        actor: record.actor,
        action: record.action,
        subject: record.subject,
        before: record.before,
        after: record.after,
        user: record.user,
        pid: record.pid.unwrap_or(0),
        origin: record.origin,
        call: record.call,
        outcome: audit_outcome(record.outcome).into(),
        hash: model.hash.map(Vec::from).unwrap_or_default(),
    }
}

fn audit_outcome(model: AuditOutcome) -> v1::AuditOutcome {
    match model {
        AuditOutcome::Applied => v1::AuditOutcome::Applied,
        AuditOutcome::Begun => v1::AuditOutcome::Begun,
        AuditOutcome::Failed => v1::AuditOutcome::Failed,
        AuditOutcome::Refused => v1::AuditOutcome::Refused,
    }
}

/// Something that happened, with its number.
pub fn event(sequence: u64, model: Event) -> v1::SubscribeResponse {
    use v1::subscribe_response::Event as Wire;
    let time = Some(time(model.time()));
    let event = match model {
        Event::TargetChanged { name, from, to, reason, .. } => {
            Wire::TargetChanged(v1::TargetChanged {
                name,
                from: target_state(from).into(),
                to: target_state(to).into(),
                reason,
            })
        }
        Event::AlertTransition(model) => Wire::AlertTransition(transition(sequence, model)),
        Event::ConfigReloaded { changes, .. } => {
            Wire::ConfigReloaded(v1::ConfigReloaded { changes })
        }
    };
    v1::SubscribeResponse { time, event: Some(event), sequence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::from_wire;

    #[test]
    fn times_and_durations_come_back_as_they_went() {
        for millis in [0, 1, 1_700_000_000_123, -1, -1500] {
            let instant = Timestamp::from_millis(millis);
            assert_eq!(from_wire::time("t", time(instant)), Ok(instant));
        }
        let length = Duration::from_millis(90_250);
        assert_eq!(from_wire::duration("d", duration(length)), Ok(length));
    }

    #[test]
    fn words_come_back_as_they_went() {
        for model in Severity::ALL {
            assert_eq!(from_wire::severity("s", severity(model).into()), Ok(model));
        }
    }

    #[test]
    fn an_alert_keeps_its_id_and_labels() {
        let labels = Labels::of("", [("alertname", "high"), ("cpu", "0")]);
        let instance = AlertInstance {
            rule_id: "high".into(),
            labels,
            state: AlertState::Firing,
            value: 91.5,
            active_at: Timestamp::from_secs(10),
            fired_at: Some(Timestamp::from_secs(20)),
            notified_at: None,
            acknowledgement: None,
        };
        let wire = alert(instance.clone());
        assert_eq!(wire.id, instance.id());
        assert_eq!(wire.labels["cpu"], "0");
        assert_eq!(wire.state(), v1::AlertState::Firing);
        assert_eq!(wire.fired_at.map(|t| t.seconds), Some(20));
    }
}
