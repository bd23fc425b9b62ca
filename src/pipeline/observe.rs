//! Single observations, as agents report them, turned into samples. Pure.
//!
//! A gauge's observation is its value, a counter's its cumulative total. Observations of a histogram
//! or a summary are added up in an [`Accumulator`], which the store keeps over restarts: a histogram
//! counts into configured buckets, a summary into buckets so narrow that its quantiles are right to
//! one per cent (the idea of `DDSketch`, Masson et al., VLDB 2019).

use std::collections::BTreeMap;

use crate::{
    model::{
        Accumulator, Batch, InvalidLabels, Labels, METRIC_NAME, Metadata, MetricKind, SeriesSample,
        is_label_name, is_metric_name,
    },
    time::Timestamp,
};

/// One observation of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The metric.
    pub name: String,
    /// What was observed.
    pub value: f64,
    /// What it means.
    pub kind: MetricKind,
    /// Its labels.
    pub tags: BTreeMap<String, String>,
    /// When; now, where absent. Sums of a histogram or summary are stored as of now in any case: they
    /// change when an observation arrives.
    pub timestamp: Option<Timestamp>,
}

/// What is known already, of names and of sums.
pub trait Known {
    /// What is known of a metric name.
    fn metadata(&self, name: &str) -> Option<Metadata>;
    /// What observations of these labels have come to.
    fn accumulator(&self, labels: &Labels) -> Option<Accumulator>;
}

/// An observation that cannot be taken: which, which field of it, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metrics[{index}].{field}: {reason}")]
pub struct InvalidObservation {
    /// Its place in the list, from 0.
    pub index: usize,
    /// `name`, `value`, `metric_type` or `tags`.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// What observations come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The samples and what is new about names.
    pub batch: Batch,
    /// The sums that changed.
    pub accumulators: Vec<Accumulator>,
}

/// The quantiles of a summary.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// How much wider each bucket of a summary is than the one before: twice the relative error.
const SUMMARY_GROWTH: f64 = 1.02;
/// Values nearer to zero than this count as zero in a summary.
const SUMMARY_ZERO: f64 = 1e-9;
/// Buckets of one summary; past them the lowest are joined, so that high quantiles stay right.
const SUMMARY_BUCKETS_MAX: usize = 2048;

/// Turns observations into samples, or says of every wrong one what is wrong with it. `job` becomes
/// the label of that name where an observation has none of its own; `bounds` are the upper bounds of
/// histograms that are new.
pub fn observe(
    observations: &[Observation],
    job: &str,
    bounds: &[f64],
    known: &dyn Known,
    now: Timestamp,
) -> Result<Observed, Vec<InvalidObservation>> {
    let mut sums = Sums {
        bounds,
        known,
        kinds: BTreeMap::new(),
        gauges: BTreeMap::new(),
        added: BTreeMap::new(),
    };
    let mut problems = Vec::new();
    for (index, observation) in observations.iter().enumerate() {
        let wrong = |(field, reason)| InvalidObservation { index, field, reason };
        if let Err(problem) = sums.take(observation, job, now) {
            problems.push(wrong(problem));
        }
    }
    if problems.is_empty() { Ok(sums.finish(now)) } else { Err(problems) }
}

/// A field of an observation and what is wrong with it.
type Problem = (&'static str, String);

/// What observations come to while they are read.
struct Sums<'a> {
    bounds: &'a [f64],
    known: &'a dyn Known,
    kinds: BTreeMap<String, MetricKind>,
    /// The last value of each gauge and counter at each instant.
    gauges: BTreeMap<(Labels, Timestamp), f64>,
    added: BTreeMap<Labels, Accumulator>,
}

