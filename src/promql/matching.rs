//! Which series of two vectors meet: `on`, `ignoring`, `group_left`, `group_right`, `and`, `or`,
//! `unless` (promql/engine.go, `VectorBinop`, `VectorAnd` …).
//!
//! Series are sorted into match groups once; a group then works on whole columns.

use hashbrown::HashMap;

use crate::model::{Labels, METRIC_NAME};

use super::{
    QueryError,
    binary::{combine, combine_slots, drops_name},
    columns::{Column, Grid, OF_METRIC, absent, is_absent, merged, merged_or},
    eval::Evaluator,
    plan::{Binary, Group, LabelSet, Matching, Operator, SetOperator},
};

type Result<T> = std::result::Result<T, QueryError>;

/// The labels that a choice leaves of a series' labels.
pub(super) fn chosen(set: &LabelSet, labels: &Labels) -> Labels {
    match set {
        LabelSet::Only(names) => labels.without(|name| !names.iter().any(|n| n == name)),
        LabelSet::AllBut(names) => {
            labels.without(|name| name == METRIC_NAME || names.iter().any(|n| n == name))
        }
    }
}

/// Columns by their match group.
fn grouped<'a>(set: &LabelSet, columns: &'a [Column]) -> HashMap<Labels, Vec<&'a Column>> {
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for column in columns {
        groups.entry(chosen(set, &column.labels)).or_default().push(column);
    }
    groups
}

/// At which steps any of the columns has a value.
fn presence<'a>(columns: impl IntoIterator<Item = &'a Column>, grid: &Grid) -> Vec<bool> {
    let mut present = vec![false; grid.count];
    for column in columns {
        for (step, slot) in present.iter_mut().enumerate() {
            *slot |= column.has(step);
        }
    }
    present
}

pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    binary: &Binary,
    grid: &Grid,
    (left, right): (Vec<Column>, Vec<Column>),
) -> Result<Vec<Column>> {
    match binary.op {
        Operator::Set(op) => {
            // A union holds the series of both sides.
            evaluator.check_slots(left.len() + right.len(), grid)?;
            set_operation(op, &binary.matching, grid, (left, right))
        }
        _ => Joining { evaluator, binary, grid }.join(&left, &right),
    }
}

fn set_operation(
    op: SetOperator,
    matching: &Matching,
    grid: &Grid,
    (left, right): (Vec<Column>, Vec<Column>),
) -> Result<Vec<Column>> {
    let masks = |columns: &[Column]| -> HashMap<Labels, Vec<bool>> {
        let groups = grouped(&matching.labels, columns).into_iter();
        groups.map(|(key, members)| (key, presence(members, grid))).collect()
    };
    let keep = |columns: Vec<Column>, others: &HashMap<Labels, Vec<bool>>, wanted: bool| {
        let masked = columns.into_iter().map(|mut column| {
            let mask = others.get(&chosen(&matching.labels, &column.labels));
            column.retain(|step| mask.is_some_and(|mask| mask[step]) == wanted);
            column
        });
        masked.collect::<Vec<_>>()
    };
    match op {
        SetOperator::And => merged(keep(left, &masks(&right), true)),
        SetOperator::Unless => merged(keep(left, &masks(&right), false)),
        SetOperator::Or => {
            let mut all = left;
            let added = keep(right, &masks(&all), false);
            all.extend(added);
            merged(all)
        }
    }
}

/// Arithmetic and comparison between two vectors.
struct Joining<'a, 'e> {
    evaluator: &'a mut Evaluator<'e>,
    binary: &'a Binary,
    grid: &'a Grid,
}

impl Joining<'_, '_> {
    fn join(&mut self, left: &[Column], right: &[Column]) -> Result<Vec<Column>> {
        // "Many" is the side that may have several series in a match group.
        let (many, one) = if self.swapped() { (right, left) } else { (left, right) };
        let both = presence(many, self.grid).into_iter().zip(presence(one, self.grid));
        let both: Vec<bool> = both.map(|(many, one)| many && one).collect();
        let set = &self.binary.matching.labels;
        let (many_groups, one_groups) = (grouped(set, many), grouped(set, one));
        for (key, members) in &one_groups {
            self.check_unique(key, members, &both)?;
        }
        let pairs = many_groups.iter().filter_map(|(key, many)| Some((many, one_groups.get(key)?)));
        let pairs: Vec<_> = pairs.collect();
        self.evaluator
            .check_slots(pairs.iter().map(|(many, one)| many.len() * one.len()).sum(), self.grid)?;
        let mut out = Vec::new();
        for (many, one) in pairs {
            self.evaluator.check_cancelled()?;
            out.extend(self.join_group(many, one)?);
        }
        merged(out)
    }

