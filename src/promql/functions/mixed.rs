//! Windows with samples of both kinds, in order.

use std::sync::Arc;

use crate::{
    model::{Histogram, HistogramSample, Sample},
    promql::{PointValue, columns::Timed},
};

use super::Window;

/// A sample of either kind.
#[derive(Clone, Copy)]
pub(super) enum Mixed<'a> {
    Float(&'a Sample),
    Histogram(&'a HistogramSample),
}

impl Mixed<'_> {
    pub(super) fn millis(self) -> i64 {
        match self {
            Self::Float(sample) => sample.millis(),
            Self::Histogram(sample) => sample.millis(),
        }
    }

    pub(super) fn value(self) -> PointValue {
        match self {
            Self::Float(sample) => PointValue::Float(sample.value),
            Self::Histogram(sample) => PointValue::Histogram(sample.histogram.clone()),
        }
    }
}

/// The samples of a window, of both kinds, in order.
pub(super) fn points<'a>(window: &Window<'a>) -> impl Iterator<Item = Mixed<'a>> {
    let mut samples = window.samples.iter().peekable();
    let mut histograms = window.histograms.iter().peekable();
    std::iter::from_fn(move || match (samples.peek(), histograms.peek()) {
        (Some(sample), Some(histogram)) if sample.millis() > histogram.millis() => {
            histograms.next().map(Mixed::Histogram)
        }
        (Some(_), _) => samples.next().map(Mixed::Float),
        (None, _) => histograms.next().map(Mixed::Histogram),
    })
}

/// Whether counts fell between two. A subquery may see one sample several times, whose hint holds once.
pub(super) fn was_reset(before: &Arc<Histogram>, after: &Arc<Histogram>) -> bool {
    !Arc::ptr_eq(before, after) && after.was_reset_since(before)
}

/// The newest of both kinds.
pub(super) fn newest<'a>(window: &Window<'a>) -> Option<Mixed<'a>> {
    let float = window.samples.last().map(Mixed::Float);
    let histogram = window.histograms.last().map(Mixed::Histogram);
    float.into_iter().chain(histogram).max_by_key(|point| point.millis())
}

/// Each with the one after it.
pub(super) fn pairs<'a>(window: &Window<'a>) -> impl Iterator<Item = (Mixed<'a>, Mixed<'a>)> {
    points(window).zip(points(window).skip(1))
}

/// The newest two, the older one first.
pub(super) fn last_two<'a>(window: &Window<'a>) -> Option<(Mixed<'a>, Mixed<'a>)> {
    let floats = window.samples.iter().rev().take(2).map(Mixed::Float);
    let histograms = window.histograms.iter().rev().take(2).map(Mixed::Histogram);
    let mut newest: Vec<_> = floats.chain(histograms).collect();
    newest.sort_by_key(|point| std::cmp::Reverse(point.millis()));
    Some((*newest.get(1)?, newest[0]))
}
