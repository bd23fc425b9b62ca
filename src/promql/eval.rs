//! The walk over a checked expression, for all steps at once.
//!
//! [`Evaluator::eval`] turns a node into columns (see `columns`); each kind of node has its own file:
//! `select` loads samples, `binary` and `matching` apply operators, `aggregate` joins series,
//! `functions` holds the rest.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    model::{Labels, Sample},
    time::Timestamp,
};

use super::{
    Answer, Limits, Point, PointValue, QueryError, Queryable, SeriesData, Steps, Value, aggregate,
    binary,
    columns::{Column, Evaluated, Grid, Slot, Windows, distinct},
    functions,
    notes::{NOTES_MAX, Notes},
    plan::{Aggregation, Node},
    rollups::{Reader, Reading},
};

type Result<T> = std::result::Result<T, QueryError>;

/// One evaluation: where samples come from, its bounds, and what it has to say.
pub(super) struct Evaluator<'a> {
    pub(super) data: &'a dyn Queryable,
    pub(super) limits: &'a Limits,
    /// What `@ start()` and `@ end()` mean, in milliseconds.
    pub(super) span: (i64, i64),
    /// From one step of the query to the next, in milliseconds; zero at an instant.
    pub(super) step: i64,
    /// Samples loaded so far.
    pub(super) loaded: usize,
    /// Slots of values that are kept while others are computed.
    pub(super) kept: usize,
    /// Whether rollups will do where steps and windows are long. An instant is asked for as exactly as
    /// can be: rules are evaluated there.
    pub(super) may_be_coarse: bool,
    /// Where rollups were read, by their resolution: from the first to the last.
    pub(super) rollups: BTreeMap<Duration, (Timestamp, Timestamp)>,
    pub(super) notes: Notes,
}

/// Evaluates at one instant.
pub(super) fn instant(
    node: &Node,
    data: &dyn Queryable,
    at: Timestamp,
    limits: &Limits,
) -> Result<Answer> {
    let grid = Grid { start: at.as_millis(), step: 1, count: 1 };
    let mut evaluator = Evaluator::new(data, limits, (grid.start, grid.start));
    let value = match evaluator.eval(node, &grid)? {
        Evaluated::Scalar(values) => Value::Scalar(Sample { timestamp: at, value: values[0] }),
        Evaluated::Text(text) => Value::String(at, text),
        Evaluated::Vector(columns) => Value::Vector(vector(columns, at, keeps_order(node))),
        Evaluated::Windows(windows) => Value::Matrix(newest_windows(windows)),
    };
    Ok(evaluator.answer(value))
}

/// Evaluates at every step.
pub(super) fn range(
    node: &Node,
    data: &dyn Queryable,
    steps: Steps,
    limits: &Limits,
) -> Result<Answer> {
    let grid = grid(steps, limits)?;
    let span = (steps.start.as_millis(), steps.end.as_millis());
    let mut evaluator = Evaluator::new(data, limits, span);
    evaluator.may_be_coarse = grid.count > 1;
    evaluator.step = grid.step;
    let columns = match evaluator.eval(node, &grid)? {
        Evaluated::Scalar(values) => vec![Column::of(Labels::empty(), values)],
        Evaluated::Vector(columns) => columns,
        Evaluated::Text(_) | Evaluated::Windows(_) => {
            return Err(QueryError::Execution(format!(
                "invalid expression type {:?} for range query, must be scalar or instant vector",
                node.kind().name()
            )));
        }
    };
    let mut series: Vec<_> = columns.into_iter().map(|column| column.into_series(&grid)).collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(evaluator.answer(Value::Matrix(series)))
}

fn grid(steps: Steps, limits: &Limits) -> Result<Grid> {
    let step = i64::try_from(steps.step.as_millis()).unwrap_or(i64::MAX);
    let (start, end) = (steps.start.as_millis(), steps.end.as_millis());
    if step == 0 {
        return Err(QueryError::Execution("the step must be at least 1ms".into()));
    }
    if end < start {
        return Err(QueryError::Execution("the end of the range lies before its start".into()));
    }
    let further = usize::try_from(end.saturating_sub(start) / step).unwrap_or(usize::MAX);
    let count = further.saturating_add(1);
    check_slots(1, count, limits)?;
    Ok(Grid { start, step, count })
}

