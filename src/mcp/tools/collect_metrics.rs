//! `collect_metrics`: observations in, or the host collected now.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::ClientError,
    mcp::{answer::Answer, convert::time, error::ToolError, range::Time},
    time::Timestamp,
    wire::{to_wire, v1},
};

use super::{Context, Effect, Tool};

pub(super) struct CollectMetrics;

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    System,
    McpServer,
    Custom,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum MetricType {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reported {
    name: String,
    value: f64,
    /// Value of a gauge, cumulative total of a counter, one observation for the others
    metric_type: MetricType,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// RFC 3339, Unix seconds or "-5m"; default now
    timestamp: Option<Time>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Where the metrics come from
    source: Source,
    /// What was observed; [] with source "system" collects this host now
    #[schemars(required)]
    metrics: Option<Vec<Reported>>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    status: &'static str,
    collected_count: u64,
    #[schemars(with = "String")]
    source: Source,
    timestamp: String,
}

impl Tool for CollectMetrics {
    const NAME: &'static str = "collect_metrics";
    const TITLE: &'static str = "Collect metrics";
    const DESCRIPTION: &'static str = "Store metric observations, or collect this host's metrics now. Answered when they are durable.";
    const EFFECT: Effect = Effect::Adds;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, input: Input) -> Result<Answer<Output>, ToolError> {
        let request = request(&input, context.clock.now())?;
        let mut metrics = context.connection.metrics();
        let response = metrics.collect_metrics(request).await.map_err(ClientError::from)?;
        let response = response.into_inner();
        let timestamp = response.timestamp.ok_or(ToolError::Incomplete("timestamp"))?;
        Ok(Answer::small(Output {
            status: "success",
            collected_count: response.collected_count,
            source: input.source,
            timestamp: time(timestamp),
        }))
    }
}

fn request(input: &Input, now: Timestamp) -> Result<v1::CollectMetricsRequest, ToolError> {
    let metrics = input.metrics.as_deref().unwrap_or_default();
    if metrics.is_empty() && !matches!(input.source, Source::System) {
        let problem =
            "none given: give at least one, or source \"system\" to collect this host now";
        return Err(ToolError::argument("metrics", problem));
    }
    let metrics = metrics.iter().enumerate().map(|(i, metric)| observation(i, metric, now));
    Ok(v1::CollectMetricsRequest {
        source: match input.source {
            Source::System => v1::MetricSource::System,
            Source::McpServer => v1::MetricSource::McpServer,
            Source::Custom => v1::MetricSource::Custom,
        }
        .into(),
        metrics: metrics.collect::<Result<_, _>>()?,
    })
}

fn observation(i: usize, metric: &Reported, now: Timestamp) -> Result<v1::Observation, ToolError> {
    let field = format!("metrics[{i}].timestamp");
    let at = metric.timestamp.as_ref().map(|time| time.at(&field, now)).transpose()?;
    Ok(v1::Observation {
        name: metric.name.clone(),
        value: metric.value,
        metric_type: match metric.metric_type {
            MetricType::Counter => v1::MetricType::Counter,
            MetricType::Gauge => v1::MetricType::Gauge,
            MetricType::Histogram => v1::MetricType::Histogram,
            MetricType::Summary => v1::MetricType::Summary,
        }
        .into(),
        tags: metric.tags.clone().into_iter().collect(),
        timestamp: at.map(to_wire::time),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn ask(input: Value) -> Result<v1::CollectMetricsRequest, ToolError> {
        request(&serde_json::from_value(input).unwrap(), NOW)
    }

    #[test]
    fn carries_each_observation() {
        let asked = ask(json!({"source": "custom", "metrics": [
            {"name": "jobs", "value": 3, "metric_type": "counter", "tags": {"a": "b"}, "timestamp": "-1m"},
        ]}));
        let observation = &asked.unwrap().metrics[0];
        assert_eq!(observation.metric_type(), v1::MetricType::Counter);
        assert_eq!(observation.tags["a"], "b");
        assert_eq!(observation.timestamp.unwrap().seconds, 1_699_999_940);
    }

    #[test]
    fn only_the_host_can_be_collected_without_observations() {
        assert!(ask(json!({"source": "system"})).unwrap().metrics.is_empty());
        assert!(ask(json!({"source": "system", "metrics": []})).is_ok());
        let error = ask(json!({"source": "custom", "metrics": []})).unwrap_err().to_string();
        assert!(error.starts_with("metrics: "), "{error}");
    }

    #[test]
    fn a_wrong_time_is_named() {
        let metric = json!({"name": "a", "value": 1, "metric_type": "gauge", "timestamp": "noon"});
        let error = ask(json!({"source": "custom", "metrics": [metric]})).unwrap_err().to_string();
        assert!(error.starts_with("metrics[0].timestamp: invalid time"), "{error}");
    }
}
