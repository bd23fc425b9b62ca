//! Quantiles and shares: of windows, and of histograms whether classic or native.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    model::Labels,
    promql::{
        PointValue,
        aggregate::warn_about_quantiles,
        columns::{Column, Slot, merged},
        notes::Notes,
        numbers,
        rollups::Reading,
    },
};

use super::{
    Call, Evaluated, Result, Window,
    classic::{self, Buckets},
    native,
    windows::{Shape, Slide, slide},
};

/// The parameter comes first, unlike in the other functions of windows.
pub(super) fn over_time(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let phi = call.scalar(0)?;
    let windows = call.windows(1, Reading::Samples { room: 1 })?;
    let parameters: Vec<Vec<f64>> = phi.iter().map(|phi| vec![*phi]).collect();
    let quantiles = slide(call, windows, (&SortedWindows, Shape::default()), &parameters)?;
    if matches!(&quantiles, Evaluated::Vector(columns) if !columns.is_empty()) {
        warn_about_quantiles(&mut call.evaluator.notes, &phi);
    }
    Ok(quantiles)
}

/// Keeps the values of a window sorted as it moves on, since most of them stay in it.
struct SortedWindows;

#[derive(Default)]
struct Sorted {
    /// Times and values, as they came.
    window: VecDeque<(i64, f64)>,
    /// The values in order.
    values: Vec<f64>,
}

impl Slide for SortedWindows {
    type State = Sorted;

    fn floats(&self, state: &mut Sorted, window: &Window<'_>) -> Option<f64> {
        state.move_to(window);
        Some(numbers::quantile_of_sorted(*window.parameters.first()?, &state.values))
    }
}

impl Sorted {
    fn move_to(&mut self, window: &Window<'_>) {
        let known = self.window.back().map_or(i64::MIN, |(time, _)| *time);
        let fresh = window.samples.partition_point(|sample| sample.timestamp.as_millis() <= known);
        let fresh = &window.samples[fresh..];
        // A window that widens, or that is mostly new, is sorted afresh.
        let begins = window.samples.first().map_or(i64::MAX, |s| s.timestamp.as_millis());
        let widens = self.window.front().is_none_or(|(time, _)| begins < *time);
        if widens || fresh.len() * 2 > window.samples.len() {
            self.fill(window);
            return;
        }
        while let Some((_, value)) = self.window.pop_front_if(|(time, _)| *time < begins) {
            let at = self.place(value);
            self.values.remove(at);
        }
        for sample in fresh {
            self.window.push_back((sample.timestamp.as_millis(), sample.value));
            let at = self.place(sample.value);
            self.values.insert(at, sample.value);
        }
    }

    fn fill(&mut self, window: &Window<'_>) {
        self.window.clear();
        self.window.extend(window.samples.iter().map(|s| (s.timestamp.as_millis(), s.value)));
        self.values.clear();
        self.values.extend(window.values());
        self.values.sort_unstable_by(numbers::by_value);
    }

    fn place(&self, value: f64) -> usize {
        self.values.partition_point(|known| numbers::by_value(known, &value).is_lt())
    }
}

pub(super) fn quantile(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let phi = call.scalar(0)?;
    let columns = call.vector(1)?;
    warn_about_quantiles(&mut call.evaluator.notes, &phi);
    let (classic, natives) = told_apart(call, columns);
    Ok(Evaluated::Vector(merged(quantiles_of(call, &classic, &natives, &phi)?)?))
}

/// A series for each quantile, which is the value of a label.
pub(super) fn quantiles(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let label = call.text(1).to_owned();
    let columns = call.vector(0)?;
    let (classic, natives) = told_apart(call, columns);
    let mut out = Vec::new();
    for index in 2..call.arguments.len() {
        let phi = call.scalar(index)?;
        warn_about_quantiles(&mut call.evaluator.notes, &phi);
        let value = phi.first().map_or_else(String::new, |phi| numbers::shown(*phi));
        let of_one = quantiles_of(call, &classic, &natives, &phi)?;
        out.extend(of_one.into_iter().map(|mut column| {
            column.labels = column.labels.with(&label, &value);
            column
        }));
    }
    Ok(Evaluated::Vector(merged(out)?))
}

