//! `manage_alerts`: rules and their alerts, listed and changed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::{ClientError, Connection, pages, take},
    limits,
    mcp::{
        answer::Answer,
        convert::{Number, short, time},
        error::ToolError,
    },
    wire::{from_wire::word, near, v1},
};

use super::{Context, Effect, Tool, views};

pub(super) struct ManageAlerts;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    List,
    Enable,
    Disable,
    Delete,
    Acknowledge,
    Silence,
    History,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// silence is not available yet: use disable
    action: Action,
    /// A rule's id (or a firing alert's, to acknowledge it); needed by all but list and history
    alert_id: Option<String>,
    /// Kept with an acknowledgement
    #[serde(default)]
    comment: String,
    /// Entries at most; allows a longer answer
    limit: Option<usize>,
}

// A rule with its pending and firing alerts.
#[derive(Debug, Serialize, JsonSchema)]
struct RuleView {
    alert_id: String,
    name: String,
    condition: String,
    severity: String,
    enabled: bool,
    /// inactive, pending or firing
    state: String,
    r#for: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    active: Vec<ActiveView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ActiveView {
    id: String,
    state: String,
    labels: BTreeMap<String, String>,
    value: Number,
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_by: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TransitionView {
    time: Option<String>,
    alert_id: String,
    rule_id: String,
    from: String,
    to: String,
    labels: BTreeMap<String, String>,
    value: Number,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Output {
    /// Of list
    #[serde(skip_serializing_if = "Option::is_none")]
    alerts: Option<Vec<RuleView>>,
    /// Of history, newest first
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<TransitionView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_count: Option<usize>,
    /// Of the other actions
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

impl Tool for ManageAlerts {
    const NAME: &'static str = "manage_alerts";
    const TITLE: &'static str = "Manage alerts";
    const DESCRIPTION: &'static str =
        "List alert rules with what fires now, change one, or read what fired before.";
    const EFFECT: Effect = Effect::Changes;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, input: Input) -> Result<Answer<Output>, ToolError> {
        let connection = &context.connection;
        let mut left_out = Vec::new();
        let output = match input.action {
            Action::List => list(connection, input.limit, &mut left_out).await?,
            Action::History => history(connection, &input, &mut left_out).await?,
            Action::Silence => return Err(no_silences()),
            Action::Enable | Action::Disable => set_enabled(connection, &input).await?,
            Action::Delete => delete(connection, &input).await?,
            Action::Acknowledge => acknowledge(connection, &input).await?,
        };
        let advice = "set limit, or run `balefire rules list` or `balefire alerts history`";
        let mut answer = Answer::of(output, &["alerts", "history"], advice.to_owned());
        answer.left_out = left_out;
        Ok(answer.larger_if(input.limit.is_some()))
    }
}

fn no_silences() -> ToolError {
    let problem = "\"silence\" is not available in this version: use \"disable\" now and \"enable\" later, \
                   or \"acknowledge\" for an alert that fires";
    ToolError::argument("action", problem)
}

async fn list(
    connection: &Connection,
    limit: Option<usize>,
    left_out: &mut Vec<String>,
) -> Result<Output, ToolError> {
    let rules = rules(connection).await?;
    let total_count = rules.len();
    let mut active = active(connection).await?;
    let mut alerts: Vec<RuleView> = rules
        .into_iter()
        .map(|rule| {
            let of_rule = active.remove(&rule.id).unwrap_or_default();
            view(rule, of_rule)
        })
        .collect();
    // What fires is what is kept where not all fits.
    alerts.sort_by_key(|rule| (rule.active.is_empty(), !rule.enabled));
    if let Some(limit) = limit.filter(|limit| *limit < total_count) {
        alerts.truncate(limit);
        left_out.push(format!("alerts: {limit} of {total_count} shown"));
    }
    Ok(Output { alerts: Some(alerts), total_count: Some(total_count), ..Output::default() })
}

fn view(rule: v1::Rule, active: Vec<v1::Alert>) -> RuleView {
    let is_firing = active.iter().any(|alert| alert.state() == v1::AlertState::Firing);
    let state = match (is_firing, active.is_empty()) {
        (true, _) => "firing",
        (false, false) => "pending",
        (false, true) => "inactive",
    };
    RuleView {
        severity: views::severity(rule.severity()),
        alert_id: rule.id,
        name: rule.name,
        condition: rule.condition,
        enabled: rule.enabled,
        state: state.to_owned(),
        r#for: rule.r#for.map(short),
        active: active.into_iter().map(active_view).collect(),
        error: views::some_text(&rule.last_error),
        note: views::some_text(&rule.note),
    }
}

fn active_view(alert: v1::Alert) -> ActiveView {
    ActiveView {
        state: word(alert.state().as_str_name(), "ALERT_STATE_"),
        id: alert.id,
        labels: alert.labels.into_iter().collect(),
        value: Number(alert.value),
        since: alert.fired_at.or(alert.active_at).map(time),
        acknowledged_by: alert.acknowledgement.map(|acknowledgement| acknowledgement.by),
    }
}

async fn history(
    connection: &Connection,
    input: &Input,
    left_out: &mut Vec<String>,
) -> Result<Output, ToolError> {
    if let Some(id) = &input.alert_id {
        check_rule(connection, id).await?;
    }
    let limit = input.limit.unwrap_or(limits::PAGE_SIZE_DEFAULT).clamp(1, limits::PAGE_SIZE_MAX);
    let request = v1::ListAlertHistoryRequest {
        rule_id: input.alert_id.clone().unwrap_or_default(),
        page_size: i32::try_from(limit).unwrap_or(i32::MAX),
        ..v1::ListAlertHistoryRequest::default()
    };
    let mut alerts = connection.alerts();
    let page = alerts.list_alert_history(request).await.map_err(ClientError::from)?.into_inner();
    if !page.next_page_token.is_empty() {
        left_out.push(format!("history: there is more than the newest {limit}"));
    }
    let history: Vec<TransitionView> = page.transitions.into_iter().map(transition_view).collect();
    Ok(Output { total_count: Some(history.len()), history: Some(history), ..Output::default() })
}

fn transition_view(wire: v1::AlertTransition) -> TransitionView {
    TransitionView {
        from: word(wire.from().as_str_name(), "ALERT_STATE_"),
        to: word(wire.to().as_str_name(), "ALERT_STATE_"),
        time: wire.time.map(time),
        alert_id: wire.alert_id,
        rule_id: wire.rule_id,
        labels: wire.labels.into_iter().collect(),
        value: Number(wire.value),
    }
}

async fn set_enabled(connection: &Connection, input: &Input) -> Result<Output, ToolError> {
    let id = wanted(input)?;
    check_rule(connection, id).await?;
    let enabled = input.action == Action::Enable;
    let request = v1::UpdateRuleRequest {
        id: id.to_owned(),
        enabled: Some(enabled),
        ..v1::UpdateRuleRequest::default()
    };
    connection.alerts().update_rule(request).await.map_err(ClientError::from)?;
    Ok(done(format!("{id} is {}", if enabled { "enabled" } else { "disabled" })))
}

async fn delete(connection: &Connection, input: &Input) -> Result<Output, ToolError> {
    let id = wanted(input)?;
    check_rule(connection, id).await?;
    let request = v1::DeleteRuleRequest { id: id.to_owned() };
    connection.alerts().delete_rule(request).await.map_err(ClientError::from)?;
    Ok(done(format!("{id} is deleted")))
}

async fn acknowledge(connection: &Connection, input: &Input) -> Result<Output, ToolError> {
    let id = wanted(input)?;
    let active = active(connection).await?;
    let is_active = |rule: &str| active.get(rule).is_some_and(|alerts| !alerts.is_empty());
    if !is_active(id) && !active.values().flatten().any(|alert| alert.id == id) {
        check_rule(connection, id).await?;
        return Err(ToolError::argument("alert_id", format!("nothing of {id:?} is firing")));
    }
    let request =
        v1::AcknowledgeAlertRequest { alert_id: id.to_owned(), comment: input.comment.clone() };
    let mut alerts = connection.alerts();
    let response = alerts.acknowledge_alert(request).await.map_err(ClientError::from)?.into_inner();
    let names: Vec<String> = response.alerts.into_iter().map(|alert| alert.id).collect();
    Ok(done(format!("acknowledged until resolved: {}", names.join(", "))))
}

fn done(message: String) -> Output {
    Output { status: Some("success"), message: Some(message), ..Output::default() }
}

fn wanted(input: &Input) -> Result<&str, ToolError> {
    input.alert_id.as_deref().ok_or_else(|| {
        let problem = "missing: this action needs one; action \"list\" shows them";
        ToolError::argument("alert_id", problem)
    })
}

/// Refuses an id that no rule has, and names those that are near.
async fn check_rule(connection: &Connection, id: &str) -> Result<(), ToolError> {
    let rules = rules(connection).await?;
    if rules.iter().any(|rule| rule.id == id) {
        return Ok(());
    }
    let near = near::hint(id, rules.iter().map(|rule| rule.id.as_str()));
    let problem = format!("no alert has the id {id:?}{near}; action \"list\" shows them");
    Err(ToolError::argument("alert_id", problem))
}

async fn rules(connection: &Connection) -> Result<Vec<v1::Rule>, ClientError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListRulesRequest { page_size, page_token };
        let page = take(connection.alerts().list_rules(request).await)?;
        Ok((page.rules, page.next_page_token))
    };
    Ok(pages(limits::RULES_MAX, fetch).await?.0)
}

/// Pending and firing alerts, by the id of their rule.
async fn active(connection: &Connection) -> Result<BTreeMap<String, Vec<v1::Alert>>, ClientError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListAlertsRequest { page_size, page_token };
        let page = take(connection.alerts().list_alerts(request).await)?;
        Ok((page.alerts, page.next_page_token))
    };
    let mut by_rule: BTreeMap<String, Vec<v1::Alert>> = BTreeMap::new();
    for alert in pages(limits::RULES_MAX, fetch).await?.0 {
        by_rule.entry(alert.rule_id.clone()).or_default().push(alert);
    }
    Ok(by_rule)
}
