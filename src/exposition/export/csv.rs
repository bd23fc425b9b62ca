//! RFC 4180.

use std::time::Duration;

use super::{
    super::{
        escape::{push_fmt, push_series},
        histogram::push_json,
        value::{push_padded, push_text_value},
    },
    Form, Written,
};
use crate::{
    model::{HistogramSample, Labels, Sample, is_stale},
    time::Timestamp,
};

const HEADER: &str = "timestamp,series,value,detail\n";
const DAY: Duration = Duration::from_hours(24);

#[derive(Default)]
pub(super) struct Csv {
    /// The field, with the commas on both sides.
    series: String,
    day: Option<Day>,
}

/// A day, and how its times begin: `2026-01-31T`.
struct Day {
    start: Timestamp,
    text: String,
}

impl Form for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(HEADER.as_bytes());
    }

    fn begin_series(&mut self, labels: &Labels) {
        let mut series = String::new();
        push_series(labels, &mut series);
        self.series.clear();
        push_fmt(&mut self.series, format_args!(",{},", quoted(series)));
    }

    fn sample(&mut self, Sample { timestamp, value }: Sample, out: &mut Vec<u8>) -> Written {
        self.push_time(timestamp, out);
        out.extend_from_slice(self.series.as_bytes());
        push_text_value(value, out);
        out.push(b',');
        if is_stale(value) {
            out.extend_from_slice(b"stale");
        } else if value.is_nan() && value.to_bits() != f64::NAN.to_bits() {
            out.extend_from_slice(format!("{:016x}", value.to_bits()).as_bytes());
        }
        out.push(b'\n');
        Written::Whole
    }

    fn histogram(&mut self, sample: &HistogramSample, out: &mut Vec<u8>) -> Written {
        self.push_time(sample.timestamp, out);
        out.extend_from_slice(self.series.as_bytes());
        let mut json = Vec::new();
        push_json(&sample.histogram, &mut json);
        out.extend_from_slice(b",\"");
        for byte in json {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.extend_from_slice(b"\"\n");
        Written::Whole
    }
}

impl Csv {
    /// Asks the calendar once a day alone.
    fn push_time(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let start = time.aligned(DAY);
        if self.day.as_ref().is_none_or(|day| day.start != start) {
            self.day = day(start);
        }
        let Some(day) = &self.day else {
            return out.extend_from_slice(time.to_string().as_bytes());
        };
        let millis = time.as_millis().abs_diff(start.as_millis());
        out.extend_from_slice(day.text.as_bytes());
        for (value, end) in
            [(millis / 3_600_000, b':'), (millis / 60_000 % 60, b':'), (millis / 1000 % 60, b'.')]
        {
            push_padded(value, 2, out);
            out.push(end);
        }
        push_padded(millis % 1000, 3, out);
        out.push(b'Z');
    }
}

fn day(start: Timestamp) -> Option<Day> {
    let text = start.to_string();
    let date = text.split_once('T').map(|(date, _)| format!("{date}T"));
    date.map(|text| Day { start, text })
}

/// A field that holds a quote or a comma stands in quotes; line ends are escaped in series already.
fn quoted(field: String) -> String {
    if field.contains(['"', ',', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}