/// Fails where columns would need more room than a query may have.
fn check_slots(series: usize, steps: usize, limits: &Limits) -> Result<()> {
    if series.saturating_mul(steps) > limits.samples_max {
        return Err(QueryError::TooMuch(format!(
            "query processing would need {series} series at {steps} steps where {} samples are \
             allowed: ask for fewer series, a shorter range or a longer step",
            limits.samples_max
        )));
    }
    Ok(())
}

fn vector(mut columns: Vec<Column>, at: Timestamp, ordered: bool) -> Vec<(Labels, Point)> {
    if !ordered {
        columns.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    let point = |column: Column| {
        let value = column.slot(0).value()?;
        Some((column.labels, Point { timestamp: at, value }))
    };
    columns.into_iter().filter_map(point).collect()
}

/// Whether the order of a node's result says something.
fn keeps_order(node: &Node) -> bool {
    match node {
        Node::Call(function, _) => function.orders(),
        Node::Aggregate(aggregate) => {
            matches!(aggregate.op, Aggregation::Topk | Aggregation::Bottomk)
        }
        _ => false,
    }
}

fn newest_windows(windows: Windows) -> Vec<SeriesData> {
    let frame = windows.reach.frame(windows.ends.first().copied().unwrap_or_default());
    let seen = |time: Timestamp| (frame.start + 1..=frame.end).contains(&time.as_millis());
    let mut series: Vec<_> = windows.series.into_iter().map(|series| series.data).collect();
    for series in &mut series {
        series.samples.retain(|sample| seen(sample.timestamp));
        series.histograms.retain(|sample| seen(sample.timestamp));
    }
    series.retain(|series| !series.samples.is_empty() || !series.histograms.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

impl<'a> Evaluator<'a> {
    fn new(data: &'a dyn Queryable, limits: &'a Limits, span: (i64, i64)) -> Self {
        let (rollups, notes) = (BTreeMap::new(), Notes::default());
        Self {
            data,
            limits,
            span,
            step: 0,
            loaded: 0,
            kept: 0,
            may_be_coarse: false,
            rollups,
            notes,
        }
    }

    fn answer(self, value: Value) -> Answer {
        Answer {
            value,
            infos: self
                .rollup_notes()
                .take(NOTES_MAX)
                .chain(self.notes.infos.iter().cloned())
                .collect(),
            warnings: self.notes.warnings.into_iter().collect(),
        }
    }

    /// What a node comes to at each step of the grid.
    pub(super) fn eval(&mut self, node: &Node, grid: &Grid) -> Result<Evaluated> {
        self.check_cancelled()?;
        let value = self.value_of(node, grid)?;
        self.check_histograms(&value)?;
        Ok(value)
    }

    fn value_of(&mut self, node: &Node, grid: &Grid) -> Result<Evaluated> {
        match node {
            Node::Number(value) => {
                self.check_slots(1, grid)?;
                Ok(Evaluated::Scalar(vec![*value; grid.count]))
            }
            Node::Text(text) => Ok(Evaluated::Text(text.clone())),
            Node::Selector(selector) => self.instant_selector(selector, grid),
            Node::Timestamps(selector) => self.timestamps(selector, grid),
            Node::Range(selector, range) => {
                self.range_selector((selector, *range), grid, AS_THEY_ARE)
            }
            Node::Subquery(subquery) => self.subquery(subquery, grid),
            Node::Negate(inner) => self.negate(inner, grid),
            Node::Binary(inner) => binary::evaluate(self, inner, grid),
            Node::Aggregate(inner) => aggregate::evaluate(self, inner, grid),
            Node::Call(function, arguments) => functions::evaluate(self, function, arguments, grid),
        }
    }

    /// As [`Self::eval`], for a node that is known to be a scalar.
    pub(super) fn scalar(&mut self, node: &Node, grid: &Grid) -> Result<Vec<f64>> {
        match self.eval(node, grid)? {
            Evaluated::Scalar(values) => Ok(values),
            _ => Err(mistyped(node)),
        }
    }

    /// As [`Self::eval`], for a node that is known to be an instant vector.
    pub(super) fn vector(&mut self, node: &Node, grid: &Grid) -> Result<Vec<Column>> {
        match self.eval(node, grid)? {
            Evaluated::Vector(columns) => Ok(columns),
            _ => Err(mistyped(node)),
        }
    }

    /// As [`Self::eval`], for a node that is known to be a range vector, as `reader` needs it.
    pub(super) fn windows(&mut self, node: &Node, grid: &Grid, reader: Reader) -> Result<Windows> {
        let value = match node {
            Node::Range(selector, range) => self.range_selector((selector, *range), grid, reader),
            _ => self.eval(node, grid),
        };
        match value? {
            Evaluated::Windows(windows) => Ok(windows),
            _ => Err(mistyped(node)),
        }
    }

    fn negate(&mut self, inner: &Node, grid: &Grid) -> Result<Evaluated> {
        match self.eval(inner, grid)? {
            Evaluated::Scalar(values) => {
                Ok(Evaluated::Scalar(values.into_iter().map(|value| -value).collect()))
            }
            Evaluated::Vector(columns) => {
                let negated = columns.into_iter().map(|mut column| {
                    column.drop_name();
                    column.map_slots(|_, slot| negated(slot))
                });
                Ok(Evaluated::Vector(distinct(negated.collect())?))
            }
            _ => Err(mistyped(inner)),
        }
    }

    /// To be called between series and now and then in long loops.
    pub(super) fn check_cancelled(&self) -> Result<()> {
        self.limits.check_cancelled()
    }

    /// To be called before columns are made.
    pub(super) fn check_slots(&self, series: usize, grid: &Grid) -> Result<()> {
        let kept = self.kept.div_ceil(grid.count.max(1));
        check_slots(series.saturating_add(kept), grid.count, self.limits)
    }

    /// Evaluates something while `value` is kept, which counts as long as that takes.
    pub(super) fn beside<T>(
        &mut self,
        value: &Evaluated,
        evaluate: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let slots = value.slots();
        self.kept += slots;
        let outcome = evaluate(self);
        self.kept -= slots;
        outcome
    }

    /// Fails where native histograms take more room than a query may have.
    fn check_histograms(&self, value: &Evaluated) -> Result<()> {
        let Evaluated::Vector(columns) = value else { return Ok(()) };
        let weight: usize = columns.iter().map(Column::histogram_weight).sum();
        if weight.saturating_add(self.kept) > self.limits.samples_max {
            return Err(too_many_histograms(self.limits));
        }
        Ok(())
    }

    pub(super) fn inform(&mut self, text: &str) {
        self.notes.inform(text);
    }
}

/// Histograms have come to weigh too much.
pub(super) fn too_many_histograms(limits: &Limits) -> QueryError {
    QueryError::TooMuch(format!(
        "query processing would keep native histograms as large as {} samples in memory: ask for fewer \
         series or steps",
        limits.samples_max
    ))
}

fn negated(slot: Slot<'_>) -> Option<PointValue> {
    match slot {
        Slot::Absent => None,
        Slot::Float(value) => Some(PointValue::Float(-value)),
        Slot::Histogram(histogram) => Some(PointValue::Histogram(Arc::new(histogram.times(-1.0)))),
    }
}

/// Samples that nobody computes with: all that there are, whatever they stand for.
const AS_THEY_ARE: Reader =
    Reader { name: "a range selector", reading: Reading::Samples { room: 0 } };

/// Types are checked when an expression is parsed, so that this is a defect; an error is kinder
/// than a panic.
fn mistyped(node: &Node) -> QueryError {
    QueryError::Execution(format!("unexpected {} in the expression", node.kind().name()))
}
