//! One JSON object a line.

use serde_json::Value;

use super::super::{escape::push_fmt, text_value};
use crate::model::{Labels, Sample};

pub(super) fn push(labels: &Labels, samples: impl Iterator<Item = Sample>, out: &mut String) {
    let labels: serde_json::Map<_, _> =
        labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    push_fmt(out, format_args!("{{\"labels\":{},\"samples\":[", Value::Object(labels)));
    for (index, Sample { timestamp, value }) in samples.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        push_fmt(out, format_args!("{comma}[{},\"{}\"]", timestamp.as_millis(), text_value(value)));
    }
    out.push_str("]}\n");
}
