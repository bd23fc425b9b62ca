//! Classic histograms made native ones with bounds of their own, for `load_with_nhcb`.

use std::{collections::BTreeMap, sync::Arc};

use balefire::model::{Bounds, Bucket, Histogram, HistogramParts, Labels, METRIC_NAME};

use super::syntax::{Cell, Check, Row};

/// What the series `_bucket`, `_count` and `_sum` say of one instant.
#[derive(Debug, Default)]
struct Parts {
    /// Bounds and counts up to them.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms beside the classic ones among the rows.
pub(crate) fn natives(rows: &[Row]) -> Check<Vec<Row>> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Parts>> = BTreeMap::new();
    for (labels, cells) in rows {
        let Some((name, part)) = labels.metric().rsplit_once('_') else { continue };
        let bound = match (part, labels.get("le")) {
            ("bucket", Some(bound)) => bound.parse().unwrap_or(f64::NAN),
            ("count" | "sum", _) => 0.0,
            _ => continue,
        };
        if bound.is_nan() {
            continue;
        }
        let base = labels.without(|label| label == "le").with(METRIC_NAME, name);
        let instants = found.entry(base).or_default();
        for (index, cell) in cells.iter().enumerate() {
            let Cell::Float(value) = cell else { continue };
            instants.entry(index).or_default().take(part, bound, *value);
        }
    }
    found.into_iter().map(|(labels, instants)| Ok((labels, cells(instants)?))).collect()
}

fn cells(instants: BTreeMap<usize, Parts>) -> Check<Vec<Cell>> {
    let mut out = Vec::new();
    for (index, parts) in instants {
        out.resize(index, Cell::Absent);
        out.push(Cell::Histogram(Arc::new(parts.native()?), None));
    }
    Ok(out)
}

impl Parts {
    fn take(&mut self, part: &str, bound: f64, value: f64) {
        match part {
            "count" => self.count = Some(value),
            "sum" => self.sum = value,
            _ => self.buckets.push((bound, value)),
        }
    }

    fn native(mut self) -> Check<Histogram> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by_key(|bucket| bucket.0);
        let highest = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        let count = self.count.unwrap_or(highest);
        if self.buckets.last().is_none_or(|bucket| bucket.0.is_finite()) {
            self.buckets.push((f64::INFINITY, count));
        }
        if !self.buckets.is_sorted_by(|a, b| a.1 <= b.1)
            || self.buckets.last().is_none_or(|last| last.1.total_cmp(&count).is_ne())
        {
            return Err(format!(
                "a classic histogram does not add up to {count}: {:?}",
                self.buckets
            ));
        }
        let finite = self.buckets.iter().map(|bucket| bucket.0).filter(|bound| bound.is_finite());
        let bounds = Bounds::Custom(finite.collect());
        let below = [0.0].into_iter().chain(self.buckets.iter().map(|bucket| bucket.1));
        let own = self.buckets.iter().zip(below).map(|((_, count), below)| count - below);
        let positive = (0..).zip(own).map(|(index, count)| Bucket { index, count }).collect();
        let parts =
            HistogramParts { count, sum: self.sum, bounds, positive, ..HistogramParts::default() };
        Ok(Histogram::computed(parts))
    }
}
