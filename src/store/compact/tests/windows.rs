//! Windows of whole stretches: a query says the same of samples and of the rollups made of them.

use std::time::Duration;

use proptest::prelude::*;

use super::{DAY, Fixture, HOUR, START, append};
use crate::{
    model::{Labels, SeriesSample, stale_nan},
    promql::{self, Limits, Queryable, SelectError, Selected, Selection, SeriesData, Steps, Value},
    store::{Options, Snapshot, Tier},
    time::Timestamp,
};

/// A day, in milliseconds.
const LENGTH: i64 = 86_400_000;

/// Reads one tier, whatever the query would make do with.
struct Only(Snapshot, Tier);

impl Queryable for Only {
    fn select(&self, selection: &Selection) -> Result<Selected, SelectError> {
        self.0.select(&Selection { resolution: self.1.resolution(), ..selection.clone() })
    }
}

/// Series with times and values as bits, so that NaN equals itself.
type Bits = Vec<(Labels, Vec<(i64, u64)>)>;

/// What an expression comes to at each multiple of `step` of the day, and whether rollups were read.
fn evaluate(data: &Only, expr: &str, step: Duration) -> (Bits, bool) {
    let steps = Steps { start: START.plus(step), end: START.plus(DAY), step };
    let answer = promql::parse(expr).unwrap().range(data, steps, &Limits::default()).unwrap();
    let Value::Matrix(series) = answer.value else { panic!("a range is a matrix") };
    let bits = |series: SeriesData| {
        let samples = series.samples.iter();
        let bits = samples.map(|s| (s.timestamp.as_millis(), s.value.to_bits())).collect();
        (series.labels, bits)
    };
    (series.into_iter().map(bits).collect(), !answer.infos.is_empty())
}

/// A day of samples, some at the very ends and beginnings of stretches; whole numbers, so that sums are
/// exact, with NaN and some odd values among them.
fn samples(odd: f64) -> impl Strategy<Value = Vec<SeriesSample>> {
    let value = prop_oneof![
        8 => (-1_000_000..1_000_000).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(odd),
    ];
    let time = prop_oneof![
        4 => 1..=LENGTH,
        1 => (0..288_i64, 0..2_i64).prop_map(|(stretch, after)| (stretch * 300_000 + after).max(1)),
        1 => (1..=24_i64).prop_map(|hour| hour * 3_600_000),
    ];
    let sample = |(time, value)| {
        let time = Timestamp::from_millis(START.as_millis() + time);
        SeriesSample::new(Labels::of("g", []), time, value)
    };
    prop::collection::btree_map(time, value, 1..200)
        .prop_map(move |all| all.into_iter().map(sample).collect())
}

/// Compares every tier with the samples.
fn check(samples: Vec<SeriesSample>, functions: &[&str], stretches: u32) {
    let options = Options { retention: DAY * 4, retention_5m: DAY * 8, ..Options::default() };
    let fixture = Fixture::new(options);
    let store = fixture.open();
    fixture.clock.set(START.plus(DAY));
    append(&store, samples);
    fixture.clock.set(START.plus(DAY + HOUR * 6));
    store.seal().unwrap();
    store.compact().unwrap();
    for tier in [Tier::FiveMinutes, Tier::Hour] {
        let (step, window) = (tier.resolution(), tier.resolution() * stretches);
        for function in functions {
            let expr = format!("{function}_over_time(g[{}s])", window.as_secs());
            let read = |tier| evaluate(&Only(store.snapshot(), tier), &expr, step);
            let ((samples, no_rollups), (rollups, some_rollups)) = (read(Tier::Raw), read(tier));
            assert_eq!((no_rollups, some_rollups), (false, true), "{expr}");
            assert_eq!(samples, rollups, "{expr} at {step:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_adds_up_or_compares(samples in samples(stale_nan()), stretches in 1_u32..6) {
        check(samples, &["sum", "count", "min", "max", "avg"], stretches);
    }

    #[test]
    fn what_is_newest(samples in samples(f64::INFINITY), stretches in 1_u32..6) {
        check(samples, &["last", "present", "absent"], stretches);
    }
}

#[test]
fn a_full_hour_has_sixty_minutes_in_every_tier() {
    let sample = |minute: i64| {
        let time = Timestamp::from_millis(START.as_millis() + minute * 60_000);
        SeriesSample::new(Labels::of("g", []), time, minute as f64)
    };
    check((1..=24 * 60).map(sample).collect(), &["sum", "count", "last"], 12);
}
