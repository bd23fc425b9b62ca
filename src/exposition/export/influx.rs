//! InfluxDB line protocol
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>).

use super::{
    super::{
        Format,
        histogram::push_json,
        value::{push_exact_value, push_int, push_text_value},
        write::push_metadata,
    },
    Form, Written,
};
use crate::{
    model::{HistogramSample, Labels, METRIC_NAME, Metadata, Sample},
    time::Timestamp,
};

/// The first line, a comment: names and values in the lines after it are escaped as
/// [`push_escaped`] does.
pub(in crate::exposition) const ESCAPED: &str = "# Balefire line protocol 1";
/// The beginning of a comment that holds a line of what the protocol has no word for.
pub(in crate::exposition) const HIDDEN: &str = "#= ";

#[derive(Default)]
pub(super) struct Influx {
    series: String,
}

impl Form for Influx {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(ESCAPED.as_bytes());
        out.push(b'\n');
    }

    fn metric(&mut self, _: &str, known: &[Metadata], out: &mut Vec<u8>) {
        let mut text = String::new();
        for metadata in known {
            push_metadata(metadata, Format::Text, &mut text);
            if !metadata.unit.is_empty() {
                text.extend(["# UNIT ", &metadata.name, " ", &metadata.unit, "\n"]);
            }
        }
        out.extend_from_slice(text.as_bytes());
    }

    fn begin_series(&mut self, labels: &Labels) {
        self.series.clear();
        push_escaped(labels.metric(), &mut self.series);
        for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            self.series.push(',');
            push_escaped(name, &mut self.series);
            self.series.push('=');
            push_escaped(value, &mut self.series);
        }
    }

    fn sample(&mut self, Sample { timestamp, value }: Sample, out: &mut Vec<u8>) -> Written {
        if value.is_finite() {
            self.push_series(" value=", out);
            push_text_value(value, out);
        } else {
            out.extend_from_slice(HIDDEN.as_bytes());
            self.push_series(" value=", out);
            push_exact_value(value, out);
        }
        push_nanos(timestamp, out);
        Written::Whole
    }

    fn histogram(&mut self, sample: &HistogramSample, out: &mut Vec<u8>) -> Written {
        out.extend_from_slice(HIDDEN.as_bytes());
        self.push_series(" histogram=", out);
        push_json(&sample.histogram, out);
        push_nanos(sample.timestamp, out);
        Written::Whole
    }
}

impl Influx {
    fn push_series(&self, field: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.series.as_bytes());
        out.extend_from_slice(field.as_bytes());
    }
}

fn push_nanos(timestamp: Timestamp, out: &mut Vec<u8>) {
    out.push(b' ');
    let millis = timestamp.as_millis();
    push_int(millis, out);
    out.extend_from_slice(if millis == 0 { b"\n" } else { b"000000\n" });
}

/// Comma, equals sign and space are escaped, as the protocol has it. It has no word for the end of a
/// line, which is written as `\n` or `\r`; and a backslash that would be taken for the beginning of an
/// escape is written twice.
fn push_escaped(text: &str, out: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' | '=' | ' ' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => {
                let plain = |next: &char| !",= \n\r\\nr".contains(*next);
                out.push_str(if chars.peek().is_some_and(plain) { "\\" } else { "\\\\" });
            }
            c => out.push(c),
        }
    }
}
