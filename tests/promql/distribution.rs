//! Native histograms as the scripts write them:
//! `{{schema:1 count:3 sum:4.5 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 1] offset:-1}}`.

use std::{fmt::Write, sync::Arc};

use balefire::model::{Bounds, Bucket, Histogram, HistogramParts, ResetHint};

use super::syntax::{Cell, Check, number};

/// What a literal says.
#[derive(Clone, Debug, Default)]
struct Literal {
    parts: HistogramParts,
    hint: Option<ResetHint>,
    schema: i32,
    custom: Vec<f64>,
    /// Counts side by side, from an index on; below zero likewise.
    counts: [Vec<f64>; 2],
    offsets: [i32; 2],
}

/// `{{…}}`, `{{…}}x3`, `{{…}}+{{…}}x3` or `{{…}}-{{…}}x3`.
pub(crate) fn sequence(word: &str) -> Check<Vec<Cell>> {
    let (start, rest) = literal(word)?;
    let (sign, growth) = match rest.strip_prefix('+') {
        Some(growth) => (1.0, Some(growth)),
        None => (-1.0, rest.strip_prefix('-')),
    };
    let (growth, rest) = match growth.map(literal).transpose()? {
        Some((growth, rest)) => (Some(growth.parts), rest),
        None => (None, rest),
    };
    let times: usize = match rest.strip_prefix('x') {
        Some(times) => times.parse().map_err(|error| format!("{word:?}: {error}"))?,
        None if rest.is_empty() => 0,
        None => return Err(format!("malformed histogram: {word:?}")),
    };
    let mut out = Vec::with_capacity(times + 1);
    let mut parts = start.parts;
    for index in 0..=times {
        if let (true, Some(growth)) = (index > 0, &growth) {
            parts = sum(&parts, growth, sign)?;
        }
        out.push(Cell::Histogram(Arc::new(Histogram::computed(parts.clone())), start.hint));
    }
    Ok(out)
}

/// A literal, and what follows it.
fn literal(text: &str) -> Check<(Literal, &str)> {
    let malformed = || format!("malformed histogram: {text:?}");
    let (body, rest) =
        text.strip_prefix("{{").and_then(|text| text.split_once("}}")).ok_or_else(malformed)?;
    let mut literal = Literal::default();
    let mut fields = body.trim();
    while !fields.is_empty() {
        let (key, after) = fields.split_once(':').ok_or_else(malformed)?;
        let end = if after.starts_with('[') {
            after.find(']').map(|at| at + 1).ok_or_else(malformed)?
        } else {
            after.find(char::is_whitespace).unwrap_or(after.len())
        };
        literal.set(key.trim(), &after[..end])?;
        fields = after[end..].trim_start();
    }
    literal.finish().map(|literal| (literal, rest))
}

impl Literal {
    fn set(&mut self, key: &str, value: &str) -> Check {
        match key {
            "schema" => self.schema = index(value)?,
            "count" => self.parts.count = number(value)?,
            "sum" => self.parts.sum = number(value)?,
            "z_bucket" => self.parts.zero_count = number(value)?,
            "z_bucket_w" => self.parts.zero_threshold = number(value)?,
            "custom_values" => self.custom = numbers(value)?,
            "buckets" => self.counts[0] = numbers(value)?,
            "offset" => self.offsets[0] = index(value)?,
            "n_buckets" => self.counts[1] = numbers(value)?,
            "n_offset" => self.offsets[1] = index(value)?,
            "counter_reset_hint" => self.hint = Some(hint(value)?),
            _ => return Err(format!("unknown part of a histogram: {key:?}")),
        }
        Ok(())
    }

    fn finish(mut self) -> Check<Self> {
        self.parts.bounds = Bounds::of(self.schema, &self.custom).map_err(|e| e.to_string())?;
        self.parts.reset = self.hint.unwrap_or_default();
        let buckets = |side: usize| {
            let places = self.offsets[side]..;
            let pairs = places.zip(&self.counts[side]);
            pairs.map(|(index, &count)| Bucket { index, count }).collect()
        };
        (self.parts.positive, self.parts.negative) = (buckets(0), buckets(1));
        Ok(self)
    }
}

fn index(text: &str) -> Check<i32> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn numbers(text: &str) -> Check<Vec<f64>> {
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let list = list.ok_or_else(|| format!("{text:?} should be a list in brackets"))?;
    list.split_whitespace().map(number).collect()
}

