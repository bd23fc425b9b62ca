//! The step itself.

use std::collections::BTreeMap;

use crate::{
    error_code::ErrorCode,
    limits,
    model::{AlertInstance, AlertState, Labels, METRIC_NAME, Rule, Transition, is_label_name},
    time::Timestamp,
};

/// The label that holds the rule's name, as in Prometheus.
const ALERT_NAME: &str = "alertname";
/// The label that holds the rule's severity.
const SEVERITY: &str = "severity";

/// What one evaluation comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The instances that remain, sorted by labels: pending, firing, and resolved ones whose cooldown
    /// lasts.
    pub instances: Vec<AlertInstance>,
    /// What changed. A firing that the cooldown held back and that is told now is no change of
    /// state: it is a transition from firing to firing with `notified` set.
    pub transitions: Vec<Transition>,
    /// Resolved instances that were forgotten before their cooldown ended, because there were more
    /// than [`limits::ALERT_INSTANCES_PER_RULE_MAX`]: they may tell again too early.
    pub forgotten: usize,
}

/// Why a step cannot be taken; the instances stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Two series differ only in labels that the rule sets.
    #[error("vector contains metrics with the same labelset after applying alert labels: {0}")]
    SameLabels(Labels),
    /// More series than a rule may have instances.
    #[error(
        "the condition holds for {count} series where {max} are allowed: aggregate it, or match less",
        max = limits::ALERT_INSTANCES_PER_RULE_MAX
    )]
    TooMany {
        /// How many series.
        count: usize,
    },
}

impl StepError {
    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::SameLabels(_) => ErrorCode::InvalidArgument,
            Self::TooMany { .. } => ErrorCode::ResourceExhausted,
        }
    }
}

/// Applies the result of one evaluation (`active`: each series' labels and value) at `now`.
///
/// `prior` are the instances that the step before returned. A firing is told (`notified`) unless the
/// same instance was told of one less than the rule's cooldown ago; then it is told when the cooldown
/// ends, if it still lasts.
pub fn step(
    rule: &Rule,
    active: &[(Labels, f64)],
    prior: &[AlertInstance],
    now: Timestamp,
) -> Result<Outcome, StepError> {
    let mut active = labelled(rule, active)?;
    let mut step = Step { rule, now, outcome: Outcome::default() };
    for instance in prior {
        match active.remove(&instance.labels) {
            Some(value) => step.holds(instance.clone(), value),
            None => step.ended(instance.clone()),
        }
    }
    for (labels, value) in active {
        step.begins(labels, value);
    }
    let mut outcome = step.outcome;
    outcome.forgotten = forget(&mut outcome.instances);
    outcome.instances.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(outcome)
}

/// Keeps only the resolved instances that told last, where labels that change all the time have left
/// too many of them; returns how many it dropped.
fn forget(instances: &mut Vec<AlertInstance>) -> usize {
    let resolved = |instance: &AlertInstance| instance.state == AlertState::Resolved;
    let count = instances.iter().filter(|instance| resolved(instance)).count();
    let mut surplus = count.saturating_sub(limits::ALERT_INSTANCES_PER_RULE_MAX);
    let dropped = surplus;
    instances.sort_by_key(|instance| instance.notified_at);
    instances.retain(|instance| {
        let drops = surplus > 0 && resolved(instance);
        surplus -= usize::from(drops);
        !drops
    });
    dropped
}

/// Values by the labels of their instances.
fn labelled(rule: &Rule, active: &[(Labels, f64)]) -> Result<BTreeMap<Labels, f64>, StepError> {
    if active.len() > limits::ALERT_INSTANCES_PER_RULE_MAX {
        return Err(StepError::TooMany { count: active.len() });
    }
    let mut out = BTreeMap::new();
    for (series, value) in active {
        let labels = instance_labels(rule, series);
        if out.insert(labels.clone(), *value).is_some() {
            return Err(StepError::SameLabels(labels));
        }
    }
    Ok(out)
}

/// The series' labels without the metric name, and over them the rule's.
pub(super) fn instance_labels(rule: &Rule, series: &Labels) -> Labels {
    let base = series.without(|name| name == METRIC_NAME);
    let own = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = own.filter(|(name, _)| is_label_name(name));
    let fixed = [(ALERT_NAME, rule.name.as_str()), (SEVERITY, rule.severity.name())];
    own.chain(fixed).fold(base, |labels, (name, value)| labels.with(name, value))
}

