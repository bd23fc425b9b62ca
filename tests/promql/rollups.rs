//! What queries make of rollups: what they ask for, and that answers agree with those from samples.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use balefire::{
    model::{Labels, stale_nan},
    promql::{
        self, Answer, Limits, Queryable, RollupColumn, SelectError, Selected, Selection, Steps,
        Value, testing::Memory,
    },
    time::Timestamp,
};
use proptest::prelude::*;

use crate::properties::{at, memory, sorted, vector};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const NEVER: Timestamp = Timestamp::from_millis(i64::MIN);
const ALWAYS: Timestamp = Timestamp::from_millis(i64::MAX);

/// Ends of windows, at each multiple of `step`, so that they hold whole stretches.
fn at_each(step: Duration, hours: i64) -> Steps {
    let start = Timestamp::from_millis(0).plus(step);
    Steps { start, end: Timestamp::from_secs(hours * 3_600), step }
}

fn range(memory: &Memory, expr: &str, steps: Steps) -> Answer {
    let query = promql::parse(expr).expect("the expression is PromQL");
    query.range(memory, steps, &Limits::default()).expect("the range can be had")
}

fn instant(memory: &Memory, expr: &str, at: Timestamp) -> Answer {
    let query = promql::parse(expr).expect("the expression is PromQL");
    query.instant(memory, at, &Limits::default()).expect("the instant can be had")
}

/// Times and values as bits, so that NaN equals itself.
fn bits(answer: Answer) -> Vec<(Labels, Vec<(Timestamp, u64)>)> {
    let Value::Matrix(series) = answer.value else { panic!("a range is a matrix") };
    let series = series.into_iter().map(|series| {
        let samples = series.samples.iter();
        (series.labels, samples.map(|s| (s.timestamp, s.value.to_bits())).collect())
    });
    series.collect()
}

/// Remembers what it was asked for.
#[derive(Default)]
struct Asked(Mutex<Vec<(Duration, RollupColumn)>>);

impl Asked {
    fn list(&self) -> MutexGuard<'_, Vec<(Duration, RollupColumn)>> {
        self.0.lock().expect("nobody panics while it is locked")
    }
}

impl Queryable for Asked {
    fn select(&self, selection: &Selection) -> Result<Selected, SelectError> {
        self.list().push((selection.resolution, selection.column));
        Ok(Selected::default())
    }
}

#[track_caller]
fn check_asked(expr: &str, step: Duration, resolution: Duration, column: RollupColumn) {
    let asked = Asked::default();
    let steps =
        Steps { start: Timestamp::from_secs(0), end: Timestamp::from_secs(9_000_000), step };
    let query = promql::parse(expr).expect("the expression is PromQL");
    query.range(&asked, steps, &Limits::default()).expect("nothing is found");
    assert_eq!(*asked.list(), [(resolution, column)], "{expr}");
}

#[test]
fn as_coarse_as_steps_and_windows_allow() {
    use RollupColumn::{Count, Last, Max, Min, Sum};
    let (day, zero) = (24 * HOUR, Duration::ZERO);
    check_asked("g", 5 * HOUR, HOUR, Last);
    check_asked("sum(g offset 1d)", 5 * HOUR, HOUR, Last);
    check_asked("min_over_time(g[1d])", day, day / 5, Min);
    check_asked("max_over_time(g[1d])", day, day / 5, Max);
    check_asked("sum_over_time(g[5h])", day, HOUR, Sum);
    check_asked("avg_over_time(g[5h])", day, HOUR, Sum);
    check_asked("count_over_time(g[1d])", 5 * HOUR, HOUR, Count);
    check_asked("rate(g[1d])", 5 * MINUTE, MINUTE, Last);
    check_asked("last_over_time(g[5m])", day, MINUTE, Last);
    check_asked("max_over_time(sum(g)[1d:5m])", day, MINUTE, Last);
    let exact = ["quantile_over_time(0.5, g[1d])", "stddev_over_time(g[1d])", "resets(g[1d])"];
    for expr in exact.into_iter().chain(["irate(g[1d])", "deriv(g[1d])", "timestamp(g)", "g @ 0"]) {
        check_asked(expr, day, zero, Last);
    }
    let asked = Asked::default();
    let query = promql::parse("g + rate(g[30d]) + max_over_time(g[30d:1d])").unwrap();
    query.instant(&asked, ALWAYS, &Limits::default()).unwrap();
    assert_eq!(*asked.list(), [(zero, Last); 3]);
}

