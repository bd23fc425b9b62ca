//! Aggregations that make one series of each group: series after series into one state for each step, so
//! that memory is walked in order.

use std::sync::Arc;

use crate::{
    model::{Histogram, Labels},
    promql::{
        PointValue,
        columns::{Column, Slot, absent, compact, is_absent},
        notes::Notes,
        numbers::{self, Mean, Sum},
        plan::Aggregation,
    },
};

use super::{Evaluator, Grid, Groups, Result, warn_about_quantiles};

/// What becomes of the values of a step, one after the other.
trait Fold: Copy + Default {
    fn add(&mut self, value: f64);
    /// To be called when there was a value.
    fn finish(self) -> f64;
}

pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    groups: Groups<'_>,
    op: Aggregation,
    (parameter, grid): (&[f64], &Grid),
) -> Result<Vec<Column>> {
    if op == Aggregation::Quantile {
        warn_about_quantiles(&mut evaluator.notes, parameter);
    }
    evaluator.check_slots(groups.groups.len(), grid)?;
    let mut out = Vec::with_capacity(groups.groups.len());
    for (labels, members) in groups.groups {
        evaluator.limits.check_cancelled()?;
        let any_histogram = members.iter().any(|column| column.has_histograms());
        out.push(match op {
            Aggregation::Sum | Aggregation::Avg if any_histogram => {
                let reduce = if op == Aggregation::Sum { total } else { average };
                mixed(&mut evaluator.notes, labels, &members, reduce)
            }
            Aggregation::Count | Aggregation::Group => presence(op, labels, &members),
            _ => {
                if any_histogram {
                    evaluator.notes.inform_of_ignored_in(op.name());
                }
                let values = numbers_of(evaluator, op, &members, parameter)?;
                Column::of(labels, values)
            }
        });
    }
    Ok(compact(out))
}

fn numbers_of(
    evaluator: &Evaluator<'_>,
    op: Aggregation,
    members: &[&Column],
    parameter: &[f64],
) -> Result<Vec<f64>> {
    match op {
        Aggregation::Avg => fold::<Mean>(evaluator, members),
        Aggregation::Min => fold::<Least>(evaluator, members),
        Aggregation::Max => fold::<Greatest>(evaluator, members),
        Aggregation::Stdvar => fold::<Variance>(evaluator, members),
        Aggregation::Stddev => {
            let variances = fold::<Variance>(evaluator, members)?.into_iter();
            Ok(variances.map(|v| if is_absent(v) { v } else { v.sqrt() }).collect())
        }
        Aggregation::Quantile => quantiles(evaluator, members, parameter),
        // The others were seen to above.
        _ => fold::<Sum>(evaluator, members),
    }
}

fn fold<F: Fold>(evaluator: &Evaluator<'_>, members: &[&Column]) -> Result<Vec<f64>> {
    let steps = members.first().map_or(0, |column| column.values.len());
    let mut states: Vec<Option<F>> = vec![None; steps];
    for column in members {
        evaluator.check_cancelled()?;
        for (state, value) in states.iter_mut().zip(&column.values) {
            if !is_absent(*value) {
                state.get_or_insert_default().add(*value);
            }
        }
    }
    Ok(states.into_iter().map(|state| state.map_or_else(absent, Fold::finish)).collect())
}

impl Fold for Sum {
    fn add(&mut self, value: f64) {
        Sum::add(self, value);
    }

    fn finish(self) -> f64 {
        self.value()
    }
}

impl Fold for Mean {
    fn add(&mut self, value: f64) {
        Mean::add(self, value);
    }

    fn finish(self) -> f64 {
        self.value()
    }
}

/// The population variance by Welford's method, without correction, as Prometheus has it here.
#[derive(Clone, Copy, Default)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Variance {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn finish(self) -> f64 {
        self.squares / self.count
    }
}

/// The least value; NaN only where there is nothing else.
#[derive(Clone, Copy)]
struct Least(f64);

/// The greatest value; NaN only where there is nothing else.
#[derive(Clone, Copy)]
struct Greatest(f64);

impl Default for Least {
    fn default() -> Self {
        Self(f64::NAN)
    }
}

impl Default for Greatest {
    fn default() -> Self {
        Self(f64::NAN)
    }
}

impl Fold for Least {
    fn add(&mut self, value: f64) {
        self.0 = numbers::lesser(self.0, value);
    }

    fn finish(self) -> f64 {
        self.0
    }
}

impl Fold for Greatest {
    fn add(&mut self, value: f64) {
        self.0 = numbers::greater(self.0, value);
    }