/// A step that is being taken.
struct Step<'a> {
    rule: &'a Rule,
    now: Timestamp,
    outcome: Outcome,
}

impl Step<'_> {
    /// The condition holds for a series that has no instance yet.
    fn begins(&mut self, labels: Labels, value: f64) {
        let instance = AlertInstance {
            rule_id: self.rule.id.clone(),
            labels,
            state: AlertState::Inactive,
            value,
            active_at: self.now,
            fired_at: None,
            notified_at: None,
            acknowledgement: None,
        };
        self.advance(instance);
    }

    /// The condition holds for a series that has one.
    fn holds(&mut self, mut instance: AlertInstance, value: f64) {
        instance.value = value;
        match instance.state {
            AlertState::Firing => self.keeps_firing(instance),
            AlertState::Pending => self.advance(instance),
            AlertState::Inactive | AlertState::Resolved => {
                instance.active_at = self.now;
                self.advance(instance);
            }
        }
    }

    /// Makes an instance that does not fire yet pending, or firing once its time has come.
    fn advance(&mut self, mut instance: AlertInstance) {
        let from = instance.state;
        if self.now.since(instance.active_at) >= self.rule.hold {
            instance.state = AlertState::Firing;
            instance.fired_at = Some(self.now);
            let notified = self.tell(&mut instance);
            self.record(&instance, from, notified);
        } else if from != AlertState::Pending {
            instance.state = AlertState::Pending;
            instance.fired_at = None;
            self.record(&instance, from, false);
        }
        self.outcome.instances.push(instance);
    }

    fn keeps_firing(&mut self, mut instance: AlertInstance) {
        if !told(&instance) && self.tell(&mut instance) {
            self.record(&instance, AlertState::Firing, true);
        }
        self.outcome.instances.push(instance);
    }

    /// The condition holds no more.
    fn ended(&mut self, mut instance: AlertInstance) {
        match instance.state {
            AlertState::Firing => {
                let notified = told(&instance);
                instance.state = AlertState::Resolved;
                instance.acknowledgement = None;
                self.record(&instance, AlertState::Firing, notified);
                self.keep_for_cooldown(instance);
            }
            AlertState::Pending => {
                // What it told before, it told as a firing that is over.
                instance.state = AlertState::Inactive;
                self.record(&instance, AlertState::Pending, false);
                instance.state = AlertState::Resolved;
                self.keep_for_cooldown(instance);
            }
            AlertState::Inactive | AlertState::Resolved => self.keep_for_cooldown(instance),
        }
    }

    /// An instance that ended is remembered only as long as it may hold a notification back.
    fn keep_for_cooldown(&mut self, instance: AlertInstance) {
        if self.cools_down(&instance) {
            self.outcome.instances.push(instance);
        }
    }

    fn cools_down(&self, instance: &AlertInstance) -> bool {
        instance.notified_at.is_some_and(|told| self.now.since(told) < self.rule.cooldown)
    }

    /// Whether somebody is told of the firing now.
    fn tell(&self, instance: &mut AlertInstance) -> bool {
        if self.cools_down(instance) {
            return false;
        }
        instance.notified_at = Some(self.now);
        true
    }

    fn record(&mut self, instance: &AlertInstance, from: AlertState, notified: bool) {
        self.outcome.transitions.push(Transition {
            time: self.now,
            rule_id: self.rule.id.clone(),
            name: self.rule.name.clone(),
            severity: self.rule.severity,
            labels: instance.labels.clone(),
            from,
            to: instance.state,
            value: instance.value,
            notified,
        });
    }
}

