//! `balefire audit` and `balefire audit verify`.

use comfy_table::Cell;
use serde::Serialize;

use crate::{
    client::{pages, take},
    limits,
    model::{AuditChain, BrokenChain, CheckedChain, hex},
    wire::{from_wire, v1},
};

use super::{
    args::{Audit, AuditCommand},
    error::{CliError, Verdict},
    human::instant,
    session::{Session, note_more},
    table::{Style, number},
    views::{some, time},
};

pub(super) async fn run(session: &Session, audit: Audit) -> Result<Verdict, CliError> {
    match audit.command {
        None => list(session, audit.limit).await,
        Some(AuditCommand::Verify) => verify(session).await,
    }
}

async fn fetch(
    session: &Session,
    page_size: i32,
    page_token: String,
) -> Result<v1::ListAuditResponse, crate::client::ClientError> {
    let request = v1::ListAuditRequest { page_size, page_token };
    take(session.connection.system().list_audit(request).await)
}

async fn list(session: &Session, limit: usize) -> Result<Verdict, CliError> {
    let fetch = |page_size, page_token| async move {
        let page = fetch(session, page_size, page_token).await?;
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
    user: Option<String>,
    pid: Option<u32>,
    origin: Option<String>,
    call: Option<String>,
    action: String,
    subject: String,
    outcome: &'static str,
    before: Option<String>,
    after: Option<String>,
    hash: Option<String>,
    #[serde(skip)]
    at: Option<crate::time::Timestamp>,
}

impl From<v1::AuditEntry> for Entry {
    fn from(wire: v1::AuditEntry) -> Self {
        Self {
            sequence: wire.sequence,
            time: time(wire.time),
            at: instant(wire.time),
            outcome: outcome(wire.outcome()),
            user: some(&wire.user),
            pid: Some(wire.pid).filter(|pid| *pid != 0),
            origin: some(&wire.origin),
            call: some(&wire.call),
            before: some(&wire.before),
            after: some(&wire.after),
            hash: some(&hex(&wire.hash)),
            actor: wire.actor,
            action: wire.action,
            subject: wire.subject,
        }
    }
}

impl Entry {
    /// `ada (uid:1000)`
    fn who(&self) -> String {
        match &self.user {
            Some(user) => format!("{user} ({})", self.actor),
            None => self.actor.clone(),
        }
    }
}

fn outcome(wire: v1::AuditOutcome) -> &'static str {
    match wire {
        v1::AuditOutcome::Unspecified | v1::AuditOutcome::Applied => "applied",
        v1::AuditOutcome::Begun => "begun",
        v1::AuditOutcome::Failed => "failed",
        v1::AuditOutcome::Refused => "refused",
    }
}

fn render(entries: &[Entry], style: &Style) -> String {
    let headers = ["#", "TIME", "WHO", "WHAT", "TO WHAT", "OUTCOME", "BEFORE", "AFTER"];
    let mut table = style.table(headers);
    for entry in entries {
        table.add_row(vec![
            number(entry.sequence),
            style.age(entry.at),
            Cell::new(entry.who()),
            Cell::new(&entry.action),
            Cell::new(&entry.subject),
            Cell::new(entry.outcome),
            Cell::new(entry.before.as_deref().unwrap_or_default()),
            Cell::new(entry.after.as_deref().unwrap_or_default()),
        ]);
    }
    style.finish(&table, "nobody changed anything")
}

/// Fetches all of it and works every hash out anew: the daemon's word is not taken for it.
async fn verify(session: &Session) -> Result<Verdict, CliError> {
    let checked = check(session).await?;
    let verdict = Verdict::fine_if(checked.is_ok());
    session.show(&Checked::from(checked), |checked, _| checked.text())?;
    Ok(verdict)
}

async fn check(session: &Session) -> Result<Result<CheckedChain, BrokenChain>, CliError> {
    let page_size = i32::try_from(limits::PAGE_SIZE_MAX).unwrap_or(i32::MAX);
    let (mut chain, mut token) = (AuditChain::default(), String::new());
    loop {
        let page = fetch(session, page_size, token).await?;
        for entry in page.entries {
            if let Err(broken) = chain.take(from_wire::audit_entry(entry)?) {
                return Ok(Err(broken));
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(chain.finish());
        }
        token = page.next_page_token;
    }
}

/// What verifying came to.
#[derive(Debug, Default, Serialize)]
struct Checked {
    whole: bool,
    first: Option<u64>,
    last: Option<u64>,
    chained: u64,
    unchained: u64,
    head: Option<String>,
    broken_at: Option<u64>,
    reason: Option<String>,
}

impl From<Result<CheckedChain, BrokenChain>> for Checked {
    fn from(checked: Result<CheckedChain, BrokenChain>) -> Self {
        match checked {
            Ok(CheckedChain { span, chained, unchained, head }) => Self {
                whole: true,
                first: span.map(|(first, _)| first),
                last: span.map(|(_, last)| last),
                chained,
                unchained,
                head: head.map(|hash| hex(&hash)),
                ..Self::default()
            },
            Err(BrokenChain { sequence, reason }) => {
                Self { broken_at: Some(sequence), reason: Some(reason), ..Self::default() }
            }
        }
    }
}

impl Checked {
    fn text(&self) -> String {
        if let (Some(at), Some(reason)) = (self.broken_at, &self.reason) {
            return format!("the audit is broken at entry {at}: {reason}");
        }
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return "the audit is empty".to_owned();
        };
        let mut lines = vec![format!("the audit is whole: entries {first} to {last}")];
        if self.unchained > 0 {
            let count = self.unchained;
            lines.push(format!("the first {count} are from before entries were tied together"));
        }
        lines.extend(self.head.as_ref().map(|head| {
            format!(
                "the hash of the last is {head}: the journal has the same, if nobody rewrote it"
            )
        }));
        lines.join("\n")
    }
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
            user: "ada".into(),
            action: "rule.disable".into(),
            subject: "high_cpu_usage".into(),
            outcome: v1::AuditOutcome::Refused.into(),
            ..v1::AuditEntry::default()
        };
        let text = render(&[Entry::from(wire)], &PLAIN);
        let row = "7  -     ada (uid:1000)  rule.disable  high_cpu_usage  refused";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn a_verified_audit_says_what_to_compare() {
        let whole =
            CheckedChain { span: Some((3, 9)), chained: 5, unchained: 2, head: Some([7; 32]) };
        let text = Checked::from(Ok(whole)).text();
        assert!(text.contains("entries 3 to 9") && text.contains("first 2"), "{text}");
        assert!(text.contains(&"07".repeat(32)), "{text}");
        let broken = BrokenChain { sequence: 4, reason: "gone".to_owned() };
        let text = Checked::from(Err(broken)).text();
        assert_eq!(text, "the audit is broken at entry 4: gone");
        assert_eq!(Checked::from(Ok(CheckedChain::default())).text(), "the audit is empty");
    }
}
