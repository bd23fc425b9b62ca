//! Operators between scalars and vectors. Which series of two vectors meet is decided in `matching`.

use std::sync::Arc;

use crate::model::Histogram;

use super::{
    PointValue, QueryError,
    columns::{Column, Evaluated, Grid, Slot, compact, nameless},
    eval::Evaluator,
    matching,
    notes::Notes,
    plan::{Arithmetic, Binary, Comparison, Operator},
};

type Result<T> = std::result::Result<T, QueryError>;

pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    binary: &Binary,
    grid: &Grid,
) -> Result<Evaluated> {
    let lhs = evaluator.eval(&binary.lhs, grid)?;
    let rhs = evaluator.beside(&lhs, |evaluator| evaluator.eval(&binary.rhs, grid))?;
    match (lhs, rhs) {
        (Evaluated::Scalar(left), Evaluated::Scalar(right)) => {
            let pairs = left.into_iter().zip(right);
            let values = pairs.map(|(left, right)| between_scalars(binary.op, left, right));
            Ok(Evaluated::Scalar(values.collect()))
        }
        (Evaluated::Vector(columns), Evaluated::Scalar(scalars)) => {
            Ok(Evaluated::Vector(with_scalar(evaluator, binary, (columns, &scalars), Side::Left)?))
        }
        (Evaluated::Scalar(scalars), Evaluated::Vector(columns)) => {
            Ok(Evaluated::Vector(with_scalar(evaluator, binary, (columns, &scalars), Side::Right)?))
        }
        (Evaluated::Vector(left), Evaluated::Vector(right)) => {
            Ok(Evaluated::Vector(matching::evaluate(evaluator, binary, grid, (left, right))?))
        }
        _ => Err(QueryError::Execution("operators take scalars and instant vectors".into())),
    }
}

/// Where the vector stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

fn with_scalar(
    evaluator: &mut Evaluator<'_>,
    binary: &Binary,
    (columns, scalars): (Vec<Column>, &[f64]),
    side: Side,
) -> Result<Vec<Column>> {
    let notes = &mut evaluator.notes;
    // A comparison that filters keeps the vector's value, whichever side it stands on.
    let floats = |step: usize, value: f64| {
        let pair = if side == Side::Left { (value, scalars[step]) } else { (scalars[step], value) };
        combine(binary, pair, value)
    };
    let combined = columns.into_iter().map(|column| {
        if !column.has_histograms() {
            return column.map(floats);
        }
        column.map_slots(|step, slot| {
            let scalar = Slot::Float(scalars[step]);
            let pair = if side == Side::Left { (slot, scalar) } else { (scalar, slot) };
            combine_slots(binary, pair, slot, notes)
        })
    });
    let combined = combined.collect();
    if drops_name(binary) { nameless(combined) } else { Ok(compact(combined)) }
}

/// A comparison that filters leaves series as they are; everything else makes new ones.
pub(super) fn drops_name(binary: &Binary) -> bool {
    binary.returns_bool || matches!(binary.op, Operator::Arithmetic(_))
}

/// The result for one pair of numbers; `kept` is what a comparison lets through.
pub(super) fn combine(binary: &Binary, (left, right): (f64, f64), kept: f64) -> Option<f64> {
    match binary.op {
        Operator::Arithmetic(op) => Some(arithmetic(op, left, right)),
        Operator::Comparison(op) if binary.returns_bool => Some(truth(compare(op, left, right))),
        Operator::Comparison(op) => compare(op, left, right).then_some(kept),
        // Set operators do not look at values.
        Operator::Set(_) => None,
    }
}

/// The result for one pair of whatever there is; `kept` is what a comparison lets through.
pub(super) fn combine_slots(
    binary: &Binary,
    pair: (Slot<'_>, Slot<'_>),
    kept: Slot<'_>,
    notes: &mut Notes,
) -> Option<PointValue> {
    match (binary.op, pair) {
        (_, (Slot::Absent, _) | (_, Slot::Absent)) => None,
        (_, (Slot::Float(left), Slot::Float(right))) => {
            combine(binary, (left, right), kept.float()?).map(PointValue::Float)
        }
        (Operator::Comparison(op), (Slot::Histogram(left), Slot::Histogram(right)))
            if matches!(op, Comparison::Equal | Comparison::NotEqual) =>
        {
            let holds = same(left, right) == (op == Comparison::Equal);
            if binary.returns_bool {
                return Some(PointValue::Float(truth(holds)));
            }
            kept.value().filter(|_| holds)
        }
        (Operator::Arithmetic(op), pair) => {
            distribution(op, pair, notes).map(|h| PointValue::Histogram(Arc::new(h)))
        }
        (op, pair) => {
            inform_of_types(op.symbol(), pair, notes);
            None
        }
    }
}

/// Bit by bit, whatever is known of the samples before them.
fn same(left: &Histogram, right: &Histogram) -> bool {
    left.hinted(right.reset) == *right
}

/// Arithmetic of which one side at least is a histogram.
fn distribution(
    op: Arithmetic,
    pair: (Slot<'_>, Slot<'_>),
    notes: &mut Notes,
) -> Option<Histogram> {
    let outcome = match (op, pair) {
        (
            Arithmetic::Mul,
            (Slot::Histogram(histogram), Slot::Float(factor))
            | (Slot::Float(factor), Slot::Histogram(histogram)),
        ) => Ok(histogram.times(factor)),
        (Arithmetic::Div, (Slot::Histogram(histogram), Slot::Float(divisor))) => {
            Ok(histogram.divided_by(divisor))
        }
        (Arithmetic::Add, (Slot::Histogram(left), Slot::Histogram(right))) => left.plus(right),
        (Arithmetic::Sub, (Slot::Histogram(left), Slot::Histogram(right))) => left.minus(right),
        (op, pair) => {
            inform_of_types(Operator::Arithmetic(op).symbol(), pair, notes);
            return None;
        }
    };
    if outcome.is_err() {
        let symbol = Operator::Arithmetic(op).symbol();
        notes.warn(&format!("incompatible bucket layout encountered for binary operator {symbol}"));
    }
    outcome.ok()
}

fn inform_of_types(symbol: &str, (left, right): (Slot<'_>, Slot<'_>), notes: &mut Notes) {
    let kind = |slot| if matches!(slot, Slot::Histogram(_)) { "histogram" } else { "float" };
    notes.inform(&format!(
        "incompatible sample types encountered for binary operator {symbol:?}: {} {symbol} {}",
        kind(left),
        kind(right)
    ));
}

fn between_scalars(op: Operator, left: f64, right: f64) -> f64 {
    match op {
        Operator::Arithmetic(op) => arithmetic(op, left, right),
        Operator::Comparison(op) => truth(compare(op, left, right)),
        // Refused when the expression is parsed.
        Operator::Set(_) => f64::NAN,
    }
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn arithmetic(op: Arithmetic, left: f64, right: f64) -> f64 {
    match op {
        Arithmetic::Add => left + right,
        Arithmetic::Sub => left - right,
        Arithmetic::Mul => left * right,
        Arithmetic::Div => left / right,
        Arithmetic::Mod => left % right,
        Arithmetic::Pow => left.powf(right),
        Arithmetic::Atan2 => left.atan2(right),
    }
}

#[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
fn compare(op: Comparison, left: f64, right: f64) -> bool {
    match op {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}
