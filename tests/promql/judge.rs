//! Compares answers with what a script expects.

use std::collections::BTreeMap;

use balefire::{
    model::{Bucket, Histogram, HistogramSample, Labels, ResetHint, Sample},
    promql::{Answer, Point, PointValue, SeriesData, Steps, Value},
    time::Timestamp,
};

use super::{
    distribution::show,
    expect::Expected,
    syntax::{Cell, Check},
};

/// How far a value may be from the expected one, relative to it.
const TOLERANCE: f64 = 1e-6;

pub(crate) fn answer(answer: Answer, expected: &Expected, steps: Steps) -> Check {
    if expected.fails.is_some() {
        return Err("should fail, but does not".into());
    }
    expected.warnings.judge("warning", &answer.warnings)?;
    expected.infos.judge("info", &answer.infos)?;
    value(answer.value, expected, steps)
}

pub(crate) fn value(value: Value, expected: &Expected, steps: Steps) -> Check {
    match value {
        Value::Scalar(sample) => {
            let wanted = expected.scalar.ok_or("a scalar was not expected")?;
            numbers(wanted, sample.value)
        }
        Value::String(_, text) if Some(&text) == expected.text.as_ref() => Ok(()),
        Value::String(_, text) => Err(format!("expected {:?}, got {text:?}", expected.text)),
        Value::Vector(vector) if expected.scalar.is_none() => {
            let series: Vec<_> = vector.into_iter().map(one).collect();
            all_series(&series, expected, steps)
        }
        Value::Vector(vector) => Err(format!("expected a scalar, got {vector:?}")),
        Value::Matrix(matrix) => {
            if !matrix.is_sorted_by(|a, b| a.labels <= b.labels) {
                return Err("the matrix is not sorted by labels".into());
            }
            all_series(&matrix, expected, expected.window.unwrap_or(steps))
        }
    }
}

fn one((labels, Point { timestamp, value }): (Labels, Point)) -> SeriesData {
    let (mut samples, mut histograms) = (Vec::new(), Vec::new());
    match value {
        PointValue::Float(value) => samples.push(Sample { timestamp, value }),
        PointValue::Histogram(histogram) => {
            histograms.push(HistogramSample { timestamp, histogram });
        }
    }
    SeriesData { labels, samples, histograms }
}

fn all_series(series: &[SeriesData], expected: &Expected, steps: Steps) -> Check {
    if expected.ordered {
        in_order(series, expected)?;
    }
    // A scalar over a range is a series without labels.
    let scalar = expected.scalar.map(|value| (Labels::empty(), vec![Cell::Float(value)]));
    let wanted: BTreeMap<_, _> = expected.series.iter().cloned().chain(scalar).collect();
    for series in series {
        let unexpected = || format!("unexpected series {}: {}", series.labels, told(series));
        let cells = wanted.get(&series.labels).ok_or_else(unexpected)?;
        one_series(cells, series, steps).map_err(|why| format!("{}: {why}", series.labels))?;
    }
    let missing = |labels: &&Labels| series.iter().all(|series| series.labels != **labels);
    match wanted.keys().find(missing) {
        Some(labels) => Err(format!("missing series {labels}")),
        None => Ok(()),
    }
}

fn in_order(series: &[SeriesData], expected: &Expected) -> Check {
    let got: Vec<_> = series.iter().map(|series| &series.labels).collect();
    let wanted: Vec<_> = expected.series.iter().map(|(labels, _)| labels).collect();
    if got == wanted { Ok(()) } else { Err(format!("expected the order {wanted:?}, got {got:?}")) }
}

fn told(series: &SeriesData) -> String {
    let floats = series.samples.iter().map(|sample| sample.value.to_string());
    let histograms = series.histograms.iter().map(|sample| show(&sample.histogram));
    floats.chain(histograms).take(12).collect::<Vec<_>>().join(" ")
}

/// Each step has what is expected of it, and nothing lies between steps.
fn one_series(wanted: &[Cell], series: &SeriesData, steps: Steps) -> Check {
    let (mut at, mut found) = (steps.start, 0);
    let mut wanted = wanted.iter();
    while at <= steps.end {
        let (float, histogram) = (float_at(series, at), histogram_at(series, at));
        found += usize::from(float.is_some()) + usize::from(histogram.is_some());
        cell(wanted.next().unwrap_or(&Cell::Absent), float, histogram)
            .map_err(|why| format!("at {} ms: {why}", at.as_millis()))?;
        at = at.plus(steps.step);
    }
    if wanted.next().is_some() {
        return Err("more values are expected than there are steps".into());
    }
    let count = series.samples.len() + series.histograms.len();
    if found == count {
        Ok(())
    } else {
        Err(format!("{count} values, {found} of them at steps: {}", told(series)))
    }
}

fn float_at(series: &SeriesData, at: Timestamp) -> Option<f64> {
    series.samples.iter().find(|sample| sample.timestamp == at).map(|sample| sample.value)
}

fn histogram_at(series: &SeriesData, at: Timestamp) -> Option<&Histogram> {
    let found = series.histograms.iter().find(|sample| sample.timestamp == at);
    found.map(|sample| &*sample.histogram)
}

fn cell(wanted: &Cell, float: Option<f64>, histogram: Option<&Histogram>) -> Check {
    match (wanted, float, histogram) {
        (Cell::Absent, None, None) => Ok(()),
        (Cell::Float(wanted), Some(got), None) => numbers(*wanted, got),
        (Cell::Histogram(wanted, hint), None, Some(got)) if same(wanted, got, *hint) => Ok(()),
        (wanted, ..) => {
            let got = float.map(|value| value.to_string()).or_else(|| histogram.map(show));
            let got = got.unwrap_or_else(|| "nothing".into());
            Err(format!("expected {}, got {got}", shown(wanted)))
        }
    }
}

fn shown(wanted: &Cell) -> String {
    match wanted {
        Cell::Absent => "nothing".into(),
        Cell::Float(value) => value.to_string(),
        Cell::Histogram(histogram, _) => show(histogram),
    }
}

/// By content: layout and counts; hints where one is written.
fn same(wanted: &Histogram, got: &Histogram, hint: Option<ResetHint>) -> bool {
    let buckets = |wanted: &[Bucket], got: &[Bucket]| {
        wanted.len() == got.len()
            && wanted.iter().zip(got).all(|(a, b)| a.index == b.index && close(a.count, b.count))
    };
    wanted.bounds == got.bounds
        && wanted.zero_threshold.to_bits() == got.zero_threshold.to_bits()
        && close(wanted.count, got.count)
        && close(wanted.sum, got.sum)
        && close(wanted.zero_count, got.zero_count)
        && buckets(&wanted.positive, &got.positive)
        && buckets(&wanted.negative, &got.negative)
        && hint.is_none_or(|hint| hint == got.reset)
}

fn numbers(wanted: f64, got: f64) -> Check {
    if close(wanted, got) { Ok(()) } else { Err(format!("expected {wanted}, got {got}")) }
}

fn close(wanted: f64, got: f64) -> bool {
    let near = (wanted - got).abs() <= TOLERANCE * wanted.abs().max(got.abs());
    near || wanted.to_bits() == got.to_bits() || (wanted.is_nan() && got.is_nan())
}