/// Whether somebody was told of the present firing.
fn told(instance: &AlertInstance) -> bool {
    matches!((instance.notified_at, instance.fired_at), (Some(told), Some(fired)) if told >= fired)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Acknowledgement, RuleOrigin, Severity};
    use AlertState::{Firing, Inactive, Pending, Resolved};

    fn rule(hold: u64, cooldown: u64) -> Rule {
        Rule {
            id: "hot".into(),
            name: "Hot".into(),
            condition: "temperature > 80".into(),
            severity: Severity::High,
            description: String::new(),
            enabled: true,
            hold: Duration::from_secs(hold),
            cooldown: Duration::from_secs(cooldown),
            labels: BTreeMap::from([("team".into(), "ops".into())]),
            origin: RuleOrigin::Api,
            created_at: Timestamp::from_secs(0),
            updated_at: Timestamp::from_secs(0),
        }
    }

    fn series() -> Labels {
        Labels::of("temperature", [("room", "attic")])
    }

    /// Takes a step every 30 s, where the condition holds as `pattern` says (`#` or `.`), and compares
    /// the transitions: second, from, to, notified.
    #[track_caller]
    fn check(
        rule: &Rule,
        pattern: &str,
        expected: &[(i64, AlertState, AlertState, bool)],
    ) -> Vec<AlertInstance> {
        let mut instances = Vec::new();
        let mut transitions = Vec::new();
        for (index, holds) in pattern.chars().enumerate() {
            let now = Timestamp::from_secs(30 * i64::try_from(index).unwrap());
            let active = if holds == '#' { vec![(series(), 90.0)] } else { Vec::new() };
            let outcome = step(rule, &active, &instances, now).unwrap();
            instances = outcome.instances;
            transitions.extend(outcome.transitions);
        }
        let got: Vec<_> = transitions
            .iter()
            .map(|t| (t.time.as_millis() / 1000, t.from, t.to, t.notified))
            .collect();
        assert_eq!(got, expected, "{pattern}");
        instances
    }

    #[test]
    fn fires_at_once_without_a_hold() {
        let instances = check(
            &rule(0, 0),
            ".#.",
            &[(30, Inactive, Firing, true), (60, Firing, Resolved, true)],
        );
        assert!(instances.is_empty(), "without a cooldown nothing is remembered");
    }

    #[test]
    fn fires_when_the_hold_is_over() {
        let instances = check(
            &rule(60, 0),
            "####",
            &[(0, Inactive, Pending, false), (60, Pending, Firing, true)],
        );
        assert_eq!(instances[0].active_at, Timestamp::from_secs(0));
        assert_eq!(instances[0].fired_at, Some(Timestamp::from_secs(60)));
    }

    #[test]
    fn a_pending_alert_that_ends_tells_nobody() {
        let instances = check(
            &rule(60, 300),
            "##.#",
            &[
                (0, Inactive, Pending, false),
                (60, Pending, Inactive, false),
                (90, Inactive, Pending, false),
            ],
        );
        assert_eq!(instances[0].active_at, Timestamp::from_secs(90), "the hold begins anew");
    }

    #[test]
    fn a_firing_within_the_cooldown_is_not_told() {
        check(
            &rule(0, 300),
            "#.#.",
            &[
                (0, Inactive, Firing, true),
                (30, Firing, Resolved, true),
                (60, Resolved, Firing, false),
                (90, Firing, Resolved, false),
            ],
        );
    }

    #[test]
    fn a_firing_that_outlasts_the_cooldown_is_told_then() {
        check(
            &rule(0, 90),
            "#.####",
            &[
                (0, Inactive, Firing, true),
                (30, Firing, Resolved, true),
                (60, Resolved, Firing, false),
                (90, Firing, Firing, true),
            ],
        );
    }

    #[test]
    fn the_cooldown_survives_a_pending_phase() {
        check(
            &rule(30, 300),
            "##.#.##",
            &[
                (0, Inactive, Pending, false),
                (30, Pending, Firing, true),
                (60, Firing, Resolved, true),
                (90, Resolved, Pending, false),
                (120, Pending, Inactive, false),
                (150, Resolved, Pending, false),
                (180, Pending, Firing, false),
            ],
        );
    }

    #[test]
    fn a_resolved_instance_is_forgotten_after_the_cooldown() {
        assert_eq!(
            check(&rule(0, 60), "#.", &[(0, Inactive, Firing, true), (30, Firing, Resolved, true)])
                .len(),
            1
        );
        assert!(
            check(
                &rule(0, 60),
                "#..",
                &[(0, Inactive, Firing, true), (30, Firing, Resolved, true)]
            )
            .is_empty()
        );
    }

    #[test]
    fn labels_are_those_of_series_and_rule() {
        let instances = check(&rule(0, 0), "#", &[(0, Inactive, Firing, true)]);
        assert_eq!(
            instances[0].labels.to_string(),
            r#"{alertname="Hot", room="attic", severity="high", team="ops"}"#
        );
    }

    #[test]
    fn an_acknowledgement_lasts_until_the_alert_is_resolved() {
        let rule = rule(0, 300);
        let mut instances = check(&rule, "#", &[(0, Inactive, Firing, true)]);
        instances[0].acknowledgement = Some(Acknowledgement {
            by: "ada".into(),
            comment: "on it".into(),
            at: Timestamp::from_secs(1),
        });
        let at = |seconds, active: &[(Labels, f64)], prior: &[AlertInstance]| {
            step(&rule, active, prior, Timestamp::from_secs(seconds)).unwrap().instances
        };
        let firing = at(30, &[(series(), 91.0)], &instances);
        assert!(firing[0].acknowledgement.is_some());
        assert!((firing[0].value - 91.0).abs() < f64::EPSILON);
        assert_eq!(at(60, &[], &firing)[0].acknowledgement, None);
    }

    #[test]
    fn series_that_the_rule_makes_equal_are_an_error() {
        let rule = rule(0, 0);
        let twins = [(series(), 1.0), (series().with(METRIC_NAME, "heat"), 2.0)];
        let error = step(&rule, &twins, &[], Timestamp::from_secs(0)).unwrap_err();
        assert!(error.to_string().contains("same labelset after applying alert labels"));
    }

    #[test]
    fn too_many_series_are_an_error() {
        let many: Vec<_> = (0..=limits::ALERT_INSTANCES_PER_RULE_MAX)
            .map(|index| (series().with("n", &index.to_string()), 1.0))
            .collect();
        assert_eq!(
            step(&rule(0, 0), &many, &[], Timestamp::from_secs(0)),
            Err(StepError::TooMany { count: many.len() })
        );
    }

    #[test]
    fn resolved_instances_are_bounded_and_the_oldest_forgotten() {
        let rule = rule(0, 3600);
        let max = limits::ALERT_INSTANCES_PER_RULE_MAX;
        let burst = |from: usize, count: usize| -> Vec<_> {
            let labels = (from..from + count).map(|n| series().with("n", &n.to_string()));
            labels.map(|labels| (labels, 1.0)).collect()
        };
        let at = |seconds, active: &[(Labels, f64)], prior: &[AlertInstance]| {
            step(&rule, active, prior, Timestamp::from_secs(seconds)).unwrap()
        };
        let first = at(0, &burst(0, max), &[]);
        let second = at(30, &burst(max, 10), &first.instances);
        assert_eq!((second.forgotten, second.instances.len()), (0, max + 10));
        let third = at(60, &[], &second.instances);
        assert_eq!((third.forgotten, third.instances.len()), (10, max));
        let late = Some(Timestamp::from_secs(30));
        assert_eq!(third.instances.iter().filter(|i| i.notified_at == late).count(), 10);
    }

    #[test]
    fn a_backtest_counts_what_steps_would_have_done() {
        let sample = |minute: i64| crate::model::Sample {
            timestamp: Timestamp::from_secs(60 * minute),
            value: 1.0,
        };
        // Minutes 1 to 4 and 6 to 8 of 0 to 9, with a hold of 2 minutes; and one that is too short.
        let long = (series(), [1, 2, 3, 4, 6, 7, 8].map(sample).to_vec());
        let short = (series().with("room", "hall"), vec![sample(5)]);
        let span = (Timestamp::from_secs(0), Timestamp::from_secs(540));
        let report =
            crate::alert::backtest(&rule(120, 0), &[long, short], span, Duration::from_mins(1));
        let report = report.unwrap();
        assert_eq!((report.firing_count, report.series_count), (2, 1));
        assert_eq!(report.firing_time, Duration::from_mins(3));
        assert_eq!(report.first_firing, Some(Timestamp::from_secs(180)));
        assert_eq!(report.last_firing, Some(Timestamp::from_secs(480)));
    }
}
