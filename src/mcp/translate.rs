//! From a question without PromQL (a metric name, tags, an aggregation) to PromQL. Pure.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::{METRIC_NAME, is_label_name, is_metric_name},
    time::format_duration,
};

use super::error::ToolError;

/// The least window of a rate: several samples at the default interval of collection.
const RATE_WINDOW_MIN: Duration = Duration::from_mins(5);

// How several series become one, or samples a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Aggregation {
    Avg,
    Sum,
    Min,
    Max,
    Count,
    Rate,
    Increase,
    P50,
    P75,
    P90,
    P95,
    P99,
}

impl Aggregation {
    /// The quantile, for those that are one.
    pub(super) fn quantile(self) -> Option<&'static str> {
        match self {
            Self::P50 => Some("0.5"),
            Self::P75 => Some("0.75"),
            Self::P90 => Some("0.9"),
            Self::P95 => Some("0.95"),
            Self::P99 => Some("0.99"),
            _ => None,
        }
    }

    /// PromQL's aggregation operator, and its function over time, for those that have them.
    fn operator(self) -> Option<(&'static str, Option<&'static str>)> {
        match self {
            Self::Avg => Some(("avg", Some("avg_over_time"))),
            Self::Min => Some(("min", Some("min_over_time"))),
            Self::Max => Some(("max", Some("max_over_time"))),
            Self::Sum => Some(("sum", None)),
            Self::Count => Some(("count", None)),
            _ => None,
        }
    }
}

/// A question without PromQL.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    pub(super) metric_name: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) aggregation: Option<Aggregation>,
    pub(super) group_by: Vec<String>,
    /// From one step to the next, where it is asked over a range.
    pub(super) step: Option<Duration>,
    /// The metric is the name of a histogram, whose series end in `_bucket`.
    pub(super) is_histogram: bool,
}

/// The PromQL that answers `question`.
pub(super) fn to_promql(question: &Question) -> Result<String, ToolError> {
    check(question)?;
    let Some(aggregation) = question.aggregation else {
        return Ok(selector(&question.metric_name, &question.tags));
    };
    if let Some(quantile) = aggregation.quantile() {
        return Ok(quantile_of(question, quantile));
    }
    let Some((operator, over_time)) = aggregation.operator() else {
        return Ok(rate_of(question, aggregation));
    };
    let inner = over_step(question, over_time);
    Ok(format!("{operator}{}({inner})", by(&question.group_by)))
}

/// A selector of the series `name` whose labels equal `tags`.
pub(super) fn selector(name: &str, tags: &BTreeMap<String, String>) -> String {
    if tags.is_empty() {
        return name.to_owned();
    }
    let matchers: Vec<String> =
        tags.iter().map(|(label, value)| format!("{label}={}", quoted(value))).collect();
    format!("{name}{{{}}}", matchers.join(","))
}

/// Checks what becomes part of the expression as it stands.
fn check(question: &Question) -> Result<(), ToolError> {
    check_metric_name("metric_name", &question.metric_name)?;
    for label in question.tags.keys() {
        check_label(&format!("tags.{label}"), label)?;
    }
    for (i, label) in question.group_by.iter().enumerate() {
        check_label(&format!("group_by[{i}]"), label)?;
    }
    if question.aggregation.is_none() && !question.group_by.is_empty() {
        return Err(ToolError::argument(
            "group_by",
            "says how to aggregate, so give an aggregation too, such as \"avg\" or \"sum\"",
        ));
    }
    Ok(())
}

/// Refuses what is no metric name: most likely it is an expression.
pub(super) fn check_metric_name(field: &str, name: &str) -> Result<(), ToolError> {
    if is_metric_name(name) {
        return Ok(());
    }
    let advice =
        "is not a metric name (letters, digits, `_` and `:`); PromQL goes into query_metrics' expr";
    Err(ToolError::argument(field, format!("{name:?} {advice}")))
}

fn check_label(field: &str, label: &str) -> Result<(), ToolError> {
    if label == METRIC_NAME {
        return Err(ToolError::argument(field, "the name of the metric goes into metric_name"));
    }
    if is_label_name(label) {
        return Ok(());
    }
    let problem = format!("{label:?} is not a label name: letters, digits and `_`, no digit first");
    Err(ToolError::argument(field, problem))
}

/// The samples of a whole step, so that a coarse one hides no peak; the latest where there is none.
fn over_step(question: &Question, over_time: Option<&str>) -> String {
    let selector = selector(&question.metric_name, &question.tags);
    match (over_time, question.step) {
        (Some(function), Some(step)) => {
            format!("{function}({selector}[{}])", format_duration(step))
        }
        _ => selector,
    }
}

/// Rates stay apart unless they are grouped: a sum over unlike series means nothing.
fn rate_of(question: &Question, aggregation: Aggregation) -> String {
    let function = if aggregation == Aggregation::Rate { "rate" } else { "increase" };
    let selector = selector(&question.metric_name, &question.tags);
    let rate = format!("{function}({selector}[{}])", window(question));
    if question.group_by.is_empty() {
        return rate;
    }
    format!("sum{}({rate})", by(&question.group_by))
}

