//! `query_metrics`: stored samples, asked for by name and tags or in PromQL.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::{ClientError, Connection, take},
    limits,
    mcp::{
        answer::Answer,
        error::ToolError,
        range::{self, Range, Time},
        translate::{self, Aggregation, Question},
    },
    time::{Timestamp, format_duration},
    wire::v1,
};

use super::{
    Context, Effect, Tool,
    evaluation::{Found, Series, Steps, When, evaluate, refused},
    names,
};

pub(super) struct QueryMetrics;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Required unless `expr` is given
    metric_name: Option<String>,
    /// PromQL, instead of `metric_name`, tags, aggregation and `group_by`
    expr: Option<String>,
    /// RFC 3339, Unix seconds or "-1h"; without it only the latest values
    start_time: Option<Time>,
    /// Default now
    end_time: Option<Time>,
    /// Label values that must be equal
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Joins series (p95: quantile, also of a histogram); rate, increase: of counters
    aggregation: Option<Aggregation>,
    /// Labels to aggregate by
    #[serde(default)]
    group_by: Vec<String>,
    /// From one sample to the next, such as "1m"; default by the range
    step: Option<String>,
    /// Series at most; allows a longer answer
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    metric_name: Option<String>,
    #[schemars(with = "Option<String>")]
    aggregation: Option<Aggregation>,
    results: Vec<Series>,
    series_count: usize,
    /// Of instant values; the end of a range
    query_time: String,
    /// The expression that was evaluated
    promql: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

impl Tool for QueryMetrics {
    const NAME: &'static str = "query_metrics";
    const TITLE: &'static str = "Query metrics";
    const DESCRIPTION: &'static str = "Latest values of a metric, or its samples over a time range. No PromQL needed; the answer shows the PromQL used.";
    const EFFECT: Effect = Effect::Reads;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, input: Input) -> Result<Answer<Output>, ToolError> {
        let when = when(&input, context.clock.now())?;
        let subject = Subject::read(&input, when.step())?;
        let (promql, found) = subject.evaluate(&context.connection, &when).await?;
        Ok(answer(input, &when, promql, found))
    }
}

/// The instant or the range that is asked about.
fn when(input: &Input, now: Timestamp) -> Result<When, ToolError> {
    let range = Range::read(input.start_time.as_ref(), input.end_time.as_ref(), now)?;
    let end = range.end.unwrap_or(now);
    let Some(start) = range.start else {
        if input.step.is_some() {
            let problem = "needs a range: give start_time too, such as \"-1h\"";
            return Err(ToolError::argument("step", problem));
        }
        return Ok(When::At(end));
    };
    let step = range::step(input.step.as_deref(), end.since(start))?;
    Ok(When::Over(Steps { start, end, step }))
}

/// What is asked for.
#[derive(Debug)]
enum Subject {
    Expr(String),
    Metric(Question),
}

impl Subject {
    fn read(input: &Input, step: Option<Duration>) -> Result<Self, ToolError> {
        match (&input.metric_name, &input.expr) {
            (Some(name), None) => Ok(Self::Metric(Question {
                metric_name: name.clone(),
                tags: input.tags.clone(),
                aggregation: input.aggregation,
                group_by: input.group_by.clone(),
                step,
                is_histogram: false,
            })),
            (None, Some(expr)) => {
                check_alone(input)?;
                Ok(Self::Expr(expr.clone()))
            }
            (Some(_), Some(_)) => {
                let problem = "stands instead of metric_name: leave one of the two out";
                Err(ToolError::argument("expr", problem))
            }
            (None, None) => {
                let problem = "missing: give the name of a metric, or PromQL in expr";
                Err(ToolError::argument("metric_name", problem))
            }
        }
    }

    /// The PromQL, and what it comes to.
    async fn evaluate(
        self,
        connection: &Connection,
        when: &When,
    ) -> Result<(String, Found), ToolError> {
        let question = match self {
            Self::Expr(expr) => {
                let found = evaluate(connection, &expr, when).await;
                return Ok((expr, found.map_err(|error| refused(error, "expr"))?));
            }
            Self::Metric(question) => question,
        };
        let promql = translate::to_promql(&question)?;
        let refused = |error| refused(error, "metric_name");
        match evaluate(connection, &promql, when).await {
            Err(unknown) if unknown.is_not_found() => {
                check_histogram(connection, &question, unknown).await?;
                let promql = translate::to_promql(&Question { is_histogram: true, ..question })?;
                let found = evaluate(connection, &promql, when).await.map_err(refused)?;
                Ok((promql, found))
            }
            found => Ok((promql, found.map_err(refused)?)),
        }
    }
}

/// Passes only where `unknown` is so because the metric is a histogram, of which a quantile is asked:
/// its buckets have names of their own.
async fn check_histogram(
    connection: &Connection,
    question: &Question,
    unknown: ClientError,
) -> Result<(), ToolError> {
    let wanted = question.metric_name.as_str();
    let buckets = v1::ListSeriesRequest {
        matchers: vec![format!("{wanted}_bucket")],
        page_size: 1,
        ..v1::ListSeriesRequest::default()
    };
    if take(connection.metrics().list_series(buckets).await)?.series.is_empty() {
        return Err(refused(unknown, "metric_name"));
    }
    if question.aggregation.is_some_and(|aggregation| aggregation.quantile().is_some()) {
        return Ok(());
    }
    let problem = format!(
        "{wanted:?} is a histogram: ask for an aggregation such as \"p95\", or for {wanted}_count or {wanted}_sum"
    );
    Err(ToolError::argument("metric_name", problem))
}

