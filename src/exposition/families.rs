//! Samples sorted into families.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::model::{Labels, METRIC_NAME, Metadata, MetricKind, SeriesSample, is_stale};

use super::Family;

/// The suffixes of a histogram's or a summary's parts, in the order they are written.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Samples sorted into families by their metadata, histogram and summary parts together; families by
/// name. Staleness markers are left out: a text of now tells what there is.
pub fn into_families(
    samples: Vec<SeriesSample>,
    metadata: &dyn Fn(&str) -> Option<Metadata>,
) -> Vec<Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut names: BTreeMap<String, Metadata> = BTreeMap::new();
    for sample in samples {
        if is_stale(sample.sample.value) {
            continue;
        }
        let metric = sample.labels.metric();
        if !names.contains_key(metric) {
            names.insert(metric.to_owned(), family_of(metric, metadata));
        }
        let found = &names[metric];
        let family = families.entry(found.name.clone());
        let empty = || Family { metadata: found.clone(), samples: Vec::new() };
        family.or_insert_with(empty).samples.push(sample);
    }
    let mut families: Vec<_> = families.into_values().collect();
    families.iter_mut().for_each(sort);
    families
}

/// What a metric name belongs to.
fn family_of(metric: &str, metadata: &dyn Fn(&str) -> Option<Metadata>) -> Metadata {
    let whole = || {
        let base = PARTS.iter().find_map(|part| metric.strip_suffix(part))?;
        metadata(base).filter(|m| matches!(m.kind, MetricKind::Histogram | MetricKind::Summary))
    };
    metadata(metric).or_else(whole).unwrap_or_else(|| unknown(metric))
}

/// What is known of a metric that nobody has described.
pub(super) fn unknown(metric: &str) -> Metadata {
    Metadata {
        name: metric.to_owned(),
        kind: MetricKind::Unknown,
        help: String::new(),
        unit: String::new(),
    }
}

fn sort(family: &mut Family) {
    match family.metadata.kind {
        MetricKind::Histogram => family.samples.sort_by(|a, b| parts(a, b, "le")),
        MetricKind::Summary => family.samples.sort_by(|a, b| parts(a, b, "quantile")),
        _ => family.samples.sort_by(|a, b| a.labels.cmp(&b.labels)),
    }
}

/// First by what tells one histogram from another, then buckets by their bounds, sum, count.
fn parts(a: &SeriesSample, b: &SeriesSample, bound: &str) -> Ordering {
    let own = |labels: &Labels| labels.without(|name| name == METRIC_NAME || name == bound);
    own(&a.labels)
        .cmp(&own(&b.labels))
        .then_with(|| rank(&a.labels).cmp(&rank(&b.labels)))
        .then_with(|| bound_of(&a.labels, bound).total_cmp(&bound_of(&b.labels, bound)))
}

fn rank(labels: &Labels) -> usize {
    PARTS.iter().position(|part| labels.metric().ends_with(part)).unwrap_or(0)
}

fn bound_of(labels: &Labels, bound: &str) -> f64 {
    labels.get(bound).and_then(|bound| bound.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::stale_nan, time::Timestamp};

    fn sample(metric: &str, pairs: &[(&str, &str)], value: f64) -> SeriesSample {
        let labels = Labels::new(pairs.iter().copied().chain([(METRIC_NAME, metric)])).unwrap();
        SeriesSample::new(labels, Timestamp::default(), value)
    }

    fn described(name: &str) -> Option<Metadata> {
        let kind = match name {
            "took_seconds" => MetricKind::Histogram,
            "up" => MetricKind::Gauge,
            _ => return None,
        };
        Some(Metadata { kind, ..unknown(name) })
    }

    #[test]
    fn keeps_the_parts_of_a_histogram_together_in_order() {
        let families = into_families(
            vec![
                sample("up", &[], 1.0),
                sample("took_seconds_sum", &[], 3.0),
                sample("took_seconds_count", &[], 2.0),
                sample("took_seconds_bucket", &[("le", "+Inf")], 2.0),
                sample("took_seconds_bucket", &[("le", "10")], 2.0),
                sample("took_seconds_bucket", &[("le", "2")], 1.0),
                sample("other_sum", &[], 1.0),
            ],
            &described,
        );
        let names: Vec<_> = families.iter().map(|f| f.metadata.name.as_str()).collect();
        assert_eq!(names, ["other_sum", "took_seconds", "up"]);
        let parts: Vec<_> = families[1].samples.iter().map(|s| s.labels.to_string()).collect();
        assert_eq!(
            parts,
            [
                r#"took_seconds_bucket{le="2"}"#,
                r#"took_seconds_bucket{le="10"}"#,
                r#"took_seconds_bucket{le="+Inf"}"#,
                "took_seconds_sum",
                "took_seconds_count",
            ]
        );
    }

    #[test]
    fn leaves_out_what_has_ended() {
        assert!(into_families(vec![sample("up", &[], stale_nan())], &described).is_empty());
    }
}
