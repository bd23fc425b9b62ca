//! `balefire events`.

use serde::Serialize;

use crate::{
    client::{ClientError, take},
    wire::v1,
};

use super::{
    alerts,
    args::Span,
    error::{CliError, Verdict},
    human, output,
    session::Session,
    views::{Number, Transition, target_state, time},
};

pub(super) async fn run(
    session: &Session,
    follow: bool,
    limit: usize,
) -> Result<Verdict, CliError> {
    // Subscribed before the past is read, so that nothing falls between.
    let request = v1::SubscribeRequest {};
    let live = if follow {
        Some(take(session.connection.events().subscribe(request).await)?)
    } else {
        None
    };
    past(session, limit).await?;
    let Some(mut live) = live else { return Ok(Verdict::Fine) };
    while let Some(wire) = live.message().await.map_err(ClientError::from)? {
        if let Some(event) = Event::from_wire(wire) {
            print(session, &event)?;
        }
    }
    Ok(Verdict::Fine)
}

/// The last transitions of alerts, oldest first.
async fn past(session: &Session, limit: usize) -> Result<(), CliError> {
    let (transitions, _) =
        alerts::fetch_history(session, String::new(), Span::default(), limit).await?;
    for transition in transitions.into_iter().rev() {
        let time = transition.time.clone();
        print(session, &Event { time, what: What::AlertTransition { transition } })?;
    }
    Ok(())
}

fn print(session: &Session, event: &Event) -> Result<(), CliError> {
    if session.is_json() { output::json_line(event) } else { output::text(&event.line()) }
}

/// Something that happened: one line of JSON, or of text.
#[derive(Debug, Serialize)]
struct Event {
    time: Option<String>,
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
        Some(Self { time: time(wire.time), what })
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
            Self::EventsLost { count } => format!("{count} events lost: this reader was too slow"),
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
        Event::from_wire(v1::SubscribeResponse { time, event: Some(wire) }).unwrap()
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
        assert!(lost.line().ends_with("3 events lost: this reader was too slow"));
    }

    #[test]
    fn json_names_the_kind_of_event() {
        let lost = event(Wire::EventsLost(v1::EventsLost { count: 3 }));
        let json = serde_json::to_value(&lost).unwrap();
        assert_eq!((&json["event"], &json["count"]), (&"events_lost".into(), &3.into()));
        let alert = event(Wire::AlertTransition(v1::AlertTransition::default()));
        let json = serde_json::to_value(&alert).unwrap();
        assert_eq!(json["event"], "alert_transition");
        assert!(json["transition"]["alert_id"].is_string());
    }
}