fn quantile_of(question: &Question, quantile: &str) -> String {
    if !question.is_histogram {
        let inner = match question.step {
            Some(step) => {
                let selector = selector(&question.metric_name, &question.tags);
                format!("quantile_over_time({quantile}, {selector}[{}])", format_duration(step))
            }
            None => selector(&question.metric_name, &question.tags),
        };
        return format!("quantile{}({quantile}, {inner})", by(&question.group_by));
    }
    let buckets = selector(&format!("{}_bucket", question.metric_name), &question.tags);
    let mut labels = question.group_by.clone();
    labels.push("le".to_owned());
    let rates = format!("sum{}(rate({buckets}[{}]))", by(&labels), window(question));
    format!("histogram_quantile({quantile}, {rates})")
}

fn window(question: &Question) -> impl std::fmt::Display {
    format_duration(question.step.unwrap_or_default().max(RATE_WINDOW_MIN))
}

fn by(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!(" by ({}) ", labels.join(", ")) }
}

/// A text as a PromQL string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(name: &str, aggregation: Option<Aggregation>) -> Question {
        Question { metric_name: name.to_owned(), aggregation, ..Question::default() }
    }

    #[track_caller]
    fn check_promql(question: &Question, expected: &str) {
        assert_eq!(to_promql(question).as_deref(), Ok(expected));
        promql_parser::parser::parse(expected).unwrap();
    }

    #[track_caller]
    fn check_refused(question: &Question, expected: &str) {
        let text = to_promql(question).unwrap_err().to_string();
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn a_name_and_tags_are_a_selector() {
        check_promql(&question("up", None), "up");
        let tags =
            [("job".to_owned(), "node".to_owned()), ("a".to_owned(), "b\"c\\d\n".to_owned())];
        let asked = Question { tags: tags.into(), ..question("up", None) };
        check_promql(&asked, "up{a=\"b\\\"c\\\\d\\n\",job=\"node\"}");
    }

    #[test]
    fn an_aggregation_joins_series() {
        check_promql(&question("up", Some(Aggregation::Count)), "count(up)");
        let grouped = Question {
            group_by: vec!["job".into(), "instance".into()],
            ..question("up", Some(Aggregation::Avg))
        };
        check_promql(&grouped, "avg by (job, instance) (up)");
    }

    #[test]
    fn over_a_range_no_step_hides_a_peak() {
        let step = Some(Duration::from_mins(30));
        let asked = |aggregation| Question { step, ..question("m", Some(aggregation)) };
        check_promql(&asked(Aggregation::Max), "max(max_over_time(m[30m]))");
        check_promql(&asked(Aggregation::Sum), "sum(m)");
        check_promql(&asked(Aggregation::P95), "quantile(0.95, quantile_over_time(0.95, m[30m]))");
        check_promql(&asked(Aggregation::Rate), "rate(m[30m])");
    }

    #[test]
    fn rates_have_a_window_and_are_summed_by_groups() {
        check_promql(&question("m", Some(Aggregation::Rate)), "rate(m[5m])");
        let grouped =
            Question { group_by: vec!["job".into()], ..question("m", Some(Aggregation::Increase)) };
        check_promql(&grouped, "sum by (job) (increase(m[5m]))");
    }

    #[test]
    fn quantiles_know_histograms() {
        check_promql(&question("m", Some(Aggregation::P50)), "quantile(0.5, m)");
        let histogram = Question {
            is_histogram: true,
            group_by: vec!["server".into()],
            ..question("m", Some(Aggregation::P99))
        };
        let expected = "histogram_quantile(0.99, sum by (server, le) (rate(m_bucket[5m])))";
        check_promql(&histogram, expected);
    }

    #[test]
    fn refusals_name_the_field() {
        check_refused(&question("rate(up[5m])", None), "metric_name: \"rate(up[5m])\"");
        check_refused(&question("", None), "metric_name: ");
        let tags = [("bad-name".to_owned(), String::new())].into();
        check_refused(&Question { tags, ..question("up", None) }, "tags.bad-name: ");
        let tags = [("__name__".to_owned(), "up".to_owned())].into();
        check_refused(&Question { tags, ..question("up", None) }, "tags.__name__: ");
        let group_by = vec!["ok".to_owned(), "a b".to_owned()];
        let asked = Question { group_by, ..question("up", Some(Aggregation::Sum)) };
        check_refused(&asked, "group_by[1]: ");
        let asked = Question { group_by: vec!["job".into()], ..question("up", None) };
        check_refused(&asked, "group_by: ");
    }

    proptest! {
        #[test]
        fn any_tag_value_survives_the_way_through_promql(value in any::<String>()) {
            let asked = Question {
                tags: [("label".to_owned(), value.clone())].into(),
                ..question("m", None)
            };
            let expr = to_promql(&asked).unwrap();
            let Ok(promql_parser::parser::Expr::VectorSelector(selector)) =
                promql_parser::parser::parse(&expr)
            else {
                panic!("no selector: {expr}");
            };
            prop_assert_eq!(&selector.matchers.matchers[0].value, &value);
        }
    }
}
