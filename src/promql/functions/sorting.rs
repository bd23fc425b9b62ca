//! Order, which means something at a single instant only.

use std::cmp::Ordering;

use crate::promql::{
    aggregate,
    columns::{Column, compact},
};

use super::{Call, Evaluated, Result};

pub(super) fn upwards(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    by_value(call, false)
}

pub(super) fn downwards(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    by_value(call, true)
}

/// Histograms have no order, and are left out.
fn by_value(call: &mut Call<'_, '_>, down: bool) -> Result<Evaluated> {
    let columns = call.vector(0)?.into_iter();
    let mut columns = compact(columns.map(|column| column.map(|_, value| Some(value))).collect());
    if call.grid.count == 1 {
        aggregate::sort(&mut columns, down);
    }
    Ok(Evaluated::Vector(columns))
}

pub(super) fn by_label(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    by_labels(call, false)
}

pub(super) fn by_label_downwards(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    by_labels(call, true)
}

fn by_labels(call: &mut Call<'_, '_>, down: bool) -> Result<Evaluated> {
    let mut columns = call.vector(0)?;
    let names: Vec<&str> = (1..call.arguments.len()).map(|index| call.text(index)).collect();
    if call.grid.count == 1 {
        let value = |column: &Column, name| column.labels.get(name).unwrap_or_default().to_owned();
        columns.sort_by(|a, b| {
            let by_names = names.iter().map(|name| natural(&value(a, name), &value(b, name)));
            let order = by_names.fold(Ordering::Equal, Ordering::then);
            let order = order.then_with(|| a.labels.cmp(&b.labels));
            if down { order.reverse() } else { order }
        });
    }
    Ok(Evaluated::Vector(columns))
}

/// Runs of digits by their number, the rest by its characters: `cpu2` before `cpu10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (left, right) = (chunk(a), chunk(b));
        if left.is_empty() || right.is_empty() {
            return left.len().cmp(&right.len());
        }
        let order = match (number(left), number(right)) {
            (Some(left), Some(right)) => left.len().cmp(&right.len()).then(left.cmp(right)),
            _ => left.cmp(right),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[left.len()..], &b[right.len()..]);
    }
}

/// The digits or the other characters that a text begins with.
fn chunk(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

/// Digits without leading zeros.
fn number(chunk: &str) -> Option<&str> {
    chunk.starts_with(|c: char| c.is_ascii_digit()).then(|| chunk.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts_are_numbers() {
        let mut texts = ["cpu10", "cpu2", "cpu", "10", "9", "cpu2b", "a"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["9", "10", "a", "cpu", "cpu2", "cpu2b", "cpu10"]);
        assert_eq!(natural("", "a"), Ordering::Less);
    }
}
