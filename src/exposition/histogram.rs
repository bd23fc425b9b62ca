//! A native histogram as one JSON object, for the formats that have no word for it.
//!
//! `{"count":"6","sum":"12.5","schema":3,"zero_threshold":"0.001","zero_count":"1",
//! "positive":[[-2,"2"],[4,"3"]],"reset":"gauge"}`; numbers stand in quotes, so that each keeps every
//! bit. Absent are `custom_bounds`, `positive` and `negative` where they are empty, and `reset` where
//! nothing is known of it.

use serde_json::{Map, Value};

use super::value::{exact_value, push_exact_value, push_int};
use crate::model::{Bounds, Bucket, Histogram, HistogramParts, ResetHint};

/// Appends a histogram.
pub(super) fn push_json(histogram: &Histogram, out: &mut Vec<u8>) {
    let HistogramParts { count, sum, zero_threshold, zero_count, .. } = **histogram;
    push_field("{\"count\":", count, out);
    push_field(",\"sum\":", sum, out);
    push_field(",\"zero_threshold\":", zero_threshold, out);
    push_field(",\"zero_count\":", zero_count, out);
    push(",\"schema\":", out);
    push_int(i64::from(histogram.bounds.schema()), out);
    let custom = histogram.bounds.custom().iter();
    push_list("custom_bounds", custom, out, |bound, out| push_quoted(*bound, out));
    push_list("positive", histogram.positive.iter(), out, push_bucket);
    push_list("negative", histogram.negative.iter(), out, push_bucket);
    match histogram.reset {
        ResetHint::Unknown => {}
        ResetHint::Reset => push(",\"reset\":\"reset\"", out),
        ResetHint::Gauge => push(",\"reset\":\"gauge\"", out),
    }
    out.push(b'}');
}

fn push(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

fn push_quoted(value: f64, out: &mut Vec<u8>) {
    out.push(b'"');
    push_exact_value(value, out);
    out.push(b'"');
}

fn push_field(name: &str, value: f64, out: &mut Vec<u8>) {
    push(name, out);
    push_quoted(value, out);
}

fn push_bucket(bucket: &Bucket, out: &mut Vec<u8>) {
    out.push(b'[');
    push_int(i64::from(bucket.index), out);
    out.push(b',');
    push_quoted(bucket.count, out);
    out.push(b']');
}

fn push_list<T>(
    name: &str,
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    push_item: impl Fn(T, &mut Vec<u8>),
) {
    let mut is_open = false;
    for item in items {
        if is_open {
            out.push(b',');
        } else {
            out.extend_from_slice(format!(",\"{name}\":[").as_bytes());
        }
        is_open = true;
        push_item(item, out);
    }
    if is_open {
        out.push(b']');
    }
}

/// The inverse of [`push_json`]; says what is wrong with the object.
pub(super) fn from_json(json: &Value) -> Result<Histogram, String> {
    let json = json.as_object().ok_or("a histogram is not a JSON object")?;
    let schema = json.get("schema").and_then(Value::as_i64).and_then(|s| i32::try_from(s).ok());
    let schema = schema.ok_or("a histogram has no \"schema\", a whole number")?;
    let custom = list(json, "custom_bounds", &|bound| number(bound))?;
    let parts = HistogramParts {
        count: field(json, "count")?,
        sum: field(json, "sum")?,
        zero_threshold: field(json, "zero_threshold")?,
        zero_count: field(json, "zero_count")?,
        bounds: Bounds::of(schema, &custom).map_err(|error| error.to_string())?,
        positive: list(json, "positive", &bucket)?,
        negative: list(json, "negative", &bucket)?,
        reset: reset(json.get("reset"))?,
    };
    Histogram::new(parts).map_err(|error| error.to_string())
}

fn field(json: &Map<String, Value>, name: &str) -> Result<f64, String> {
    let value = json.get(name).and_then(number);
    value.ok_or_else(|| format!("a histogram has no {name:?}, a number in quotes"))
}

/// A number in quotes; without them, where it is exact all the same.
fn number(json: &Value) -> Option<f64> {
    match json {
        Value::String(text) => exact_value(text),
        other => other.as_i64().map(|whole| whole as f64),
    }
}

fn bucket(json: &Value) -> Option<Bucket> {
    let [index, count] = json.as_array()?.as_slice() else { return None };
    let index = i32::try_from(index.as_i64()?).ok()?;
    Some(Bucket { index, count: number(count)? })
}

fn list<T>(
    json: &Map<String, Value>,
    name: &str,
    item: &dyn Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    let Some(list) = json.get(name) else { return Ok(Vec::new()) };
    let items = list.as_array().and_then(|items| items.iter().map(item).collect());
    items.ok_or_else(|| format!("{name:?} of a histogram is not a list as it should be"))
}

fn reset(json: Option<&Value>) -> Result<ResetHint, String> {
    match json.map(Value::as_str) {
        None => Ok(ResetHint::Unknown),
        Some(Some("reset")) => Ok(ResetHint::Reset),
        Some(Some("gauge")) => Ok(ResetHint::Gauge),
        Some(_) => Err("\"reset\" of a histogram is neither \"reset\" nor \"gauge\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stale_nan;

    fn json_of(histogram: &Histogram) -> String {
        let mut out = Vec::new();
        push_json(histogram, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn parts() -> HistogramParts {
        HistogramParts {
            count: 6.0,
            sum: stale_nan(),
            zero_threshold: 0.001,
            zero_count: 0.1,
            bounds: Bounds::Exponential(3),
            positive: vec![Bucket { index: -2, count: 2.0 }, Bucket { index: 4, count: 3.9 }],
            negative: vec![Bucket { index: 1, count: 1.0 }],
            reset: ResetHint::Gauge,
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let own = HistogramParts {
            bounds: Bounds::of(-53, &[0.1, 2.5]).unwrap(),
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: vec![Bucket { index: 2, count: 6.0 }],
            negative: Vec::new(),
            reset: ResetHint::Reset,
            ..parts()
        };
        for parts in [parts(), own, HistogramParts::default()] {
            let histogram = Histogram::new(parts).unwrap();
            let json = serde_json::from_str(&json_of(&histogram)).unwrap();
            assert_eq!(from_json(&json).unwrap(), histogram);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let good = json_of(&Histogram::new(parts()).unwrap());
        for (part, other, reason) in [
            ("\"count\":\"6\"", "\"count\":\"x\"", "\"count\""),
            ("\"schema\":3", "\"schema\":9", "schema 9"),
            ("[-2,\"2\"]", "[7,\"2\"]", "ascending"),
            ("[-2,\"2\"]", "[-2]", "\"positive\""),
            ("\"gauge\"", "\"up\"", "neither"),
        ] {
            assert!(good.contains(part), "{good}");
            let json = serde_json::from_str(&good.replace(part, other)).unwrap();
            let told = from_json(&json).unwrap_err();
            assert!(told.contains(reason), "{told}");
        }
        assert!(from_json(&Value::Null).unwrap_err().contains("not a JSON object"));
    }
}
