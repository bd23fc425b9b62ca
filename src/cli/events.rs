//! `balefire events`.

use serde::Serialize;

use crate::{client::Events, wire::v1};

use super::{
    error::{CliError, Verdict},
    human, output,
    session::Session,
    views::{Number, Transition, target_state, time},
};

/// Prints the newest events; with `follow` goes on with those to come, over restarts of the daemon too.
pub(super) async fn run(
    session: &Session,
    follow: bool,
    limit: usize,
) -> Result<Verdict, CliError> {
    let request = v1::SubscribeRequest {
        backlog: u32::try_from(limit).unwrap_or(u32::MAX),
        until_now: !follow,
        ..v1::SubscribeRequest::default()
    };
    let mut events = Events::subscribe(&session.connection, request).await?;
    loop {
        match events.next().await {
            Ok(Some(wire)) => print(session, wire)?,
            Ok(None) => return Ok(Verdict::Fine),
            Err(error) if follow && error.is_unreachable() => {
                output::note(&format!("{error}; waiting for the daemon"));
                events.resume().await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(session: &Session, wire: v1::SubscribeResponse) -> Result<(), CliError> {
    match Event::from_wire(wire) {
        Some(event) if session.is_json() => output::json_line(&event),
        Some(event) => output::text(&event.line()),
        None => Ok(()),
    }
}

/// Something that happened: one line of JSON, or of text.
#[derive(Debug, Serialize)]
struct Event {
    time: Option<String>,
    sequence: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
enum What {
    TargetChanged { name: String, from: String, to: String, reason: String },
    AlertTransition { transition: Transition },
    EventsLost { count: u64 },
    ConfigReloaded { changes: Vec<String> },
}

impl Event {
    /// `None` for an event of a newer daemon, which this program does not know.
    fn from_wire(wire: v1::SubscribeResponse) -> Option<Self> {
        use v1::subscribe_response::Event as Wire;
        let what = match wire.event? {
            Wire::TargetChanged(event) => What::TargetChanged {
                from: target_state(event.from()),
                to: target_state(event.to()),
                name: event.name,
                reason: event.reason,
            },
            Wire::AlertTransition(transition) => {
                What::AlertTransition { transition: Transition::from(&transition) }
            }
            Wire::EventsLost(lost) => What::EventsLost { count: lost.count },
            Wire::ConfigReloaded(event) => What::ConfigReloaded { changes: event.changes },
        };
        Some(Self { time: time(wire.time), sequence: wire.sequence, what })
    }

    fn line(&self) -> String {
        let time = self.time.as_deref().unwrap_or("-");
        format!("{time}  {}", self.what.line())
    }
}

impl What {
    fn line(&self) -> String {
        match self {
            Self::TargetChanged { name, from, to, reason } => {
                format!("target {name}: {from} → {to} {reason}").trim_end().to_owned()
            }
            Self::AlertTransition { transition: t } => {
                let value = match &t.value {
                    Number::Finite(value) => human::rounded(*value),
                    Number::Other(text) => text.clone(),
                };
                format!("alert {}: {} → {} ({}, {value})", t.alert_id, t.from, t.to, t.severity)
            }
            Self::EventsLost { count } => format!("{count} events are not kept any more"),
            Self::ConfigReloaded { changes } => {
                format!("configuration reloaded: {}", changes.join("; "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::subscribe_response::Event as Wire;

    fn event(wire: Wire) -> Event {
        let time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        Event::from_wire(v1::SubscribeResponse { time, event: Some(wire), sequence: 7 }).unwrap()
    }

    #[test]
    fn a_line_says_what_happened() {
        let changed = event(Wire::TargetChanged(v1::TargetChanged {
            name: "time".into(),
            from: v1::TargetState::Healthy.into(),
            to: v1::TargetState::Unhealthy.into(),
            reason: "exited with 1".into(),
        }));
        assert_eq!(
            changed.line(),
            "2023-11-14T22:13:20.000Z  target time: healthy → unhealthy exited with 1"
        );
        let lost = event(Wire::EventsLost(v1::EventsLost { count: 3 }));
        assert!(lost.line().ends_with("3 events are not kept any more"));
    }

    #[test]
    fn json_names_the_kind_of_event() {
        let lost = event(Wire::EventsLost(v1::EventsLost { count: 3 }));
        let json = serde_json::to_value(&lost).unwrap();
        assert_eq!((&json["event"], &json["count"]), (&"events_lost".into(), &3.into()));
        assert_eq!(json["sequence"], 7);
        let alert = event(Wire::AlertTransition(v1::AlertTransition::default()));
        let json = serde_json::to_value(&alert).unwrap();
        assert_eq!(json["event"], "alert_transition");
        assert!(json["transition"]["alert_id"].is_string());
    }
}
