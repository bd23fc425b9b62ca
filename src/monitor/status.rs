//! The daemon and the host at a glance.

use std::time::Duration;

use crate::{
    model::{Labels, METRIC_NAME, Matcher, PageRequest, is_stale},
    promql::{Queryable, Selection},
    store::Snapshot,
};

use super::{Failure, Monitor, Overview, SeriesSummary, Status, TargetView, TimeRange};

/// The series that tell how the host fares.
const SYSTEM_METRICS: [&str; 5] = [
    "system_cpu_usage",
    "system_memory_usage",
    "system_disk_usage",
    "node_load1",
    "node_filefd_allocated",
];
/// Transitions in an overview at most.
const TRANSITIONS_MAX: usize = 20;
/// The longest range of an overview.
const RANGE_MAX: Duration = Duration::from_hours(9600);

impl Monitor {
    /// The daemon in short.
    pub fn status(&self) -> Status {
        let components = self.parts.supervisor.reports();
        let stats = self.parts.store.stats();
        let admin = &self.parts.admin;
        Status {
            healthy: components.iter().all(|report| report.healthy),
            uptime: self.started_at.elapsed(),
            components,
            samples: stats.samples,
            series: stats.series,
            active_alerts: self.firing(),
            health_checks: self.parts.probing.probes(),
            system: self.parts.collecting.summary(),
            time: self.now(),
            state_dir: admin.state_dir.clone(),
            config_file: admin.config_file.clone(),
            http_address: admin.http_address.clone(),
        }
    }

    /// Host, servers and alerts at a glance; details are left out where they are not wanted.
    pub async fn overview(
        &self,
        include_details: bool,
        range: Duration,
    ) -> Result<Overview, Failure> {
        if range.is_zero() || range > RANGE_MAX {
            return Err(Failure::field(
                "range",
                "must be more than 0 and at most 400d, such as \"1h\"",
            ));
        }
        let now = self.now();
        let within = TimeRange { start: now.minus(range), end: now };
        let servers: Vec<TargetView> =
            self.all_targets().into_iter().filter(|v| v.target.check.is_mcp()).collect();
        let probed = || servers.iter().filter(|view| view.target.probed);
        let mut overview = Overview {
            time: now,
            range,
            total_mcp_servers: probed().count() as u64,
            healthy_servers: probed().filter(|view| view.status.state.is_healthy()).count() as u64,
            active_alerts: self.firing(),
            total_metrics: self.parts.store.stats().series,
            system_metrics: Vec::new(),
            mcp_servers: Vec::new(),
            alerts: Vec::new(),
            transitions: Vec::new(),
        };
        if include_details {
            overview.system_metrics = self.system_metrics(within).await?;
            overview.mcp_servers = servers;
            overview.alerts = self.all_alerts();
            let page = PageRequest { size: TRANSITIONS_MAX, token: String::new() };
            overview.transitions = self.alert_history(None, Some(within), &page).await?.items;
        }
        Ok(overview)
    }

    async fn system_metrics(&self, range: TimeRange) -> Result<Vec<SeriesSummary>, Failure> {
        // The expression only holds a place among the queries that run at once.
        self.run("0", None, move |_query, snapshot, _limits| Ok(summaries(snapshot, range))).await
    }
}

fn summaries(snapshot: &Snapshot, range: TimeRange) -> Vec<SeriesSummary> {
    let select = |name: &str| {
        let matchers = vec![Matcher::equal(METRIC_NAME, name)];
        // What cannot be read is left out here; the store reports it.
        let selection = Selection::raw(matchers, range.start, range.end);
        snapshot.select(&selection).unwrap_or_default().series
    };
    let series = SYSTEM_METRICS.into_iter().flat_map(select);
    series.filter_map(|data| summary(data.labels, data.samples.iter().map(|s| s.value))).collect()
}

fn summary(labels: Labels, values: impl Iterator<Item = f64>) -> Option<SeriesSummary> {
    let values: Vec<f64> = values.filter(|value| !is_stale(*value)).collect();
    let last = *values.last()?;
    let (min, max) =
        values.iter().fold((last, last), |(min, max), value| (min.min(*value), max.max(*value)));
    let avg = values.iter().sum::<f64>() / values.len() as f64;
    Some(SeriesSummary { labels, last, min, avg, max })
}
