//! Stored samples as text, series by series: the forms of `balefire export`, which
//! [`ImportReader`](super::ImportReader) reads again. docs/export.md tells how each form writes what it
//! has no word for.
//!
//! An export may be larger than the memory, so a writer holds nothing of it: it appends one piece
//! after the other to a text that its caller hands on. The text is the same wherever a series is cut
//! into pieces.

mod csv;
mod influx;
mod json;
mod openmetrics;

use crate::model::{HistogramSample, Labels, Metadata, Sample};

pub(super) use influx::{ESCAPED, HIDDEN};
pub(super) use openmetrics::{STALE_DIGITS, TIME_DIGITS};

/// A text that is longer is handed on.
pub const PIECE_BYTES: usize = 256 * 1024;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// JSON objects, one a line: some samples of a series, some of its native histograms, or what is
    /// known of a metric. Timestamps in milliseconds, values as texts so that `NaN` and `+Inf` survive.
    Json,
    /// RFC 4180 with the header `timestamp,series,value,detail`: time in RFC 3339 to the millisecond,
    /// the series as Prometheus writes it, the value with the digits that give the same number again,
    /// and what a number cannot tell: `stale`, the bits of a NaN, a native histogram as JSON.
    Csv,
    /// OpenMetrics with timestamps, for `promtool tsdb create-blocks-from openmetrics`. It has no word
    /// for native histograms: they are left out and counted.
    Prometheus,
    /// InfluxDB line protocol: the metric is the measurement, labels are tags, the field is `value`,
    /// time in nanoseconds. What it has no word for stands in comments.
    Influx,
}

/// What an export holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// Series that have anything in it.
    pub series: u64,
    /// Samples and native histograms that are written.
    pub samples: u64,
    /// Native histograms that are not, since the format has no word for them.
    pub histograms_left_out: u64,
    /// NaNs whose bits the format cannot tell; they are read as another NaN.
    pub nans_altered: u64,
}

/// One form of an export. A series is begun, gets its points in the order of time, and is ended.
trait Form: Send {
    /// What comes before everything.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// What comes before the series of a metric; `known` tells of it, and of the family that it may be
    /// a part of.
    fn metric(&mut self, _metric: &str, _known: &[Metadata], _out: &mut Vec<u8>) {}

    fn begin_series(&mut self, labels: &Labels);

    fn sample(&mut self, sample: Sample, out: &mut Vec<u8>) -> Written;

    fn histogram(&mut self, sample: &HistogramSample, out: &mut Vec<u8>) -> Written;

    fn end_series(&mut self, _out: &mut Vec<u8>) {}

    /// What comes after everything.
    fn finish(&mut self, _out: &mut Vec<u8>) {}
}

/// Points of one series, each kind in the order of time.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// Samples.
    pub samples: &'a [Sample],
    /// Native histograms, at other times.
    pub histograms: &'a [HistogramSample],
}

enum Point<'a> {
    Sample(Sample),
    Histogram(&'a HistogramSample),
}

impl<'a> Points<'a> {
    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty()
    }

    /// Takes the earliest one.
    fn next(&mut self) -> Option<Point<'a>> {
        let Some((histogram, later)) = self.histograms.split_first() else {
            let (sample, later) = self.samples.split_first()?;
            self.samples = later;
            return Some(Point::Sample(*sample));
        };
        if let Some((sample, later)) = self.samples.split_first()
            && sample.timestamp <= histogram.timestamp
        {
            self.samples = later;
            return Some(Point::Sample(*sample));
        }
        self.histograms = later;
        Some(Point::Histogram(histogram))
    }
}

/// What became of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Whole,
    OtherNan,
    LeftOut,
}

/// Writes an export: [`ExportWriter::begin`]; for each metric [`ExportWriter::metric`] and pieces of its
/// series; [`ExportWriter::finish`].
pub struct ExportWriter {
    form: Box<dyn Form>,
    /// The series that is being written.
    open: Option<Labels>,
    summary: ExportSummary,
}

impl ExportWriter {
    /// A writer that has written nothing.
    pub fn new(format: ExportFormat) -> Self {
        let form: Box<dyn Form> = match format {
            ExportFormat::Json => Box::new(json::Json::default()),
            ExportFormat::Csv => Box::new(csv::Csv::default()),
            ExportFormat::Prometheus => Box::new(openmetrics::OpenMetrics::default()),
            ExportFormat::Influx => Box::new(influx::Influx::default()),
        };
        Self { form, open: None, summary: ExportSummary::default() }
    }

    /// What comes before the first metric.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.form.begin(out);
    }

    /// A metric, whose series come next; metrics come in the order of their names. `known` is what is
    /// known of it, or of the histogram or summary that it is a part of.
    pub fn metric(&mut self, metric: &str, known: &[Metadata], out: &mut Vec<u8>) {
        self.end_series(out);
        self.form.metric(metric, known, out);
    }

    /// A series, or the next piece of one: takes points until none is left, or until `out` holds
    /// [`PIECE_BYTES`], so that it can be handed on.
    pub fn points(&mut self, labels: &Labels, points: &mut Points<'_>, out: &mut Vec<u8>) {
        if points.is_empty() {
            return;
        }
        self.open(labels, out);
        while out.len() < PIECE_BYTES
            && let Some(point) = points.next()
        {
            let written = match point {
                Point::Sample(sample) => self.form.sample(sample, out),
                Point::Histogram(histogram) => self.form.histogram(histogram, out),
            };
            self.count(written);
        }
    }

    /// What comes after the last series; tells what there was.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> ExportSummary {
        self.end_series(out);
        self.form.finish(out);
        self.summary
    }

    fn open(&mut self, labels: &Labels, out: &mut Vec<u8>) {
        if self.open.as_ref() == Some(labels) {
            return;
        }
        self.end_series(out);
        self.form.begin_series(labels);
        self.open = Some(labels.clone());
        self.summary.series += 1;
    }

    fn end_series(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            self.form.end_series(out);
        }
    }

    fn count(&mut self, written: Written) {
        match written {
            Written::LeftOut => self.summary.histograms_left_out += 1,
            Written::OtherNan | Written::Whole => self.summary.samples += 1,
        }
        self.summary.nans_altered += u64::from(written == Written::OtherNan);
    }
}

impl std::fmt::Debug for ExportWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportWriter").field("summary", &self.summary).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
