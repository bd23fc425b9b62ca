//! From the wire to the model: each function checks one kind of field and names it where it is wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    limits,
    model::{
        AuditEntry, AuditHash, AuditOutcome, AuditRecord, Batch, Bounds, Bucket, Histogram,
        HistogramParts, HistogramSample, Labels, METRIC_NAME, Metadata, MetricKind, PageRequest,
        ResetHint, Sample, SeriesHistogram, SeriesSample, Severity, is_label_name, is_metric_name,
    },
    time::Timestamp,
};

use super::v1;

/// A field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct InvalidField {
    /// Its path in the request: `metrics[3].tags`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

impl InvalidField {
    /// `field` is wrong, because of `description`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Seconds since the epoch that protobuf's `Timestamp` may hold: the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS_PER_MILLI: i32 = 1_000_000;
const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// An instant, to the millisecond below.
pub fn time(field: &str, wire: prost_types::Timestamp) -> Result<Timestamp, InvalidField> {
    if !SECONDS.contains(&wire.seconds) || !(0..NANOS_PER_SECOND).contains(&wire.nanos) {
        let description = "not a time between the years 1 and 9999 with nanos below 1000000000";
        return Err(InvalidField::new(field, description));
    }
    Ok(Timestamp::from_millis(wire.seconds * 1000 + i64::from(wire.nanos / NANOS_PER_MILLI)))
}

/// An instant that may be absent.
pub fn optional_time(
    field: &str,
    wire: Option<prost_types::Timestamp>,
) -> Result<Option<Timestamp>, InvalidField> {
    wire.map(|wire| time(field, wire)).transpose()
}

/// An entry of the audit, as a client gets it from a daemon.
pub fn audit_entry(wire: v1::AuditEntry) -> Result<AuditEntry, InvalidField> {
    let outcome = match wire.outcome() {
        v1::AuditOutcome::Unspecified | v1::AuditOutcome::Applied => AuditOutcome::Applied,
        v1::AuditOutcome::Begun => AuditOutcome::Begun,
        v1::AuditOutcome::Failed => AuditOutcome::Failed,
        v1::AuditOutcome::Refused => AuditOutcome::Refused,
    };
    let wrong = |_| InvalidField::new("hash", "not of 32 bytes");
    let hash = Some(wire.hash).filter(|hash| !hash.is_empty());
    let hash = hash.map(AuditHash::try_from).transpose().map_err(wrong)?;
    let record = AuditRecord {
        time: optional_time("time", wire.time)?.unwrap_or_default(),
        actor: wire.actor,
        user: wire.user,
        pid: Some(wire.pid).filter(|pid| *pid != 0),
        origin: wire.origin,
        call: wire.call,
        action: wire.action,
        subject: wire.subject,
        outcome,
        before: wire.before,
        after: wire.after,
    };
    Ok(AuditEntry { sequence: wire.sequence, record, hash })
}

/// The ends `start` and `end` of a range, where they are given, in the right order.
pub fn ends(
    start: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), InvalidField> {
    let (start, end) = (optional_time("start", start)?, optional_time("end", end)?);
    if let (Some(from), Some(to)) = (start, end)
        && to < from
    {
        let description = format!("lies before start ({to} < {from}): exchange them");
        return Err(InvalidField::new("end", description));
    }
    Ok((start, end))
}

/// A field that must be there.
pub fn required<T>(field: &str, wire: Option<T>) -> Result<T, InvalidField> {
    wire.ok_or_else(|| InvalidField::new(field, "missing: it has no default"))
}

/// A text that must not be empty.
pub fn text(field: &str, wire: String) -> Result<String, InvalidField> {
    if wire.is_empty() {
        Err(InvalidField::new(field, "empty: it has no default"))
    } else {
        Ok(wire)
    }
}

/// The word of an enumeration's value: `TARGET_STATE_AUTH_REQUIRED` is `auth_required`.
pub fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// A length of time: not negative.
pub fn duration(field: &str, wire: prost_types::Duration) -> Result<Duration, InvalidField> {
    Duration::try_from(wire)
        .map_err(|_| InvalidField::new(field, "negative or out of range: give a positive duration"))
}

/// A length of time that may be absent.
pub fn optional_duration(
    field: &str,
    wire: Option<prost_types::Duration>,
) -> Result<Option<Duration>, InvalidField> {
    wire.map(|wire| duration(field, wire)).transpose()
}

/// Which piece of a list is wanted.
pub fn page(page_size: i32, page_token: String) -> Result<PageRequest, InvalidField> {
    let size = usize::try_from(page_size)
        .ok()
        .filter(|size| *size <= limits::PAGE_SIZE_MAX)
        .ok_or_else(|| {
            let (max, default) = (limits::PAGE_SIZE_MAX, limits::PAGE_SIZE_DEFAULT);
            let description = format!("{page_size} is not 0 to {max} (0 means {default})");
            InvalidField::new("page_size", description)
        })?;
    Ok(PageRequest { size, token: page_token })
}

/// All labels of a series, the metric name among them; it must have one.
pub fn labels(
    field: &str,
    wire: impl IntoIterator<Item = (String, String)>,
) -> Result<Labels, InvalidField> {
    let labels = Labels::new(wire).map_err(|error| InvalidField::new(field, error.to_string()))?;
    if labels.metric().is_empty() {
        let description = format!("has no {METRIC_NAME:?}, which holds the metric name");
        return Err(InvalidField::new(field, description));
    }
    Ok(labels)
}

/// Labels beside a name that is given elsewhere: valid label names, and not [`METRIC_NAME`].
pub fn tags(
    field: &str,
    wire: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, InvalidField> {
    let wire: BTreeMap<String, String> = wire.into_iter().collect();
    if wire.contains_key(METRIC_NAME) {
        let description = format!("{METRIC_NAME:?} is not a tag: the name has its own field");
        return Err(InvalidField::new(field, description));
    }
    if let Some(name) = wire.keys().find(|name| !is_label_name(name)) {
        let description =
            format!("invalid label name {name:?}: use letters, digits and '_', and no digit first");
        return Err(InvalidField::new(field, description));
    }
    Ok(wire)
}

/// A metric's name.
pub fn metric_name(field: &str, wire: String) -> Result<String, InvalidField> {
    if is_metric_name(&wire) && wire.len() <= limits::LABEL_NAME_BYTES_MAX {
        return Ok(wire);
    }
    let shown: String = wire.chars().take(64).collect();
    let description = format!(
        "invalid metric name {shown:?}: use letters, digits, '_' and ':', no digit first, at most {} \
         bytes",
        limits::LABEL_NAME_BYTES_MAX
    );
    Err(InvalidField::new(field, description))
}

/// What a metric means; it must be said.
pub fn metric_kind(field: &str, wire: i32) -> Result<MetricKind, InvalidField> {
    match v1::MetricType::try_from(wire) {
        Ok(v1::MetricType::Counter) => Ok(MetricKind::Counter),
        Ok(v1::MetricType::Gauge) => Ok(MetricKind::Gauge),
        Ok(v1::MetricType::Histogram) => Ok(MetricKind::Histogram),
        Ok(v1::MetricType::Summary) => Ok(MetricKind::Summary),
        Ok(v1::MetricType::Unspecified) | Err(_) => Err(InvalidField::new(
            field,
            "use counter (1), gauge (2), histogram (3) or summary (4)",
        )),
    }
}

/// How bad an alert is; it must be said.
pub fn severity(field: &str, wire: i32) -> Result<Severity, InvalidField> {
    match v1::Severity::try_from(wire) {
        Ok(v1::Severity::Info) => Ok(Severity::Info),
        Ok(v1::Severity::Low) => Ok(Severity::Low),
        Ok(v1::Severity::Medium) => Ok(Severity::Medium),
        Ok(v1::Severity::High) => Ok(Severity::High),
        Ok(v1::Severity::Critical) => Ok(Severity::Critical),
        Ok(v1::Severity::Unspecified) | Err(_) => Err(InvalidField::new(
            field,
            "use info (1), low (2), medium (3), high (4) or critical (5)",
        )),
    }
}

/// Samples and metadata of a `WriteRequest`.
pub fn batch(wire: v1::WriteRequest) -> Result<Batch, InvalidField> {
    let count = wire.series.iter().map(|s| s.samples.len() + s.histograms.len()).sum();
    let mut histograms = Vec::new();
    let mut samples = Vec::with_capacity(batch_size("series", count)?);
    for (index, series) in wire.series.into_iter().enumerate() {
        let labels = labels(&format!("series[{index}].labels"), series.labels)?;
        samples.extend(
            series
                .samples
                .iter()
                .map(|s| SeriesSample { labels: labels.clone(), sample: sample(*s) }),
        );
        for (at, wire) in series.histograms.into_iter().enumerate() {
            let sample = histogram(&format!("series[{index}].histograms[{at}]"), wire)?;
            histograms.push(SeriesHistogram { labels: labels.clone(), sample });
        }
    }
    let metadata = wire.metadata.into_iter().enumerate();
    let metadata = metadata.map(|(index, wire)| metadata_entry(index, wire));
    Ok(Batch { samples, histograms, metadata: metadata.collect::<Result<_, _>>()? })
}

/// `count` again, where a batch may have so many samples.
pub fn batch_size(field: &str, count: usize) -> Result<usize, InvalidField> {
    let max = limits::BATCH_SAMPLES_MAX;
    if count > max {
        let description = format!("{count} samples where {max} are allowed: send smaller batches");
        return Err(InvalidField::new(field, description));
    }
    Ok(count)
}

fn histogram(field: &str, wire: v1::Histogram) -> Result<HistogramSample, InvalidField> {
    let timestamp = Timestamp::from_millis(wire.timestamp_ms);
    let histogram = Histogram::new(histogram_parts(field, wire)?);
    let histogram = histogram.map_err(|error| InvalidField::new(field, error.to_string()))?;
    Ok(HistogramSample { timestamp, histogram: Arc::new(histogram) })
}

/// A histogram of an answer, which arithmetic may have made: its counts may be below zero.
pub fn computed_histogram(wire: v1::Histogram) -> Result<Histogram, InvalidField> {
    let mut parts = histogram_parts("histogram", wire)?;
    parts.positive.sort_by_key(|bucket| bucket.index);
    parts.negative.sort_by_key(|bucket| bucket.index);
    Ok(Histogram::computed(parts))
}

fn histogram_parts(field: &str, wire: v1::Histogram) -> Result<HistogramParts, InvalidField> {
    let buckets = |buckets: Vec<v1::HistogramBucket>| {
        buckets.into_iter().map(|b| Bucket { index: b.index, count: b.count }).collect()
    };
    let reset = match v1::HistogramResetHint::try_from(wire.reset_hint) {
        Ok(v1::HistogramResetHint::Unspecified) => ResetHint::Unknown,
        Ok(v1::HistogramResetHint::Reset) => ResetHint::Reset,
        Ok(v1::HistogramResetHint::Gauge) => ResetHint::Gauge,
        Err(_) => {
            let field = format!("{field}.reset_hint");
            return Err(InvalidField::new(
                field,
                "unknown: use unspecified (0), reset (1) or gauge (2)",
            ));
        }
    };
    let bounds = Bounds::of(wire.schema, &wire.custom_bounds);
    Ok(HistogramParts {
        count: wire.count,
        sum: wire.sum,
        zero_threshold: wire.zero_threshold,
        zero_count: wire.zero_count,
        bounds: bounds.map_err(|error| InvalidField::new(field, error.to_string()))?,
        positive: buckets(wire.positive),
        negative: buckets(wire.negative),
        reset,
    })
}

fn sample(wire: v1::Sample) -> Sample {
    Sample { timestamp: Timestamp::from_millis(wire.timestamp_ms), value: wire.value }
}

fn metadata_entry(index: usize, wire: v1::MetricMetadata) -> Result<Metadata, InvalidField> {
    let kind = if wire.r#type == v1::MetricType::Unspecified as i32 {
        MetricKind::Unknown
    } else {
        metric_kind(&format!("metadata[{index}].type"), wire.r#type)?
    };
    let name = metric_name(&format!("metadata[{index}].name"), wire.name)?;
    Ok(Metadata { name, kind, help: wire.help, unit: wire.unit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[track_caller]
    fn check<T: std::fmt::Debug>(result: Result<T, InvalidField>, field: &str, part: &str) {
        let invalid = result.unwrap_err();
        assert_eq!(invalid.field, field);
        assert!(invalid.description.contains(part), "{}", invalid.description);
    }

    fn at(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 5_600_000 }
    }

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn times_are_cut_to_the_millisecond() {
        assert_eq!(time("t", at(1)), Ok(Timestamp::from_millis(1005)));
        assert_eq!(time("t", at(-1)), Ok(Timestamp::from_millis(-995)));
        check(time("t", at(i64::MAX)), "t", "years");
        check(time("t", prost_types::Timestamp { seconds: 0, nanos: -1 }), "t", "nanos");
    }

    #[test]
    fn a_range_upside_down_names_its_end() {
        assert!(ends(Some(at(1)), Some(at(1))).is_ok());
        check(ends(Some(at(2)), Some(at(1))), "end", "before start");
    }

    #[test]
    fn durations_are_positive() {
        let wire = |seconds| prost_types::Duration { seconds, nanos: 0 };
        assert_eq!(duration("for", wire(90)), Ok(Duration::from_secs(90)));
        check(duration("for", wire(-1)), "for", "positive");
        check(required("step", None::<i32>), "step", "missing");
    }

    #[test]
    fn page_sizes_have_bounds() {
        assert_eq!(page(0, String::new()).unwrap().size(), limits::PAGE_SIZE_DEFAULT);
        check(page(-1, String::new()), "page_size", "0 to 1000");
        check(page(1001, String::new()), "page_size", "0 to 1000");
    }

    #[test]
    fn labels_need_a_metric_name_and_valid_names() {
        assert!(labels("l", map(&[(METRIC_NAME, "up"), ("job", "node")])).is_ok());
        check(labels("series[2].labels", map(&[("a", "b")])), "series[2].labels", "__name__");
        check(labels("l", map(&[(METRIC_NAME, "up"), ("a-b", "c")])), "l", "a-b");
        check(tags("metrics[3].tags", map(&[("a b", "c")])), "metrics[3].tags", "a b");
        check(tags("tags", map(&[(METRIC_NAME, "up")])), "tags", "own field");
        check(metric_name("name", "1up".into()), "name", "1up");
    }

    #[test]
    fn unknown_words_list_the_known_ones() {
        assert_eq!(metric_kind("t", 2), Ok(MetricKind::Gauge));
        check(metric_kind("metrics[0].metric_type", 0), "metrics[0].metric_type", "gauge");
        check(severity("severity", 9), "severity", "critical");
    }

    #[test]
    fn a_batch_names_the_series_that_is_wrong() {
        let series = |name: &str| v1::TimeSeries {
            labels: map(&[(METRIC_NAME, name)]),
            samples: vec![v1::Sample { timestamp_ms: 5, value: 1.5 }; 2],
            ..v1::TimeSeries::default()
        };
        let request = |names: &[&str]| v1::WriteRequest {
            series: names.iter().map(|name| series(name)).collect(),
            metadata: vec![v1::MetricMetadata { name: "up".into(), ..Default::default() }],
        };
        let good = batch(request(&["up", "down"])).unwrap();
        assert_eq!(good.samples.len(), 4);
        assert_eq!(good.metadata[0].kind, MetricKind::Unknown);
        check(batch(request(&["up", "not good"])), "series[1].labels", "not good");
    }

    #[test]
    fn words_lose_their_prefix() {
        assert_eq!(word("TARGET_STATE_AUTH_REQUIRED", "TARGET_STATE_"), "auth_required");
    }
}
