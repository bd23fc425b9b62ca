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

/// So many steps are ranked side by side, so that memory is walked in order.
const STEPS_AT_ONCE: usize = 16;

fn ranked(
    evaluator: &mut Evaluator<'_>,
    members: &[&Column],
    wanted: &[usize],
    (name, order): (&str, impl Fn(f64, f64) -> Ordering + Copy),
) -> Result<Vec<Column>> {
    // Equal values go by their labels, so that the choice is always the same.
    let before = |a: &Ranked, b: &Ranked| {
        order(a.0, b.0).then_with(|| members[a.1].labels.cmp(&members[b.1].labels))
    };
    let mut kept: Vec<Option<Column>> = vec![None; members.len()];
    for (block, counts) in wanted.chunks(STEPS_AT_ONCE).enumerate() {
        evaluator.limits.check_cancelled()?;
        let first = block * STEPS_AT_ONCE;
        let mut best: Vec<Best> = counts.iter().map(|count| Best::of(*count)).collect();
        for (index, column) in members.iter().enumerate() {
            for (best, step) in best.iter_mut().zip(first..) {
                match column.slot(step) {
                    Slot::Absent => {}
                    Slot::Float(value) => best.add((value, index), before),
                    Slot::Histogram(_) => evaluator.notes.inform_of_ignored_in(name),
                }
            }
        }
        for (best, step) in best.into_iter().zip(first..) {
            for (value, index) in best.finish(before) {
                let new = || Column::empty(members[index].labels.clone(), wanted.len());
                kept[index].get_or_insert_with(new).values[step] = value;
            }
        }
    }
    let mut kept: Vec<(usize, Column)> =
        kept.into_iter().enumerate().filter_map(|(index, column)| Some((index, column?))).collect();
    if wanted.len() == 1 {
        kept.sort_by(|a, b| before(&(a.1.values[0], a.0), &(b.1.values[0], b.0)));
    }
    Ok(kept.into_iter().map(|(_, column)| column).collect())
}

/// A value of a step, and whose it is.
type Ranked = (f64, usize);

/// The first so many of a step, found as values come.
struct Best {
    count: usize,
    /// Those that may be among them, in no order; cut down whenever they are twice as many.
    values: Vec<Ranked>,
    /// The last one that could be among them when they were cut.
    last: Option<Ranked>,
}

impl Best {
    fn of(count: usize) -> Self {
        Self { count, values: Vec::new(), last: None }
    }

    #[inline]
    fn add(&mut self, value: Ranked, before: impl Fn(&Ranked, &Ranked) -> Ordering) {
        if self.last.is_some_and(|last| before(&value, &last).is_gt()) {
            return;
        }
        self.values.push(value);
        if self.values.len() >= self.count.saturating_mul(2) {
            self.cut(before);
        }
    }

    fn cut(&mut self, before: impl Fn(&Ranked, &Ranked) -> Ordering) {
        match self.count.checked_sub(1) {
            None => self.values.clear(),
            Some(last) if last < self.values.len() => {
                self.last = Some(*self.values.select_nth_unstable_by(last, before).1);
                self.values.truncate(self.count);
            }
            Some(_) => {}
        }
    }

    fn finish(mut self, before: impl Fn(&Ranked, &Ranked) -> Ordering) -> Vec<Ranked> {
        self.cut(before);
        self.values
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
