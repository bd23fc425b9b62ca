//! Aggregations: series of a group become one, or (topk, bottomk) the best of them stay.

use std::{cmp::Ordering, collections::HashMap};

use crate::model::{Labels, is_label_name};

use super::{
    QueryError,
    columns::{Column, Evaluated, Grid, absent, compact, is_absent},
    eval::Evaluator,
    matching::chosen,
    numbers,
    plan::{Aggregate, Aggregation, LabelSet, Node},
};

type Result<T> = std::result::Result<T, QueryError>;

pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    aggregate: &Aggregate,
    grid: &Grid,
) -> Result<Evaluated> {
    let columns = evaluator.vector(&aggregate.inner, grid)?;
    if let (Aggregation::CountValues, Some(Node::Text(label))) =
        (aggregate.op, &aggregate.parameter)
    {
        return count_values(evaluator, &columns, label, (&aggregate.grouping, grid));
    }
    let parameter = match &aggregate.parameter {
        Some(node) => evaluator.scalar(node, grid)?,
        None => Vec::new(),
    };
    let groups = Groups::new(&columns, |labels| chosen_by(&aggregate.grouping, labels));
    let out = match aggregate.op {
        Aggregation::Topk => best(evaluator, &groups, &parameter, descending)?,
        Aggregation::Bottomk => best(evaluator, &groups, &parameter, ascending)?,
        Aggregation::Quantile => {
            warn_about_quantiles(evaluator, &parameter);
            fold(evaluator, groups, grid, |step, values| {
                numbers::quantile(parameter[step], values.to_vec())
            })?
        }
        op => fold(evaluator, groups, grid, |_, values| reduce(op, values))?,
    };
    Ok(Evaluated::Vector(out))
}

/// Aggregations drop the metric name unless `by` asks for it.
fn chosen_by(grouping: &LabelSet, labels: &Labels) -> Labels {
    match grouping {
        LabelSet::Only(names) if names.is_empty() => Labels::empty(),
        _ => chosen(grouping, labels),
    }
}

pub(super) fn warn_about_quantiles(evaluator: &mut Evaluator<'_>, parameter: &[f64]) {
    for phi in parameter.iter().filter(|phi| !(0.0..=1.0).contains(*phi)) {
        evaluator.warn(&format!("quantile value should be between 0 and 1, got {phi}"));
    }
}

/// Columns by the labels of their group, in order of appearance.
struct Groups<'a> {
    places: HashMap<Labels, usize>,
    groups: Vec<(Labels, Vec<&'a Column>)>,
}

impl<'a> Groups<'a> {
    fn new(columns: &'a [Column], key: impl Fn(&Labels) -> Labels) -> Self {
        let mut out = Self { places: HashMap::new(), groups: Vec::new() };
        for column in columns {
            let place = out.place(key(&column.labels));
            out.groups[place].1.push(column);
        }
        out
    }

    fn place(&mut self, key: Labels) -> usize {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        self.places.insert(key.clone(), self.groups.len());
        self.groups.push((key, Vec::new()));
        self.groups.len() - 1
    }
}

/// One column for each group, from the values that its members have at each step.
fn fold(
    evaluator: &Evaluator<'_>,
    groups: Groups<'_>,
    grid: &Grid,
    reduce: impl Fn(usize, &[f64]) -> f64,
) -> Result<Vec<Column>> {
    let mut present = Vec::new();
    let mut out = Vec::with_capacity(groups.groups.len());
    for (labels, members) in groups.groups {
        let slot = |step: usize| {
            evaluator.check_cancelled()?;
            present.clear();
            let values = members.iter().map(|column| column.values[step]);
            present.extend(values.filter(|value| !is_absent(*value)));
            Ok(if present.is_empty() { absent() } else { reduce(step, &present) })
        };
        let values = (0..grid.count).map(slot).collect::<Result<_>>()?;
        out.push(Column { labels, values });
    }
    Ok(compact(out))
}