#[test]
fn rollups_are_told_of_once_for_each_resolution() {
    let mut memory = counter(100);
    let (early, late) = (Timestamp::from_secs(40 * 3_600), Timestamp::from_secs(80 * 3_600));
    memory.roll_up(5 * MINUTE, late, late);
    memory.roll_up(HOUR, early, early);
    let answer = range(&memory, "c_total + c_total + rate(c_total[6h])", at_each(HOUR, 100));
    let notes = [
        "PromQL info: samples from 1970-01-02T16:00:00.000Z to 1970-01-04T08:00:00.000Z are rollups of 5m",
        "PromQL info: samples from 1970-01-01T00:00:00.000Z to 1970-01-02T16:00:00.000Z are rollups of 1h",
    ];
    assert_eq!(answer.infos, notes);
    let answer = instant(&memory, "rate(c_total[1h])", Timestamp::from_secs(36_000));
    let notes = [
        "PromQL info: samples from 1970-01-01T09:00:00.000Z to 1970-01-01T10:00:00.000Z are rollups of 1h",
        "PromQL info: rate() is absent where only rollups of 1h are kept: a window of 2h would do",
    ];
    assert_eq!(answer.infos, notes);
}

#[test]
fn a_bare_range_gives_what_is_kept() {
    let mut memory = counter(4);
    memory.roll_up(HOUR, ALWAYS, ALWAYS);
    let answer = instant(&memory, "c_total[90m]", Timestamp::from_secs(2 * 3_600));
    let Value::Matrix(series) = answer.value else { panic!("a range was asked for") };
    assert_eq!(series[0].samples.len(), 2);
    assert_eq!(answer.infos.len(), 1, "{:?}", answer.infos);
    let answer = instant(&memory, "c_total[5m]", Timestamp::from_secs(5_400));
    assert_eq!(answer.value, Value::Matrix(Vec::new()));
}

/// One counter, two a second on the whole: its rate swings, and its samples are now early, now late.
fn counter(hours: i64) -> Memory {
    let mut memory = Memory::default();
    let mut counted = 0.0;
    for index in 1..=hours * 120 {
        let at = Timestamp::from_millis(index * 30_000 + (index * 7_919) % 9_000);
        memory.add(Labels::of("c_total", []), at, counted);
        counted += 60.0 + 30.0 * (index as f64 / 2_000.0).sin();
    }
    memory
}

#[test]
fn rates_are_nearly_the_same() {
    let (samples, mut rollups) = (counter(100), counter(100));
    let boundary = Timestamp::from_secs(50 * 3_600);
    rollups.roll_up(HOUR, boundary, boundary);
    let steps = Steps { start: Timestamp::from_secs(12 * 3_600), ..at_each(30 * MINUTE, 100) };
    for expr in ["rate(c_total[6h])", "increase(c_total[6h])", "delta(c_total[12h])"] {
        let [exact, coarse] =
            [&samples, &rollups].map(|memory| match range(memory, expr, steps).value {
                Value::Matrix(series) => series[0].samples.clone(),
                other => panic!("{other:?}"),
            });
        assert_eq!(exact.len(), coarse.len());
        for (exact, coarse) in exact.iter().zip(&coarse) {
            let off = (exact.value - coarse.value).abs() / exact.value;
            assert!(off < 0.02, "{expr} at {}: {exact:?}, {coarse:?}", exact.timestamp);
        }
    }
}

/// A value: numbers whose sums are exact, with NaN and some odd ones among them.
fn value(odd: f64) -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-1_000_000..1_000_000).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(odd),
    ]
}

/// A time within ten hours, at the end or the beginning of a stretch now and then.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0_i64..=36_000_000,
        1 => (0_i64..=120, 0_i64..2).prop_map(|(stretch, after)| stretch * 300_000 + after),
        1 => (0_i64..=10, 0_i64..2).prop_map(|(hour, after)| hour * 3_600_000 + after),
    ]
}

