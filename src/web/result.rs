//! Answers to queries in Prometheus' JSON (<https://prometheus.io/docs/prometheus/latest/querying/api/>),
//! written piece by piece while the client takes them: the text of a large answer is never in memory as a
//! whole, and series that are written are let go.

use std::vec::IntoIter;

use axum::body::Body;
use futures_util::stream;

use crate::{
    model::{BucketRange, Histogram, HistogramSample, Labels, Sample},
    promql::{Answer, Point, PointValue, SeriesData, Value},
    time::Timestamp,
};

use super::json::{Json, push_plain, push_seconds, push_value};

/// A piece goes out when it has grown to this.
const PIECE_BYTES: usize = 64 * 1024;
/// Samples, or histograms, that are written before the size of a piece is looked at again.
const RUN: usize = 256;
/// Warnings, and infos, that an answer lists, as in Prometheus; the rest is counted.
const NOTES_MAX: usize = 10;

/// An answer in full.
pub(super) fn body(answer: Answer) -> Body {
    let mut pieces = Pieces::new(answer);
    let first = pieces.next().unwrap_or_default();
    if pieces.tail.is_none() {
        return Body::from(first);
    }
    let all = std::iter::once(first).chain(pieces).map(Ok::<_, std::convert::Infallible>);
    Body::from_stream(stream::iter(all))
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
        // First, so that no other warning crowds it out.
        answer.warnings.insert(0, TRUNCATED.to_owned());
    }
}

/// What a limit that cuts something says.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

fn truncated<T>(list: &mut Vec<T>, limit: usize) -> usize {
    let len = list.len();
    list.truncate(limit);
    len
}

/// The text of an answer.
struct Pieces {
    /// What stands before the rest; taken with the first piece.
    head: Vec<u8>,
    rest: Rest,
    /// What stands behind it; none when that is written, too.
    tail: Option<Vec<u8>>,
}

/// What is still to be written of a result.
enum Rest {
    Nothing,
    Vector(IntoIter<(Labels, Point)>),
    Matrix(IntoIter<SeriesData>, Option<OpenSeries>),
}

/// A series whose samples are being written.
struct OpenSeries {
    data: SeriesData,
    samples_written: usize,
    histograms_written: usize,
}

impl Pieces {
    fn new(Answer { value, warnings, infos }: Answer) -> Self {
        let mut head = b"{\"status\":\"success\",\"data\":{\"resultType\":\"".to_vec();
        head.extend_from_slice(kind(&value).as_bytes());
        head.extend_from_slice(b"\",\"result\":");
        let mut tail = Vec::new();
        let rest = match value {
            Value::Scalar(scalar) => {
                pair(scalar.timestamp, |out| push_plain(scalar.value, out), &mut head);
                Rest::Nothing
            }
            Value::String(time, text) => {
                lone_pair(time, |out| text.write(out), &mut head);
                Rest::Nothing
            }
            Value::Vector(series) => Rest::Vector(series.into_iter()),
            Value::Matrix(series) => Rest::Matrix(series.into_iter(), None),
        };
        if !matches!(rest, Rest::Nothing) {
            head.push(b'[');
            tail.push(b']');
        }
        tail.push(b'}');
        notes("warning", warnings, &mut tail);
        notes("info", infos, &mut tail);
        tail.push(b'}');
        Self { head, rest, tail: Some(tail) }
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.tail.as_ref()?;
        let mut out = std::mem::take(&mut self.head);
        let mut is_first = !out.is_empty();
        while out.len() < PIECE_BYTES {
            if !self.rest.step(&mut is_first, &mut out) {
                out.append(&mut self.tail.take()?);
                break;
            }
        }
        Some(out)
    }
}

impl Rest {
    /// Writes a little more; tells whether there was anything. `is_first` until a series is written.
    fn step(&mut self, is_first: &mut bool, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Vector(series) => {
                let Some((labels, point)) = series.next() else { return false };
                begin_series(&labels, is_first, out);
                point.write(out);
                out.push(b'}');
                true
            }
            Self::Matrix(series, open) => {
                if open.as_mut().is_some_and(|open| open.step(out)) {
                    return true;
                }
                if open.take().is_some() {
                    out.push(b'}');
                }
                let Some(data) = series.next() else { return false };
                begin_series(&data.labels, is_first, out);
                *open = Some(OpenSeries { data, samples_written: 0, histograms_written: 0 });
                true
            }
        }
    }
}

impl OpenSeries {
    /// Writes a few samples; tells whether there were any.
    fn step(&mut self, out: &mut Vec<u8>) -> bool {
        let SeriesData { samples, histograms, .. } = &self.data;
        run("values", samples, &mut self.samples_written, out)
            || run("histograms", histograms, &mut self.histograms_written, out)
    }
}

