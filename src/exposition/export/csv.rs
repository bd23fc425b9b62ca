//! RFC 4180.

use super::super::{
    escape::{push_fmt, push_series},
    text_value,
};
use crate::model::{Labels, Sample};

pub(super) const HEADER: &str = "timestamp,series,value\n";

pub(super) fn push(labels: &Labels, samples: impl Iterator<Item = Sample>, out: &mut String) {
    let mut series = String::new();
    push_series(labels, &mut series);
    let series = quoted(series);
    for Sample { timestamp, value } in samples {
        push_fmt(out, format_args!("{timestamp},{series},{}\n", text_value(value)));
    }
}

/// A field that holds a quote or a comma stands in quotes; line ends are escaped in series already.
fn quoted(field: String) -> String {
    if field.contains(['"', ',', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}