impl Sums<'_> {
    fn take(
        &mut self,
        observation: &Observation,
        job: &str,
        now: Timestamp,
    ) -> Result<(), Problem> {
        self.check_kind(observation)?;
        check_value(observation)?;
        let labels = labels_of(observation, job)?;
        match observation.kind {
            MetricKind::Histogram | MetricKind::Summary => self.add(labels, observation, now),
            MetricKind::Counter | MetricKind::Gauge | MetricKind::Unknown => {
                let at = observation.timestamp.unwrap_or(now);
                self.gauges.insert((labels, at), observation.value);
            }
        }
        Ok(())
    }

    fn check_kind(&mut self, observation: &Observation) -> Result<(), Problem> {
        let name = &observation.name;
        if !is_metric_name(name) {
            return Err(("name", InvalidLabels::MetricName(name.clone()).to_string()));
        }
        let of_before = self.kinds.get(name).copied();
        let kind = of_before.or_else(|| self.known.metadata(name).map(|metadata| metadata.kind));
        match kind {
            Some(kind) if kind != observation.kind && kind != MetricKind::Unknown => Err((
                "metric_type",
                format!(
                    "{name} is a {} already: report it as one, or choose another name for this {}",
                    kind.name(),
                    observation.kind.name()
                ),
            )),
            _ => {
                self.kinds.insert(name.clone(), observation.kind);
                Ok(())
            }
        }
    }

    fn add(&mut self, labels: Labels, observation: &Observation, now: Timestamp) {
        let fresh = || match observation.kind {
            MetricKind::Histogram => self.bounds.iter().map(|bound| (*bound, 0)).collect(),
            _ => Vec::new(),
        };
        let sum = self.added.entry(labels.clone()).or_insert_with(|| {
            let recalled =
                self.known.accumulator(&labels).filter(|sum| sum.kind == observation.kind);
            recalled.unwrap_or_else(|| Accumulator {
                labels,
                kind: observation.kind,
                count: 0,
                sum: 0.0,
                updated_at: now,
                buckets: fresh(),
            })
        });
        sum.count += 1;
        sum.sum += observation.value;
        sum.updated_at = now;
        match observation.kind {
            MetricKind::Histogram => count_in_histogram(&mut sum.buckets, observation.value),
            _ => count_in_summary(&mut sum.buckets, observation.value),
        }
    }

    fn finish(self, now: Timestamp) -> Observed {
        let mut observed = Observed::default();
        let gauges = self.gauges.into_iter();
        observed.batch.samples =
            gauges.map(|((labels, at), value)| SeriesSample::new(labels, at, value)).collect();
        for sum in self.added.into_values() {
            observed.batch.samples.extend(series_of(&sum, now));
            observed.accumulators.push(sum);
        }
        let news = self.kinds.into_iter().filter(|(name, _)| self.known.metadata(name).is_none());
        let metadata =
            |(name, kind)| Metadata { name, kind, help: String::new(), unit: String::new() };
        observed.batch.metadata = news.map(metadata).collect();
        observed
    }
}

fn check_value(observation: &Observation) -> Result<(), Problem> {
    let value = observation.value;
    match observation.kind {
        MetricKind::Gauge | MetricKind::Unknown => Ok(()),
        MetricKind::Counter if value >= 0.0 && value.is_finite() => Ok(()),
        MetricKind::Counter => Err((
            "value",
            format!(
                "{value} is no counter's total: report the total so far, 0 or more, or use a gauge"
            ),
        )),
        MetricKind::Histogram | MetricKind::Summary if value.is_finite() => Ok(()),
        kind => Err((
            "value",
            format!("{value} cannot be observed by a {}: report a finite number", kind.name()),
        )),
    }
}

fn labels_of(observation: &Observation, job: &str) -> Result<Labels, Problem> {
    for name in observation.tags.keys() {
        let taken = match observation.kind {
            MetricKind::Histogram => name == "le",
            MetricKind::Summary => name == "quantile",
            _ => false,
        };
        if taken || name == METRIC_NAME {
            return Err((
                "tags",
                format!("{name:?} is set by Balefire for this type: choose another name"),
            ));
        }
        if !is_label_name(name) {
            return Err(("tags", InvalidLabels::LabelName(name.clone()).to_string()));
        }
    }
    let own = observation.tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let job = (!observation.tags.contains_key("job")).then_some(("job", job));
    let name = (METRIC_NAME, observation.name.as_str());
    Labels::new(own.chain(job).chain([name])).map_err(|invalid| ("tags", invalid.to_string()))
}

