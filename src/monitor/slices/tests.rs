//! Against a store with samples in partitions and in memory.

use std::collections::BTreeMap;

use super::*;
use crate::{
    model::{Batch, Sample, SeriesSample},
    store::Options,
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const MINUTES: u64 = 600;

/// Ten hours of one sample a minute, the older ones sealed.
fn filled(dir: &std::path::Path, series: &[Labels]) -> Store {
    let clock = Clock::manual(START);
    let telemetry = Telemetry::new();
    let (store, _) = Store::open(dir, Options::default(), clock.clone(), &telemetry).unwrap();
    let sample = |n: u64, labels: &Labels| {
        SeriesSample::new(labels.clone(), START.plus(Duration::from_mins(n)), n as f64)
    };
    clock.set(START.plus(Duration::from_mins(MINUTES)));
    let samples = (0..MINUTES).flat_map(|n| series.iter().map(move |labels| sample(n, labels)));
    let batch = Batch { samples: samples.collect(), ..Batch::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(store.append(batch)).unwrap().rejected, 0);
    assert!(store.seal().unwrap() > 0);
    store
}

fn three() -> [Labels; 3] {
    [Labels::of("m", []), Labels::of("m", [("a", "b")]), Labels::of("m", [("a", "b"), ("c", "d")])]
}

#[test]
fn each_series_comes_whole_and_alone_however_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let all = three();
    let store = filled(dir.path(), &all);
    let (from, to) = (START.plus(Duration::from_mins(9)), START.plus(Duration::from_mins(580)));
    let mut wanted = [all[0].clone(), all[2].clone(), all[1].clone()];
    wanted.sort();
    for (wanted, stretch) in [(&wanted[..], 420), (&wanted[..2], 60), (&wanted[1..], 100_000)] {
        let range = TimeRange { start: from, end: to };
        let stretch = Duration::from_secs(stretch);
        let mut slices = Slices { store: &store, range, stretch };
        let mut found: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        let mut order = Vec::new();
        let mut visit = |data: &SeriesData| {
            order.push(data.labels.clone());
            found.entry(data.labels.clone()).or_default().extend(&data.samples);
            Ok(())
        };
        slices.metric(wanted, &mut visit).unwrap();
        order.dedup();
        assert_eq!(order, wanted, "one after the other");
        for samples in found.values() {
            let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
            assert_eq!(values, (9..=580).map(f64::from).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_end_is_heeded_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let all = three();
    let store = filled(dir.path(), &all);
    let end = START.plus(Duration::from_mins(MINUTES));
    let mut slices = Slices::new(&store, TimeRange { start: START, end });
    let mut visits = 0;
    let stopped = slices.metric(&all, &mut |_| {
        visits += 1;
        Err(Stopped::Ended)
    });
    assert!(matches!(stopped, Err(Stopped::Ended)));
    assert_eq!(visits, 1);
}

#[test]
fn stretches_follow_the_density_of_the_samples() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &three());
    let mut slices = Slices::new(&store, TimeRange { start: START, end: START });
    slices.adapt(10);
    assert_eq!(slices.stretch, STRETCH_FIRST * GROWTH);
    slices.adapt(AT_ONCE / 2);
    assert_eq!(slices.stretch, STRETCH_FIRST * GROWTH);
    slices.adapt(AT_ONCE + 1);
    assert_eq!(slices.stretch, STRETCH_FIRST * GROWTH / 2);
    for _ in 0..10 {
        slices.adapt(0);
    }
    assert_eq!(slices.stretch, STRETCH_MAX);
    while slices.shorten(&Labels::empty()).is_ok() {}
    assert_eq!(slices.stretch, STRETCH_MIN);
}