fn quantiles_of(
    call: &mut Call<'_, '_>,
    classic: &BTreeMap<Labels, Buckets>,
    natives: &[Column],
    phi: &[f64],
) -> Result<Vec<Column>> {
    let mut notes = Notes::default();
    let mut out = Vec::with_capacity(classic.len() + natives.len());
    for column in natives {
        call.evaluator.check_cancelled()?;
        out.push(of_native(column, |step, histogram, metric| {
            native::quantile(phi[step], histogram, metric, &mut notes)
        }));
    }
    for (labels, buckets) in classic {
        call.evaluator.check_cancelled()?;
        let mut mended = false;
        let of_step = |step| buckets.quantile(step, phi[step], &mut mended);
        out.push(of_classic(call, labels, of_step));
        if mended {
            notes.inform(&format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) \
                 for metric name {:?}",
                labels.metric()
            ));
        }
    }
    call.evaluator.notes.merge(notes);
    out.iter_mut().for_each(Column::drop_name);
    Ok(out)
}

pub(super) fn fraction(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let (lower, upper) = (call.scalar(0)?, call.scalar(1)?);
    let columns = call.vector(2)?;
    let (classic, natives) = told_apart(call, columns);
    let ends = |step: usize| (lower[step], upper[step]);
    let mut notes = Notes::default();
    let mut out = Vec::with_capacity(classic.len() + natives.len());
    for column in &natives {
        call.evaluator.check_cancelled()?;
        out.push(of_native(column, |step, histogram, metric| {
            native::fraction(ends(step), histogram, metric, &mut notes)
        }));
    }
    for (labels, buckets) in &classic {
        call.evaluator.check_cancelled()?;
        out.push(of_classic(call, labels, |step| buckets.fraction(step, ends(step))));
    }
    call.evaluator.notes.merge(notes);
    out.iter_mut().for_each(Column::drop_name);
    Ok(Evaluated::Vector(merged(out)?))
}

fn of_native(
    column: &Column,
    mut apply: impl FnMut(usize, &crate::model::Histogram, &str) -> f64,
) -> Column {
    let metric = column.labels.metric().to_owned();
    column.clone().map_slots(|step, slot| match slot {
        Slot::Histogram(histogram) => Some(PointValue::Float(apply(step, histogram, &metric))),
        _ => None,
    })
}

fn of_classic(
    call: &Call<'_, '_>,
    labels: &Labels,
    mut of_step: impl FnMut(usize) -> Option<f64>,
) -> Column {
    let mut column = Column::empty(labels.clone(), call.grid.count);
    for step in 0..call.grid.count {
        column.put(step, of_step(step).map(PointValue::Float));
    }
    column
}

/// Classic histograms and native ones; where both are there under the same labels, neither is.
fn told_apart(
    call: &mut Call<'_, '_>,
    columns: Vec<Column>,
) -> (BTreeMap<Labels, Buckets>, Vec<Column>) {
    let notes = &mut call.evaluator.notes;
    let mut natives: Vec<Column> =
        columns.iter().filter(|column| column.has_histograms()).cloned().collect();
    let with_floats = columns.into_iter().filter(Column::has_floats);
    let mut classic = classic::histograms(with_floats.collect(), notes);
    for column in &mut natives {
        let Some(buckets) = classic.get_mut(&column.labels) else { continue };
        let both = |step: usize| column.slot(step).is_histogram() && buckets.has(step);
        let clashing: Vec<bool> = (0..call.grid.count).map(both).collect();
        if clashing.contains(&true) {
            let metric = column.labels.metric();
            notes.warn(&format!(
                "vector contains a mix of classic and native histograms for metric name {metric:?}"
            ));
            column.retain(|step| !clashing[step]);
            buckets.retain(|step| !clashing[step]);
        }
    }
    (classic, natives)
}
