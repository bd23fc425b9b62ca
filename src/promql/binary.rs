//! Operators between scalars and vectors. Which series of two vectors meet is decided in `matching`.

use super::{
    QueryError,
    columns::{Column, Evaluated, Grid, merged},
    eval::Evaluator,
    matching,
    plan::{Arithmetic, Binary, Comparison, Operator},
};

type Result<T> = std::result::Result<T, QueryError>;

pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    binary: &Binary,
    grid: &Grid,
) -> Result<Evaluated> {
    let lhs = evaluator.eval(&binary.lhs, grid)?;
    let rhs = evaluator.eval(&binary.rhs, grid)?;
    match (lhs, rhs) {
        (Evaluated::Scalar(left), Evaluated::Scalar(right)) => {
            let pairs = left.into_iter().zip(right);
            let values = pairs.map(|(left, right)| between_scalars(binary.op, left, right));
            Ok(Evaluated::Scalar(values.collect()))
        }
        (Evaluated::Vector(columns), Evaluated::Scalar(scalars)) => {
            let apply = |step: usize, value| combine(binary, value, scalars[step], value);
            Ok(Evaluated::Vector(with_scalar(binary, columns, apply)?))
        }
        (Evaluated::Scalar(scalars), Evaluated::Vector(columns)) => {
            // A comparison that filters keeps the vector's value, whichever side it stands on.
            let apply = |step: usize, value| combine(binary, scalars[step], value, value);
            Ok(Evaluated::Vector(with_scalar(binary, columns, apply)?))
        }
        (Evaluated::Vector(left), Evaluated::Vector(right)) => {
            Ok(Evaluated::Vector(matching::evaluate(evaluator, binary, grid, (left, right))?))
        }
        _ => Err(QueryError::Execution("operators take scalars and instant vectors".into())),
    }
}

fn with_scalar(
    binary: &Binary,
    columns: Vec<Column>,
    apply: impl Fn(usize, f64) -> Option<f64>,
) -> Result<Vec<Column>> {
    let combined = columns.into_iter().map(|mut column| {
        if drops_name(binary) {
            column.drop_name();
        }
        column.map(&apply)
    });
    merged(combined.collect())
}

/// A comparison that filters leaves series as they are; everything else makes new ones.
pub(super) fn drops_name(binary: &Binary) -> bool {
    binary.returns_bool || matches!(binary.op, Operator::Arithmetic(_))
}

/// The result for one pair of values; `kept` is what a comparison lets through.
pub(super) fn combine(binary: &Binary, left: f64, right: f64, kept: f64) -> Option<f64> {
    match binary.op {
        Operator::Arithmetic(op) => Some(arithmetic(op, left, right)),
        Operator::Comparison(op) if binary.returns_bool => Some(truth(compare(op, left, right))),
        Operator::Comparison(op) => compare(op, left, right).then_some(kept),
        // Set operators do not look at values.
        Operator::Set(_) => None,
    }
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
