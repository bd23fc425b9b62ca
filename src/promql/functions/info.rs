//! `info`: labels of info metrics, such as `target_info`, added to the series of the same instance
//! (<https://prometheus.io/docs/prometheus/latest/querying/functions/#info>).

use hashbrown::HashMap;

use crate::{
    model::{Labels, METRIC_NAME, Matcher},
    promql::{
        QueryError,
        columns::{Column, merged},
        plan::{Node, Selector},
    },
};

use super::{Call, Evaluated, Result};

/// What an info metric is known by.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info metric that is meant where none is named.
const DEFAULT_METRIC: &str = "target_info";

/// Matchers of data labels: only those labels are taken, and they must match.
type Wanted = HashMap<String, Vec<Matcher>>;

pub(super) fn evaluate(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let columns = call.vector(0)?;
    let (selector, wanted) = asked(call.arguments);
    let is_info = |labels: &Labels| {
        let named = selector.matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME);
        named.into_iter().all(|matcher| matcher.matches(labels.metric()))
    };
    // Both as exact as can be, so that the same series have values at the same steps.
    let infos = call.evaluator.exactly(&selector, call.grid)?;
    let times = call.evaluator.sampled_at(&selector, call.grid)?;
    let infos = by_identity(infos.into_iter().zip(times).collect());
    let mut out = Vec::with_capacity(columns.len());
    for column in columns {
        call.evaluator.check_cancelled()?;
        if is_info(&column.labels) {
            out.push(column);
        } else {
            out.extend(joined(&column, infos.get(&identity(&column.labels)), &wanted)?);
        }
    }
    Ok(Evaluated::Vector(merged(out)?))
}

/// The selector of info metrics, and what it asks of data labels.
fn asked(arguments: &[Node]) -> (Selector, Wanted) {
    let given = arguments.get(1).and_then(Node::selector).cloned();
    let mut selector = given
        .unwrap_or(Selector { matchers: Vec::new(), shift: crate::promql::plan::Shift::default() });
    if !selector.matchers.iter().any(|matcher| matcher.name() == METRIC_NAME) {
        selector.matchers.push(Matcher::equal(METRIC_NAME, DEFAULT_METRIC));
    }
    let mut wanted = Wanted::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        wanted.entry(matcher.name().to_owned()).or_default().push(matcher.clone());
    }
    (selector, wanted)
}

fn identity(labels: &Labels) -> Labels {
    labels.without(|name| !IDENTIFYING.contains(&name))
}

/// An info series, and the same with the times of its samples.
type Info = (Column, Column);

fn by_identity(infos: Vec<Info>) -> HashMap<Labels, Vec<Info>> {
    let mut out: HashMap<Labels, Vec<Info>> = HashMap::new();
    for info in infos {
        out.entry(identity(&info.0.labels)).or_default().push(info);
    }
    out
}

/// A series with the labels that the info series of its identity add at each step: one column for each
/// set of labels that comes of it.
fn joined(column: &Column, infos: Option<&Vec<Info>>, wanted: &Wanted) -> Result<Vec<Column>> {
    let infos = infos.map_or(&[][..], Vec::as_slice);
    let mut out: HashMap<Labels, Column> = HashMap::new();
    for step in (0..column.values.len()).filter(|step| column.has(*step)) {
        let Some(labels) = labels_at(column, infos, (wanted, step))? else { continue };
        let new = || Column::empty(labels.clone(), column.values.len());
        out.entry(labels.clone()).or_insert_with(new).put(step, column.slot(step).value());
    }
    Ok(out.into_values().collect())
}

/// Nothing where data labels are asked for that no info series has.
fn labels_at(
    column: &Column,
    infos: &[Info],
    (wanted, step): (&Wanted, usize),
) -> Result<Option<Labels>> {
    let mut newest: HashMap<&str, &Info> = HashMap::new();
    for info in infos.iter().filter(|info| info.0.has(step)) {
        let known = newest.entry(info.0.labels.metric()).or_insert(info);
        let order = info.1.values[step].total_cmp(&known.1.values[step]);
        if order.is_eq() && known.0.labels != info.0.labels {
            return Err(QueryError::Execution(format!(
                "found duplicate series for info metric: existing {} and {}",
                known.0.labels, info.0.labels
            )));
        }
        if order.is_gt() {
            *known = info;
        }
    }
    let mut labels = column.labels.clone();
    let mut missing: Vec<&String> = wanted.keys().collect();
    for (info, _) in newest.into_values() {
        for (name, value) in info.labels.iter() {
            let taken = match wanted.get(name) {
                Some(matchers) => matchers.iter().all(|matcher| matcher.matches(value)),
                None => wanted.is_empty(),
            };
            let own = column.labels.get(name).is_some() || name == METRIC_NAME;
            if taken {
                missing.retain(|wanted| *wanted != name);
            }
            if taken && !own {
                if labels.get(name).is_some_and(|known| known != value) {
                    return Err(QueryError::Execution(format!("conflicting label: {name}")));
                }
                labels = labels.with(name, value);
            }
        }
    }
    let refused = |name: &&String| {
        wanted.get(*name).is_some_and(|all| !all.iter().all(|matcher| matcher.matches("")))
    };
    Ok((!missing.iter().any(refused)).then_some(labels))
}
