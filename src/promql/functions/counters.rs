//! `rate` and its kin: differences over a window (promql/functions.go, `extrapolatedRate`).

use crate::model::Sample;

use super::Window;

pub(super) fn rate(window: &Window<'_>) -> Option<f64> {
    let seconds = window.end.saturating_sub(window.start) as f64 / 1000.0;
    extrapolated(window, Counter::Yes).map(|increase| increase / seconds)
}

pub(super) fn increase(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, Counter::Yes)
}

pub(super) fn delta(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, Counter::No)
}

/// Whether a falling value means a reset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counter {
    Yes,
    No,
}

/// The difference between first and last sample, extrapolated to the window's edges: to an edge
/// that is near, else by half the average distance of samples; a counter not below zero. Near is what
/// lies within the average distance, or within the resolution where rollups stand at that edge.
fn extrapolated(window: &Window<'_>, counter: Counter) -> Option<f64> {
    let [first, .., last] = window.samples else { return None };
    let mut difference = last.value - first.value;
    if counter == Counter::Yes {
        difference += window.falls.iter().map(|fall| fall.value).sum::<f64>();
    }
    let seconds = |from: i64, to: i64| (to.saturating_sub(from)) as f64 / 1000.0;
    let (first_at, last_at) = (first.timestamp.as_millis(), last.timestamp.as_millis());
    let sampled = seconds(first_at, last_at);
    let average = sampled / (window.samples.len() - 1) as f64;
    let stretch = |gap: f64, resolution: i64| {
        let near = average.max(seconds(0, resolution)) * 1.1;
        if gap >= near { average / 2.0 } else { gap }
    };
    let mut before = stretch(seconds(window.start, first_at), window.edges.0);
    if counter == Counter::Yes && difference > 0.0 && first.value >= 0.0 {
        before = before.min(sampled * (first.value / difference));
    }
    let after = stretch(seconds(last_at, window.end), window.edges.1);
    Some(difference * ((sampled + before + after) / sampled))
}

/// What a counter had counted each time it was reset, at the time of the sample that fell. Found once
/// for a series, so that windows that overlap need not look for it again.
pub(super) fn falls(samples: &[Sample]) -> Vec<Sample> {
    let falling = samples.windows(2).filter(|pair| pair[1].value < pair[0].value);
    falling.map(|pair| Sample { timestamp: pair[1].timestamp, value: pair[0].value }).collect()
}

pub(super) fn irate(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.samples else { return None };
    let difference = if last.value < before.value { last.value } else { last.value - before.value };
    Some(difference / last.timestamp.since(before.timestamp).as_secs_f64())
}

pub(super) fn idelta(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.samples else { return None };
    Some(last.value - before.value)
}
