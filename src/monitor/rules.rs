//! Rules: made, changed, removed, tried out.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    alert,
    error_code::ErrorCode,
    limits,
    model::{Backtest, Event, Labels, Page, PageRequest, Rule, RuleOrigin, Severity},
    promql::{self, QueryError, Steps, Value},
    store::Change,
    time::{Timestamp, format_duration},
};

use super::{
    Caller, Failure, Monitor, NewRule, RuleChange, RuleView, TimeRange, queries::check_range,
};

/// How far back a new rule is tried out.
const BACKTEST_RANGE: Duration = Duration::from_hours(168);
/// Longest rule name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 4096;

impl Monitor {
    /// Makes a rule, and says what it would have done in the last 7 days.
    pub async fn create_rule(
        &self,
        caller: &Caller,
        new: NewRule,
    ) -> Result<(RuleView, Backtest), Failure> {
        let rule = self.checked(new)?;
        let backtest = self.backtest(&rule.condition, rule.hold, None).await?;
        let writing = self.parts.rules.writing().await;
        if self.parts.store.rule(&rule.id).is_some() {
            let message = format!(
                "there is a rule {:?} already: change or delete it, or choose another name",
                rule.id
            );
            return Err(Failure {
                code: ErrorCode::AlreadyExists,
                ..Failure::field("name", message)
            });
        }
        if self.parts.store.rules().len() >= limits::RULES_MAX {
            let message =
                format!("there are {} rules already: delete some first", limits::RULES_MAX);
            return Err(Failure::new(ErrorCode::ResourceExhausted, message));
        }
        let audit =
            self.audit_entry(caller, "rule.create", &rule.id, (String::new(), describe(&rule)));
        self.parts.store.commit(vec![Change::PutRule(rule.clone()), audit]).await?;
        drop(writing);
        Ok((self.view(rule), backtest))
    }

    fn checked(&self, new: NewRule) -> Result<Rule, Failure> {
        let id = id_of(&new.name)?;
        check_condition(&new.condition)?;
        check_description(&new.description)?;
        let labels = new.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::new(labels).map_err(|invalid| Failure::field("labels", invalid.to_string()))?;
        let now = self.now();
        Ok(Rule {
            id,
            name: new.name,
            condition: new.condition,
            severity: new.severity,
            description: new.description,
            enabled: new.enabled,
            hold: new.hold,
            cooldown: new.cooldown.unwrap_or(self.settings().cooldown),
            labels: new.labels,
            origin: RuleOrigin::Api,
            created_at: now,
            updated_at: now,
        })
    }

    /// Changes a rule. Where its condition changes or it is disabled, its alerts end.
    pub async fn update_rule(
        &self,
        caller: &Caller,
        id: &str,
        change: RuleChange,
    ) -> Result<RuleView, Failure> {
        if let Some(condition) = &change.condition {
            check_condition(condition)?;
        }
        if let Some(description) = &change.description {
            check_description(description)?;
        }
        let _writing = self.parts.rules.writing().await;
        let before = self.rule(id)?;
        let after = changed(before.clone(), change, self.now());
        let ends = after.condition != before.condition || !after.enabled;
        let ended = if ends { Some(self.ended(&before)?) } else { None };
        let mut changes: Vec<Change> =
            ended.iter().flat_map(|ended| changes_of(id, ended)).collect();
        changes.push(Change::PutRule(after.clone()));
        changes.push(self.audit_entry(
            caller,
            "rule.update",
            id,
            (describe(&before), describe(&after)),
        ));
        self.parts.store.commit(changes).await?;
        Ok(self.view(after))
    }

    /// Removes a rule; its alerts end.
    pub async fn delete_rule(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        let _writing = self.parts.rules.writing().await;
        let rule = self.rule(id)?;
        let ended = self.ended(&rule)?;
        let mut changes = changes_of(id, &ended);
        changes.push(Change::DeleteRule(id.to_owned()));
        changes.push(self.audit_entry(caller, "rule.delete", id, (describe(&rule), String::new())));
        self.parts.store.commit(changes).await?;
        Ok(())
    }

