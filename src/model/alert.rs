//! Rules, and what comes of them.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use crate::time::Timestamp;

use super::Labels;

/// How bad an alert is, from `Info` up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Some day.
    Low,
    /// This week.
    Medium,
    /// Today.
    High,
    /// Now.
    Critical,
}

/// A word that is no severity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown severity {0:?}: use critical, high, medium, low or info")]
pub struct InvalidSeverity(String);

impl Severity {
    /// All severities, from the least.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word: `critical` …
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl FromStr for Severity {
    type Err = InvalidSeverity;

    fn from_str(word: &str) -> Result<Self, InvalidSeverity> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == word)
            .ok_or_else(|| InvalidSeverity(word.to_owned()))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who made a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleOrigin {
    /// One of the four that every daemon has.
    Default,
    /// The configuration.
    Config,
    /// Somebody who asked over the control socket.
    Api,
}

impl RuleOrigin {
    /// The word: `default`, `config`, `api`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Config => "config",
            Self::Api => "api",
        }
    }
}

/// An alerting rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique: `high_cpu_usage` …
    pub id: String,
    /// The `alertname` label.
    pub name: String,
    /// PromQL; the alert is active for each series of its result.
    pub condition: String,
    /// How bad it is.
    pub severity: Severity,
    /// For people.
    pub description: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// How long the condition holds before the alert fires.
    pub hold: Duration,
    /// The least time between two new firings of one instance that notify.
    pub cooldown: Duration,
    /// Added to each instance.
    pub labels: BTreeMap<String, String>,
    /// Who made it.
    pub origin: RuleOrigin,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertState {
    /// The condition does not hold.
    Inactive,
    /// It holds, but not long enough yet.
    Pending,
    /// It has held long enough.
    Firing,
    /// It fired, and holds no more.
    Resolved,
}

impl AlertState {
    /// The word: `inactive`, `pending`, `firing`, `resolved`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Somebody has seen the alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// Why, in their words.
    pub comment: String,
    /// When.
    pub at: Timestamp,
}

/// One rule with one label set.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertInstance {
    /// The rule.
    pub rule_id: String,
    /// The labels of the series and the rule, `alertname` and `severity` among them.
    pub labels: Labels,
    /// Where it stands.
    pub state: AlertState,
    /// The value at the last evaluation that had one.
    pub value: f64,
    /// Since when the condition holds.
    pub active_at: Timestamp,
    /// When it began to fire; `None` while it is pending.
    pub fired_at: Option<Timestamp>,
    /// When it last told somebody; kept after it is resolved, for the cooldown.
    pub notified_at: Option<Timestamp>,
    /// Until it is resolved.
    pub acknowledgement: Option<Acknowledgement>,
}

impl AlertInstance {
    /// Stable for one rule and label set, short enough to type: `high_cpu_usage-1f3a90c2`.
    pub fn id(&self) -> String {
        alert_id(&self.rule_id, &self.labels)
    }
}

impl Transition {
    /// The id of the instance that changed, as [`AlertInstance::id`].
    pub fn alert_id(&self) -> String {
        alert_id(&self.rule_id, &self.labels)
    }
}

fn alert_id(rule_id: &str, labels: &Labels) -> String {
    format!("{rule_id}-{:08x}", crc32fast::hash(labels.to_string().as_bytes()))
}

/// A change of an instance's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// When.
    pub time: Timestamp,
    /// The rule.
    pub rule_id: String,
    /// The rule's name.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// The instance.
    pub labels: Labels,
    /// From this state …
    pub from: AlertState,
    /// … to this.
    pub to: AlertState,
    /// The value at that moment.
    pub value: f64,
    /// Whether somebody is told; false while the cooldown lasts.
    pub notified: bool,
}

/// What a rule would have done over stored history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backtest {
    /// From …
    pub start: Timestamp,
    /// … to.
    pub end: Timestamp,
    /// How often any instance would have begun to fire.
    pub firing_count: u64,
    /// How long instances would have fired, added up.
    pub firing_time: Duration,
    /// The first time.
    pub first_firing: Option<Timestamp>,
    /// The last time.
    pub last_firing: Option<Timestamp>,
    /// How many different instances there would have been.
    pub series_count: u64,
}