    fn finish(self) -> f64 {
        self.0
    }
}

fn quantiles(
    evaluator: &Evaluator<'_>,
    members: &[&Column],
    parameter: &[f64],
) -> Result<Vec<f64>> {
    let mut present = Vec::with_capacity(members.len());
    let at = |(step, phi): (usize, &f64)| {
        evaluator.check_cancelled()?;
        present.clear();
        let values = members.iter().map(|column| column.values[step]);
        present.extend(values.filter(|value| !is_absent(*value)));
        Ok(if present.is_empty() { absent() } else { numbers::quantile(*phi, &mut present) })
    };
    parameter.iter().enumerate().map(at).collect()
}

/// How many there are, of whatever kind; or that there are any.
fn presence(op: Aggregation, labels: Labels, members: &[&Column]) -> Column {
    let steps = members.first().map_or(0, |column| column.values.len());
    let mut values = vec![absent(); steps];
    for column in members {
        let present = values.iter_mut().enumerate().filter(|(step, _)| column.has(*step));
        for (_, value) in present {
            let before = if is_absent(*value) || op == Aggregation::Group { 0.0 } else { *value };
            *value = before + 1.0;
        }
    }
    Column::of(labels, values)
}

/// Sums or means where some members have histograms: step by step, since that is rare.
fn mixed(
    notes: &mut Notes,
    labels: Labels,
    members: &[&Column],
    reduce: fn(&[(&Column, Slot<'_>)], &mut Notes) -> Option<PointValue>,
) -> Column {
    let steps = members.first().map_or(0, |column| column.values.len());
    let mut out = Column::empty(labels, steps);
    for step in 0..steps {
        let slots = members.iter().map(|column| (*column, column.slot(step)));
        let present: Vec<_> = slots.filter(|(_, slot)| !matches!(slot, Slot::Absent)).collect();
        out.put(step, reduce(&present, notes));
    }
    out
}

/// All numbers, or all histograms; both together come to nothing, and that is told.
enum Alike<'a> {
    Floats(Vec<f64>),
    Histograms(Vec<(&'a Column, &'a Arc<Histogram>)>),
}

fn alike<'a>(slots: &[(&'a Column, Slot<'a>)], notes: &mut Notes) -> Option<Alike<'a>> {
    let floats: Vec<f64> = slots.iter().filter_map(|(_, slot)| slot.float()).collect();
    let histograms: Vec<_> = slots
        .iter()
        .filter_map(|(column, slot)| match slot {
            Slot::Histogram(histogram) => Some((*column, *histogram)),
            _ => None,
        })
        .collect();
    match (floats.is_empty(), histograms.is_empty()) {
        (true, true) => None,
        (false, true) => Some(Alike::Floats(floats)),
        (true, false) => Some(Alike::Histograms(histograms)),
        (false, false) => {
            notes.warn("encountered a mix of histograms and floats for aggregation");
            None
        }
    }
}

fn total(slots: &[(&Column, Slot<'_>)], notes: &mut Notes) -> Option<PointValue> {
    match alike(slots, notes)? {
        Alike::Floats(values) => Some(PointValue::Float(numbers::sum(values))),
        Alike::Histograms(all) => {
            let (first, rest) = all.split_first()?;
            let sum = rest.iter().try_fold((**first.1).clone(), |sum, (column, histogram)| {
                sum.plus(histogram).map_err(|why| (why, column.labels.metric()))
            });
            finished(sum, notes)
        }
    }
}

fn average(slots: &[(&Column, Slot<'_>)], notes: &mut Notes) -> Option<PointValue> {
    match alike(slots, notes)? {
        Alike::Floats(values) => Some(PointValue::Float(numbers::mean(values.into_iter()))),
        Alike::Histograms(all) => {
            let (first, rest) = all.split_first()?;
            let mean = rest.iter().enumerate().try_fold(
                (**first.1).clone(),
                |mean, (index, (column, histogram))| {
                    numbers::mean_step(&mean, histogram, (index + 2) as f64)
                        .map_err(|why| (why, column.labels.metric()))
                },
            );
            finished(mean, notes)
        }
    }
}

fn finished(
    outcome: std::result::Result<Histogram, (crate::model::Incompatible, &str)>,
    notes: &mut Notes,
) -> Option<PointValue> {
    match outcome {
        Ok(histogram) => Some(PointValue::Histogram(Arc::new(histogram))),
        Err((why, metric)) => {
            notes.warn_of_incompatible(why, metric);
            None
        }
    }
}
