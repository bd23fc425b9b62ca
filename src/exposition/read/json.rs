//! JSON objects, one a line.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    super::{histogram::from_json, value::exact_value},
    Fault, Lines,
};
use crate::{
    model::{
        Batch, HistogramSample, Labels, Metadata, MetricKind, Sample, SeriesHistogram,
        SeriesSample, is_metric_name,
    },
    time::Timestamp,
};

pub(super) struct JsonLines;

impl Lines for JsonLines {
    fn line(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let json: Value = serde_json::from_str(line).map_err(|error| Fault {
            left: line.len().saturating_sub(error.column().saturating_sub(1)),
            reason: format!("not a JSON object: {error}"),
        })?;
        read(&json, batch).map_err(|reason| Fault::new(line, reason))
    }
}

fn read(json: &Value, batch: &mut Batch) -> Result<(), String> {
    let json = json.as_object().ok_or("not a JSON object")?;
    if let Some(known) = json.get("metadata") {
        batch.metadata.push(metadata(known)?);
        return Ok(());
    }
    let series = labels(json.get("labels"))?;
    for point in points(json, "samples")? {
        let (timestamp, value) = pair(point, value)?;
        let sample = Sample { timestamp, value };
        batch.samples.push(SeriesSample { labels: series.clone(), sample });
    }
    for point in points(json, "histograms")? {
        let (timestamp, histogram) = pair(point, from_json)?;
        let sample = HistogramSample { timestamp, histogram: Arc::new(histogram) };
        batch.histograms.push(SeriesHistogram { labels: series.clone(), sample });
    }
    Ok(())
}

fn labels(json: Option<&Value>) -> Result<Labels, String> {
    let json = json.and_then(Value::as_object);
    let json = json.ok_or("no \"labels\", an object of names and values")?;
    let text = |(name, value): (&String, &Value)| {
        let value = value.as_str().ok_or_else(|| format!("label {name:?} is not a text"))?;
        Ok((name.clone(), value.to_owned()))
    };
    let pairs: Vec<(String, String)> = json.iter().map(text).collect::<Result<_, String>>()?;
    let labels = Labels::new(pairs).map_err(|error| error.to_string())?;
    if labels.metric().is_empty() {
        return Err("no \"__name__\" among the labels, which holds the metric name".to_owned());
    }
    Ok(labels)
}

fn points<'a>(json: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    let Some(points) = json.get(name) else { return Ok(&[]) };
    let points = points.as_array().map(Vec::as_slice);
    points.ok_or_else(|| format!("{name:?} is not a list of [milliseconds, value]"))
}

fn pair<T>(
    point: &Value,
    read: impl Fn(&Value) -> Result<T, String>,
) -> Result<(Timestamp, T), String> {
    let Some([time, what]) = point.as_array().map(Vec::as_slice) else {
        return Err(format!("{point} is not [milliseconds, value]"));
    };
    let millis = time.as_i64();
    let millis = millis.ok_or_else(|| format!("{time} is not a whole number of milliseconds"))?;
    Ok((Timestamp::from_millis(millis), read(what)?))
}

fn value(json: &Value) -> Result<f64, String> {
    let value = match json {
        Value::String(text) => exact_value(text),
        other => other.as_f64(),
    };
    value.ok_or_else(|| format!("{json} is not a value: write a number, in quotes"))
}

fn metadata(json: &Value) -> Result<Metadata, String> {
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = text("name");
    if !is_metric_name(name) {
        return Err(format!("metadata of an invalid metric name {name:?}"));
    }
    let kinds = [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram];
    let kinds = kinds.into_iter().chain([MetricKind::Summary, MetricKind::Unknown]);
    let kind = kinds.into_iter().find(|kind| kind.name() == text("type"));
    let kind = kind.ok_or_else(|| {
        let kind = text("type");
        format!("unknown type {kind:?}: write counter, gauge, histogram, summary or unknown")
    })?;
    let (help, unit) = (text("help").to_owned(), text("unit").to_owned());
    Ok(Metadata { name: name.to_owned(), kind, help, unit })
}
