//! InfluxDB line protocol
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>).

use super::super::{escape::push_fmt, text_value};
use crate::model::{Labels, METRIC_NAME, Sample};

/// Appends a line for each sample; gives how many it had to leave out.
pub(super) fn push(
    labels: &Labels,
    samples: impl Iterator<Item = Sample>,
    out: &mut String,
) -> u64 {
    let mut series = String::new();
    push_escaped(labels.metric(), &mut series);
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        series.push(',');
        push_escaped(name, &mut series);
        series.push('=');
        push_escaped(value, &mut series);
    }
    let mut left_out = 0;
    for Sample { timestamp, value } in samples {
        if value.is_finite() {
            let nanos = i128::from(timestamp.as_millis()) * 1_000_000;
            push_fmt(out, format_args!("{series} value={} {nanos}\n", text_value(value)));
        } else {
            left_out += 1;
        }
    }
    left_out
}

/// Comma, equals sign and space are escaped. A line end cannot be, so it is written as `\n`; a
/// backslash at the end would escape what follows, so a space that is escaped itself comes between.
fn push_escaped(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            ',' | '=' | ' ' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    if text.ends_with('\\') {
        out.push_str("\\ ");
    }
}
