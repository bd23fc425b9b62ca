//! One pure step: a rule, the series its condition holds for, and the instances before → the
//! instances after, and what changed. No PromQL, no storage, no channels, no clock.

use crate::{
    model::{AlertInstance, Labels, Rule, Transition},
    time::Timestamp,
};

/// What one evaluation comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The instances that remain: pending, firing, and resolved ones whose cooldown lasts.
    pub instances: Vec<AlertInstance>,
    /// What changed.
    pub transitions: Vec<Transition>,
}

/// Applies the result of one evaluation (`active`: each series' labels and value) at `now`.
pub fn step(
    rule: &Rule,
    active: &[(Labels, f64)],
    prior: &[AlertInstance],
    now: Timestamp,
) -> Result<Outcome, String> {
    let _ = (rule, active, prior, now);
    todo!()
}
