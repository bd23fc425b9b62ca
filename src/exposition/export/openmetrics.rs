//! OpenMetrics with timestamps.

use super::super::{
    Format,
    escape::push_series,
    families::unknown,
    write::{push_metadata as push_family, push_sample},
};
use crate::model::{Labels, Metadata, MetricKind, Sample};

pub(super) const END: &str = "# EOF\n";

pub(super) fn push(labels: &Labels, samples: impl Iterator<Item = Sample>, out: &mut String) {
    let mut series = String::new();
    push_series(labels, &mut series);
    for sample in samples {
        out.push_str(&series);
        push_sample(sample, Some(Format::OpenMetrics), out);
    }
}

/// The lines before a metric's first series. The parts of histograms and summaries are written as
/// families of their own, without a type: in a family all parts of one series would have to stand
/// together, which samples over time do not.
pub(super) fn push_metadata(metric: &str, metadata: Option<&Metadata>, out: &mut String) {
    let plain = |metadata: &&Metadata| {
        metadata.name == metric && matches!(metadata.kind, MetricKind::Counter | MetricKind::Gauge)
    };
    match metadata.filter(plain) {
        Some(metadata) => push_family(metadata, Format::OpenMetrics, out),
        None => push_family(&unknown(metric), Format::OpenMetrics, out),
    }
}
