//! Answers as Prometheus' JSON, to the byte: numbers are texts, times are seconds
//! (<https://prometheus.io/docs/prometheus/latest/querying/api/>).

use serde_json::{Map, Value as Json};

use crate::{
    exposition::api_value,
    model::{Labels, Sample},
    promql::{Answer, SeriesData, Value},
    time::Timestamp,
};

/// An answer in full.
pub(super) fn answer(answer: &Answer) -> String {
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    data(&answer.value, &mut out);
    notes("warnings", &answer.warnings, &mut out);
    notes("infos", &answer.infos, &mut out);
    out.push('}');
    out
}

/// Cuts a result to `limit` series; tells so in the answer's warnings, as Prometheus does.
pub(super) fn cut(answer: &mut Answer, limit: Option<usize>) {
    let Some(limit) = limit else { return };
    let len = match &mut answer.value {
        Value::Vector(series) => truncated(series, limit),
        Value::Matrix(series) => truncated(series, limit),
        Value::Scalar(_) | Value::String(..) => 0,
    };
    if len > limit {
        answer.warnings.push("results truncated due to limit".to_owned());
    }
}

fn truncated<T>(list: &mut Vec<T>, limit: usize) -> usize {
    let len = list.len();
    list.truncate(limit);
    len
}

fn data(value: &Value, out: &mut String) {
    let kind = match value {
        Value::Scalar(_) => "scalar",
        Value::String(..) => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    out.push_str("{\"resultType\":\"");
    out.push_str(kind);
    out.push_str("\",\"result\":");
    match value {
        Value::Scalar(scalar) => sample(*scalar, out),
        Value::String(time, text) => pair(*time, text, out),
        Value::Vector(series) => list(series, out, |(labels, point), out| {
            metric(labels, out);
            out.push_str(",\"value\":");
            let value = point.float().unwrap_or(f64::NAN);
            sample(Sample { timestamp: point.timestamp, value }, out);
            out.push('}');
        }),
        Value::Matrix(series) => list(series, out, |SeriesData { labels, samples, .. }, out| {
            metric(labels, out);
            out.push_str(",\"values\":");
            list(samples, out, |value, out| sample(*value, out));
            out.push('}');
        }),
    }
    out.push('}');
}

/// Opens a series: `{"metric":{…}`.
fn metric(labels: &Labels, out: &mut String) {
    let labels: Map<_, _> =
        labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect();
    out.push_str("{\"metric\":");
    out.push_str(&Json::Object(labels).to_string());
}

fn sample(sample: Sample, out: &mut String) {
    pair(sample.timestamp, &api_value(sample.value), out);
}

fn pair(time: Timestamp, text: &str, out: &mut String) {
    out.push('[');
    out.push_str(&seconds(time));
    out.push(',');
    out.push_str(&Json::from(text).to_string());
    out.push(']');
}

/// Seconds; a fraction is three digits long (`util/jsonutil`, `MarshalTimestamp`).
fn seconds(time: Timestamp) -> String {
    let millis = time.as_millis();
    let sign = if millis < 0 { "-" } else { "" };
    let (whole, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:03}") }
}

fn notes(name: &str, notes: &[String], out: &mut String) {
    if !notes.is_empty() {
        out.extend([",\"", name, "\":"]);
        out.push_str(&Json::from(notes).to_string());
    }
}

fn list<T>(items: &[T], out: &mut String, mut each: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64, value: f64) -> Sample {
        Sample { timestamp: Timestamp::from_millis(millis), value }
    }

    fn plain(value: Value) -> Answer {
        Answer { value, warnings: Vec::new(), infos: Vec::new() }
    }

    #[track_caller]
    fn check(value: Value, data: &str) {
        let text = answer(&plain(value));
        assert_eq!(text, format!("{{\"status\":\"success\",\"data\":{data}}}"));
        serde_json::from_str::<Json>(&text).unwrap();
    }

    #[test]
    fn writes_every_kind_as_prometheus_does() {
        check(
            Value::Scalar(at(1_435_781_451_780, 1e6)),
            r#"{"resultType":"scalar","result":[1435781451.780,"1000000"]}"#,
        );
        check(
            Value::String(Timestamp::from_secs(5), "a\"b".into()),
            r#"{"resultType":"string","result":[5,"a\"b"]}"#,
        );
        let labels = Labels::of("up", [("job", "a")]);
        check(
            Value::Vector(vec![(labels.clone(), at(1000, f64::INFINITY).into())]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1,"+Inf"]}]}"#,
        );
        check(
            Value::Matrix(vec![SeriesData {
                labels,
                samples: vec![at(0, 0.5), at(-1500, 1.0)],
                histograms: Vec::new(),
            }]),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[0,"0.5"],[-1.500,"1"]]}]}"#,
        );
        check(Value::Vector(Vec::new()), r#"{"resultType":"vector","result":[]}"#);
    }

    #[test]
    fn notes_stand_behind_the_data() {
        let mut full = plain(Value::Scalar(at(0, 0.0)));
        full.warnings.push("odd".into());
        full.infos.push("fyi".into());
        let text = answer(&full);
        assert!(text.ends_with(r#"},"warnings":["odd"],"infos":["fyi"]}"#), "{text}");
    }

    #[test]
    fn a_limit_cuts_and_says_so() {
        let series = || (Labels::empty(), at(0, 0.0).into());
        let mut full = plain(Value::Vector(vec![series(), series()]));
        cut(&mut full, Some(2));
        assert!(full.warnings.is_empty());
        cut(&mut full, Some(1));
        assert_eq!(full.value, Value::Vector(vec![series()]));
        assert_eq!(full.warnings.len(), 1);
    }
}