    /// What comes of the rule's alerts when its condition holds no more; those that still cool down
    /// are kept.
    fn ended(&self, rule: &Rule) -> Result<alert::Outcome, Failure> {
        let prior = self.parts.store.instances(&rule.id);
        let outcome = alert::step(rule, &[], &prior, self.now());
        outcome.map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))
    }

    pub(super) fn rule(&self, id: &str) -> Result<Rule, Failure> {
        self.parts.store.rule(id).ok_or_else(|| {
            let message =
                format!("there is no rule {id:?}: `balefire rules list` shows those there are");
            Failure { code: ErrorCode::NotFound, ..Failure::field("id", message) }
        })
    }

    /// The rules, sorted by id.
    pub fn rules(&self, page: &PageRequest) -> Result<Page<RuleView>, Failure> {
        Ok(page.cut(self.all_rules(), |view| view.rule.id.clone())?)
    }

    /// All rules, sorted by id.
    pub fn all_rules(&self) -> Vec<RuleView> {
        self.parts.store.rules().into_iter().map(|rule| self.view(rule)).collect()
    }

    fn view(&self, rule: Rule) -> RuleView {
        let report = self.parts.rules.report(&rule.id);
        let evaluated = report.at.is_some();
        let silent = evaluated && report.error.is_empty() && !report.has_data;
        RuleView {
            note: if silent { no_data(&rule.condition) } else { String::new() },
            last_error: report.error,
            last_evaluation: report.at,
            last_duration: evaluated.then_some(report.duration),
            rule,
        }
    }

    /// What a rule would have done, in the last 7 days where no range is given.
    pub async fn backtest(
        &self,
        condition: &str,
        hold: Duration,
        range: Option<TimeRange>,
    ) -> Result<Backtest, Failure> {
        let now = self.now();
        let range = range.unwrap_or(TimeRange { start: now.minus(BACKTEST_RANGE), end: now });
        check_range(range)?;
        let steps = self.backtest_steps(range);
        let rule = self.trial(condition, hold);
        let tried = self.run(condition, None, move |query, snapshot, limits| {
            let answer = query.range(snapshot, steps, limits)?;
            let Value::Matrix(series) = answer.value else {
                return Err(QueryError::Execution(
                    "a condition must be a vector or a scalar".to_owned(),
                ));
            };
            let series: Vec<_> =
                series.into_iter().map(|data| (data.labels, data.samples)).collect();
            alert::backtest(&rule, &series, (range.start, range.end), steps.step)
                .map_err(|error| QueryError::Execution(error.to_string()))
        });
        tried.await.map_err(as_condition)
    }

    /// A rule that is only tried out.
    fn trial(&self, condition: &str, hold: Duration) -> Rule {
        let now = self.now();
        Rule {
            id: String::new(),
            name: String::new(),
            condition: condition.to_owned(),
            severity: Severity::Info,
            description: String::new(),
            enabled: true,
            hold,
            cooldown: self.settings().cooldown,
            labels: BTreeMap::new(),
            origin: RuleOrigin::Api,
            created_at: now,
            updated_at: now,
        }
    }

    /// As fine as rules are evaluated, but no more steps than a query may have.
    fn backtest_steps(&self, range: TimeRange) -> Steps {
        let least = range.end.since(range.start)
            / u32::try_from(limits::QUERY_STEPS_MAX - 1).unwrap_or(u32::MAX);
        let step = self.settings().evaluation_interval.max(least).max(Duration::from_millis(1));
        Steps { start: range.start, end: range.end, step }
    }
}

/// What is to be written of an outcome.
fn changes_of(rule_id: &str, outcome: &alert::Outcome) -> Vec<Change> {
    let (rule_id, instances) = (rule_id.to_owned(), outcome.instances.clone());
    let transitions =
        outcome.transitions.iter().cloned().map(Event::AlertTransition).map(Change::AddEvent);
    transitions.chain([Change::PutInstances { rule_id, instances }]).collect()
}

fn changed(rule: Rule, change: RuleChange, now: Timestamp) -> Rule {
    Rule {
        condition: change.condition.unwrap_or(rule.condition),
        severity: change.severity.unwrap_or(rule.severity),
        description: change.description.unwrap_or(rule.description),
        enabled: change.enabled.unwrap_or(rule.enabled),
        hold: change.hold.unwrap_or(rule.hold),
        cooldown: change.cooldown.unwrap_or(rule.cooldown),
        updated_at: now,
        ..rule
    }
}

/// The id of a rule of this name: lower case, everything else than letters and digits to `_`.
fn id_of(name: &str) -> Result<String, Failure> {
    let id: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    if name.len() > NAME_BYTES_MAX {
        return Err(Failure::field(
            "name",
            format!("longer than {NAME_BYTES_MAX} bytes: shorten it"),
        ));
    }
    if !id.chars().any(|c| c != '_') {
        return Err(Failure::field(
            "name",
            "must have a letter or a digit, such as \"disk almost full\"",
        ));
    }
    Ok(id.trim_matches('_').to_owned())
}

fn check_condition(condition: &str) -> Result<(), Failure> {
    promql::parse(condition).map(drop).map_err(|error| Failure::query("condition", &error))
}

fn check_description(description: &str) -> Result<(), Failure> {
    if description.len() <= DESCRIPTION_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::field(
        "description",
        format!("longer than {DESCRIPTION_BYTES_MAX} bytes: shorten it"),
    ))
}

/// A failed query, told of the field that rules have.
fn as_condition(mut failure: Failure) -> Failure {
    // What cannot be evaluated makes no rule, whatever the reason.
    if failure.code == ErrorCode::FailedPrecondition {
        return Failure::field("condition", failure.message);
    }
    for violation in &mut failure.violations {
        "condition".clone_into(&mut violation.field);
        failure.message = format!("condition: {}", violation.description);
    }
    failure
}

fn no_data(condition: &str) -> String {
    let names = promql::parse(condition).map(|query| query.metric_names()).unwrap_or_default();
    if names.iter().any(|name| name == "error_rate_5m") {
        return "no data: needs tap or OTLP".to_owned();
    }
    format!("no data: nothing stored under {}", names.join(", "))
}

/// A rule in one line, for the audit.
fn describe(rule: &Rule) -> String {
    let (hold, cooldown) = (format_duration(rule.hold), format_duration(rule.cooldown));
    let (condition, severity, enabled) = (&rule.condition, rule.severity, rule.enabled);
    format!("{condition}; severity {severity}; for {hold}; cooldown {cooldown}; enabled {enabled}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_from_the_name() {
        assert_eq!(id_of("Disk almost full!").unwrap(), "disk_almost_full");
        assert!(id_of("").is_err() && id_of("!!!").is_err() && id_of(&"x".repeat(300)).is_err());
    }
}