/// Ten hours of two series, dense or sparse, with some odd values.
fn series(odd: f64) -> impl Strategy<Value = Memory> {
    let of = move |count| prop::collection::btree_map(time(), value(odd), count);
    let samples = move || prop_oneof![of(0..150), of(0..9)];
    (samples(), samples()).prop_map(|(a, b)| {
        let mut memory = Memory::default();
        for (name, samples) in [("a", a), ("b", b)] {
            for (at, value) in samples {
                memory.add(Labels::of("g", [("i", name)]), Timestamp::from_millis(at), value);
            }
        }
        memory
    })
}

/// A counter that goes up by one a second, collected at a distance and a phase in milliseconds for ten
/// hours, and begins anew at some times.
fn steady(interval: i64, phase: i64, resets: &[i64]) -> Memory {
    let mut memory = Memory::default();
    for at in (0..).map(|index| phase + index * interval).take_while(|at| *at <= 36_000_000) {
        let begun = resets.iter().copied().filter(|reset| *reset <= at).max();
        // High enough at first that nobody thinks it began just before.
        let counted = at - begun.unwrap_or(-1_000_000_000);
        memory.add(Labels::of("c_total", []), Timestamp::from_millis(at), counted as f64 / 1000.0);
    }
    memory
}

/// The values of a range's only series.
fn values(memory: &Memory, expr: &str, steps: Steps) -> Vec<f64> {
    let Value::Matrix(series) = range(memory, expr, steps).value else { panic!("no matrix") };
    series[0].samples.iter().map(|sample| sample.value).collect()
}

