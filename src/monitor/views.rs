//! Questions and answers as plain data.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    exposition::{ExportFormat, ExportSummary},
    model::{
        AlertInstance, HostSummary, Labels, Rule, Severity, Target, TargetState, TargetStatus,
        Transition,
    },
    supervise::TaskReport,
    time::Timestamp,
};

use super::Failure;

/// Who asks, for the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `uid:1000`, `token:0a1b2c3d`, `ip:192.0.2.7`, `signal:HUP`.
    pub actor: String,
    /// The name of that user or token; empty where there is none.
    pub user: String,
    /// Its process, where that is in sight.
    pub pid: Option<u32>,
    /// The path of the socket, or the address over HTTP; empty where it came by neither.
    pub origin: String,
    /// The call: `SystemService.Reload`.
    pub call: String,
    /// Whether it may do everything.
    pub is_admin: bool,
}

/// A range of time; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// From …
    pub start: Timestamp,
    /// … to.
    pub end: Timestamp,
}

/// Where observations come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservationSource {
    /// This host; with no observations it is collected now.
    System,
    /// An MCP server.
    McpServer,
    /// Anything else.
    Custom,
}

/// What became of observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Observations (or samples of the host) that are durable now.
    pub count: u64,
    /// When they were taken.
    pub timestamp: Timestamp,
}

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// How it is written.
    pub format: ExportFormat,
    /// Series selectors; none means all.
    pub matchers: Vec<String>,
    /// Which time.
    pub range: TimeRange,
}

/// A piece of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportPiece {
    /// The next piece of the text.
    Text(bytes::Bytes),
    /// What there was in all: the last piece.
    Summary(ExportSummary),
}

/// An export, piece by piece; the channel is bounded, so a slow reader slows it down.
pub type ExportStream = tokio::sync::mpsc::Receiver<Result<ExportPiece, Failure>>;

/// How far an import has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportProgress {
    /// Bytes that were read.
    pub bytes: u64,
    /// Lines that were read.
    pub lines: u64,
    /// Samples and native histograms that are durable now.
    pub accepted: u64,
    /// … that were stored already, exactly so.
    pub duplicates: u64,
    /// … that were refused.
    pub rejected: u64,
    /// Lines that are not in the format.
    pub invalid_lines: u64,
    /// Fields of line protocol that hold text, which is no sample.
    pub text_fields: u64,
    /// Descriptions of metrics that were not taken, since too many names are known.
    pub metadata_dropped: u64,
    /// What was wrong since the last time; of an import no more than a hundred are told.
    pub problems: Vec<ImportProblem>,
}

/// Something that an import did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportProblem {
    /// The line, or the first of those among which it is; from 1.
    pub first_line: u64,
    /// The last of them.
    pub last_line: u64,
    /// The character that the line is wrong from, from 1; 0 where samples were refused.
    pub column: u64,
    /// The series whose samples were refused; empty where a line is wrong.
    pub series: Labels,
    /// How many of them.
    pub samples: u64,
    /// Why, and what to do.
    pub reason: String,
}

/// A target and how it fares.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetView {
    /// What is watched.
    pub target: Target,
    /// Its address or command line, secrets left out.
    pub endpoint: String,
    /// How it fares.
    pub status: TargetStatus,
}

/// One line of a health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What was checked.
    pub name: String,
    /// Its address or command line.
    pub endpoint: String,
    /// How it fares.
    pub state: TargetState,
    /// The HTTP status, where there was one.
    pub status_code: Option<u16>,
    /// How long the answer took.
    pub response_time: Option<Duration>,
    /// When it was checked.
    pub last_check: Option<Timestamp>,
    /// Why it is not healthy.
    pub error: String,
}

/// What a health check found.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthReport {
    /// Every check.
    pub checks: Vec<HealthCheck>,
    /// Whether all of them are healthy.
    pub overall_healthy: bool,
    /// When.
    pub time: Timestamp,
}

/// What discovery found.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// The declared MCP servers.
    pub targets: Vec<TargetView>,
    /// Files that could not be read as they should be: the file, and what is wrong.
    pub problems: Vec<(String, String)>,
}

/// A rule to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRule {
    /// Its name; the id is made from it.
    pub name: String,
    /// PromQL.
    pub condition: String,
    /// How bad it is.
    pub severity: Severity,
    /// For people.
    pub description: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// How long the condition holds before it fires.
    pub hold: Duration,
    /// The configured one, where absent.
    pub cooldown: Option<Duration>,
    /// Added to each instance.
    pub labels: BTreeMap<String, String>,
}

/// What is to change of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleChange {
    /// PromQL.
    pub condition: Option<String>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// For people.
    pub description: Option<String>,
    /// Whether it is evaluated.
    pub enabled: Option<bool>,
    /// How long the condition holds before it fires.
    pub hold: Option<Duration>,
    /// Between two firings that notify.
    pub cooldown: Option<Duration>,
}

/// A rule and how its last evaluation went.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleView {
    /// The rule.
    pub rule: Rule,
    /// Why the last evaluation failed; empty where it did not.
    pub last_error: String,
    /// When it was last evaluated.
    pub last_evaluation: Option<Timestamp>,
    /// How long that took.
    pub last_duration: Option<Duration>,
    /// Why it has no data, where that is known.
    pub note: String,
}

/// A pending or firing alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    /// The instance.
    pub instance: AlertInstance,
    /// The rule's name.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// The rule's description.
    pub description: String,
    /// Whether the cooldown keeps this firing from notifying.
    pub suppressed: bool,
}

/// The daemon in short.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Whether every component is healthy.
    pub healthy: bool,
    /// Since the daemon started.
    pub uptime: Duration,
    /// Its parts, judged by their heartbeats.
    pub components: Vec<TaskReport>,
    /// Samples in the store.
    pub samples: u64,
    /// Series in the store.
    pub series: u64,
    /// Firing alerts.
    pub active_alerts: u64,
    /// Probes made since the start.
    pub health_checks: u64,
    /// The host.
    pub system: HostSummary,
    /// When this was true.
    pub time: Timestamp,
    /// Where everything is kept.
    pub state_dir: String,
    /// The configuration file; empty where there is none.
    pub config_file: String,
    /// Where HTTP listens; empty where it does not.
    pub http_address: String,
}

/// A series in short.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSummary {
    /// The series.
    pub labels: Labels,
    /// Its last value in the range.
    pub last: f64,
    /// The least.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// The greatest.
    pub max: f64,
}

/// Host, servers and alerts at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    /// When this was true.
    pub time: Timestamp,
    /// What range the summaries cover.
    pub range: Duration,
    /// MCP servers that are probed.
    pub total_mcp_servers: u64,
    /// … and healthy.
    pub healthy_servers: u64,
    /// Firing alerts.
    pub active_alerts: u64,
    /// Series in the store.
    pub total_metrics: u64,
    /// The host's main series.
    pub system_metrics: Vec<SeriesSummary>,
    /// The MCP servers.
    pub mcp_servers: Vec<TargetView>,
    /// Pending and firing alerts.
    pub alerts: Vec<AlertView>,
    /// What changed in the range, newest first, at most 20.
    pub transitions: Vec<(u64, Transition)>,
}
