//! Where the series come from: which names and labels there are many of.

use std::collections::{HashMap, HashSet};

use crate::{
    model::{Labels, METRIC_NAME},
    time::Timestamp,
};

use super::{Failure, Monitor};

/// A name and how many there are of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// A metric, a label, or a label with its value as `name=value`.
    pub name: String,
    /// How many, or how many bytes.
    pub count: u64,
}

/// The series that go on now, counted; each list from the largest count to the smallest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series.
    pub series: u64,
    /// Different labels with their values.
    pub label_pairs: u64,
    /// Their newest samples lie between these.
    pub newest: Option<(Timestamp, Timestamp)>,
    /// Series of each metric.
    pub series_by_metric: Vec<Count>,
    /// Different values of each label.
    pub values_by_label: Vec<Count>,
    /// Bytes of the different values of each label.
    pub bytes_by_label: Vec<Count>,
    /// Series with each label and value.
    pub series_by_pair: Vec<Count>,
}

impl Monitor {
    /// Counts the series that go on now; lists are `top` long at most.
    pub async fn cardinality(&self, top: usize) -> Result<Cardinality, Failure> {
        self.blocking(move |store| {
            let series = store.latest(&[], Timestamp::from_millis(i64::MIN));
            let times = || series.iter().map(|series| series.sample.timestamp);
            Cardinality {
                newest: times().min().zip(times().max()),
                ..counted(series.iter().map(|series| &series.labels), top)
            }
        })
        .await
    }
}

fn counted<'a>(all: impl Iterator<Item = &'a Labels>, top: usize) -> Cardinality {
    let (mut series, mut metrics) = (0, HashMap::<&str, u64>::new());
    let (mut pairs, mut values) =
        (HashMap::<(&str, &str), u64>::new(), HashMap::<&str, HashSet<&str>>::new());
    for labels in all {
        series += 1;
        *metrics.entry(labels.get(METRIC_NAME).unwrap_or_default()).or_default() += 1;
        for (name, value) in labels.iter() {
            *pairs.entry((name, value)).or_default() += 1;
            values.entry(name).or_default().insert(value);
        }
    }
    let name = |name: &&str| (*name).to_owned();
    let bytes = |all: &HashSet<&str>| all.iter().map(|value| value.len() as u64).sum();
    Cardinality {
        series,
        label_pairs: pairs.len() as u64,
        newest: None,
        values_by_label: largest(values.iter().map(|(n, all)| (name(n), all.len() as u64)), top),
        bytes_by_label: largest(values.iter().map(|(n, all)| (name(n), bytes(all))), top),
        series_by_metric: largest(metrics.iter().map(|(n, count)| (name(n), *count)), top),
        series_by_pair: largest(pairs.iter().map(|((n, v), c)| (format!("{n}={v}"), *c)), top),
    }
}

/// The largest counts, and among equal ones the first by name.
fn largest(counts: impl Iterator<Item = (String, u64)>, top: usize) -> Vec<Count> {
    let mut counts: Vec<Count> = counts.map(|(name, count)| Count { name, count }).collect();
    counts.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    counts.truncate(top);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_series_values_and_bytes() {
        let all = [
            Labels::of("up", [("job", "node")]),
            Labels::of("up", [("job", "probes")]),
            Labels::of("load", [("job", "node")]),
        ];
        let found = counted(all.iter(), 2);
        let told = |counts: &[Count]| -> Vec<String> {
            counts.iter().map(|c| format!("{} {}", c.name, c.count)).collect()
        };
        assert_eq!((found.series, found.label_pairs), (3, 4));
        assert_eq!(told(&found.series_by_metric), ["up 2", "load 1"]);
        assert_eq!(told(&found.values_by_label), ["__name__ 2", "job 2"]);
        assert_eq!(told(&found.bytes_by_label), ["job 10", "__name__ 6"]);
        assert_eq!(told(&found.series_by_pair), ["__name__=up 2", "job=node 2"]);
    }
}
