//! `balefire alerts …`.

use comfy_table::Cell;

use crate::{
    client::{pages, take},
    wire::{to_wire, v1},
};

use super::{
    args::{AlertsCommand, Span},
    error::{CliError, Verdict},
    human,
    session::{Session, note_more},
    table::{Style, number},
    views::{Alert, Number, Transition},
};

pub(super) async fn run(session: &Session, command: AlertsCommand) -> Result<Verdict, CliError> {
    match command {
        AlertsCommand::List { limit } => list(session, limit).await,
        AlertsCommand::Ack { id, comment } => acknowledge(session, id, comment).await,
        AlertsCommand::History { rule, span, limit } => history(session, rule, span, limit).await,
    }
}

async fn list(session: &Session, limit: usize) -> Result<Verdict, CliError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListAlertsRequest { page_size, page_token };
        let page = take(session.connection.alerts().list_alerts(request).await)?;
        Ok((page.alerts, page.next_page_token))
    };
    let (alerts, more) = pages(limit, fetch).await?;
    let alerts: Vec<Alert> = alerts.iter().map(Alert::from).collect();
    session.show(&alerts, |alerts, style| table(alerts, style))?;
    note_more(more, limit);
    Ok(Verdict::Fine)
}

/// Alerts, one on each line.
pub(super) fn table(alerts: &[Alert], style: &Style) -> String {
    let mut table =
        style.table(["ALERT", "STATE", "SEVERITY", "SINCE", "VALUE", "SEEN BY", "WHAT"]);
    for alert in alerts {
        table.add_row(vec![
            Cell::new(&alert.id),
            style.state(&alert.state),
            style.state(&alert.severity),
            style.age(alert.active),
            value(&alert.value),
            Cell::new(alert.acknowledged_by.as_deref().unwrap_or_default()),
            Cell::new(alert.description.as_deref().unwrap_or_default()),
        ]);
    }
    style.finish(&table, "no alert is pending or firing")
}

fn value(value: &Number) -> Cell {
    match value {
        Number::Finite(value) => number(human::rounded(*value)),
        Number::Other(text) => number(text),
    }
}

async fn acknowledge(session: &Session, id: String, comment: String) -> Result<Verdict, CliError> {
    let request = v1::AcknowledgeAlertRequest { alert_id: id, comment };
    let answer = take(session.connection.alerts().acknowledge_alert(request).await)?;
    let alerts: Vec<Alert> = answer.alerts.iter().map(Alert::from).collect();
    session.show(&alerts, |alerts, _| {
        let lines: Vec<String> =
            alerts.iter().map(|alert| format!("{} is acknowledged", alert.id)).collect();
        lines.join("\n")
    })?;
    Ok(Verdict::Fine)
}

async fn history(
    session: &Session,
    rule: Option<String>,
    span: Span,
    limit: usize,
) -> Result<Verdict, CliError> {
    let (history, more) = fetch_history(session, rule.unwrap_or_default(), span, limit).await?;
    session.show(&history, |history, style| transitions(history, style))?;
    note_more(more, limit);
    Ok(Verdict::Fine)
}

/// Transitions of a rule (of all where it is empty), newest first.
pub(super) async fn fetch_history(
    session: &Session,
    rule_id: String,
    span: Span,
    limit: usize,
) -> Result<(Vec<Transition>, bool), CliError> {
    let fetch = |page_size, page_token| {
        let request = v1::ListAlertHistoryRequest {
            rule_id: rule_id.clone(),
            start: span.start.map(to_wire::time),
            end: span.end.map(to_wire::time),
            page_size,
            page_token,
        };
        async move {
            let page = take(session.connection.alerts().list_alert_history(request).await)?;
            Ok((page.transitions, page.next_page_token))
        }
    };
    let (history, more) = pages(limit, fetch).await?;
    Ok((history.iter().map(Transition::from).collect(), more))
}

/// Transitions, one on each line.
pub(super) fn transitions(history: &[Transition], style: &Style) -> String {
    let mut table = style.table(["TIME", "ALERT", "SEVERITY", "FROM", "TO", "VALUE", "NOTIFIED"]);
    for transition in history {
        table.add_row(vec![
            style.age(transition.at),
            Cell::new(&transition.alert_id),
            style.state(&transition.severity),
            Cell::new(&transition.from),
            style.state(&transition.to),
            value(&transition.value),
            Cell::new(if transition.notified { "yes" } else { "" }),
        ]);
    }
    style.finish(&table, "no alert changed its state in that time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    #[test]
    fn alerts_are_listed_with_age_and_value() {
        let wire = v1::Alert {
            id: "high_cpu_usage-1f3a90c2".into(),
            state: v1::AlertState::Firing.into(),
            severity: v1::Severity::High.into(),
            value: 91.234_567,
            active_at: Some(prost_types::Timestamp { seconds: 1_699_999_400, nanos: 0 }),
            ..v1::Alert::default()
        };
        let text = table(&[Alert::from(&wire)], &PLAIN);
        assert!(
            text.contains("high_cpu_usage-1f3a90c2  firing  high      10m ago  91.235"),
            "{text}"
        );
    }
}
