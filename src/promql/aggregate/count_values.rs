//! `count_values`: how many series have each value, with the value as a label.

use hashbrown::HashMap;

use crate::model::Labels;

use super::{Evaluated, Evaluator, Grid, LabelSet, QueryError, Result, chosen};
use crate::promql::columns::{Column, Slot, absent, is_absent};

pub(super) fn evaluate(
    evaluator: &Evaluator<'_>,
    columns: &[Column],
    label: &str,
    (grouping, grid): (&LabelSet, &Grid),
) -> Result<Evaluated> {
    if label.is_empty() {
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
            let valued = column.labels.with(label, &text_of(column.slot(step)));
            let key = chosen(&grouping, &valued);
            if !counts.contains_key(&key) {
                evaluator.check_slots(counts.len() + 1, grid)?;
            }
            let slots = counts.entry(key).or_insert_with(|| vec![absent(); grid.count]);
            let before = if is_absent(slots[step]) { 0.0 } else { slots[step] };
            slots[step] = before + 1.0;
        }
    }
    let column = |(labels, values)| Column::of(labels, values);
    Ok(Evaluated::Vector(counts.into_iter().map(column).collect()))
}

/// A number without an exponent, a histogram with its buckets, as Prometheus writes them into labels.
fn text_of(slot: Slot<'_>) -> String {
    match slot {
        Slot::Absent => String::new(),
        Slot::Float(value) if value == f64::INFINITY => "+Inf".into(),
        Slot::Float(value) if value == f64::NEG_INFINITY => "-Inf".into(),
        Slot::Float(value) => value.to_string(),
        Slot::Histogram(histogram) => histogram.to_string(),
    }
}