fn reduce(op: Aggregation, values: &[f64]) -> f64 {
    match op {
        Aggregation::Sum => numbers::sum(values.iter().copied()),
        Aggregation::Avg => numbers::mean(values.iter().copied()),
        Aggregation::Min => numbers::least(values.iter().copied()),
        Aggregation::Max => numbers::greatest(values.iter().copied()),
        Aggregation::Count => values.len() as f64,
        Aggregation::Group => 1.0,
        Aggregation::Stdvar => numbers::variance(values.iter().copied()),
        Aggregation::Stddev => numbers::variance(values.iter().copied()).sqrt(),
        // These have their own ways above.
        Aggregation::Topk
        | Aggregation::Bottomk
        | Aggregation::Quantile
        | Aggregation::CountValues => f64::NAN,
    }
}

/// NaN comes last, whichever way the numbers go.
fn descending(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

/// NaN comes last, whichever way the numbers go.
fn ascending(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// The order of [`ascending`] and [`descending`] is what `sort` and `sort_desc` want, too.
pub(super) fn sort(columns: &mut [Column], down: bool) {
    let order = if down { descending } else { ascending };
    columns.sort_by(|a, b| order(a.values[0], b.values[0]));
}

/// At each step, the first so many of each group in the given order.
fn best(
    evaluator: &Evaluator<'_>,
    groups: &Groups<'_>,
    parameter: &[f64],
    order: fn(f64, f64) -> Ordering,
) -> Result<Vec<Column>> {
    let mut out = Vec::new();
    for (_, members) in &groups.groups {
        let empty = |column: &&Column| Column {
            labels: column.labels.clone(),
            values: vec![absent(); parameter.len()],
        };
        let mut kept: Vec<Column> = members.iter().map(empty).collect();
        for (step, wanted) in parameter.iter().enumerate() {
            evaluator.check_cancelled()?;
            let wanted = how_many(*wanted)?;
            let mut ranking: Vec<usize> =
                (0..members.len()).filter(|index| members[*index].has(step)).collect();
            // Equal values go by their labels, so that the choice does not hang on the other steps.
            ranking.sort_by(|a, b| {
                let (a, b) = (&members[*a], &members[*b]);
                order(a.values[step], b.values[step]).then_with(|| a.labels.cmp(&b.labels))
            });
            for index in ranking.into_iter().take(wanted) {
                kept[index].values[step] = members[index].values[step];
            }
        }
        let mut kept = compact(kept);
        if parameter.len() == 1 {
            kept.sort_by(|a, b| {
                order(a.values[0], b.values[0]).then_with(|| a.labels.cmp(&b.labels))
            });
        }
        out.extend(kept);
    }
    Ok(out)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the sign is checked")]
fn how_many(wanted: f64) -> Result<usize> {
    if wanted.is_nan() {
        return Err(QueryError::Execution("the number of series to keep is NaN".into()));
    }
    // `as` saturates: more than there are is all of them.
    Ok(if wanted < 1.0 { 0 } else { wanted as usize })
}

/// How many series have each value, with the value as a label.
fn count_values(
    evaluator: &Evaluator<'_>,
    columns: &[Column],
    label: &str,
    (grouping, grid): (&LabelSet, &Grid),
) -> Result<Evaluated> {
    if !is_label_name(label) {
        return Err(QueryError::Execution(format!("invalid label name {label:?}")));
    }
    let grouping = match grouping {
        LabelSet::Only(names) => {
            LabelSet::Only(names.iter().cloned().chain([label.to_owned()]).collect())
        }
        LabelSet::AllBut(_) => grouping.clone(),
    };
    let mut counts: HashMap<Labels, Vec<f64>> = HashMap::new();
    for column in columns {
        evaluator.check_cancelled()?;
        for step in (0..grid.count).filter(|step| column.has(*step)) {
            let valued = column.labels.with(label, &format_value(column.values[step]));
            let key = chosen(&grouping, &valued);
            if !counts.contains_key(&key) {
                evaluator.check_slots(counts.len() + 1, grid)?;
            }
            let slots = counts.entry(key).or_insert_with(|| vec![absent(); grid.count]);
            let before = if is_absent(slots[step]) { 0.0 } else { slots[step] };
            slots[step] = before + 1.0;
        }
    }
    let column = |(labels, values)| Column { labels, values };
    Ok(Evaluated::Vector(counts.into_iter().map(column).collect()))
}

/// A value without an exponent, as Prometheus writes it into labels.
fn format_value(value: f64) -> String {
    if value == f64::INFINITY {
        return "+Inf".into();
    }
    if value == f64::NEG_INFINITY {
        return "-Inf".into();
    }
    value.to_string()
}
