//! The loop that evaluates the rules and moves alerts from state to state.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZero,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::{
    alert, limits,
    model::{
        AlertInstance, AlertState, Batch, Event, Labels, METRIC_NAME, Rule, SeriesSample,
        Transition, stale_nan,
    },
    promql::{self, Helpers, Limits, QueryError, Queryable, Value},
    store::{Change, Snapshot, Store, StoreError},
    supervise::TaskContext,
    telemetry::{Telemetry, events::EvaluatingEvents},
    time::{Clock, Timestamp},
};

use super::{
    Report, RuleBook, collecting,
    rhythm::{Rhythm, beating},
};

/// The longest that one rule may take; then its evaluation fails, and the next rule has its turn.
const RULE_MAX: Duration = Duration::from_secs(10);
/// The longest that the first pass of collecting is waited for without being noticed as hanging.
const FIRST_PASS_WITHIN: Duration = Duration::from_mins(2);

/// What the loop works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where rules, instances and samples are.
    pub store: Store,
    /// How evaluations went.
    pub rules: RuleBook,
    /// Says when there is something to evaluate.
    pub collecting: collecting::Handle,
    /// The time.
    pub clock: Clock,
}

/// The loop; [`Evaluating::run`] is what the supervisor starts, and starts again.
#[derive(Clone, Debug)]
pub struct Evaluating {
    parts: Parts,
    events: EvaluatingEvents,
    interval: watch::Receiver<Duration>,
}

/// One rule's evaluation.
struct Evaluated {
    rule: Rule,
    prior: Vec<AlertInstance>,
    report: Report,
    /// `None` where the evaluation failed: the instances stay as they were.
    outcome: Option<alert::Outcome>,
}

impl Evaluating {
    /// A loop that evaluates every `interval`, which its sender changes.
    pub fn new(
        parts: Parts,
        telemetry: &Telemetry,
        interval: Duration,
    ) -> (Self, watch::Sender<Duration>) {
        let (sender, interval) = watch::channel(interval);
        (Self { parts, events: EvaluatingEvents::new(telemetry), interval }, sender)
    }

    /// Evaluates until it is told to stop.
    pub async fn run(self, context: TaskContext) -> Result<(), String> {
        // What was collected before the last stop may be too old: alerts would resolve for want of data.
        tokio::select! {
            () = context.stop.stopped() => return Ok(()),
            () = beating(&context, FIRST_PASS_WITHIN, self.parts.collecting.first_pass()) => {}
        }
        let mut rhythm = Rhythm::new(context, self.interval.clone());
        let mut told = BTreeSet::new();
        while rhythm.next().await.is_some() {
            match self.pass(&rhythm.context, &mut told).await {
                Ok(()) => rhythm.context.heartbeat.succeeded(),
                Err(reason) => rhythm.context.heartbeat.failed(reason),
            }
        }
        Ok(())
    }

    /// Evaluates every rule once. `told` are the series of the pass before, which end where this one
    /// does not go on with them.
    async fn pass(&self, context: &TaskContext, told: &mut BTreeSet<Labels>) -> Result<(), String> {
        let started = Instant::now();
        let _writing = self.parts.rules.writing().await;
        let now = self.parts.clock.now();
        let all = self.evaluate_all(context, now).await;

        let alive = alert_series(&all, now);
        let names: BTreeSet<Labels> = alive.iter().map(|sample| sample.labels.clone()).collect();
        let ended = told
            .difference(&names)
            .map(|labels| SeriesSample::new(labels.clone(), now, stale_nan()));
        let batch =
            Batch { samples: ended.chain(alive.iter().cloned()).collect(), ..Batch::default() };
        self.store(batch, changes(&all)).await.map_err(|error| error.to_string())?;

        *told = names;
        self.tell(all);
        self.events.passed(started.elapsed());
        Ok(())
    }

    /// What changed is durable before anybody is told; samples of alerts that just go on are in nobody's
    /// way, and go with the next commit.
    async fn store(&self, batch: Batch, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            let within = *self.interval.borrow();
            return self.parts.store.defer(batch, changes, within).await;
        }
        self.parts.store.append_and_commit(batch, changes).await.map(drop)
    }

    /// Every enabled rule over one snapshot; one that takes too long is cut off, one
    /// that panics has failed, and the others go on.
    async fn evaluate_all(&self, context: &TaskContext, now: Timestamp) -> Vec<Evaluated> {
        let snapshot = self.parts.store.snapshot();
        let mut all = Vec::new();
        for rule in self.parts.store.rules().into_iter().filter(|rule| rule.enabled) {
            let prior = self.parts.store.instances(&rule.id);
            let cancel = Arc::new(AtomicBool::new(false));
            let (view, limits) = (snapshot.clone(), query_limits(cancel.clone()));
            let (own_rule, own_prior) = (rule.clone(), prior.clone());
            let mut work =
                spawn_blocking(move || evaluate(&view, &limits, own_rule, own_prior, now));
            let done = if let Ok(done) = timeout(RULE_MAX, &mut work).await {
                done
            } else {
                cancel.store(true, Ordering::Relaxed);
                work.await
            };
            all.push(done.unwrap_or_else(|error| {
                let error = format!("the evaluation panicked: {error}");
                let report = Report { error, at: Some(now), ..Report::default() };
                Evaluated { rule, prior, report, outcome: None }
            }));
            context.heartbeat.beat();
        }
        all
    }

    /// After it is durable, and only then.
    fn tell(&self, all: Vec<Evaluated>) {
        let mut reports = HashMap::new();
        for evaluated in all {
            if !evaluated.report.error.is_empty() {
                self.events.failed(&evaluated.rule.id, &evaluated.report.error);
            }
            for transition in evaluated.outcome.into_iter().flat_map(|outcome| outcome.transitions)
            {
                self.log_transition(&transition);
            }
            reports.insert(evaluated.rule.id, evaluated.report);
        }
        self.parts.rules.set_reports(reports);
    }

    fn log_transition(&self, transition: &Transition) {
        let alert = transition.labels.to_string();
        self.events.transition(
            &transition.rule_id,
            &alert,
            transition.to.name(),
            transition.notified,
        );
    }
}

