//! `balefire reload` and `log-level`.

use std::time::Duration;

use serde::Serialize;

use crate::{client::take, wire::v1};

use super::{
    error::{CliError, Verdict},
    output,
    session::Session,
};

/// How long `reload --wait` waits.
const WAIT: Duration = Duration::from_secs(30);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Serialize)]
struct Reloaded {
    changes: Vec<String>,
}

pub(super) async fn reload(session: &Session, wait: bool) -> Result<Verdict, CliError> {
    let answer = take(session.connection.system().reload(v1::ReloadRequest {}).await)?;
    let reloaded = Reloaded { changes: answer.changes };
    session.show(&reloaded, |reloaded, _| match reloaded.changes.as_slice() {
        [] => "the configuration is as it was".to_owned(),
        changes => changes.join("\n"),
    })?;
    if wait { healthy(session).await } else { Ok(Verdict::Fine) }
}

/// Waits until every part of the daemon is healthy; names those that are not.
async fn healthy(session: &Session) -> Result<Verdict, CliError> {
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        let status = take(session.connection.system().get_status(v1::GetStatusRequest {}).await)?;
        if status.status == "ok" {
            return Ok(Verdict::Fine);
        }
        if tokio::time::Instant::now() >= deadline {
            for component in status.components.iter().filter(|component| !component.healthy) {
                output::note(&format!(
                    "{} is {}: {}",
                    component.name, component.state, component.error
                ));
            }
            return Ok(Verdict::No);
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[derive(Debug, Serialize)]
struct LogLevel {
    filter: String,
    previous_filter: String,
}

pub(super) async fn log_level(session: &Session, filter: String) -> Result<Verdict, CliError> {
    let request = v1::SetLogLevelRequest { filter: filter.clone() };
    let answer = take(session.connection.system().set_log_level(request).await)?;
    let level = LogLevel { filter, previous_filter: answer.previous_filter };
    session.show(&level, |level, _| {
        format!("the daemon logs {} (it was {})", level.filter, level.previous_filter)
    })?;
    Ok(Verdict::Fine)
}
