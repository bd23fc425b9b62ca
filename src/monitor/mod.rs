//! The API: every question and command, plain data in and out. Transports translate; the loops and
//! the store do the work.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    error_code::ErrorCode,
    model::{
        AlertInstance, AuditEntry, Backtest, Batch, Event, Labels, MetricKind, Page, PageRequest,
        ProbeRecord, Rule, Severity, Target, TargetState, TargetStatus, Transition,
    },
    promql::Answer,
    store::AppendSummary,
    supervise::TaskReport,
    time::Timestamp,
};

/// Why a question has no answer or a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What was wrong, where, and what to do.
    pub message: String,
    /// The fields that are wrong, where that is the reason.
    pub violations: Vec<Violation>,
}

/// A field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the request: `metrics[3].tags`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

impl Failure {
    /// A failure that is not about a field.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), violations: Vec::new() }
    }

    /// A field that is wrong.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        Self {
            code: ErrorCode::InvalidArgument,
            message: format!("{field}: {description}"),
            violations: vec![Violation { field, description }],
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For the audit: `uid:1000`.
    pub actor: String,
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

/// One observation of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The metric.
    pub name: String,
    /// What was observed.
    pub value: f64,
    /// What it means.
    pub kind: MetricKind,
    /// Its labels.
    pub tags: BTreeMap<String, String>,
    /// When; now, where absent.
    pub timestamp: Option<Timestamp>,
}

/// What became of observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Observations (or samples of the host) that are durable now.
    pub count: u64,
    /// When they were taken.
    pub timestamp: Timestamp,
}

/// A text form of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object a line for each series.
    Json,
    /// `timestamp,metric,labels…,value`.
    Csv,
    /// OpenMetrics with timestamps.
    Prometheus,
    /// InfluxDB line protocol.
    Influx,
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

/// The text of an export, piece by piece; the channel is bounded, so a slow reader slows it down.
pub type ExportStream = tokio::sync::mpsc::Receiver<Result<bytes::Bytes, Failure>>;

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

/// A file system's use.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskUsage {
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted.
    pub device: String,
    /// In bytes.
    pub total: u64,
    /// In bytes.
    pub used: u64,
    /// 0 to 100.
    pub used_percent: f64,
}

/// The host in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemInfo {
    /// Its name.
    pub hostname: String,
    /// 0 to 100.
    pub cpu_percent: f64,
    /// 0 to 100.
    pub memory_percent: f64,
    /// In bytes.
    pub memory_total: u64,
    /// In bytes.
    pub memory_used: u64,
    /// The file systems.
    pub disks: Vec<DiskUsage>,
    /// The load of the last minute.
    pub load1: f64,
    /// Since the host started.
    pub uptime: Duration,
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
    pub system: SystemInfo,
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

/// Events as they happen. `RecvError::Lagged(n)` says that n were lost.
pub type EventStream = tokio::sync::broadcast::Receiver<Event>;

/// Answers every question; cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<()>);

