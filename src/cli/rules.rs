//! `balefire rules …`.

use std::time::Duration;

use comfy_table::Cell;
use serde::Serialize;

use crate::{
    client::{pages, take},
    limits,
    time::{Timestamp, format_duration},
    wire::{to_wire, v1},
};

use super::{
    args::{CreateRule, RulesCommand},
    error::{CliError, Verdict},
    human, output,
    session::Session,
    table::Style,
    views::{Backtest, Rule},
};

pub(super) async fn run(session: &Session, command: RulesCommand) -> Result<Verdict, CliError> {
    match command {
        RulesCommand::List => list(session).await,
        RulesCommand::Create(rule) => create(session, rule).await,
        RulesCommand::Enable { id } => enable(session, id, true).await,
        RulesCommand::Disable { id } => enable(session, id, false).await,
        RulesCommand::Delete { id } => delete(session, id).await,
        RulesCommand::Backtest { expr, hold, range, end } => {
            let end = end.unwrap_or(session.now());
            backtest(session, expr, hold, (end.minus(range), end)).await
        }
    }
}

async fn list(session: &Session) -> Result<Verdict, CliError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListRulesRequest { page_size, page_token };
        let page = take(session.connection.alerts().list_rules(request).await)?;
        Ok((page.rules, page.next_page_token))
    };
    let (rules, _) = pages(limits::RULES_MAX, fetch).await?;
    let rules: Vec<Rule> = rules.iter().map(Rule::from).collect();
    session.show(&rules, |rules, style| table(rules, style))?;
    Ok(Verdict::Fine)
}

fn table(rules: &[Rule], style: &Style) -> String {
    let mut table =
        style.table(["RULE", "SEVERITY", "CONDITION", "FOR", "ENABLED", "EVALUATED", "REMARK"]);
    for rule in rules {
        let remark = rule.last_error.as_deref().or(rule.note.as_deref()).unwrap_or_default();
        table.add_row(vec![
            Cell::new(&rule.id),
            style.state(&rule.severity),
            Cell::new(&rule.condition),
            Cell::new(length(rule.for_seconds)),
            style.state(if rule.enabled { "yes" } else { "disabled" }),
            style.age(rule.evaluated),
            Cell::new(remark),
        ]);
    }
    style.finish(&table, "no rules")
}

fn length(seconds: Option<f64>) -> String {
    let length = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    length.map(|length| format_duration(length).to_string()).unwrap_or_default()
}

#[derive(Debug, Serialize)]
struct Created {
    rule: Rule,
    backtest: Option<Backtest>,
}

async fn create(session: &Session, rule: CreateRule) -> Result<Verdict, CliError> {
    let request = v1::CreateRuleRequest {
        severity: to_wire::severity(rule.severity).into(),
        enabled: Some(!rule.disabled),
        r#for: Some(to_wire::duration(rule.hold)),
        cooldown: rule.cooldown.map(to_wire::duration),
        labels: rule.label_map().into_iter().collect(),
        name: rule.name,
        condition: rule.condition,
        description: rule.description,
    };
    let answer = take(session.connection.alerts().create_rule(request).await)?;
    let created = Created {
        rule: Rule::from(&answer.rule.unwrap_or_default()),
        backtest: answer.backtest.as_ref().map(Backtest::from),
    };
    session.show(&created, |created, style| {
        let tested = created.backtest.as_ref().map(|backtest| render_backtest(backtest, style));
        format!("rule {} is made\n{}", created.rule.id, tested.unwrap_or_default())
    })?;
    Ok(Verdict::Fine)
}

async fn enable(session: &Session, id: String, enabled: bool) -> Result<Verdict, CliError> {
    let request =
        v1::UpdateRuleRequest { id, enabled: Some(enabled), ..v1::UpdateRuleRequest::default() };
    let answer = take(session.connection.alerts().update_rule(request).await)?;
    let rule = Rule::from(&answer.rule.unwrap_or_default());
    session.show(&rule, |rule, _| {
        let state = if rule.enabled { "enabled" } else { "disabled" };
        format!("rule {} is {state}", rule.id)
    })?;
    Ok(Verdict::Fine)
}

async fn delete(session: &Session, id: String) -> Result<Verdict, CliError> {
    let request = v1::DeleteRuleRequest { id: id.clone() };
    take(session.connection.alerts().delete_rule(request).await)?;
    if session.is_json() {
        output::json(&serde_json::json!({ "deleted": id }))?;
    } else {
        output::text(&format!("rule {id} is deleted"))?;
    }
    Ok(Verdict::Fine)
}

async fn backtest(
    session: &Session,
    condition: String,
    hold: Duration,
    (start, end): (Timestamp, Timestamp),
) -> Result<Verdict, CliError> {
    let request = v1::BacktestRuleRequest {
        condition,
        r#for: Some(to_wire::duration(hold)),
        start: Some(to_wire::time(start)),
        end: Some(to_wire::time(end)),
    };
    let answer = take(session.connection.alerts().backtest_rule(request).await)?;
    let backtest = Backtest::from(&answer.backtest.unwrap_or_default());
    session.show(&backtest, render_backtest)?;
    Ok(Verdict::Fine)
}

fn render_backtest(backtest: &Backtest, style: &Style) -> String {
    let time = |time: &Option<String>| Cell::new(time.as_deref().unwrap_or_default());
    let firing = backtest.firing_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    style.fields([
        ("from", time(&backtest.start)),
        ("to", time(&backtest.end)),
        ("would have fired", Cell::new(times(backtest.firing_count))),
        ("in all for", Cell::new(firing.map(human::span).unwrap_or_default())),
        ("first", time(&backtest.first_firing)),
        ("last", time(&backtest.last_firing)),
        ("series", Cell::new(backtest.series_count)),
    ])
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    #[test]
    fn a_rule_without_data_says_why() {
        let wire = v1::Rule {
            id: "high_error_rate".into(),
            condition: "error_rate_5m > 0.05".into(),
            severity: v1::Severity::Medium.into(),
            enabled: true,
            r#for: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
            note: "no data: needs tap or OTLP".into(),
            ..v1::Rule::default()
        };
        let text = table(&[Rule::from(&wire)], &PLAIN);
        assert!(text.contains("error_rate_5m > 0.05  5m   yes"), "{text}");
        assert!(text.contains("no data: needs tap or OTLP"), "{text}");
    }

    #[test]
    fn a_backtest_is_told_in_words() {
        let wire = v1::Backtest {
            firing_count: 3,
            firing_time: Some(prost_types::Duration { seconds: 200, nanos: 0 }),
            ..v1::Backtest::default()
        };
        let text = render_backtest(&Backtest::from(&wire), &PLAIN);
        assert!(text.contains("would have fired  3 times"), "{text}");
        assert!(text.contains("in all for        3m 20s"), "{text}");
        assert_eq!((times(0), times(1)), ("never".to_owned(), "once".to_owned()));
    }
}
