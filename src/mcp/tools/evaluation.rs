//! Expressions evaluated by the daemon, and what they come to as JSON.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    client::{ClientError, Connection},
    mcp::{convert::Number, error::ToolError},
    time::Timestamp,
    wire::{from_wire, to_wire, v1},
};

/// The instant or the range that is asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    At(Timestamp),
    Over(Steps),
}

/// The steps of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steps {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) step: Duration,
}

impl When {
    /// From one step to the next, where there are several.
    pub(super) fn step(&self) -> Option<Duration> {
        match self {
            Self::At(_) => None,
            Self::Over(steps) => Some(steps.step),
        }
    }

    /// The last instant.
    pub(super) fn end(&self) -> Timestamp {
        match self {
            Self::At(at) => *at,
            Self::Over(steps) => steps.end,
        }
    }
}

// One series: `value` of an instant, or `samples` of a range.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Number>")]
    pub(super) value: Option<Value>,
    /// [Unix seconds, value]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) samples: Option<Vec<(f64, Number)>>,
}

/// What an expression has at an instant.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Number(Number),
    Text(String),
}

/// What the daemon found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) series: Vec<Series>,
    pub(super) warnings: Vec<String>,
}

/// Evaluates.
pub(super) async fn evaluate(
    connection: &Connection,
    promql: &str,
    when: &When,
) -> Result<Found, ClientError> {
    match *when {
        When::At(at) => instant(connection, promql, at).await,
        When::Over(steps) => over(connection, promql, steps).await,
    }
}

/// A refused expression, reported under the argument that it came from.
pub(super) fn refused(error: ClientError, field: &str) -> ToolError {
    match error {
        ClientError::Refused { .. } => {
            let text = error.to_string();
            ToolError::argument(field, text.strip_prefix("expr: ").unwrap_or(&text))
        }
        error => error.into(),
    }
}

async fn instant(
    connection: &Connection,
    promql: &str,
    at: Timestamp,
) -> Result<Found, ClientError> {
    let request =
        v1::QueryRequest { expr: promql.to_owned(), time: Some(to_wire::time(at)), timeout: None };
    let response = connection.metrics().query(request).await?.into_inner();
    let warnings = [response.warnings, response.infos].concat();
    let series = response.result.map(from_result).unwrap_or_default();
    Ok(Found { series, warnings })
}

async fn over(connection: &Connection, promql: &str, steps: Steps) -> Result<Found, ClientError> {
    let request = v1::QueryRangeRequest {
        expr: promql.to_owned(),
        start: Some(to_wire::time(steps.start)),
        end: Some(to_wire::time(steps.end)),
        step: Some(to_wire::duration(steps.step)),
        timeout: None,
    };
    let response = connection.metrics().query_range(request).await?.into_inner();
    let mut warnings = [response.warnings, response.infos].concat();
    let matrix = response.matrix.unwrap_or_default();
    let histograms: usize = matrix.series.iter().map(|series| series.histograms.len()).sum();
    if histograms > 0 {
        warnings.push(format!(
            "{histograms} native histograms are left out of a range: ask for numbers of them, such as \
             histogram_quantile(0.99, …) or histogram_count(…)"
        ));
    }
    let series = from_matrix(matrix);
    Ok(Found { series, warnings })
}

fn from_result(result: v1::query_response::Result) -> Vec<Series> {
    use v1::query_response::Result;
    match result {
        Result::Scalar(sample) => vec![Series::of(BTreeMap::new(), Value::number(sample))],
        Result::String(text) => vec![Series::of(BTreeMap::new(), Value::Text(text.value))],
        Result::Vector(vector) => vector
            .entries
            .into_iter()
            .filter_map(|entry| {
                let value = entry.sample.map(Value::number);
                let value = value.or_else(|| entry.histogram.map(Value::histogram))?;
                Some(Series::of(entry.labels.into_iter().collect(), value))
            })
            .collect(),
        Result::Matrix(matrix) => from_matrix(matrix),
    }
}

fn from_matrix(matrix: v1::Matrix) -> Vec<Series> {
    let pair = |sample: v1::Sample| {
        (Timestamp::from_millis(sample.timestamp_ms).as_secs_f64(), Number(sample.value))
    };
    matrix
        .series
        .into_iter()
        .map(|series| Series {
            labels: series.labels.into_iter().collect(),
            value: None,
            samples: Some(series.samples.into_iter().map(pair).collect()),
        })
        .collect()
}

impl Value {
    /// As Prometheus writes one: `{count:3, sum:4.5, (1,2]:3}`.
    fn histogram(wire: v1::Histogram) -> Self {
        let text = from_wire::computed_histogram(wire);
        Self::Text(text.map_or_else(|error| error.to_string(), |histogram| histogram.to_string()))
    }

    fn number(sample: v1::Sample) -> Self {
        Self::Number(Number(sample.value))
    }
}

impl Series {
    fn of(labels: BTreeMap<String, String>, value: Value) -> Self {
        Self { labels, value: Some(value), samples: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(result: v1::query_response::Result, expected: &serde_json::Value) {
        assert_eq!(serde_json::to_value(from_result(result)).unwrap(), *expected);
    }

    #[test]
    fn every_type_of_result_becomes_series() {
        use v1::query_response::Result;
        let sample = v1::Sample { timestamp_ms: 1500, value: f64::INFINITY };
        let labels = || [("a".to_owned(), "b".to_owned())].into();
        check(Result::Scalar(sample), &json!([{"labels": {}, "value": "+Inf"}]));
        let text = v1::StringValue { timestamp_ms: 0, value: "text".to_owned() };
        check(Result::String(text), &json!([{"labels": {}, "value": "text"}]));
        let entries = vec![v1::VectorEntry {
            labels: labels(),
            sample: Some(sample),
            ..v1::VectorEntry::default()
        }];
        let expected = json!([{"labels": {"a": "b"}, "value": "+Inf"}]);
        check(Result::Vector(v1::Vector { entries }), &expected);
        let series = vec![v1::TimeSeries {
            labels: labels(),
            samples: vec![sample],
            ..v1::TimeSeries::default()
        }];
        let expected = json!([{"labels": {"a": "b"}, "samples": [[1.5, "+Inf"]]}]);
        check(Result::Matrix(v1::Matrix { series }), &expected);
    }
}