/// Values above the last bound lie in the implicit `+Inf` bucket: the count alone knows them.
fn count_in_histogram(buckets: &mut [(f64, u64)], value: f64) {
    if let Some((_, count)) = buckets.iter_mut().find(|(bound, _)| value <= *bound) {
        *count += 1;
    }
}

fn count_in_summary(buckets: &mut Vec<(f64, u64)>, value: f64) {
    let bound = summary_bound(value);
    match buckets.binary_search_by(|(other, _)| other.total_cmp(&bound)) {
        Ok(at) => buckets[at].1 += 1,
        Err(at) => buckets.insert(at, (bound, 1)),
    }
    if buckets.len() > SUMMARY_BUCKETS_MAX {
        let (_, lowest) = buckets.remove(0);
        buckets[0].1 += lowest;
    }
}

/// The value that stands for all that share a bucket with `value`.
fn summary_bound(value: f64) -> f64 {
    if value.abs() < SUMMARY_ZERO {
        return 0.0;
    }
    let exponent = (value.abs().ln() / SUMMARY_GROWTH.ln()).ceil();
    // The middle of the bucket, so that the error is the same on both sides.
    SUMMARY_GROWTH.powf(exponent) * 2.0 / (1.0 + SUMMARY_GROWTH) * value.signum()
}

fn series_of(sum: &Accumulator, at: Timestamp) -> Vec<SeriesSample> {
    let name = sum.labels.metric();
    let part = |suffix: &str, value| {
        SeriesSample::new(sum.labels.with(METRIC_NAME, &format!("{name}{suffix}")), at, value)
    };
    let mut series = vec![part("_count", sum.count as f64), part("_sum", sum.sum)];
    if sum.kind == MetricKind::Histogram {
        let mut below = 0;
        let bucket = part("_bucket", sum.count as f64);
        for (bound, count) in &sum.buckets {
            below += count;
            series.push(SeriesSample::new(
                bucket.labels.with("le", &bound.to_string()),
                at,
                below as f64,
            ));
        }
        series.push(SeriesSample::new(bucket.labels.with("le", "+Inf"), at, sum.count as f64));
    } else {
        for quantile in QUANTILES {
            let labels = sum.labels.with("quantile", &quantile.to_string());
            series.push(SeriesSample::new(labels, at, quantile_of(sum, quantile)));
        }
    }
    series
}

