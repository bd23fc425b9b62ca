//! What a rule would have done over history.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    model::{AlertState, Backtest, Labels, Rule, Sample, Transition},
    time::Timestamp,
};

use super::instances::{Outcome, StepError, step};

/// Takes a [`step`] at each of the instants `start`, `start + every` … `end`, where `active` holds,
/// for each series of the condition's result, the samples at those instants (a range evaluation's
/// matrix). Begins with no instances.
///
/// `firing_time` adds up all instances; one that still fires at the end has fired until then.
///
/// # Panics
/// When `every` is zero.
pub fn backtest(
    rule: &Rule,
    active: &[(Labels, Vec<Sample>)],
    (start, end): (Timestamp, Timestamp),
    every: Duration,
) -> Result<Backtest, StepError> {
    assert!(!every.is_zero(), "a backtest moves on with each step");
    let mut tally =
        Tally { report: Backtest { start, end, ..Backtest::default() }, ..Tally::default() };
    let mut series: Vec<_> =
        active.iter().map(|(labels, samples)| (labels, &samples[..])).collect();
    let mut instances = Vec::new();
    let mut now = start;
    while now <= end {
        let holding = advance(&mut series, now);
        let Outcome { instances: after, transitions, .. } = step(rule, &holding, &instances, now)?;
        for transition in &transitions {
            tally.count(transition);
        }
        instances = after;
        now = now.plus(every);
    }
    let firing = instances.iter().filter(|instance| instance.state == AlertState::Firing);
    firing.filter_map(|instance| instance.fired_at).for_each(|since| tally.add_firing(since, end));
    Ok(tally.into_report())
}

/// The series that have a sample at `now`; moves each on to its samples after it.
fn advance(series: &mut [(&Labels, &[Sample])], now: Timestamp) -> Vec<(Labels, f64)> {
    let mut holding = Vec::new();
    for (labels, samples) in series {
        let passed = samples.iter().take_while(|sample| sample.timestamp <= now).count();
        let (past, rest) = samples.split_at(passed);
        *samples = rest;
        if let Some(sample) = past.last().filter(|sample| sample.timestamp == now) {
            holding.push(((*labels).clone(), sample.value));
        }
    }
    holding
}

/// What the transitions so far come to.
#[derive(Default)]
struct Tally {
    report: Backtest,
    series: BTreeSet<Labels>,
    /// Instances that fire, and since when.
    firing: Vec<(Labels, Timestamp)>,
}

impl Tally {
    fn count(&mut self, transition: &Transition) {
        match (transition.from, transition.to) {
            (AlertState::Firing, AlertState::Resolved) => self.resolved(transition),
            (AlertState::Firing, _) => {}
            (_, AlertState::Firing) => self.fired(transition),
            _ => {}
        }
    }

    fn fired(&mut self, transition: &Transition) {
        self.report.firing_count += 1;
        self.report.first_firing.get_or_insert(transition.time);
        self.report.last_firing = Some(transition.time);
        self.series.insert(transition.labels.clone());
        self.firing.push((transition.labels.clone(), transition.time));
    }

    fn resolved(&mut self, transition: &Transition) {
        let place = self.firing.iter().position(|(labels, _)| *labels == transition.labels);
        if let Some(place) = place {
            let (_, since) = self.firing.swap_remove(place);
            self.add_firing(since, transition.time);
        }
    }

    fn add_firing(&mut self, since: Timestamp, until: Timestamp) {
        self.report.firing_time += until.since(since);
    }

    fn into_report(self) -> Backtest {
        Backtest {
            series_count: u64::try_from(self.series.len()).unwrap_or(u64::MAX),
            ..self.report
        }
    }
}
