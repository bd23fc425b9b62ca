//! Aggregations: series of a group become one (`fold`), or some of them stay (`best`).

mod best;
mod count_values;
mod fold;

use hashbrown::HashMap;

use crate::model::Labels;

use super::{
    QueryError,
    columns::{Column, Evaluated, Grid},
    eval::Evaluator,
    matching::chosen,
    notes::Notes,
    plan::{Aggregate, Aggregation, LabelSet, Node},
};

pub(super) use best::sort;

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
        return count_values::evaluate(evaluator, &columns, label, (&aggregate.grouping, grid));
    }
    let parameter = match &aggregate.parameter {
        Some(node) => evaluator.scalar(node, grid)?,
        None => Vec::new(),
    };
    let groups = Groups::new(&columns, &aggregate.grouping);
    let out = match aggregate.op {
        Aggregation::Topk | Aggregation::Bottomk | Aggregation::Limitk => {
            best::evaluate(evaluator, &groups, aggregate.op, &parameter)?
        }
        Aggregation::LimitRatio => best::sampled(evaluator, columns, &parameter)?,
        op => fold::evaluate(evaluator, groups, op, (&parameter, grid))?,
    };
    Ok(Evaluated::Vector(out))
}

/// Says where a quantile is none.
pub(super) fn warn_about_quantiles(notes: &mut Notes, parameter: &[f64]) {
    for phi in parameter.iter().filter(|phi| !(0.0..=1.0).contains(*phi)) {
        let phi = crate::promql::numbers::shown(*phi);
        notes.warn(&format!("quantile value should be between 0 and 1, got {phi}"));
    }
}

/// Columns by the labels of their group, in order of appearance.
struct Groups<'a> {
    places: HashMap<Labels, usize>,
    groups: Vec<(Labels, Vec<&'a Column>)>,
}

impl<'a> Groups<'a> {
    /// Aggregations drop the metric name unless `by` asks for it.
    fn new(columns: &'a [Column], grouping: &LabelSet) -> Self {
        let mut out = Self { places: HashMap::new(), groups: Vec::new() };
        if matches!(grouping, LabelSet::Only(names) if names.is_empty()) {
            if !columns.is_empty() {
                out.groups.push((Labels::empty(), columns.iter().collect()));
            }
            return out;
        }
        for column in columns {
            let place = out.place(chosen(grouping, &column.labels));
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
