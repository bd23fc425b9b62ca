//! The rules that run, how their last evaluation went, and the lock that keeps changes apart.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    model::{Rule, RuleOrigin, Severity},
    time::Timestamp,
};

/// How a rule's last evaluation went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Why it failed; empty where it did not.
    pub error: String,
    /// When it was.
    pub at: Option<Timestamp>,
    /// How long it took.
    pub duration: Duration,
    /// Whether its condition's metrics have any data.
    pub has_data: bool,
}

/// Reports of the rules, and the lock that whoever changes rules or instances must hold.
#[derive(Clone, Debug, Default)]
pub struct RuleBook {
    reports: Arc<Mutex<HashMap<String, Report>>>,
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl RuleBook {
    /// No reports yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Held while rules or their instances are read, judged and written back, so that an evaluation
    /// and a command never undo each other.
    pub async fn writing(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.writing.clone().lock_owned().await
    }

    /// How the last evaluation of a rule went.
    pub fn report(&self, rule_id: &str) -> Report {
        self.reports.lock().get(rule_id).cloned().unwrap_or_default()
    }

    /// Puts the reports of a whole pass in the place of those before.
    pub fn set_reports(&self, reports: HashMap<String, Report>) {
        *self.reports.lock() = reports;
    }
}

/// The four rules that every daemon has.
pub fn default_rules(cooldown: Duration, now: Timestamp) -> Vec<Rule> {
    const MINUTE: u64 = 60;
    let rule = |id: &str, condition: &str, severity, minutes: u64, description: &str| Rule {
        id: id.to_owned(),
        name: id.to_owned(),
        condition: condition.to_owned(),
        severity,
        description: description.to_owned(),
        enabled: true,
        hold: Duration::from_secs(minutes * MINUTE),
        cooldown,
        labels: BTreeMap::new(),
        origin: RuleOrigin::Default,
        created_at: now,
        updated_at: now,
    };
    vec![
        rule(
            "high_cpu_usage",
            "system_cpu_usage > 80",
            Severity::High,
            5,
            "The processors are busy above 80 %.",
        ),
        rule(
            "high_memory_usage",
            "system_memory_usage > 85",
            Severity::High,
            5,
            "Memory is used above 85 %.",
        ),
        rule(
            "mcp_server_down",
            "mcp_server_health == 0",
            Severity::Critical,
            2,
            "An MCP server does not answer.",
        ),
        rule(
            "high_error_rate",
            "error_rate_5m > 0.05",
            Severity::Medium,
            0,
            "More than 5 % of an MCP server's tool calls fail.",
        ),
    ]
}
