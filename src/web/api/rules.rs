//! `/api/v1/rules` and `alerts`: Balefire's rules as groups, one for each place they come from.

use std::collections::{BTreeMap, HashSet};

use axum::extract::State;

use crate::{
    model::{AlertState, Labels, Matcher, RuleOrigin, matches_all},
    monitor::{AlertView, RuleView},
    promql,
    time::Timestamp,
};

use super::{
    super::{
        AppState,
        failure::ApiError,
        json::{AlertValue, Json, Object, Time, pairs},
        params::Params,
    },
    Answered, success,
};

/// The groups, in the order in which they are listed.
const ORIGINS: [RuleOrigin; 3] = [RuleOrigin::Default, RuleOrigin::Config, RuleOrigin::Api];

/// Pending and firing alerts.
pub(in crate::web) async fn alerts(State(app): State<AppState>) -> Answered {
    let alerts = app.monitor.all_alerts();
    Ok(success(&Object(&[("alerts", &alerts)])))
}

/// Where alerts are sent: nowhere.
pub(in crate::web) async fn alertmanagers() -> Answered {
    let none: &[&str] = &[];
    Ok(success(&Object(&[("activeAlertmanagers", &none), ("droppedAlertmanagers", &none)])))
}

/// The rules with their alerts.
pub(in crate::web) async fn rules(State(app): State<AppState>, params: Params) -> Answered {
    let wanted = Wanted::of(&params)?;
    let mut alerts: BTreeMap<String, Vec<AlertView>> = BTreeMap::new();
    for alert in app.monitor.all_alerts() {
        alerts.entry(alert.instance.rule_id.clone()).or_default().push(alert);
    }
    let config_file = app.monitor.status().config_file;
    let interval = app.monitor.evaluation_interval().as_secs_f64();
    let mut groups: Vec<Group> =
        ORIGINS.iter().map(|origin| Group::new(*origin, &config_file, interval)).collect();
    for view in app.monitor.all_rules() {
        let alerts = alerts.remove(&view.rule.id).unwrap_or_default();
        let rule = RuleWithAlerts { view, alerts, with_alerts: !wanted.without_alerts };
        for group in &mut groups {
            if group.origin == rule.view.rule.origin && wanted.takes(group, &rule) {
                group.rules.push(rule);
                break;
            }
        }
    }
    groups.retain(|group| !group.rules.is_empty());
    Ok(success(&Object(&[("groups", &groups)])))
}

/// Which rules are asked for.
struct Wanted {
    alerting: bool,
    without_alerts: bool,
    names: HashSet<String>,
    groups: HashSet<String>,
    files: HashSet<String>,
    selectors: Vec<Vec<Matcher>>,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let kind = params.get("type").unwrap_or_default().to_ascii_lowercase();
        if !matches!(kind.as_str(), "" | "alert" | "record") {
            return Err(ApiError::bad_parameter("type", format!("not supported value {kind:?}")));
        }
        let set = |name: &str| params.all(name).map(str::to_owned).collect();
        let selector = |text| {
            promql::parse_selector(text).map_err(|error| ApiError::bad_parameter("match[]", error))
        };
        Ok(Self {
            alerting: kind != "record",
            without_alerts: params.flag("exclude_alerts")?,
            names: set("rule_name[]"),
            groups: set("rule_group[]"),
            files: set("file[]"),
            selectors: params.all("match[]").map(selector).collect::<Result<_, _>>()?,
        })
    }

    fn takes(&self, group: &Group, rule: &RuleWithAlerts) -> bool {
        let among = |set: &HashSet<String>, name: &str| set.is_empty() || set.contains(name);
        self.alerting
            && among(&self.names, &rule.view.rule.name)
            && among(&self.groups, group.origin.name())
            && among(&self.files, &group.file)
            && (self.selectors.is_empty() || self.selects(rule))
    }

    fn selects(&self, rule: &RuleWithAlerts) -> bool {
        let labels = Labels::new(rule.labels()).unwrap_or_else(|_| Labels::empty());
        self.selectors.iter().any(|matchers| matches_all(matchers, &labels))
    }
}

