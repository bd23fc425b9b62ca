//! Aggregations that let some series of each group stay as they are: `topk`, `bottomk`, `limitk`,
//! `limit_ratio`; and sorting, which ranks the same way.

use std::{
    cmp::Ordering,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{Evaluator, Groups, Result};
use crate::promql::{
    QueryError,
    columns::{Column, Slot, compact},
    notes::Notes,
    numbers::shown,
    plan::Aggregation,
};

/// A way to rank two numbers.
type Ranking = fn(f64, f64) -> Ordering;

/// NaN comes last, whichever way the numbers go.
fn descending(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

/// NaN comes last, whichever way the numbers go.
fn ascending(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// Sorts by the values of the only step, as `sort` and `sort_desc` do.
pub(in crate::promql) fn sort(columns: &mut [Column], down: bool) {
    let order = if down { descending } else { ascending };
    columns.sort_by(|a, b| order(a.values[0], b.values[0]).then_with(|| a.labels.cmp(&b.labels)));
}

/// At each step, the first so many of each group: by value, or for `limitk` by their labels.
pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    groups: &Groups<'_>,
    op: Aggregation,
    parameter: &[f64],
) -> Result<Vec<Column>> {
    let asked = |(step, k): (usize, &f64)| {
        // Only where there is anything to choose from, a wrong number is an error.
        let any = groups.groups.iter().flat_map(|(_, members)| members).any(|c| c.has(step));
        if any { how_many(*k) } else { Ok(0) }
    };
    let wanted: Vec<usize> = parameter.iter().enumerate().map(asked).collect::<Result<_>>()?;
    let mut out = Vec::new();
    for (_, members) in &groups.groups {
        evaluator.limits.check_cancelled()?;
        let kept = match op {
            Aggregation::Limitk => first(members, &wanted),
            Aggregation::Topk => ranked(evaluator, members, &wanted, ("topk", descending))?,
            _ => ranked(evaluator, members, &wanted, ("bottomk", ascending))?,
        };
        out.extend(kept);
    }
    Ok(out)
}

fn ranked(
    evaluator: &mut Evaluator<'_>,
    members: &[&Column],
    wanted: &[usize],
    (name, order): (&str, Ranking),
) -> Result<Vec<Column>> {
    // Equal values go by their labels, so that the choice is always the same.
    let before = |a: &(f64, usize), b: &(f64, usize)| {
        order(a.0, b.0).then_with(|| members[a.1].labels.cmp(&members[b.1].labels))
    };
    let mut kept: Vec<Option<Column>> = vec![None; members.len()];
    let mut ranking = Vec::with_capacity(members.len());
    for (step, count) in wanted.iter().enumerate() {
        evaluator.limits.check_cancelled()?;
        rank(members, step, &mut ranking, (name, &mut evaluator.notes));
        if (1..ranking.len()).contains(count) {
            ranking.select_nth_unstable_by(*count, before);
        }
        for (value, index) in ranking.iter().take(*count) {
            let new = || Column::empty(members[*index].labels.clone(), wanted.len());
            kept[*index].get_or_insert_with(new).values[step] = *value;
        }
    }
    let mut kept: Vec<(usize, Column)> =
        kept.into_iter().enumerate().filter_map(|(index, column)| Some((index, column?))).collect();
    if wanted.len() == 1 {
        kept.sort_by(|a, b| before(&(a.1.values[0], a.0), &(b.1.values[0], b.0)));
    }
    Ok(kept.into_iter().map(|(_, column)| column).collect())
}

/// The numbers of a step with their places; histograms have no rank.
fn rank(
    members: &[&Column],
    step: usize,
    ranking: &mut Vec<(f64, usize)>,
    (name, notes): (&str, &mut Notes),
) {
    ranking.clear();
    for (index, column) in members.iter().enumerate() {
        match column.slot(step) {
            Slot::Absent => {}
            Slot::Float(value) => ranking.push((value, index)),
            Slot::Histogram(_) => notes.inform_of_ignored_in(name),
        }
    }
}

/// At each step the first so many that are there, by their labels.
fn first(members: &[&Column], wanted: &[usize]) -> Vec<Column> {
    let mut members = members.to_vec();
    members.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut left = wanted.to_vec();
    let keep = |column: &&Column| {
        let mut column = (*column).clone();
        let mut taken = vec![false; left.len()];
        for (step, left) in left.iter_mut().enumerate().filter(|(step, _)| column.has(*step)) {
            taken[step] = *left > 0;
            *left = left.saturating_sub(1);
        }
        column.retain(|step| taken[step]);
        column
    };
    compact(members.iter().map(keep).collect())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the sign is checked")]
fn how_many(wanted: f64) -> Result<usize> {
    if wanted.is_nan() || wanted >= 2_f64.powi(63) {
        let wanted = shown(wanted);
        return Err(QueryError::Execution(format!("Scalar value {wanted} overflows int64")));
    }
    Ok(if wanted < 1.0 { 0 } else { wanted as usize })
}

/// At each step a share of the series, always the same ones: a series has a place between 0 and 1 by its
/// labels, and a ratio takes those below it, a negative one those that its complement leaves.
pub(super) fn sampled(
    evaluator: &mut Evaluator<'_>,
    columns: Vec<Column>,
    ratios: &[f64],
) -> Result<Vec<Column>> {
    for ratio in ratios {
        check_ratio(*ratio, &mut evaluator.notes)?;
    }
    let keep = |mut column: Column| {
        let mut hasher = DefaultHasher::new();
        column.labels.hash(&mut hasher);
        let place = hasher.finish() as f64 / u64::MAX as f64;
        column.retain(|step| within(ratios[step].clamp(-1.0, 1.0), place));
        column
    };
    Ok(compact(columns.into_iter().map(keep).collect()))
}

fn within(ratio: f64, place: f64) -> bool {
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}

fn check_ratio(ratio: f64, notes: &mut Notes) -> Result<()> {
    if ratio.is_nan() {
        return Err(QueryError::Execution("Ratio value NaN is NaN".into()));
    }
    if !(-1.0..=1.0).contains(&ratio) {
        let (ratio, capped) = (shown(ratio), shown(ratio.signum()));
        notes.warn(&format!(
            "ratio value should be between -1 and 1, got {ratio}, capping to {capped}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_and_its_complement_take_each_series_once() {
        for place in [0.0, 0.1, 0.5, 0.9, 1.0] {
            for ratio in [0.1, 0.5, 0.75] {
                assert_ne!(within(ratio, place), within(ratio - 1.0, place), "{ratio} at {place}");
            }
        }
        assert!(within(1.0, 0.999) && within(-1.0, 0.0) && !within(0.0, 0.0));
    }

    #[test]
    fn a_number_of_series_must_be_one() {
        assert_eq!(how_many(2.9), Ok(2));
        assert_eq!(how_many(-3.0), Ok(0));
        assert!(how_many(f64::NAN).is_err() && how_many(f64::INFINITY).is_err());
    }
}