/// Writes the next items of a list, with its brackets where they belong.
fn run<T: Json>(name: &str, items: &[T], written: &mut usize, out: &mut Vec<u8>) -> bool {
    let rest = &items[*written..];
    let rest = &rest[..rest.len().min(RUN)];
    for item in rest {
        if *written == 0 {
            begin_field(name, out);
            out.push(b'[');
        } else {
            out.push(b',');
        }
        item.write(out);
        *written += 1;
    }
    if !rest.is_empty() && *written == items.len() {
        out.push(b']');
    }
    !rest.is_empty()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Scalar(_) => "scalar",
        Value::String(..) => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    }
}

/// `{"metric":{…}`.
fn begin_series(labels: &Labels, is_first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::replace(is_first, false) {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"metric\":");
    labels.write(out);
}

/// `,"name":`
fn begin_field(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

impl Json for Point {
    /// The field with which a series of a vector ends.
    fn write(&self, out: &mut Vec<u8>) {
        match &self.value {
            PointValue::Float(value) => {
                begin_field("value", out);
                Sample { timestamp: self.timestamp, value: *value }.write(out);
            }
            PointValue::Histogram(histogram) => {
                begin_field("histogram", out);
                histogram_pair(self.timestamp, histogram, out);
            }
        }
    }
}

impl Json for Sample {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        push_seconds(self.timestamp, out);
        out.push(b',');
        quoted(self.value, out);
        out.push(b']');
    }
}

impl Json for HistogramSample {
    fn write(&self, out: &mut Vec<u8>) {
        histogram_pair(self.timestamp, &self.histogram, out);
    }
}

fn histogram_pair(time: Timestamp, histogram: &Histogram, out: &mut Vec<u8>) {
    out.push(b'[');
    push_seconds(time, out);
    out.push(b',');
    histogram.write(out);
    out.push(b']');
}

impl Json for Histogram {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"count\":");
        quoted(self.count, out);
        out.extend_from_slice(b",\"sum\":");
        quoted(self.sum, out);
        let mut first = true;
        for bucket in self.buckets() {
            out.extend_from_slice(if first { b",\"buckets\":[" } else { b"," });
            first = false;
            bucket.write(out);
        }
        if !first {
            out.push(b']');
        }
        out.push(b'}');
    }
}

impl Json for BucketRange {
    /// Which ends belong to it, the ends, the count (`util/jsonutil`, `MarshalHistogram`).
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => b"[0",
            (true, false) => b"[1",
            (false, false) => b"[2",
            (true, true) => b"[3",
        });
        for number in [self.lower, self.upper, self.count] {
            out.push(b',');
            quoted(number, out);
        }
        out.push(b']');
    }
}

/// A number as a text.
fn quoted(value: f64, out: &mut Vec<u8>) {
    out.push(b'"');
    push_value(value, out);
    out.push(b'"');
}

/// A scalar or a text with its time, which these have as a plain number: `1435781451.78`.
fn lone_pair(time: Timestamp, value: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'[');
    push_value(time.as_secs_f64(), out);
    out.push(b',');
    value(out);
    out.push(b']');
}

fn pair(time: Timestamp, number: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let quoted = |out: &mut Vec<u8>| {
        out.push(b'"');
        number(out);
        out.push(b'"');
    };
    lone_pair(time, quoted, out);
}