    fn swapped(&self) -> bool {
        matches!(self.binary.matching.group, Group::Right(_))
    }

    /// The "one" side has at most one series of a match group at each step.
    fn check_unique(&self, key: &Labels, members: &[&Column], both: &[bool]) -> Result<()> {
        if members.len() < 2 {
            return Ok(());
        }
        for step in (0..self.grid.count).filter(|step| both[*step]) {
            let mut present = members.iter().filter(|column| column.has(step));
            if let (Some(first), Some(second)) = (present.next(), present.next()) {
                let side = if self.swapped() { "left" } else { "right" };
                return Err(QueryError::Execution(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the \
                     operation: [{}, {}]; many-to-many matching not allowed: matching labels must \
                     be unique on one side",
                    braced(key),
                    first.labels,
                    second.labels
                )));
            }
        }
        Ok(())
    }

    fn join_group(&mut self, many: &[&Column], one: &[&Column]) -> Result<Vec<Column>> {
        let mut out = Vec::with_capacity(many.len() * one.len());
        for many in many {
            for one in one {
                out.push(self.pair(many, one));
            }
        }
        if matches!(self.binary.matching.group, Group::OneToOne) {
            self.check_one_result(&out)?;
            return Ok(out);
        }
        merged_or(out, || {
            let reason = "multiple matches for labels: grouping labels must ensure unique matches";
            QueryError::Execution(reason.into())
        })
    }

    /// A one-to-one match group has at most one result at each step.
    fn check_one_result(&self, results: &[Column]) -> Result<()> {
        let crowded = |step: &usize| results.iter().filter(|column| column.has(*step)).count() > 1;
        if results.len() > 1 && (0..self.grid.count).any(|step| crowded(&step)) {
            let reason = "multiple matches for labels: many-to-one matching must be explicit \
                          (group_left/group_right)";
            return Err(QueryError::Execution(reason.into()));
        }
        Ok(())
    }

    fn pair(&mut self, many: &Column, one: &Column) -> Column {
        let labels = self.labels(&many.labels, &one.labels);
        if !many.has_histograms() && !one.has_histograms() {
            return Column::of(labels, self.values(many, one));
        }
        let mut out = Column::empty(labels, self.grid.count);
        for step in 0..self.grid.count {
            let (many, one) = (many.slot(step), one.slot(step));
            let pair = if self.swapped() { (one, many) } else { (many, one) };
            out.put(step, combine_slots(self.binary, pair, pair.0, &mut self.evaluator.notes));
        }
        out
    }

    fn values(&self, many: &Column, one: &Column) -> Vec<f64> {
        let swapped = self.swapped();
        let pair = |(many, one): (&f64, &f64)| {
            if is_absent(*many) || is_absent(*one) {
                return absent();
            }
            let pair = if swapped { (*one, *many) } else { (*many, *one) };
            combine(self.binary, pair, pair.0).unwrap_or_else(absent)
        };
        many.values.iter().zip(&one.values).map(pair).collect()
    }

    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let kept = if drops_name(self.binary) {
            many.without(|label| OF_METRIC.contains(&label))
        } else {
            many.clone()
        };
        let matching = &self.binary.matching;
        let is_in = |set: &[String], label: &str| set.iter().any(|listed| listed == label);
        match (&matching.group, &matching.labels) {
            (Group::OneToOne, LabelSet::Only(on)) => kept.without(|label| !is_in(on, label)),
            (Group::OneToOne, LabelSet::AllBut(ignoring)) => {
                kept.without(|label| is_in(ignoring, label))
            }
            (Group::Left(include) | Group::Right(include), _) => {
                let take = |labels: Labels, label: &String| {
                    labels.with(label, one.get(label).unwrap_or_default())
                };
                include.iter().fold(kept, take)
            }
        }
    }
}

/// Labels as Prometheus writes them where there may be none.
fn braced(labels: &Labels) -> String {
    let text = labels.to_string();
    if text.is_empty() { "{}".into() } else { text }
}
