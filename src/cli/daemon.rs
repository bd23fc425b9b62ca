//! `balefire audit`, `reload` and `log-level`.

use std::time::Duration;

use comfy_table::Cell;
use serde::Serialize;

use crate::{
    client::{pages, take},
    wire::v1,
};

use super::{
    error::{CliError, Verdict},
    human::instant,
    output,
    session::{Session, note_more},
    table::{Style, number},
    views::{some, time},
};

/// How long `reload --wait` waits.
const WAIT: Duration = Duration::from_secs(30);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn audit(session: &Session, limit: usize) -> Result<Verdict, CliError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListAuditRequest { page_size, page_token };
        let page = take(session.connection.system().list_audit(request).await)?;
        Ok((page.entries, page.next_page_token))
    };
    let (entries, more) = pages(limit, fetch).await?;
    let entries: Vec<Entry> = entries.into_iter().map(Entry::from).collect();
    session.show(&entries, |entries, style| render(entries, style))?;
    note_more(more, limit);
    Ok(Verdict::Fine)
}

#[derive(Debug, Serialize)]
struct Entry {
    sequence: u64,
    time: Option<String>,
    actor: String,
    action: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
    #[serde(skip)]
    at: Option<crate::time::Timestamp>,
}

impl From<v1::AuditEntry> for Entry {
    fn from(wire: v1::AuditEntry) -> Self {
        Self {
            sequence: wire.sequence,
            time: time(wire.time),
            at: instant(wire.time),
            before: some(&wire.before),
            after: some(&wire.after),
            actor: wire.actor,
            action: wire.action,
            subject: wire.subject,
        }
    }
}

fn render(entries: &[Entry], style: &Style) -> String {
    let mut table = style.table(["#", "TIME", "WHO", "WHAT", "TO WHAT", "BEFORE", "AFTER"]);
    for entry in entries {
        table.add_row(vec![
            number(entry.sequence),
            style.age(entry.at),
            Cell::new(&entry.actor),
            Cell::new(&entry.action),
            Cell::new(&entry.subject),
            Cell::new(entry.before.as_deref().unwrap_or_default()),
            Cell::new(entry.after.as_deref().unwrap_or_default()),
        ]);
    }
    style.finish(&table, "nobody changed anything")
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    #[test]
    fn the_audit_says_who_changed_what() {
        let wire = v1::AuditEntry {
            sequence: 7,
            actor: "uid:1000".into(),
            action: "rule.disable".into(),
            subject: "high_cpu_usage".into(),
            ..v1::AuditEntry::default()
        };
        let text = render(&[Entry::from(wire)], &PLAIN);
        assert!(text.contains("7  -     uid:1000  rule.disable  high_cpu_usage"), "{text}");
    }
}
