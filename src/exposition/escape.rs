//! Escapes of the text formats.

use std::fmt::{Arguments, Write};

use crate::model::{Labels, METRIC_NAME};

/// Appends a formatted text in place.
pub(super) fn push_fmt(out: &mut String, text: Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

/// Appends a label's value: backslash, newline and quote are escaped.
pub(super) fn push_label_value(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            c => push_escaped(c, out),
        }
    }
}

/// Appends a help text: backslash and newline are escaped; in OpenMetrics the quote, too.
pub(super) fn push_help(text: &str, with_quotes: bool, out: &mut String) {
    if with_quotes {
        push_label_value(text, out);
    } else {
        text.chars().for_each(|c| push_escaped(c, out));
    }
}

fn push_escaped(c: char, out: &mut String) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        c => out.push(c),
    }
}

/// Appends a series: `name{a="b",c="d"}`.
pub(super) fn push_series(labels: &Labels, out: &mut String) {
    out.push_str(labels.metric());
    let mut separator = '{';
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        out.push(separator);
        out.push_str(name);
        out.push_str("=\"");
        push_label_value(value, out);
        out.push('"');
        separator = ',';
    }
    if separator == ',' || labels.metric().is_empty() {
        out.push_str(if separator == ',' { "}" } else { "{}" });
    }
}
