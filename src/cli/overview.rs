//! `balefire overview`.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::Cell;
use serde::Serialize;

use crate::{
    client::take,
    model::METRIC_NAME,
    wire::{to_wire, v1},
};

use super::{
    alerts,
    error::{CliError, Verdict},
    human,
    session::Session,
    table::{Style, number},
    targets,
    views::{Alert, Number, Target, Transition, seconds, time},
};

pub(super) async fn run(session: &Session, range: Duration) -> Result<Verdict, CliError> {
    let request =
        v1::GetOverviewRequest { include_details: true, range: Some(to_wire::duration(range)) };
    let wire = take(session.connection.system().get_overview(request).await)?;
    session.show(&Overview::from(wire), render)?;
    Ok(Verdict::Fine)
}

#[derive(Debug, Serialize)]
struct Overview {
    timestamp: Option<String>,
    range_seconds: Option<f64>,
    total_mcp_servers: u64,
    healthy_servers: u64,
    active_alerts: u64,
    total_metrics: u64,
    system_metrics: Vec<Summary>,
    mcp_servers: Vec<Target>,
    alerts: Vec<Alert>,
    recent_transitions: Vec<Transition>,
    #[serde(skip)]
    range: String,
}

#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    labels: BTreeMap<String, String>,
    last: Number,
    min: Number,
    avg: Number,
    max: Number,
    #[serde(skip)]
    row: [String; 4],
}

impl From<v1::GetOverviewResponse> for Overview {
    fn from(wire: v1::GetOverviewResponse) -> Self {
        Self {
            timestamp: time(wire.timestamp),
            range_seconds: seconds(wire.range),
            range: human::length(wire.range).map(human::span).unwrap_or_default(),
            total_mcp_servers: wire.total_mcp_servers,
            healthy_servers: wire.healthy_servers,
            active_alerts: wire.active_alerts,
            total_metrics: wire.total_metrics,
            system_metrics: wire.system_metrics.into_iter().map(Summary::from).collect(),
            mcp_servers: wire.mcp_servers.iter().map(Target::from).collect(),
            alerts: wire.alerts.iter().map(Alert::from).collect(),
            recent_transitions: wire.recent_transitions.iter().map(Transition::from).collect(),
        }
    }
}

impl From<v1::SeriesSummary> for Summary {
    fn from(wire: v1::SeriesSummary) -> Self {
        Self {
            row: [wire.last, wire.min, wire.avg, wire.max].map(human::rounded),
            name: wire.name,
            labels: wire.labels.into_iter().collect(),
            last: wire.last.into(),
            min: wire.min.into(),
            avg: wire.avg.into(),
            max: wire.max.into(),
        }
    }
}

fn render(overview: &Overview, style: &Style) -> String {
    let head = format!(
        "{} of {} MCP servers healthy, alerts firing: {}, {} series; the last {}",
        overview.healthy_servers,
        overview.total_mcp_servers,
        overview.active_alerts,
        human::count(overview.total_metrics),
        overview.range
    );
    let mut sections = vec![
        head,
        metrics(&overview.system_metrics, style),
        targets::table(&overview.mcp_servers, style, "no MCP servers are known"),
        alerts::table(&overview.alerts, style),
    ];
    if !overview.recent_transitions.is_empty() {
        sections.push(alerts::transitions(&overview.recent_transitions, style));
    }
    sections.join("\n\n")
}

fn metrics(summaries: &[Summary], style: &Style) -> String {
    let mut table = style.table(["METRIC", "LAST", "MIN", "AVG", "MAX"]);
    for summary in summaries {
        let name = Cell::new(series_name(&summary.name, &summary.labels));
        table.add_row([name].into_iter().chain(summary.row.iter().map(number)));
    }
    style.finish(&table, "no samples of this host yet")
}

/// The series' name, without the labels that every host series has.
fn series_name(name: &str, labels: &BTreeMap<String, String>) -> String {
    let mut told = labels.clone();
    told.retain(|label, _| !matches!(label.as_str(), "job" | "instance"));
    told.insert(METRIC_NAME.to_owned(), name.to_owned());
    human::series(&told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    #[test]
    fn shows_numbers_and_says_what_is_not_there() {
        let labels = [("__name__", "system_disk_usage"), ("disk", "/"), ("job", "node")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let wire = v1::GetOverviewResponse {
            range: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            total_mcp_servers: 3,
            healthy_servers: 2,
            system_metrics: vec![v1::SeriesSummary {
                name: "system_disk_usage".into(),
                labels: labels.into(),
                last: 41.666_666,
                min: 41.0,
                avg: 41.5,
                max: 42.0,
            }],
            ..v1::GetOverviewResponse::default()
        };
        let text = render(&Overview::from(wire), &PLAIN);
        assert!(text.starts_with("2 of 3 MCP servers healthy"), "{text}");
        assert!(text.contains(r#"system_disk_usage{disk="/"}  41.667   41  41.5   42"#), "{text}");
        assert!(text.contains("no MCP servers are known"), "{text}");
        assert!(text.contains("no alert is pending or firing"), "{text}");
    }
}
