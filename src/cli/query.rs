//! `balefire query`.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::Cell;
use serde::Serialize;

use crate::{
    client::take,
    time::Timestamp,
    wire::{from_wire, to_wire, v1},
};

use super::{
    args::Query,
    error::{CliError, Verdict},
    human, output,
    session::Session,
    table::{Style, number},
    views::Number,
};

/// How many steps a range has where no step is given.
const STEPS: u32 = 60;
/// The smallest step that is chosen; hosts are collected twice a minute by default.
const STEP_MIN: Duration = Duration::from_secs(15);

pub(super) async fn run(session: &Session, query: Query) -> Result<Verdict, CliError> {
    let answer = match range(&query, session.now())? {
        Some(steps) => over_range(session, query.expr, steps).await?,
        None => at_instant(session, query.expr, query.time).await?,
    };
    session.show(&answer, render)?;
    for remark in answer.warnings.iter().chain(&answer.infos).filter(|_| !session.is_json()) {
        output::note(remark);
    }
    Ok(Verdict::Fine)
}

async fn over_range(
    session: &Session,
    expr: String,
    (start, end, step): (Timestamp, Timestamp, Duration),
) -> Result<Answer, CliError> {
    let request = v1::QueryRangeRequest {
        expr,
        start: Some(to_wire::time(start)),
        end: Some(to_wire::time(end)),
        step: Some(to_wire::duration(step)),
        timeout: None,
    };
    Ok(take(session.connection.metrics().query_range(request).await)?.into())
}

async fn at_instant(
    session: &Session,
    expr: String,
    time: Option<Timestamp>,
) -> Result<Answer, CliError> {
    let request = v1::QueryRequest { expr, time: time.map(to_wire::time), timeout: None };
    Ok(take(session.connection.metrics().query(request).await)?.into())
}

/// Start, end and step of a range query; `None` for one instant.
fn range(
    query: &Query,
    now: Timestamp,
) -> Result<Option<(Timestamp, Timestamp, Duration)>, CliError> {
    let end = query.end.unwrap_or(now);
    let start = match (query.start, query.range) {
        (Some(start), _) => start,
        (None, Some(range)) => end.minus(range),
        (None, None) => return Ok(None),
    };
    if end < start {
        let message = format!("--end lies before --start ({end} < {start}): exchange them");
        return Err(CliError::Usage(message));
    }
    let step = query.step.unwrap_or_else(|| default_step(end.since(start)));
    if step.is_zero() {
        return Err(CliError::Usage("--step is zero: give a length such as 30s".to_owned()));
    }
    Ok(Some((start, end, step)))
}

/// Whole seconds, so that about [`STEPS`] steps cover `range`.
fn default_step(range: Duration) -> Duration {
    Duration::from_secs((range / STEPS).as_secs()).max(STEP_MIN)
}