/// The value at rank ⌈q·n⌉ of the observations (nearest rank).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank lies between 1 and the count"
)]
fn quantile_of(sum: &Accumulator, quantile: f64) -> f64 {
    let rank = (quantile * sum.count as f64).ceil().max(1.0) as u64;
    let mut below = 0;
    for (value, count) in &sum.buckets {
        below += count;
        if below >= rank {
            return *value;
        }
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const BOUNDS: [f64; 2] = [1.0, 10.0];

    #[derive(Default)]
    struct Memory {
        kinds: HashMap<String, MetricKind>,
        sums: HashMap<Labels, Accumulator>,
    }

    impl Known for Memory {
        fn metadata(&self, name: &str) -> Option<Metadata> {
            let kind = *self.kinds.get(name)?;
            Some(Metadata { name: name.to_owned(), kind, help: String::new(), unit: String::new() })
        }

        fn accumulator(&self, labels: &Labels) -> Option<Accumulator> {
            self.sums.get(labels).cloned()
        }
    }

    fn observation(name: &str, kind: MetricKind, value: f64) -> Observation {
        Observation { name: name.to_owned(), value, kind, tags: BTreeMap::new(), timestamp: None }
    }

    fn values(observed: &Observed) -> Vec<(String, f64)> {
        observed.batch.samples.iter().map(|s| (s.labels.to_string(), s.sample.value)).collect()
    }

    #[track_caller]
    fn check_refused(observation: Observation, field: &str) {
        let known = Memory {
            kinds: HashMap::from([("taken".to_owned(), MetricKind::Counter)]),
            ..Memory::default()
        };
        let problems = observe(&[observation], "custom", &BOUNDS, &known, NOW).unwrap_err();
        assert_eq!(problems[0].field, field, "{problems:?}");
    }

    #[test]
    fn gauges_and_counters_are_stored_as_they_are() {
        let observations = [
            observation("a", MetricKind::Gauge, -1.5),
            observation("b_total", MetricKind::Counter, 7.0),
        ];
        let observed = observe(&observations, "custom", &BOUNDS, &Memory::default(), NOW).unwrap();
        let expected =
            [("a{job=\"custom\"}".to_owned(), -1.5), ("b_total{job=\"custom\"}".to_owned(), 7.0)];
        assert_eq!(values(&observed), expected);
        assert_eq!(observed.batch.metadata.len(), 2);
    }

    #[test]
    fn a_histogram_counts_into_cumulative_buckets_and_goes_on_where_it_was() {
        let mut known = Memory::default();
        for round in 1..=2_u32 {
            let observations =
                [0.5, 5.0, 50.0].map(|value| observation("h", MetricKind::Histogram, value));
            let observed = observe(&observations, "j", &BOUNDS, &known, NOW).unwrap();
            let n = f64::from(round);
            let expected = [
                ("h_count{job=\"j\"}", 3.0 * n),
                ("h_sum{job=\"j\"}", 55.5 * n),
                ("h_bucket{job=\"j\", le=\"1\"}", n),
                ("h_bucket{job=\"j\", le=\"10\"}", 2.0 * n),
                ("h_bucket{job=\"j\", le=\"+Inf\"}", 3.0 * n),
            ];
            assert_eq!(
                values(&observed),
                expected.map(|(series, value)| (series.to_owned(), value))
            );
            known.sums =
                observed.accumulators.into_iter().map(|sum| (sum.labels.clone(), sum)).collect();
        }
    }

    #[test]
    fn a_summary_knows_its_quantiles_to_one_per_cent() {
        let observations: Vec<_> =
            (1..=1000).map(|n| observation("s", MetricKind::Summary, f64::from(n))).collect();
        let observed = observe(&observations, "j", &BOUNDS, &Memory::default(), NOW).unwrap();
        for (quantile, exact) in [("0.5", 500.0), ("0.9", 900.0), ("0.99", 990.0)] {
            let mut samples = observed.batch.samples.iter();
            let found =
                samples.find(|s| s.labels.get("quantile") == Some(quantile)).unwrap().sample.value;
            assert!((found / exact - 1.0).abs() <= 0.0101, "{quantile}: {found}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        check_refused(observation("taken", MetricKind::Gauge, 1.0), "metric_type");
        check_refused(observation("1st", MetricKind::Gauge, 1.0), "name");
        check_refused(observation("c", MetricKind::Counter, -1.0), "value");
        check_refused(observation("h", MetricKind::Histogram, f64::NAN), "value");
        let tags = BTreeMap::from([("a-b".to_owned(), "x".to_owned())]);
        check_refused(Observation { tags, ..observation("g", MetricKind::Gauge, 1.0) }, "tags");
        let tags = BTreeMap::from([("le".to_owned(), "1".to_owned())]);
        check_refused(Observation { tags, ..observation("h", MetricKind::Histogram, 1.0) }, "tags");
    }

    #[test]
    fn one_name_has_one_type_within_a_call_too() {
        let observations =
            [observation("x", MetricKind::Gauge, 1.0), observation("x", MetricKind::Counter, 1.0)];
        let problems = observe(&observations, "j", &BOUNDS, &Memory::default(), NOW).unwrap_err();
        assert_eq!((problems[0].index, problems[0].field), (1, "metric_type"));
    }
}
