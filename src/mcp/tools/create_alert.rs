//! `create_alert`: a new rule, and how often it would have fired.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::ClientError,
    mcp::{
        answer::Answer,
        convert::{seconds, short, time},
        error::ToolError,
        range,
    },
    wire::{to_wire, v1},
};

use super::{Context, Effect, Tool, views};

pub(super) struct CreateAlert;

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Critical,
    High,
    Medium,
    Low,
    Info,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// What people call it; the alert's id is made from it
    name: String,
    /// PromQL; active for each series of its result, such as `system_cpu_usage > 90`
    condition: String,
    /// How bad it is
    severity: Severity,
    /// What it means and what to do
    #[serde(default)]
    description: String,
    /// Default true
    enabled: Option<bool>,
    /// How long the condition holds before it fires, such as "5m"; default 0
    r#for: Option<String>,
    /// Least time between two notifications of new firings; default "5m"
    cooldown: Option<String>,
    /// Added to each alert
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, JsonSchema)]
struct RuleView {
    name: String,
    condition: String,
    severity: String,
    description: String,
    enabled: bool,
    r#for: Option<String>,
    cooldown: Option<String>,
    labels: BTreeMap<String, String>,
}

// What the rule would have done over the last 7 days of stored samples.
#[derive(Serialize, JsonSchema)]
struct Backtest {
    firing_count: u64,
    firing_seconds: f64,
    series_count: u64,
    start: Option<String>,
    first_firing: Option<String>,
    last_firing: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    status: &'static str,
    alert_id: String,
    alert: RuleView,
    created_at: String,
    /// Over the last 7 days
    backtest: Backtest,
    message: String,
}

impl Tool for CreateAlert {
    const NAME: &'static str = "create_alert";
    const TITLE: &'static str = "Create an alert";
    const DESCRIPTION: &'static str = "Create an alert rule from a PromQL condition; says how often it would have fired in the last 7 days.";
    const EFFECT: Effect = Effect::Adds;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, input: Input) -> Result<Answer<Output>, ToolError> {
        let request = request(input)?;
        let mut alerts = context.connection.alerts();
        let response = alerts.create_rule(request).await.map_err(ClientError::from)?.into_inner();
        let rule = response.rule.ok_or(ToolError::Incomplete("rule"))?;
        let backtest = response.backtest.ok_or(ToolError::Incomplete("backtest"))?;
        let created_at = rule.created_at.ok_or(ToolError::Incomplete("created_at"))?;
        Ok(Answer::small(Output {
            status: "created",
            alert_id: rule.id.clone(),
            message: summary(&backtest),
            alert: view(rule),
            created_at: time(created_at),
            backtest: backtest_view(backtest),
        }))
    }
}

fn request(input: Input) -> Result<v1::CreateRuleRequest, ToolError> {
    let duration = |field: &str, text: Option<String>| {
        text.map(|text| range::duration(field, &text).map(to_wire::duration)).transpose()
    };
    Ok(v1::CreateRuleRequest {
        name: input.name,
        condition: input.condition,
        severity: match input.severity {
            Severity::Critical => v1::Severity::Critical,
            Severity::High => v1::Severity::High,
            Severity::Medium => v1::Severity::Medium,
            Severity::Low => v1::Severity::Low,
            Severity::Info => v1::Severity::Info,
        }
        .into(),
        description: input.description,
        enabled: input.enabled,
        r#for: duration("for", input.r#for)?,
        cooldown: duration("cooldown", input.cooldown)?,
        labels: input.labels.into_iter().collect(),
    })
}

/// In a sentence, since it decides whether the rule is any good.
fn summary(backtest: &v1::Backtest) -> String {
    match backtest.firing_count {
        0 => "would not have fired in the last 7 days".to_owned(),
        1 => "would have fired once in the last 7 days".to_owned(),
        count => format!("would have fired {count} times in the last 7 days"),
    }
}

fn view(rule: v1::Rule) -> RuleView {
    RuleView {
        severity: views::severity(rule.severity()),
        name: rule.name,
        condition: rule.condition,
        description: rule.description,
        enabled: rule.enabled,
        r#for: rule.r#for.map(short),
        cooldown: rule.cooldown.map(short),
        labels: rule.labels.into_iter().collect(),
    }
}

fn backtest_view(wire: v1::Backtest) -> Backtest {
    Backtest {
        firing_count: wire.firing_count,
        firing_seconds: wire.firing_time.map(seconds).unwrap_or_default(),
        series_count: wire.series_count,
        start: wire.start.map(time),
        first_firing: wire.first_firing.map(time),
        last_firing: wire.last_firing.map(time),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_read_or_refused_by_name() {
        let alert = |for_: &str| {
            let input =
                json!({"name": "a", "condition": "up == 0", "severity": "low", "for": for_});
            request(serde_json::from_value(input).unwrap())
        };
        assert_eq!(alert("5m").unwrap().r#for.unwrap().seconds, 300);
        let error = alert("soon").unwrap_err().to_string();
        assert!(error.starts_with("for: invalid duration"), "{error}");
    }

    #[test]
    fn the_summary_counts() {
        let after =
            |firing_count| summary(&v1::Backtest { firing_count, ..v1::Backtest::default() });
        assert!(after(0).starts_with("would not have fired"));
        assert!(after(1).contains("once") && after(7).contains("7 times"));
    }
}
