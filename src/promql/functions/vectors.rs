//! Functions on whole vectors, and between vectors and scalars.

use std::collections::BTreeSet;

use crate::{
    model::{Labels, METRIC_NAME, MatchOp},
    promql::{
        PointValue,
        columns::{self, Column, Cursor, nameless},
        plan::Node,
        rollups::Reading,
    },
};

use super::{Call, Evaluated, Result};

/// A column where `present` is false at some step, with the labels that the argument asks for.
fn where_missing(argument: &Node, present: &[bool]) -> Evaluated {
    let slot = |present: &bool| if *present { columns::absent() } else { 1.0 };
    let column = Column::of(asked_for(argument), present.iter().map(slot).collect());
    Evaluated::Vector(columns::compact(vec![column]))
}

/// The labels that a selector asks for by equality; what comes later and asks otherwise takes them away.
fn asked_for(argument: &Node) -> Labels {
    let matchers = argument.selector().map_or(&[][..], |selector| &selector.matchers);
    let mut seen = BTreeSet::new();
    let mut labels = Labels::empty();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        let first = matcher.op() == MatchOp::Equal && seen.insert(matcher.name());
        labels = labels.with(matcher.name(), if first { matcher.value() } else { "" });
    }
    labels
}

pub(super) fn absent_vector(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let columns = call.vector(0)?;
    let any = |step| columns.iter().any(|column| column.has(step));
    let present: Vec<bool> = (0..call.grid.count).map(any).collect();
    Ok(where_missing(&call.arguments[0], &present))
}

pub(super) fn absent_over_time(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let windows = call.windows(0, Reading::Newest)?;
    let mut present = vec![false; call.grid.count];
    for series in &windows.series {
        call.evaluator.check_cancelled()?;
        let [mut cursor, mut other] = [const { Cursor::new() }; 2];
        for (slot, end) in present.iter_mut().zip(&windows.ends) {
            let frame = windows.reach.frame(*end);
            let samples = cursor.window(&series.data.samples, frame.start, frame.end);
            let histograms = other.window(&series.data.histograms, frame.start, frame.end);
            *slot |= !frame.seen(samples).is_empty() || !histograms.is_empty();
        }
    }
    Ok(where_missing(&call.arguments[0], &present))
}

pub(super) fn scalar(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let columns = call.vector(0)?;
    let only = |step: usize| {
        let mut present = columns.iter().filter_map(|column| column.slot(step).float());
        match (present.next(), present.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    Ok(Evaluated::Scalar((0..call.grid.count).map(only).collect()))
}

pub(super) fn vector(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let values = call.scalar(0)?;
    Ok(Evaluated::Vector(vec![Column::of(Labels::empty(), values)]))
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
pub(super) fn time(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    Ok(Evaluated::Scalar(call.grid.seconds()))
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
pub(super) fn pi(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    Ok(Evaluated::Scalar(vec![std::f64::consts::PI; call.grid.count]))
}

/// Of anything but a plain selector (see `Node::Timestamps`), samples are as old as the step.
pub(super) fn timestamp(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let seconds = call.grid.seconds();
    let columns = call
        .vector(0)?
        .into_iter()
        .map(|column| column.map_slots(|step, _| Some(PointValue::Float(seconds[step]))));
    Ok(Evaluated::Vector(nameless(columns.collect())?))
}

pub(super) fn start(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let start = call.evaluator.span.0;
    constant(call, start as f64 / 1000.0)
}

pub(super) fn end(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let end = call.evaluator.span.1;
    constant(call, end as f64 / 1000.0)
}

pub(super) fn range(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let (start, end) = call.evaluator.span;
    constant(call, (end - start) as f64 / 1000.0)
}

/// Of the query, not of a subquery; an instant has none.
pub(super) fn step(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let step = call.evaluator.step;
    constant(call, step as f64 / 1000.0)
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn constant(call: &Call<'_, '_>, value: f64) -> Result<Evaluated> {
    Ok(Evaluated::Scalar(vec![value; call.grid.count]))
}