/// That there was no reset is what the counts tell by themselves.
fn hint(text: &str) -> Check<ResetHint> {
    match text {
        "unknown" | "not_reset" => Ok(ResetHint::Unknown),
        "reset" => Ok(ResetHint::Reset),
        "gauge" => Ok(ResetHint::Gauge),
        _ => Err(format!("unknown hint {text:?}")),
    }
}

/// `a + sign × b`; `b` may be finer. The wider zero bucket must hold no bucket of the other.
fn sum(a: &HistogramParts, b: &HistogramParts, sign: f64) -> Check<HistogramParts> {
    let finer = match (&a.bounds, &b.bounds) {
        (Bounds::Exponential(a), Bounds::Exponential(b)) if b >= a => b.abs_diff(*a),
        (a, b) if a == b => 0,
        _ => return Err("the growth of a histogram has coarser or other buckets".into()),
    };
    let zero_threshold = a.zero_threshold.max(b.zero_threshold);
    if !beyond(a, zero_threshold) || !beyond(b, zero_threshold) {
        return Err("a histogram and its growth have zero buckets of different widths".into());
    }
    Ok(HistogramParts {
        count: a.count + sign * b.count,
        sum: a.sum + sign * b.sum,
        zero_threshold,
        zero_count: a.zero_count + sign * b.zero_count,
        positive: added(&a.positive, &b.positive, (sign, finer)),
        negative: added(&a.negative, &b.negative, (sign, finer)),
        ..a.clone()
    })
}

/// Whether no bucket reaches into a zero bucket of this width.
fn beyond(parts: &HistogramParts, zero_threshold: f64) -> bool {
    let Bounds::Exponential(schema) = parts.bounds else { return true };
    let lower = |index: i32| (f64::from(index - 1) * f64::from(-schema).exp2()).exp2();
    let mut buckets = parts.positive.iter().chain(&parts.negative);
    buckets.all(|bucket| lower(bucket.index) >= zero_threshold)
}

/// Each step to a coarser schema makes one bucket of the two that end with `2i - 1` and `2i`.
fn added(a: &[Bucket], b: &[Bucket], (sign, finer): (f64, u32)) -> Vec<Bucket> {
    let mut counts: std::collections::BTreeMap<i32, f64> =
        a.iter().map(|bucket| (bucket.index, bucket.count)).collect();
    for bucket in b {
        let index = ((bucket.index - 1) >> finer) + 1;
        let index = if finer == 0 { bucket.index } else { index };
        *counts.entry(index).or_default() += sign * bucket.count;
    }
    counts.into_iter().map(|(index, count)| Bucket { index, count }).collect()
}

/// As a script would write it.
pub(crate) fn show(histogram: &Histogram) -> String {
    let mut out = format!("{{{{schema:{}", histogram.bounds.schema());
    let numbers = [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("z_bucket", histogram.zero_count),
        ("z_bucket_w", histogram.zero_threshold),
    ];
    for (key, value) in numbers.into_iter().filter(|(_, value)| *value != 0.0) {
        let _ = write!(out, " {key}:{value}");
    }
    if !histogram.bounds.custom().is_empty() {
        let _ = write!(out, " custom_values:{}", list(histogram.bounds.custom()));
    }
    show_buckets(&mut out, ("buckets", "offset"), &histogram.positive);
    show_buckets(&mut out, ("n_buckets", "n_offset"), &histogram.negative);
    match histogram.reset {
        ResetHint::Unknown => {}
        ResetHint::Reset => out.push_str(" counter_reset_hint:reset"),
        ResetHint::Gauge => out.push_str(" counter_reset_hint:gauge"),
    }
    out + "}}"
}

fn show_buckets(out: &mut String, (counts, offset): (&str, &str), buckets: &[Bucket]) {
    let ([first, ..], [.., last]) = (buckets, buckets) else { return };
    let count = |index| buckets.iter().find(|b| b.index == index).map_or(0.0, |b| b.count);
    // Buckets far apart are cut off: nobody reads so many zeros.
    let dense: Vec<f64> = (first.index..=last.index).take(100).map(count).collect();
    let _ = write!(out, " {offset}:{} {counts}:{}", first.index, list(&dense));
}

fn list(numbers: &[f64]) -> String {
    let texts: Vec<String> = numbers.iter().map(f64::to_string).collect();
    format!("[{}]", texts.join(" "))
}
