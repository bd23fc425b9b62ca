//! What holds for every expression: nothing panics, and an instant is a range of one step.

use std::{sync::LazyLock, time::Duration};

use balefire::{
    limits,
    model::{Labels, stale_nan},
    promql::{self, Limits, Point, QueryError, SeriesData, Steps, Value, testing::Memory},
    time::Timestamp,
};
use proptest::prelude::*;

fn limits(samples_max: usize) -> Limits {
    Limits { samples_max, ..Limits::default() }
}

/// Counters with resets, gauges with gaps and NaN, a histogram; irregular in time.
static MEMORY: LazyLock<Memory> = LazyLock::new(memory);

pub(crate) fn memory() -> Memory {
    let mut memory = Memory::default();
    for index in 0..120_i64 {
        let at = Timestamp::from_millis(index * 15_000 + (index * 7_919) % 4_000);
        let counted = (index % 50) as f64 * 3.0;
        memory.add(Labels::of("c_total", [("job", "a"), ("i", "1")]), at, counted);
        memory.add(Labels::of("c_total", [("job", "b"), ("i", "2")]), at, index as f64);
        if index % 9 != 0 {
            let value = if index % 31 == 0 { f64::NAN } else { (index as f64).sin() * 10.0 };
            memory.add(Labels::of("g", [("job", "a"), ("i", "1")]), at, value);
        }
        let value = if index % 40 == 39 { stale_nan() } else { f64::from(index % 5 == 0) };
        memory.add(Labels::of("g", [("job", "b"), ("i", "2")]), at, value);
        for (le, share) in [("0.1", 0.2), ("1", 0.7), ("+Inf", 1.0)] {
            let labels = Labels::of("h_bucket", [("job", "a"), ("le", le)]);
            memory.add(labels, at, (index as f64 * share).floor());
        }
    }
    memory
}

/// A word of a list.
fn any_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_owned)
}

fn range() -> impl Strategy<Value = String> {
    let selectors = any_of(&["c_total", "g{job=\"a\"}", "h_bucket", "{i=~\".+\",job!=\"b\"}"]);
    (selectors, any_of(&["1m", "90s", "5m"]), any_of(&["", " offset 33s", " @ 700"]))
        .prop_map(|(selector, range, shift)| format!("{selector}[{range}]{shift}"))
}

/// Instant vectors, of bounded depth.
pub(crate) fn vector() -> impl Strategy<Value = String> {
    const WINDOWED: &[&str] = &[
        "rate",
        "increase",
        "delta",
        "irate",
        "deriv",
        "changes",
        "avg_over_time",
        "stddev_over_time",
        "last_over_time",
        "absent_over_time",
    ];
    const PLAIN: &[&str] = &["abs", "ceil", "sort", "absent", "timestamp", "minute", "sgn"];
    let selector = any_of(&["g", "c_total", "h_bucket", "nothing", "g offset 1m", "g @ end()"]);
    let windowed =
        (any_of(WINDOWED), range()).prop_map(|(function, range)| format!("{function}({range})"));
    prop_oneof![selector, windowed].prop_recursive(4, 24, 3, |inner| {
        let operators = any_of(&[
            "+",
            "- on(job)",
            "> bool",
            "<",
            "and",
            "or",
            "unless on(i)",
            "* on(job) group_left()",
            "^",
            "% ignoring(i,le)",
        ]);
        let scalars = any_of(&["2", "-0.5", "NaN", "time()", "scalar(g{i=\"1\"})"]);
        let aggregations = any_of(&[
            "sum",
            "avg by (job)",
            "max without (i)",
            "topk by (job) (1,",
            "quantile(0.3,",
            "count_values(\"v\",",
            "stddev",
        ]);
        prop_oneof![
            (inner.clone(), operators, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            (inner.clone(), any_of(&["+", "/", ">=", "!= bool"]), scalars)
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            (aggregations, inner.clone()).prop_map(|(aggregation, inner)| {
                if aggregation.ends_with(',') {
                    format!("{aggregation} {inner})")
                } else {
                    format!("{aggregation}({inner})")
                }
            }),
            (any_of(PLAIN), inner.clone())
                .prop_map(|(function, inner)| format!("{function}({inner})")),
            inner.clone().prop_map(|inner| format!("-{inner}")),
            inner.clone().prop_map(|inner| format!("max_over_time(({inner})[3m:41s])")),
            inner.prop_map(|inner| format!("histogram_quantile(0.9, {inner})")),
        ]
    })
}

/// The series of a range at one step, as an instant query would give them.
pub(crate) fn at(matrix: Value, step: Timestamp) -> Vec<(Labels, u64)> {
    let Value::Matrix(series) = matrix else { panic!("a range is a matrix") };
    let sample = |series: SeriesData| {
        let value = series.samples.iter().find(|sample| sample.timestamp == step)?.value;
        Some((series.labels, value.to_bits()))
    };
    series.into_iter().filter_map(sample).collect()
}

pub(crate) fn sorted(value: Value) -> Vec<(Labels, u64)> {
    let Value::Vector(vector) = value else { panic!("a vector was asked for") };
    let bits =
        |(labels, point): (Labels, Point)| (labels, point.float().unwrap_or(f64::NAN).to_bits());
    let mut out: Vec<_> = vector.into_iter().map(bits).collect();
    out.sort();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in ".{0,60}") {
        let _ = promql::parse(&text);
        let _ = promql::parse_selector(&text);
    }

    #[test]
    fn no_words_panic(words in prop::collection::vec(
        any_of(&[
            "sum", "by", "(", ")", "{", "}", "[", "]", "5m", "99999999999999999999y", "up", "=~",
            "\"a\"", "\"\\x\"", ",", "offset", "@", "-", "1e999", "0x", "and", "on", "group_left",
            "bool", ":", "rate", "inf", "start()", "`", "'", "é", "#", "_", "=", "1", "fill", "$",
        ]),
        0..14,
    )) {
        let _ = promql::parse(&words.join(" "));
        let _ = promql::parse(&words.concat());
    }

    #[test]
    fn an_instant_is_a_range_of_one_step(expr in vector(), millis in 0_i64..1_900_000) {
        let query = promql::parse(&expr).unwrap();
        let step = Duration::from_millis(61_300);
        let (start, now) = (Timestamp::from_millis(millis), Timestamp::from_millis(millis).plus(step));
        // `@ end()` must mean the same in both.
        let steps = Steps { start, end: now, step };
        let instant = query.instant(&*MEMORY, now, &limits(1_000_000));
        let range = query.range(&*MEMORY, steps, &limits(1_000_000));
        match (instant, range) {
            (Ok(instant), Ok(range)) => {
                prop_assert_eq!(sorted(instant.value), at(range.value, now), "{}", expr);
            }
            (Err(instant), Ok(_)) => prop_assert!(false, "{}: only the instant fails: {}", expr, instant),
            // Series that collide at another step fail the range alone.
            (_, Err(range)) => prop_assert!(matches!(range, QueryError::Execution(_)), "{expr}: {range}"),
        }
    }

    #[test]
    fn limits_hold(expr in vector(), samples_max in 0_usize..300) {
        let query = promql::parse(&expr).unwrap();
        let steps = Steps {
            start: Timestamp::from_secs(0),
            end: Timestamp::from_secs(1_800),
            step: Duration::from_secs(15),
        };
        if let Ok(answer) = query.range(&*MEMORY, steps, &limits(samples_max)) {
            let Value::Matrix(series) = answer.value else { panic!("a range is a matrix") };
            prop_assert!(series.len() * 121 <= samples_max.max(1), "{}", expr);
        }
    }
}