/// What an expression came to.
#[derive(Debug, Serialize)]
struct Answer {
    /// `scalar`, `string`, `vector` or `matrix`.
    #[serde(rename = "type")]
    kind: &'static str,
    result: Vec<Series>,
    warnings: Vec<String>,
    infos: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Series {
    labels: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Sample {
    timestamp: String,
    value: Number,
}

impl From<v1::Sample> for Sample {
    fn from(wire: v1::Sample) -> Self {
        Self { timestamp: at(wire.timestamp_ms), value: wire.value.into() }
    }
}

/// As a text: what Prometheus writes for a native histogram.
impl From<v1::Histogram> for Sample {
    fn from(wire: v1::Histogram) -> Self {
        let timestamp = at(wire.timestamp_ms);
        let text = from_wire::computed_histogram(wire);
        let text = text.map_or_else(|error| error.to_string(), |histogram| histogram.to_string());
        Self { timestamp, value: Number::Other(text) }
    }
}

fn at(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

impl From<v1::QueryResponse> for Answer {
    fn from(wire: v1::QueryResponse) -> Self {
        use v1::query_response::Result as Wire;
        let unnamed = |sample| vec![Series { labels: BTreeMap::new(), samples: vec![sample] }];
        let (kind, result) = match wire.result {
            Some(Wire::Scalar(sample)) => ("scalar", unnamed(sample.into())),
            Some(Wire::String(text)) => {
                let value = Number::Other(text.value);
                ("string", unnamed(Sample { timestamp: at(text.timestamp_ms), value }))
            }
            Some(Wire::Vector(vector)) => {
                ("vector", vector.entries.into_iter().map(Series::from).collect())
            }
            Some(Wire::Matrix(matrix)) => ("matrix", series(matrix)),
            None => ("vector", Vec::new()),
        };
        Self { kind, result, warnings: wire.warnings, infos: wire.infos }
    }
}

impl From<v1::QueryRangeResponse> for Answer {
    fn from(wire: v1::QueryRangeResponse) -> Self {
        let result = series(wire.matrix.unwrap_or_default());
        Self { kind: "matrix", result, warnings: wire.warnings, infos: wire.infos }
    }
}

impl From<v1::VectorEntry> for Series {
    fn from(wire: v1::VectorEntry) -> Self {
        Self {
            labels: wire.labels.into_iter().collect(),
            samples: of_both(Vec::from_iter(wire.sample), Vec::from_iter(wire.histogram)),
        }
    }
}

/// Samples and native histograms, in the order of their times.
fn of_both(samples: Vec<v1::Sample>, histograms: Vec<v1::Histogram>) -> Vec<Sample> {
    let samples = samples.into_iter().map(|wire| (wire.timestamp_ms, Sample::from(wire)));
    let histograms = histograms.into_iter().map(|wire| (wire.timestamp_ms, Sample::from(wire)));
    let mut all: Vec<_> = samples.chain(histograms).collect();
    all.sort_by_key(|(time, _)| *time);
    all.into_iter().map(|(_, sample)| sample).collect()
}

fn series(matrix: v1::Matrix) -> Vec<Series> {
    let series = matrix.series.into_iter().map(|wire| Series {
        labels: wire.labels.into_iter().collect(),
        samples: of_both(wire.samples, wire.histograms),
    });
    series.collect()
}

fn render(answer: &Answer, style: &Style) -> String {
    match answer.kind {
        "matrix" => matrix(answer, style),
        "vector" => vector(answer, style),
        _ => answer.result.iter().flat_map(|s| &s.samples).map(|s| shown(&s.value)).collect(),
    }
}

fn vector(answer: &Answer, style: &Style) -> String {
    let mut table = style.table(["SERIES", "VALUE"]);
    for series in &answer.result {
        let value = series.samples.first().map(|sample| shown(&sample.value));
        table.add_row(vec![
            Cell::new(human::series(&series.labels)),
            number(value.unwrap_or_default()),
        ]);
    }
    style.finish(&table, "no series")
}

/// Each series by itself, a line for each sample.
fn matrix(answer: &Answer, style: &Style) -> String {
    let mut sections = Vec::new();
    for series in &answer.result {
        let mut table = style.table(["TIME", "VALUE"]);
        for sample in &series.samples {
            table.add_row(vec![Cell::new(&sample.timestamp), number(shown(&sample.value))]);
        }
        let name = human::series(&series.labels);
        sections.push(format!("{name}\n{}", style.finish(&table, "no samples")));
    }
    if sections.is_empty() { "no series".to_owned() } else { sections.join("\n\n") }
}

fn shown(value: &Number) -> String {
    match value {
        Number::Finite(value) => human::value(*value),
        Number::Other(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn query() -> Query {
        Query { expr: "up".into(), time: None, start: None, range: None, end: None, step: None }
    }

    #[test]
    fn a_range_ends_now_and_has_about_sixty_steps() {
        assert!(range(&query(), NOW).unwrap().is_none());
        let hour = Query { range: Some(Duration::from_hours(1)), ..query() };
        let (start, end, step) = range(&hour, NOW).unwrap().unwrap();
        assert_eq!((end.since(start), end), (Duration::from_hours(1), NOW));
        assert_eq!(step, Duration::from_mins(1));
        assert_eq!(default_step(Duration::from_mins(1)), STEP_MIN);
    }

    #[test]
    fn a_range_upside_down_is_a_matter_of_usage() {
        let wrong = Query { start: Some(NOW.plus(STEP_MIN)), ..query() };
        let error = range(&wrong, NOW).unwrap_err();
        assert!(matches!(&error, CliError::Usage(text) if text.contains("--start")), "{error}");
    }

    #[test]
    fn histograms_stand_between_the_samples_of_their_series() {
        let histogram = v1::Histogram {
            timestamp_ms: 1500,
            count: 2.0,
            sum: 3.0,
            positive: vec![v1::HistogramBucket { index: 1, count: -2.0 }],
            ..v1::Histogram::default()
        };
        let sample = |timestamp_ms| v1::Sample { timestamp_ms, value: 1.0 };
        let found = of_both(vec![sample(1000), sample(2000)], vec![histogram]);
        assert_eq!(found[1].value, Number::Other("{count:2, sum:3, (1,2]:-2}".into()));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_vector_is_a_table() {
        let labels = [("__name__", "up"), ("job", "node")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let entry = v1::VectorEntry {
            labels: labels.into(),
            sample: Some(v1::Sample { timestamp_ms: 1, value: 1.0 }),
            histogram: None,
        };
        let vector = v1::Vector { entries: vec![entry] };
        let wire = v1::QueryResponse {
            result: Some(v1::query_response::Result::Vector(vector)),
            ..v1::QueryResponse::default()
        };
        let answer = Answer::from(wire);
        assert_eq!(render(&answer, &PLAIN), "SERIES          VALUE\nup{job=\"node\"}      1");
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["type"], "vector");
        assert_eq!(json["result"][0]["labels"]["job"], "node");
        assert_eq!(json["result"][0]["samples"][0]["value"], 1.0);
    }

    #[test]
    fn a_scalar_is_its_number() {
        let sample = v1::Sample { timestamp_ms: 0, value: f64::INFINITY };
        let wire = v1::QueryResponse {
            result: Some(v1::query_response::Result::Scalar(sample)),
            ..v1::QueryResponse::default()
        };
        assert_eq!(render(&Answer::from(wire), &PLAIN), "+Inf");
    }
}