/// The bounds of a query that nobody cancels.
pub fn query_limits(cancelled: Arc<AtomicBool>) -> Limits {
    /// One for each core but the one that an evaluation runs on: more would only take turns.
    static HELPERS: LazyLock<Arc<Helpers>> = LazyLock::new(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Helpers::new(cores - 1)
    });
    Limits { cancelled, helpers: HELPERS.clone(), ..Limits::default() }
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long the evaluation took, off the async runtime"
)]
fn evaluate(
    snapshot: &Snapshot,
    limits: &Limits,
    rule: Rule,
    prior: Vec<AlertInstance>,
    now: Timestamp,
) -> Evaluated {
    let started = std::time::Instant::now();
    let active = active_series(snapshot, limits, &rule.condition, now);
    let outcome = active.map_err(|error| error.to_string()).and_then(|active| {
        alert::step(&rule, &active.series, &prior, now)
            .map(|outcome| (outcome, active.has_data))
            .map_err(|error| error.to_string())
    });
    let (outcome, has_data, error) = match outcome {
        Ok((outcome, has_data)) => (Some(outcome), has_data, String::new()),
        Err(error) => (None, false, error),
    };
    let report = Report { error, at: Some(now), duration: started.elapsed(), has_data };
    Evaluated { rule, prior, report, outcome }
}

/// What a condition comes to.
struct Active {
    series: Vec<(Labels, f64)>,
    has_data: bool,
}

fn active_series(
    snapshot: &Snapshot,
    limits: &Limits,
    condition: &str,
    now: Timestamp,
) -> Result<Active, QueryError> {
    let query = promql::parse(condition)?;
    let answer = query.instant(snapshot, now, limits)?;
    let series: Vec<(Labels, f64)> = match answer.value {
        Value::Vector(series) => {
            // A distribution is no number, but it is there.
            series.into_iter().map(|(l, point)| (l, point.float().unwrap_or(f64::NAN))).collect()
        }
        // As Prometheus: a scalar is one series without labels.
        Value::Scalar(sample) => vec![(Labels::empty(), sample.value)],
        Value::String(..) | Value::Matrix(_) => {
            return Err(QueryError::Execution(
                "a condition must be a vector or a scalar".to_owned(),
            ));
        }
    };
    let has_data = !series.is_empty() || any_data(snapshot, &query.metric_names(), now);
    Ok(Active { series, has_data })
}

/// Whether any of the metrics has a sample within the look-back.
fn any_data(snapshot: &Snapshot, names: &[String], now: Timestamp) -> bool {
    names.is_empty()
        || names.iter().any(|name| {
            let matchers = vec![crate::model::Matcher::equal(METRIC_NAME, name)];
            let start = now.minus(limits::QUERY_LOOKBACK);
            let selected = snapshot.select(&promql::Selection::raw(matchers, start, now));
            selected.is_ok_and(|selected| !selected.series.is_empty())
        })
}

/// What is to be written: instances only where they changed by more than their value, which moves
/// all the time and is in the samples anyway.
fn changes(all: &[Evaluated]) -> Vec<Change> {
    let mut changes = Vec::new();
    for evaluated in all {
        let Some(outcome) = &evaluated.outcome else { continue };
        if !same_but_for_values(&evaluated.prior, &outcome.instances) {
            let (rule_id, instances) = (evaluated.rule.id.clone(), outcome.instances.clone());
            changes.push(Change::PutInstances { rule_id, instances });
        }
        let transitions = outcome.transitions.iter().cloned();
        changes.extend(transitions.map(Event::AlertTransition).map(Change::AddEvent));
    }
    changes
}

fn same_but_for_values(before: &[AlertInstance], after: &[AlertInstance]) -> bool {
    let same = |(a, b): (&AlertInstance, &AlertInstance)| {
        AlertInstance { value: b.value, ..a.clone() } == *b
    };
    // A NaN value is not equal to itself; then the instance is written once more than needed.
    before.len() == after.len() && before.iter().zip(after).all(same)
}

/// `ALERTS` and `ALERTS_FOR_STATE`, as Prometheus has them.
fn alert_series(all: &[Evaluated], now: Timestamp) -> Vec<SeriesSample> {
    let instances = |evaluated: &Evaluated| match &evaluated.outcome {
        Some(outcome) => outcome.instances.clone(),
        None => evaluated.prior.clone(),
    };
    let mut series = Vec::new();
    for instance in all.iter().flat_map(instances) {
        if !matches!(instance.state, AlertState::Pending | AlertState::Firing) {
            continue;
        }
        let alerts =
            instance.labels.with(METRIC_NAME, "ALERTS").with("alertstate", instance.state.name());
        series.push(SeriesSample::new(alerts, now, 1.0));
        let since = instance.labels.with(METRIC_NAME, "ALERTS_FOR_STATE");
        let active_at = instance.active_at.as_millis().div_euclid(1000) as f64;
        series.push(SeriesSample::new(since, now, active_at));
    }
    series
}
