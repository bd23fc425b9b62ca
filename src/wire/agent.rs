//! What agents tell, both ways. An agent is not trusted: all that it says is bounded here.

use crate::{
    limits,
    model::{
        Check, ProbeAnswer, ProbeAttempt, ProbePhase, ProbeRecord, Target, TargetSource,
        TargetState,
    },
};

use super::{InvalidField, from_wire, to_wire, v1};

/// Longest word for a kind or a transport.
const WORD_BYTES_MAX: usize = 32;
/// Attempts and phases of one probe.
const PARTS_MAX: usize = 32;
/// The phases that probes have.
const PHASES: [&str; 10] = [
    "resolve",
    "connect",
    "tls",
    "first_byte",
    "body",
    "spawn",
    "initialize",
    "discover",
    "ping",
    "list",
];

/// A target as its agent declares it, which is nobody's yet; its check says how it is named by `endpoint`.
pub fn target(field: &str, wire: v1::AgentTarget) -> Result<Target, InvalidField> {
    let at = |name: &str| format!("{field}.{name}");
    let interval =
        from_wire::duration(&at("interval"), from_wire::required(&at("interval"), wire.interval)?)?;
    let timeout =
        from_wire::duration(&at("timeout"), from_wire::required(&at("timeout"), wire.timeout)?)?;
    Ok(Target {
        name: name(&at("name"), wire.name)?,
        check: Check::Reported {
            kind: word(&at("kind"), wire.kind)?,
            transport: word(&at("transport"), wire.transport)?,
            endpoint: cut(wire.endpoint, limits::AGENT_TEXT_BYTES_MAX),
        },
        interval,
        timeout,
        retries: wire.retries,
        source: TargetSource::Agent {
            uid: u32::MAX,
            user: String::new(),
            source: cut(wire.source, limits::AGENT_TEXT_BYTES_MAX),
        },
        probed: wire.probed,
    })
}

/// A result with its number.
pub fn probe(field: &str, wire: v1::AgentProbe) -> Result<(u64, ProbeRecord), InvalidField> {
    let field = format!("{field}.probe");
    Ok((wire.sequence, record(&field, from_wire::required(&field, wire.probe)?)?))
}

fn record(field: &str, wire: v1::ProbeRecord) -> Result<ProbeRecord, InvalidField> {
    let at = |name: &str| format!("{field}.{name}");
    let state = state(&at("state"), wire.state())?;
    let time = from_wire::required(&at("started_at"), wire.started_at)?;
    let started_at = from_wire::time(&at("started_at"), time)?;
    let duration =
        from_wire::optional_duration(&at("duration"), wire.duration)?.unwrap_or_default();
    let attempts = wire.attempts.into_iter().take(PARTS_MAX);
    let attempts: Vec<ProbeAttempt> =
        attempts.map(|wire| attempt(&at("attempts"), wire)).collect::<Result<_, _>>()?;
    let error = text(wire.error);
    let answer = ProbeAnswer {
        phases: phases(&at("phases"), wire.phases)?,
        status_code: wire.status_code.and_then(|code| u16::try_from(code).ok()),
        protocol_version: text(wire.protocol_version),
        server_name: text(wire.server_name),
        server_version: text(wire.server_version),
        tool_count: wire.tool_count,
        auth_required: (state == TargetState::AuthRequired).then(|| error.clone()),
    };
    Ok(ProbeRecord {
        target: name(&at("target"), wire.target)?,
        state,
        started_at,
        duration,
        attempts,
        answer,
        error,
        stderr_tail: cut(wire.stderr_tail, limits::PROBE_STDERR_BYTES_MAX),
    })
}

fn attempt(field: &str, wire: v1::ProbeAttempt) -> Result<ProbeAttempt, InvalidField> {
    let started_at = from_wire::optional_time(field, wire.started_at)?.unwrap_or_default();
    let duration = from_wire::optional_duration(field, wire.duration)?.unwrap_or_default();
    Ok(ProbeAttempt { started_at, duration, error: text(wire.error) })
}

fn phases(field: &str, wire: Vec<v1::ProbePhase>) -> Result<Vec<ProbePhase>, InvalidField> {
    let phase = |wire: v1::ProbePhase| {
        let known = PHASES.into_iter().find(|name| *name == wire.name);
        let duration = from_wire::optional_duration(field, wire.duration)?.unwrap_or_default();
        // A newer agent may have others; the name is a label's value, and there are to be few.
        Ok(ProbePhase { name: known.unwrap_or("other"), duration })
    };
    wire.into_iter().take(PARTS_MAX).map(phase).collect()
}

fn state(field: &str, wire: v1::TargetState) -> Result<TargetState, InvalidField> {
    match wire {
        v1::TargetState::Healthy => Ok(TargetState::Healthy),
        v1::TargetState::Degraded => Ok(TargetState::Degraded),
        v1::TargetState::Unhealthy => Ok(TargetState::Unhealthy),
        v1::TargetState::AuthRequired => Ok(TargetState::AuthRequired),
        v1::TargetState::Unspecified | v1::TargetState::Unknown | v1::TargetState::Maintenance => {
            let description = "not what a probe finds: healthy (2), degraded (3), unhealthy (4) or \
                               auth_required (5)";
            Err(InvalidField::new(field, description))
        }
    }
}

fn name(field: &str, wire: String) -> Result<String, InvalidField> {
    let max = limits::AGENT_TEXT_BYTES_MAX;
    if wire.len() > max || wire.chars().any(char::is_control) {
        let description = format!("longer than {max} bytes, or with control characters");
        return Err(InvalidField::new(field, description));
    }
    from_wire::text(field, wire)
}

