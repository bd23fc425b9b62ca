//! What reading costs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use balefire::{
    model::{Labels, MatchOp, Matcher},
    promql::{Limits, Queryable as _, Selection, Steps, Value as Answered, parse},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::{
    core::Core,
    drive::{Fleet, Outcome},
    measure::{cpu_seconds, median, timed},
    workload::instance,
};

const GOES: usize = 9;
/// How long writers write, alone and beside readers.
const STRETCH: Duration = Duration::from_secs(5);

type Range = (Timestamp, Timestamp);

/// The host whose thousand series are asked for.
fn one_host() -> Matcher {
    Matcher::equal("instance", instance(3))
}

/// The query of docs/benchmarks.md, with one answer for each mode at each minute.
pub(crate) fn query_text() -> String {
    format!("sum by (mode)(rate({{instance=\"{}\"}}[5m]))", instance(3))
}

/// Selecting, evaluating, the latest value, labels. Empty where the data has no such host.
pub(crate) fn figures(core: &Core, range: Range) -> Result<Value, String> {
    let selection = Selection::raw(vec![one_host()], range.0, range.1);
    let select = || core.store.snapshot().select(&selection);
    let (first, selected) = timed(select);
    let selected = selected.map_err(|error| error.to_string())?;
    let samples: usize = selected.series.iter().map(|series| series.samples.len()).sum();
    if samples == 0 {
        return Ok(Value::Null);
    }
    let (cpu, mut goes) = (cpu_seconds(), 0_u32);
    let seconds = median(GOES, || {
        goes += 1;
        select()
    });
    let cpu = (cpu_seconds() - cpu) / f64::from(goes);
    Ok(json!({
        "series": selected.series.len(),
        "samples": samples,
        "select_first_ms": first * 1e3,
        "select_ms": seconds * 1e3,
        "select_cpu_ns_per_sample": cpu * 1e9 / samples as f64,
        "query_ms": median(GOES, || evaluate(core, range)) * 1e3,
        "query_rows": evaluate(core, range)?,
        "latest_us": latest(core, &selected.series[0].labels, range) * 1e6,
        "labels": labels(core, range),
    }))
}

/// Evaluates at each minute; tells how many series came out.
fn evaluate(core: &Core, range: Range) -> Result<usize, String> {
    ask(core, &query_text(), range, Duration::from_mins(1))
}

/// All hundred series, each as the average of a day, each day.
pub(crate) fn long(core: &Core, range: Range) -> Result<usize, String> {
    let text = format!("avg_over_time({{instance=\"{}\"}}[1d])", instance(0));
    ask(core, &text, range, Duration::from_hours(24))
}

fn ask(core: &Core, text: &str, (start, end): Range, step: Duration) -> Result<usize, String> {
    let query = parse(text).map_err(|error| error.to_string())?;
    let steps = Steps { start, end, step };
    let answer = query.range(&core.store.snapshot(), steps, &Limits::default());
    match answer.map_err(|error| error.to_string())?.value {
        Answered::Matrix(series) => Ok(series.len()),
        other => Err(format!("no matrix: {other:?}")),
    }
}

/// Seconds that the latest value of one series takes, all its labels given.
fn latest(core: &Core, labels: &Labels, (start, _): Range) -> f64 {
    let matchers: Vec<Matcher> =
        labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let calls = 100;
    median(GOES, || {
        for _ in 0..calls {
            std::hint::black_box(core.store.latest(&matchers, start));
        }
    }) / f64::from(calls)
}

/// Milliseconds to list series: of one host, of a pattern of hosts, of a metric everywhere.
fn labels(core: &Core, (start, end): Range) -> Value {
    let pattern = |name: &str, pattern: &str| {
        Matcher::new(name, MatchOp::Regex, pattern).expect("a pattern of ours")
    };
    let questions = [
        ("host", one_host()),
        ("pattern", pattern("instance", "host-00[01].*")),
        ("metric", Matcher::equal("__name__", "node_cpu_00_seconds_total")),
    ];
    let list = |matcher: Matcher| {
        let selectors = [vec![matcher]];
        median(3, || core.store.series(&selectors, start, end)) * 1e3
    };
    Value::Object(
        questions
            .map(|(name, matcher)| (name.to_owned(), json!(list(matcher))))
            .into_iter()
            .collect(),
    )
}

/// Writers at full speed for a while: alone, beside one reader that never rests, and beside a thread
/// that takes its share of the cores and nothing else of anybody's.
pub(crate) fn beside_writers(
    core: &Core,
    fleet: &mut Fleet,
    range: Range,
) -> Result<Value, String> {
    let (alone, _) = beside(core, fleet, None)?;
    let (reading, queries) = beside(core, fleet, Some(&|| evaluate(core, range).map(drop)))?;
    let compute = || {
        compute();
        Ok(())
    };
    let (computing, _) = beside(core, fleet, Some(&compute))?;
    Ok(json!({
        "alone": alone.rate(),
        "beside": reading.rate(),
        "ratio": reading.rate() / alone.rate(),
        "ratio_computing": computing.rate() / alone.rate(),
        "queries": queries,
    }))
}

/// What a writers' neighbour repeats.
type Work<'a> = &'a (dyn Fn() -> Result<(), String> + Sync);

/// Writers for a while, and how often their neighbour did its work meanwhile.
fn beside(
    core: &Core,
    fleet: &mut Fleet,
    neighbour: Option<Work<'_>>,
) -> Result<(Outcome, u32), String> {
    let stop = AtomicBool::new(neighbour.is_none());
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            let mut done = 0_u32;
            while !stop.load(Ordering::SeqCst) {
                neighbour.map_or(Ok(()), |work| work())?;
                done += 1;
            }
            Ok::<u32, String>(done)
        });
        let began = crate::measure::now();
        let outcome = fleet.run(10_000, |at| {
            core.clock.set(at);
            began.elapsed() < STRETCH
        });
        stop.store(true, Ordering::SeqCst);
        Ok((outcome?, working.join().expect("a neighbour")?))
    })
}

/// Arithmetic for about a millisecond, in registers alone.
fn compute() {
    let step = |sum: u64, n: u64| sum.rotate_left(7) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::hint::black_box((0..1_000_000).fold(0, step));
}
