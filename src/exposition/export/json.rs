//! JSON objects, one a line.

use serde_json::{Value, json};

use super::{
    super::{
        escape::push_fmt,
        histogram::push_json,
        value::{push_exact_value, push_int},
    },
    Form, Written,
};
use crate::{
    model::{HistogramSample, Labels, Metadata, Sample},
    time::Timestamp,
};

/// Points in one line: who reads it holds one in memory.
const LINE_POINTS: usize = 1000;
/// A line ends where its histograms take more.
const LINE_HISTOGRAM_BYTES: usize = 256 * 1024;

#[derive(Default)]
pub(super) struct Json {
    /// `{"labels":{…},"`
    series: String,
    /// The line that is open: what it holds, and how much of that.
    line: Option<(&'static str, usize)>,
    /// What its histograms take.
    histogram_bytes: usize,
}

impl Form for Json {
    fn metric(&mut self, _: &str, known: &[Metadata], out: &mut Vec<u8>) {
        for Metadata { name, kind, help, unit } in known {
            let kind = kind.name();
            let metadata = json!({ "name": name, "type": kind, "help": help, "unit": unit });
            out.extend_from_slice(format!("{{\"metadata\":{metadata}}}\n").as_bytes());
        }
    }

    fn begin_series(&mut self, labels: &Labels) {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        self.series.clear();
        push_fmt(&mut self.series, format_args!("{{\"labels\":{},\"", Value::Object(labels)));
    }

    fn sample(&mut self, Sample { timestamp, value }: Sample, out: &mut Vec<u8>) -> Written {
        self.begin_point("samples", timestamp, out);
        out.push(b'"');
        push_exact_value(value, out);
        out.extend_from_slice(b"\"]");
        Written::Whole
    }

    fn histogram(&mut self, sample: &HistogramSample, out: &mut Vec<u8>) -> Written {
        self.begin_point("histograms", sample.timestamp, out);
        let before = out.len();
        push_json(&sample.histogram, out);
        out.push(b']');
        self.histogram_bytes += out.len() - before;
        if self.histogram_bytes > LINE_HISTOGRAM_BYTES {
            self.end_series(out);
        }
        Written::Whole
    }

    fn end_series(&mut self, out: &mut Vec<u8>) {
        if self.line.take().is_some() {
            out.extend_from_slice(b"]}\n");
        }
    }
}

impl Json {
    /// `[timestamp,`, in a line that holds such points.
    fn begin_point(&mut self, what: &'static str, time: Timestamp, out: &mut Vec<u8>) {
        match &mut self.line {
            Some((holds, points)) if *holds == what && *points < LINE_POINTS => {
                *points += 1;
                out.push(b',');
            }
            _ => {
                self.end_series(out);
                self.line = Some((what, 1));
                self.histogram_bytes = 0;
                out.extend_from_slice(self.series.as_bytes());
                out.extend_from_slice(what.as_bytes());
                out.extend_from_slice(b"\":[");
            }
        }
        out.push(b'[');
        push_int(time.as_millis(), out);
        out.push(b',');
    }
}