/// `,"warnings":[…]`, with a count of those left out.
fn notes(kind: &str, mut notes: Vec<String>, out: &mut Vec<u8>) {
    if notes.is_empty() {
        return;
    }
    if notes.len() > NOTES_MAX {
        let omitted = notes.split_off(NOTES_MAX).len();
        notes.push(format!("{omitted} more {kind} annotations omitted"));
    }
    begin_field(&format!("{kind}s"), out);
    notes.write(out);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Bounds, Bucket, HistogramParts};

    fn at(millis: i64, value: f64) -> Sample {
        Sample { timestamp: Timestamp::from_millis(millis), value }
    }

    fn plain(value: Value) -> Answer {
        Answer { value, warnings: Vec::new(), infos: Vec::new() }
    }

    fn text(answer: Answer) -> String {
        String::from_utf8(Pieces::new(answer).flatten().collect()).unwrap()
    }

    #[track_caller]
    fn check(value: Value, data: &str) {
        let text = text(plain(value));
        assert_eq!(text, format!("{{\"status\":\"success\",\"data\":{data}}}"));
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    fn distribution() -> Arc<Histogram> {
        let bucket = |index, count| Bucket { index, count };
        let parts = HistogramParts {
            count: 10.5,
            sum: -1e21,
            zero_threshold: 0.001,
            zero_count: 2.0,
            bounds: Bounds::Exponential(0),
            positive: vec![bucket(1, 3.0)],
            negative: vec![bucket(0, 1.5), bucket(2, 4.0)],
            ..HistogramParts::default()
        };
        Arc::new(Histogram::new(parts).unwrap())
    }

    const DISTRIBUTION: &str = r#"{"count":"10.5","sum":"-1e+21","buckets":[[1,"-4","-2","4"],[1,"-1","-0.5","1.5"],[3,"-0.001","0.001","2"],[0,"1","2","3"]]}"#;

    #[test]
    fn writes_every_kind_as_prometheus_does() {
        check(
            Value::Scalar(at(1_435_781_451_780, 1e21)),
            r#"{"resultType":"scalar","result":[1435781451.78,"1000000000000000000000"]}"#,
        );
        check(
            Value::String(Timestamp::from_secs(5), "a\"<".into()),
            r#"{"resultType":"string","result":[5,"a\"\u003c"]}"#,
        );
        let labels = Labels::of("up", [("job", "<a")]);
        check(
            Value::Vector(vec![
                (labels.clone(), at(1000, f64::INFINITY).into()),
                (Labels::empty(), at(1780, 1e-7).into()),
            ]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"<a"},"value":[1,"+Inf"]},{"metric":{},"value":[1.780,"1e-07"]}]}"#,
        );
        let samples = vec![at(0, 0.5), at(-1500, 1.0)];
        check(
            Value::Matrix(vec![
                SeriesData { labels: labels.clone(), samples, histograms: Vec::new() },
                SeriesData { labels, samples: vec![at(1, 2.0)], histograms: Vec::new() },
            ]),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"<a"},"values":[[0,"0.5"],[-1.500,"1"]]},{"metric":{"__name__":"up","job":"<a"},"values":[[0.001,"2"]]}]}"#,
        );
        check(Value::Vector(Vec::new()), r#"{"resultType":"vector","result":[]}"#);
        check(Value::Matrix(Vec::new()), r#"{"resultType":"matrix","result":[]}"#);
    }

    #[test]
    fn writes_native_histograms() {
        let timestamp = Timestamp::from_millis(2500);
        let value = PointValue::Histogram(distribution());
        check(
            Value::Vector(vec![(Labels::empty(), Point { timestamp, value })]),
            &format!(
                r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":[2.500,{DISTRIBUTION}]}}]}}"#
            ),
        );
        let empty = Arc::new(Histogram::new(HistogramParts::default()).unwrap());
        let sample = |histogram| HistogramSample { timestamp, histogram };
        let histograms = vec![sample(distribution()), sample(empty)];
        check(
            Value::Matrix(vec![SeriesData {
                labels: Labels::empty(),
                samples: vec![at(0, 1.0)],
                histograms,
            }]),
            &format!(
                r#"{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[0,"1"]],"histograms":[[2.500,{DISTRIBUTION}],[2.500,{{"count":"0","sum":"0"}}]]}}]}}"#
            ),
        );
    }

    #[test]
    fn large_answers_come_in_pieces() {
        let labels = Labels::of("up", [("job", "a")]);
        let samples: Vec<Sample> = (0..100_000).map(|n| at(n * 15_000, n as f64 / 3.0)).collect();
        let series = SeriesData { labels, samples, histograms: Vec::new() };
        let answer = plain(Value::Matrix(vec![series.clone(), series]));
        let pieces: Vec<Vec<u8>> = Pieces::new(answer).collect();
        assert!(pieces.len() > 20, "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.len() < 2 * PIECE_BYTES));
        let read: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
        let values = |series: usize| read["data"]["result"][series]["values"].as_array().unwrap();
        assert_eq!((values(0).len(), values(1).len()), (100_000, 100_000));
        assert_eq!(values(1)[99_999][1], (99_999.0_f64 / 3.0).to_string());
    }

    #[test]
    fn notes_stand_behind_the_data_and_are_bounded() {
        let mut full = plain(Value::Scalar(at(0, 0.0)));
        full.warnings.push("odd".into());
        full.infos = (0..12).map(|n| n.to_string()).collect();
        let text = text(full);
        assert!(
            text.ends_with(
                r#"},"warnings":["odd"],"infos":["0","1","2","3","4","5","6","7","8","9","2 more info annotations omitted"]}"#
            ),
            "{text}"
        );
    }

    #[test]
    fn a_limit_cuts_and_says_so() {
        let series = || (Labels::empty(), at(0, 0.0).into());
        let mut full = plain(Value::Vector(vec![series(), series()]));
        cut(&mut full, Some(2));
        assert!(full.warnings.is_empty());
        cut(&mut full, Some(1));
        assert_eq!(full.value, Value::Vector(vec![series()]));
        assert_eq!(full.warnings, [TRUNCATED]);
    }
}
