//! OpenMetrics with timestamps.

use super::{
    super::{
        Format,
        escape::push_series,
        families::unknown,
        special::push_open_value,
        value::push_padded,
        write::{push_metadata, push_seconds},
    },
    Form, Written,
};
use crate::{
    model::{HistogramSample, Labels, Metadata, MetricKind, Sample, is_stale},
    time::Timestamp,
};

const END: &str = "# EOF\n";
/// Digits of a second that tell the time; more of them tell when the series ended.
pub(in crate::exposition) const TIME_DIGITS: usize = 9;
/// Digits that tell how many milliseconds later it ended.
pub(in crate::exposition) const STALE_DIGITS: usize = 12;
/// One that did not end within these: they have no room for more.
const STALE_MILLIS_END: i64 = 1_000_000_000_000;

#[derive(Default)]
pub(super) struct OpenMetrics {
    /// Also the space behind it.
    series: String,
    /// The last line, which has no end yet: its time, and how many digits that has behind the point.
    line: Option<(Timestamp, usize)>,
}

impl Form for OpenMetrics {
    /// The parts of histograms and summaries are written as families of their own, without a type: in
    /// a family all parts of one series would have to stand together, which samples over time do not.
    fn metric(&mut self, metric: &str, known: &[Metadata], out: &mut Vec<u8>) {
        let own = known.iter().find(|metadata| metadata.name == metric);
        let mut metadata = own.cloned().unwrap_or_else(|| unknown(metric));
        if matches!(metadata.kind, MetricKind::Histogram | MetricKind::Summary) {
            metadata.kind = MetricKind::Unknown;
        }
        let mut text = String::new();
        push_metadata(&metadata, Format::OpenMetrics, &mut text);
        out.extend_from_slice(text.as_bytes());
    }

    fn begin_series(&mut self, labels: &Labels) {
        self.series.clear();
        push_series(labels, &mut self.series);
        self.series.push(' ');
    }

    fn sample(&mut self, sample: Sample, out: &mut Vec<u8>) -> Written {
        if is_stale(sample.value) && self.ends(sample.timestamp, out) {
            return Written::Whole;
        }
        self.end_series(out);
        out.extend_from_slice(self.series.as_bytes());
        let exact = push_open_value(sample.value, out);
        out.push(b' ');
        let digits = push_seconds(sample.timestamp, out);
        if is_stale(sample.value) {
            out.push(b'\n');
        } else {
            self.line = Some((sample.timestamp, digits));
        }
        if exact { Written::Whole } else { Written::OtherNan }
    }

    fn histogram(&mut self, _: &HistogramSample, _: &mut Vec<u8>) -> Written {
        Written::LeftOut
    }

    fn end_series(&mut self, out: &mut Vec<u8>) {
        if self.line.take().is_some() {
            out.push(b'\n');
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(END.as_bytes());
    }
}

impl OpenMetrics {
    /// Tells in the last line that the series ended at `time`, in digits of its timestamp so small that
    /// it stays the same number. Prometheus would take a sample for a value, whatever NaN it has: a
    /// sum over series would not be a number while it is looked back to.
    fn ends(&mut self, time: Timestamp, out: &mut Vec<u8>) -> bool {
        let Some((last, digits)) = self.line else { return false };
        let later = time.as_millis().saturating_sub(last.as_millis());
        let Some(later) = u64::try_from(later).ok().filter(|_| later < STALE_MILLIS_END) else {
            return false;
        };
        if digits == 0 {
            out.push(b'.');
        }
        push_padded(later, TIME_DIGITS - digits + STALE_DIGITS, out);
        out.push(b'\n');
        self.line = None;
        true
    }
}