#[test]
fn a_cancelled_query_ends() {
    let limits = limits(1_000);
    limits.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    let answer =
        promql::parse("sum(g)").unwrap().instant(&*MEMORY, Timestamp::from_secs(60), &limits);
    assert_eq!(answer, Err(QueryError::Cancelled));
}

#[test]
fn a_range_must_be_one() {
    let range = |start, end, step| {
        let steps = Steps {
            start: Timestamp::from_secs(start),
            end: Timestamp::from_secs(end),
            step: Duration::from_millis(step),
        };
        promql::parse("1").unwrap().range(&*MEMORY, steps, &Limits::default())
    };
    assert!(matches!(range(0, 60, 0), Err(QueryError::Execution(_))));
    assert!(matches!(range(60, 0, 1), Err(QueryError::Execution(_))));
    assert!(matches!(range(0, i64::MAX / 1000, 1), Err(QueryError::TooMuch(_))));
    assert!(range(60, 60, 1).is_ok());
}

#[test]
fn times_at_the_ends_of_the_world_do_not_overflow() {
    for expr in [
        "g",
        "rate(c_total[5m])",
        "rate(c_total[292y] offset -292y)",
        "max_over_time(g[1h:1m])",
        "predict_linear(g[5m], 1e300)",
        "g @ 9e15",
        "g @ -9e11 offset 9000y",
        "hour(vector(1e300))",
    ] {
        let query = promql::parse(expr);
        for time in [i64::MIN, -1, i64::MAX] {
            if let Ok(query) = &query {
                let _ = query.instant(&*MEMORY, Timestamp::from_millis(time), &limits(1_000_000));
            }
        }
    }
}

#[test]
fn the_deepest_allowed_expressions_fit_the_stack() {
    let depth = limits::EXPR_DEPTH_MAX;
    let nested = format!("{}g{}", "abs(".repeat(depth), ")".repeat(depth));
    let chain = vec!["g"; limits::EXPR_OPERATORS_MAX + 1].join(" or ");
    let negated = format!("{}g", "-".repeat(limits::EXPR_OPERATORS_MAX));
    for expr in [nested, chain, negated] {
        let query = promql::parse(&expr).unwrap();
        query.instant(&*MEMORY, Timestamp::from_secs(60), &limits(1_000_000)).unwrap();
    }
}

#[test]
fn metric_names_are_those_asked_for() {
    let names = |expr: &str| promql::parse(expr).unwrap().metric_names();
    assert_eq!(names("rate(b[5m]) / on(x) sum(a) + timestamp(c) + a"), ["a", "b", "c"]);
    assert_eq!(names("max_over_time(a[5m:1m]) > scalar({__name__=\"b\"})"), ["a", "b"]);
    assert!(names("1 + time()").is_empty());
}

#[test]
fn a_selector_must_select() {
    let refused = ["", "{}", "{a=\"\"}", "{a=~\".*\"}", "a + b", "a[5m]", "a offset 1m", "1"];
    for text in refused {
        assert!(promql::parse_selector(text).is_err(), "{text}");
    }
    assert_eq!(promql::parse_selector("up{job!=\"a\"}").unwrap().len(), 2);
}