/// Refuses what has no meaning beside an expression.
fn check_alone(input: &Input) -> Result<(), ToolError> {
    let given = [
        ("tags", !input.tags.is_empty()),
        ("aggregation", input.aggregation.is_some()),
        ("group_by", !input.group_by.is_empty()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => {
            Err(ToolError::argument(field, "goes with metric_name; write it into expr instead"))
        }
        None => Ok(()),
    }
}

fn answer(input: Input, when: &When, promql: String, found: Found) -> Answer<Output> {
    let advice = advice(&promql, when, input.limit);
    let series_count = found.series.len();
    let mut results = found.series;
    let left_out = leave_out(&mut results, input.limit);
    let output = Output {
        metric_name: input.metric_name,
        aggregation: input.aggregation,
        results,
        series_count,
        query_time: when.end().to_string(),
        promql,
        step: when.step().map(|step| format_duration(step).to_string()),
        warnings: found.warnings,
        cut: None,
    };
    let mut answer =
        Answer::of(output, &["results", "warnings"], advice).larger_if(input.limit.is_some());
    answer.left_out = left_out;
    answer
}

/// Obeys the limit of series; without one no single series takes the whole answer.
fn leave_out(results: &mut Vec<Series>, limit: Option<usize>) -> Vec<String> {
    let total = results.len();
    if let Some(limit) = limit {
        results.truncate(limit);
        let is_cut = limit < total;
        return is_cut.then(|| format!("results: {limit} of {total} shown")).into_iter().collect();
    }
    let mut longest = 0;
    for samples in results.iter_mut().filter_map(|series| series.samples.as_mut()) {
        longest = longest.max(samples.len());
        let too_many = samples.len().saturating_sub(limits::TOOL_SERIES_SAMPLES + 1);
        samples.drain(..too_many);
    }
    let most = limits::TOOL_SERIES_SAMPLES + 1;
    let is_cut = longest > most;
    is_cut
        .then(|| format!("samples: the last {most} of up to {longest} shown"))
        .into_iter()
        .collect()
}

fn advice(promql: &str, when: &When, limit: Option<usize>) -> String {
    let ask = if limit.is_some() { "narrow it by tags" } else { "narrow it by tags, set limit" };
    let range = match when {
        When::At(at) => format!("--time {at}"),
        When::Over(Steps { start, end, step }) => {
            format!("--start {start} --end {end} --step {}", format_duration(*step))
        }
    };
    format!("{ask}, or run `balefire query {} {range}`", names::shell_quoted(promql))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mcp::convert::Number;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn input(arguments: serde_json::Value) -> Input {
        serde_json::from_value(arguments).unwrap()
    }

    #[track_caller]
    fn check_refused(arguments: serde_json::Value, expected: &str) {
        let input = input(arguments);
        let refused = when(&input, NOW).and_then(|when| Subject::read(&input, when.step()));
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn wrong_combinations_name_the_field() {
        check_refused(json!({}), "metric_name: missing");
        check_refused(json!({"metric_name": "up", "expr": "up"}), "expr: ");
        check_refused(json!({"expr": "up", "tags": {"a": "b"}}), "tags: ");
        check_refused(json!({"expr": "up", "aggregation": "sum"}), "aggregation: ");
        check_refused(json!({"metric_name": "up", "step": "1m"}), "step: needs a range");
        let upside_down = json!({"metric_name": "up", "start_time": "now", "end_time": "-1h"});
        check_refused(upside_down, "start_time: ");
    }

    #[test]
    fn without_a_start_it_is_about_an_instant() {
        let at = |arguments| when(&input(arguments), NOW).unwrap();
        assert_eq!(at(json!({"metric_name": "up"})), When::At(NOW));
        let hour = at(json!({"metric_name": "up", "start_time": "-1h"}));
        assert_eq!(hour.step(), Some(Duration::from_mins(1)));
        assert_eq!(hour.end(), NOW);
    }

    fn series(samples: u32) -> Series {
        let samples = (0..samples).map(|i| (f64::from(i), Number(0.5))).collect();
        Series { labels: BTreeMap::new(), value: None, samples: Some(samples) }
    }

    #[test]
    fn long_series_keep_their_newest_samples() {
        let mut results = vec![series(500)];
        let remarks = leave_out(&mut results, None);
        assert_eq!(results[0].samples.as_ref().unwrap().last(), Some(&(499.0, Number(0.5))));
        assert_eq!(remarks, ["samples: the last 61 of up to 500 shown"]);
        let mut results = vec![series(500), series(1), series(1)];
        let remarks = leave_out(&mut results, Some(2));
        assert_eq!((results.len(), results[0].samples.as_ref().unwrap().len()), (2, 500));
        assert_eq!(remarks, ["results: 2 of 3 shown"]);
    }

    #[test]
    fn a_large_answer_says_how_to_get_the_rest() {
        let found = Found { series: (0..100).map(|_| series(60)).collect(), warnings: Vec::new() };
        let when = When::At(NOW);
        let input = input(json!({"metric_name": "up"}));
        let json = answer(input, &when, "up{a='b'}".to_owned(), found).into_json().unwrap();
        assert!(json.to_string().len() <= limits::TOOL_ANSWER_BYTES);
        assert_eq!(json["series_count"], 100);
        let cut = json["cut"].as_str().unwrap();
        assert!(cut.contains(r"balefire query 'up{a='\''b'\''}' --time 2023-11-14"), "{cut}");
    }
}