fn word(field: &str, wire: String) -> Result<String, InvalidField> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    if wire.is_empty() || wire.len() > WORD_BYTES_MAX || !wire.bytes().all(is_word) {
        let description = format!("no word of at most {WORD_BYTES_MAX} small letters and '-'");
        return Err(InvalidField::new(field, description));
    }
    Ok(wire)
}

fn text(wire: String) -> String {
    cut(wire, limits::AGENT_TEXT_BYTES_MAX)
}

/// At most `max` bytes, and nothing that moves a terminal's cursor.
pub fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    text
}

/// A target as its agent declares it; `endpoint` has no secrets left in it.
pub fn target_to_wire(model: &Target, endpoint: String) -> v1::AgentTarget {
    v1::AgentTarget {
        name: model.name.clone(),
        kind: model.check.kind().to_owned(),
        transport: model.check.transport().to_owned(),
        endpoint: cut(endpoint, limits::AGENT_TEXT_BYTES_MAX),
        source: cut(model.source.to_string(), limits::AGENT_TEXT_BYTES_MAX),
        probed: model.probed,
        interval: Some(to_wire::duration(model.interval)),
        timeout: Some(to_wire::duration(model.timeout)),
        retries: model.retries,
    }
}

/// A result with its number; what is too long is cut.
pub fn probe_to_wire(sequence: u64, mut model: ProbeRecord) -> v1::AgentProbe {
    model.error = text(model.error);
    model.attempts.truncate(PARTS_MAX);
    for attempt in &mut model.attempts {
        attempt.error = text(std::mem::take(&mut attempt.error));
    }
    v1::AgentProbe { sequence, probe: Some(to_wire::probe_record(model)) }
}

/// Whether a target's name may go over the wire.
pub fn is_name(name: &str) -> bool {
    self::name("name", name.to_owned()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use std::time::Duration;

    fn declared() -> v1::AgentTarget {
        let target = Target {
            name: "time".to_owned(),
            check: Check::McpHttp { url: "http://x/mcp".to_owned(), headers: [].into() },
            interval: Duration::from_mins(1),
            timeout: Duration::from_secs(10),
            retries: 2,
            source: TargetSource::Config("/home/ada/balefire.toml".into()),
            probed: true,
        };
        target_to_wire(&target, "http://x/mcp".to_owned())
    }

    fn found() -> ProbeRecord {
        let duration = Duration::from_millis(5);
        let started_at = Timestamp::from_secs(7);
        ProbeRecord {
            target: "time".to_owned(),
            state: TargetState::AuthRequired,
            started_at,
            duration,
            attempts: vec![ProbeAttempt { started_at, duration, error: "x".to_owned() }],
            answer: ProbeAnswer {
                phases: vec![ProbePhase { name: "initialize", duration }],
                status_code: Some(401),
                protocol_version: "2025-06-18".to_owned(),
                server_name: "time".to_owned(),
                server_version: "1".to_owned(),
                tool_count: Some(2),
                auth_required: Some("a token".to_owned()),
            },
            error: "a token".to_owned(),
            stderr_tail: "no oil".to_owned(),
        }
    }

    #[test]
    fn a_target_keeps_what_it_is() {
        let target = target("targets[0]", declared()).unwrap();
        let check = Check::Reported {
            kind: "mcp".to_owned(),
            transport: "streamable-http".to_owned(),
            endpoint: "http://x/mcp".to_owned(),
        };
        assert_eq!((target.check, target.retries, target.probed), (check, 2, true));
        assert_eq!(target.interval, Duration::from_mins(1));
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut v1::AgentTarget), field: &str) {
        let mut wire = declared();
        change(&mut wire);
        assert_eq!(target("targets[0]", wire).unwrap_err().field, format!("targets[0].{field}"));
    }

    #[test]
    fn a_wrong_target_is_named_by_its_field() {
        check(|wire| wire.name.clear(), "name");
        check(|wire| wire.name = "\x1b[2J".to_owned(), "name");
        check(|wire| wire.name = "x".repeat(limits::AGENT_TEXT_BYTES_MAX + 1), "name");
        check(|wire| wire.kind = "M C P".to_owned(), "kind");
        check(|wire| wire.transport = "x".repeat(WORD_BYTES_MAX + 1), "transport");
        check(|wire| wire.interval = None, "interval");
        check(
            |wire| wire.timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            "timeout",
        );
    }

    #[test]
    fn a_result_comes_back_as_it_went() {
        assert_eq!(probe("probes[0]", probe_to_wire(3, found())), Ok((3, found())));
    }

    #[test]
    fn what_is_odd_in_a_result_is_bounded() {
        let mut wire = probe_to_wire(1, found());
        let record = wire.probe.as_mut().unwrap();
        record.phases[0].name = "made up".to_owned();
        record.stderr_tail = "ü\x07".repeat(limits::PROBE_STDERR_BYTES_MAX);
        record.attempts = vec![record.attempts[0].clone(); 2 * PARTS_MAX];
        let (_, taken) = probe("probes[0]", wire.clone()).unwrap();
        assert_eq!((taken.answer.phases[0].name, taken.attempts.len()), ("other", PARTS_MAX));
        assert!(taken.stderr_tail.len() <= limits::PROBE_STDERR_BYTES_MAX);
        assert!(!taken.stderr_tail.contains('\x07'));
        wire.probe.as_mut().unwrap().set_state(v1::TargetState::Unknown);
        assert_eq!(probe("probes[0]", wire).unwrap_err().field, "probes[0].probe.state");
    }
}