/// Rollups of five minutes and of an hour, with and without samples beside them.
fn rolled(memory: &Memory, [fine, fine_alone, coarse, coarse_alone]: [i64; 4]) -> Memory {
    let hour = |hours: i64| Timestamp::from_secs(hours * 3_600);
    let mut rolled = memory.clone();
    rolled.roll_up(5 * MINUTE, hour(fine), hour(fine_alone.min(fine)));
    rolled.roll_up(HOUR, hour(coarse.min(fine)), hour(coarse_alone.min(coarse).min(fine)));
    rolled
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Windows of whole stretches hold what their rollups stand for.
    #[test]
    fn aligned_windows_are_the_same(
        memory in series(stale_nan()),
        tiers in prop::array::uniform4(0_i64..12),
        (step, window) in (1_u32..8, 1_u32..8),
        function in prop::sample::select(&["sum", "count", "min", "max", "avg"][..]),
    ) {
        let rolled = rolled(&memory, tiers);
        let expr = format!("{function}_over_time(g[{window}h])");
        let [plain, rolled] = [memory, rolled]
            .map(|memory| bits(range(&memory, &expr, at_each(step * HOUR, 12))));
        prop_assert_eq!(plain, rolled, "{}", expr);
    }

    /// The newest sample is found by any window that ends with a stretch and is as long.
    #[test]
    fn the_newest_sample_at_the_end_of_a_stretch_is_the_same(
        memory in series(f64::INFINITY),
        tiers in prop::array::uniform4(0_i64..12),
        (step, minutes) in (1_u32..8, 60_u32..300),
        function in prop::sample::select(&["last", "present", "absent"][..]),
    ) {
        let rolled = rolled(&memory, tiers);
        let expr = format!("{function}_over_time(g[{minutes}m])");
        let [plain, rolled] = [memory, rolled]
            .map(|memory| bits(range(&memory, &expr, at_each(step * HOUR, 12))));
        prop_assert_eq!(plain, rolled, "{}", expr);
    }

    /// Extrapolated from last values: the same for what is steady, whatever the phase.
    #[test]
    fn steady_rates_are_the_same(
        interval in prop::sample::select(&[15_000_i64, 30_000, 60_000, 150_000][..]),
        phase in prop_oneof![Just(0_i64), 1_i64..150_000],
        hours in any::<bool>(),
        window in 2_u32..8,
        function in prop::sample::select(&["rate", "increase", "delta"][..]),
    ) {
        let plain = steady(interval, phase % interval, &[]);
        let mut rolled = plain.clone();
        let resolution = if hours { HOUR } else { 5 * MINUTE };
        rolled.roll_up(resolution, ALWAYS, ALWAYS);
        let expr = format!("{function}(c_total[{}s])", (window * resolution).as_secs());
        let steps = Steps { start: Timestamp::from_secs(8 * 3_600), ..at_each(resolution, 10) };
        let [plain, rolled] = [plain, rolled].map(|memory| values(&memory, &expr, steps));
        prop_assert_eq!(plain.len(), rolled.len());
        for (plain, rolled) in plain.iter().zip(&rolled) {
            prop_assert!((plain - rolled).abs() <= plain * 1e-9, "{}: {} and {}", expr, plain, rolled);
        }
    }

    /// Nothing is counted that was not there, and a reset takes no more than some stretches' worth.
    #[test]
    fn a_reset_costs_what_was_counted_in_its_stretch(
        interval in prop::sample::select(&[15_000_i64, 30_000, 60_000][..]),
        phase in 0_i64..15_000,
        reset in 0_i64..36_000_000,
        window in 2_i64..8,
    ) {
        let plain = steady(interval, phase, &[reset]);
        let mut rolled = plain.clone();
        rolled.roll_up(HOUR, ALWAYS, ALWAYS);
        let expr = format!("increase(c_total[{window}h])");
        let steps = Steps { start: Timestamp::from_secs(8 * 3_600), ..at_each(HOUR, 10) };
        let [plain, rolled] = [plain, rolled].map(|memory| values(&memory, &expr, steps));
        let stretched = window as f64 / (window - 1) as f64;
        for (plain, rolled) in plain.iter().zip(&rolled) {
            let lost = plain - rolled;
            // One between two samples, which either may miss, the other way round.
            let between = interval as f64 / 1000.0 * stretched;
            let range = -between - 1e-6..=3.0 * 3_600.0 * stretched;
            prop_assert!(range.contains(&lost), "{}: {} and {}", expr, plain, rolled);
        }
    }

    /// Whoever is seen in each hour is seen at each step, by a value that is not older than two.
    #[test]
    fn a_series_that_goes_on_is_found(
        offsets in prop::collection::vec(0_i64..3_600_000, 10),
        millis in 3_600_000_i64..36_000_000,
        expr in prop::sample::select(&["g", "last_over_time(g[3m])", "timestamp(g) * 1000"][..]),
    ) {
        let mut memory = Memory::default();
        for (hour, offset) in (0..).zip(offsets) {
            let at = Timestamp::from_millis(hour * 3_600_000 + offset);
            memory.add(Labels::of("g", []), at, at.as_millis() as f64);
        }
        memory.roll_up(HOUR, ALWAYS, ALWAYS);
        let answer = instant(&memory, expr, Timestamp::from_millis(millis));
        let Value::Vector(vector) = answer.value else { panic!("a vector was asked for") };
        let age = millis as f64 - vector[0].1.float().unwrap();
        prop_assert!((0.0..7_200_000.0).contains(&age), "{}", age);
        prop_assert_eq!(answer.infos.len(), 1);
    }

    #[test]
    fn rollups_beside_samples_do_not_show_at_short_steps(expr in vector(), start in 0_i64..1_900_000) {
        let (plain, mut beside) = (memory(), memory());
        beside.roll_up(5 * MINUTE, ALWAYS, NEVER);
        let query = promql::parse(&expr).unwrap();
        let start = Timestamp::from_millis(start);
        let steps = Steps { start, end: start.plus(10 * MINUTE), step: MINUTE };
        let [plain, beside] = [plain, beside].map(|memory| {
            let limits = Limits::default();
            let range = query.range(&memory, steps, &limits);
            let range = range.map(|answer| (answer.infos.clone(), bits(answer)));
            (range, query.instant(&memory, start, &limits).map(|answer| sorted(answer.value)))
        });
        prop_assert_eq!(plain, beside, "{}", expr);
    }

    #[test]
    fn an_instant_is_a_range_of_one_step_on_rollups(expr in vector(), millis in 0_i64..1_900_000) {
        let mut memory = memory();
        let half = Timestamp::from_secs(900);
        memory.roll_up(5 * MINUTE, half, half);
        let query = promql::parse(&expr).unwrap();
        let start = Timestamp::from_millis(millis);
        let now = start.plus(MINUTE);
        let instant = query.instant(&memory, now, &Limits::default());
        let range = query.range(&memory, Steps { start, end: now, step: MINUTE }, &Limits::default());
        if let (Ok(instant), Ok(range)) = (instant, range) {
            prop_assert_eq!(sorted(instant.value), at(range.value, now), "{}", expr);
        }
    }
}