impl Monitor {
    /// Takes observations, or collects the host now.
    pub async fn collect(
        &self,
        caller: &Caller,
        source: ObservationSource,
        observations: Vec<Observation>,
    ) -> Result<Collected, Failure> {
        todo!()
    }
    /// Stores samples.
    pub async fn write(&self, caller: &Caller, batch: Batch) -> Result<AppendSummary, Failure> {
        todo!()
    }
    /// Evaluates at one instant (now, where absent).
    pub async fn query(
        &self,
        expr: &str,
        at: Option<Timestamp>,
        timeout: Option<Duration>,
    ) -> Result<Answer, Failure> {
        todo!()
    }
    /// Evaluates over a range.
    pub async fn query_range(
        &self,
        expr: &str,
        range: TimeRange,
        step: Duration,
        timeout: Option<Duration>,
    ) -> Result<Answer, Failure> {
        todo!()
    }
    /// The series that match.
    pub async fn series(
        &self,
        matchers: &[String],
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<Labels>, Failure> {
        todo!()
    }
    /// The label names of the series that match.
    pub async fn label_names(
        &self,
        matchers: &[String],
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<String>, Failure> {
        todo!()
    }
    /// The values of one label of the series that match.
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[String],
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<String>, Failure> {
        todo!()
    }
    /// Samples as text.
    pub async fn export(&self, request: ExportRequest) -> Result<ExportStream, Failure> {
        todo!()
    }
    /// All targets, sorted by name.
    pub fn targets(&self, page: &PageRequest) -> Result<Page<TargetView>, Failure> {
        todo!()
    }
    /// One target.
    pub fn target(&self, name: &str) -> Result<TargetView, Failure> {
        todo!()
    }
    /// Checks `all`, `system` or one target now, and URLs with it.
    pub async fn check(&self, target: &str, endpoints: &[String]) -> Result<HealthReport, Failure> {
        todo!()
    }
    /// The recorded probes of a target, newest first.
    pub fn target_history(
        &self,
        name: &str,
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<ProbeRecord>, Failure> {
        todo!()
    }
    /// Reads the clients' files again.
    pub async fn discover(&self) -> Result<Discovery, Failure> {
        todo!()
    }
    /// Allows a discovered server to be probed.
    pub async fn adopt(&self, caller: &Caller, name: &str) -> Result<TargetView, Failure> {
        todo!()
    }
    /// Takes that back, with the target's history.
    pub async fn forget(&self, caller: &Caller, name: &str) -> Result<(), Failure> {
        todo!()
    }
    /// Makes a rule, and says what it would have done in the last 7 days.
    pub async fn create_rule(
        &self,
        caller: &Caller,
        rule: NewRule,
    ) -> Result<(RuleView, Backtest), Failure> {
        todo!()
    }
    /// Changes a rule.
    pub async fn update_rule(
        &self,
        caller: &Caller,
        id: &str,
        change: RuleChange,
    ) -> Result<RuleView, Failure> {
        todo!()
    }
    /// Removes a rule.
    pub async fn delete_rule(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        todo!()
    }
    /// The rules, sorted by id.
    pub fn rules(&self, page: &PageRequest) -> Result<Page<RuleView>, Failure> {
        todo!()
    }
    /// Pending and firing alerts.
    pub fn alerts(&self, page: &PageRequest) -> Result<Page<AlertView>, Failure> {
        todo!()
    }
    /// Marks an alert, or all firing alerts of a rule, as seen.
    pub async fn acknowledge(
        &self,
        caller: &Caller,
        id: &str,
        comment: &str,
    ) -> Result<Vec<AlertView>, Failure> {
        todo!()
    }
    /// Transitions, newest first, each with its sequence number.
    pub fn alert_history(
        &self,
        rule_id: Option<&str>,
        range: Option<TimeRange>,
        page: &PageRequest,
    ) -> Result<Page<(u64, Transition)>, Failure> {
        todo!()
    }
    /// What a rule would have done.
    pub async fn backtest(
        &self,
        condition: &str,
        hold: Duration,
        range: Option<TimeRange>,
    ) -> Result<Backtest, Failure> {
        todo!()
    }
    /// The daemon in short.
    pub fn status(&self) -> Status {
        todo!()
    }
    /// Host, servers and alerts at a glance; details are cut where they are not wanted.
    pub async fn overview(
        &self,
        include_details: bool,
        range: Duration,
    ) -> Result<Overview, Failure> {
        todo!()
    }
    /// Reads the configuration again; what changed, a line each.
    pub async fn reload(&self, caller: &Caller) -> Result<Vec<String>, Failure> {
        todo!()
    }
    /// Changes what is logged; gives the filter that was.
    pub async fn set_log_level(&self, caller: &Caller, filter: &str) -> Result<String, Failure> {
        todo!()
    }
    /// The audit, newest first.
    pub fn audit(&self, page: &PageRequest) -> Result<Page<AuditEntry>, Failure> {
        todo!()
    }
    /// Listens to what happens.
    pub fn subscribe(&self) -> Result<EventStream, Failure> {
        todo!()
    }
    /// The latest samples of host and probes, for `/metrics`: not what is only stored.
    pub fn exposition(&self) -> Vec<crate::exposition::Family> {
        todo!()
    }
    /// The latest stored sample of each series that one of the selectors matches (none means all).
    pub async fn federate(
        &self,
        selectors: &[String],
    ) -> Result<Vec<crate::exposition::Family>, Failure> {
        todo!()
    }
    /// Whether the daemon is ready to answer; else why not.
    pub fn readiness(&self) -> Result<(), String> {
        todo!()
    }
}