/// Rules of one origin.
struct Group {
    origin: RuleOrigin,
    file: String,
    interval: f64,
    rules: Vec<RuleWithAlerts>,
}

impl Group {
    fn new(origin: RuleOrigin, config_file: &str, interval: f64) -> Self {
        let file = if origin == RuleOrigin::Config { config_file } else { "" };
        Self { origin, file: file.to_owned(), interval, rules: Vec::new() }
    }
}

impl Json for Group {
    fn write(&self, out: &mut Vec<u8>) {
        let took = |rule: &RuleWithAlerts| rule.took();
        Object(&[
            ("name", &self.origin.name()),
            ("file", &self.file),
            ("rules", &self.rules),
            ("interval", &self.interval),
            ("limit", &0_u64),
            ("evaluationTime", &self.rules.iter().map(took).sum::<f64>()),
            ("lastEvaluation", &Time(self.rules.iter().filter_map(RuleWithAlerts::last).max())),
        ])
        .write(out);
    }
}

/// A rule and its pending and firing alerts.
struct RuleWithAlerts {
    view: RuleView,
    alerts: Vec<AlertView>,
    /// Whether the alerts are listed.
    with_alerts: bool,
}

impl RuleWithAlerts {
    fn last(&self) -> Option<Timestamp> {
        self.view.last_evaluation
    }

    /// Seconds.
    fn took(&self) -> f64 {
        self.view.last_duration.unwrap_or_default().as_secs_f64()
    }

    /// The labels that it gives its alerts.
    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let rule = &self.view.rule;
        let own = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| *name != "severity");
        let mut all: Vec<_> = own.chain([("severity", rule.severity.name())]).collect();
        all.sort_unstable();
        all.into_iter()
    }

    fn state(&self) -> AlertState {
        let has = |state| self.alerts.iter().any(|alert| alert.instance.state == state);
        let states = [AlertState::Firing, AlertState::Pending];
        states.into_iter().find(|state| has(*state)).unwrap_or(AlertState::Inactive)
    }

    /// A rule that is switched off is not evaluated, and nobody knows.
    fn health(&self) -> &'static str {
        match (self.view.rule.enabled, self.last(), self.view.last_error.is_empty()) {
            (false, ..) | (_, None, _) => "unknown",
            (_, _, true) => "ok",
            (_, _, false) => "err",
        }
    }
}

impl Json for RuleWithAlerts {
    fn write(&self, out: &mut Vec<u8>) {
        let RuleView { rule, last_error, .. } = &self.view;
        let (state, health) = (self.state().name(), self.health());
        let (labels, annotations) = (Pairs(self.labels().collect()), about(&rule.description));
        let (duration, took, last) = (rule.hold.as_secs_f64(), self.took(), Time(self.last()));
        let listed = self.with_alerts.then_some(&self.alerts);
        let mut fields: Vec<(&str, &dyn Json)> = vec![
            ("state", &state),
            ("name", &rule.name),
            ("query", &rule.condition),
            ("duration", &duration),
            ("keepFiringFor", &0_u64),
            ("labels", &labels),
            ("annotations", &annotations),
            ("alerts", &listed),
            ("health", &health),
        ];
        if !last_error.is_empty() {
            fields.push(("lastError", last_error));
        }
        fields.extend([
            ("evaluationTime", &took as &dyn Json),
            ("lastEvaluation", &last),
            ("type", &"alerting"),
        ]);
        Object(&fields).write(out);
    }
}

impl Json for AlertView {
    fn write(&self, out: &mut Vec<u8>) {
        Object(&[
            ("labels", &self.instance.labels),
            ("annotations", &about(&self.description)),
            ("state", &self.instance.state.name()),
            ("activeAt", &Time(Some(self.instance.active_at))),
            ("value", &AlertValue(self.instance.value)),
        ])
        .write(out);
    }
}

/// Texts with their names.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl Json for Pairs<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        pairs(self.0.iter().copied(), out);
    }
}

/// The annotations: a rule has none but its description.
fn about(description: &str) -> Pairs<'_> {
    let some = (!description.is_empty()).then_some(("description", description));
    Pairs(some.into_iter().collect())
}
