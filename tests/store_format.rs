//! A store of format 1, as some version of Balefire left it, is opened by this one with all that it
//! held: samples and native histograms in the log and in partitions, rollups, small state, history.
//!
//! `tests/fixtures/store-format-1.tar.gz` was made by `BALEFIRE_MAKE_FIXTURE=1 cargo nextest run
//! a_store_of_format_1`, and is never made again: where this test fails, old stores cannot be read.

#![expect(clippy::unwrap_used, reason = "a failing helper of a test is a failing test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use balefire::{
    model::{
        Accumulator, AlertInstance, AlertState, AuditRecord, Batch, Bounds, Bucket, Event,
        Histogram, HistogramParts, HistogramSample, Labels, Metadata, MetricKind, PageRequest,
        ProbeAnswer, ProbeAttempt, ProbeRecord, ResetHint, Rule, RuleOrigin, Sample,
        SeriesHistogram, SeriesSample, Severity, TargetState, Transition, stale_nan,
    },
    promql::{Queryable as _, RollupColumn, Selection, SeriesData},
    store::{self, Change, Options, Store},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

/// A midnight.
const START: Timestamp = Timestamp::from_secs(86_400 * 20_000);
const STEP: Duration = Duration::from_mins(5);
/// Seven days, of which the last hours are in memory and the log.
const STEPS: u32 = 7 * 288;
/// Entries of each kind of history with a step: so many that some are sealed.
const ENTRIES: u32 = 2;
/// The first steps that were written in the second life of the store, which ends without a farewell.
const SECOND_LIFE: u32 = STEPS - 20;

fn at(step: u32) -> Timestamp {
    START.plus(STEP * step)
}

/// Whole numbers, decimals, full entropy, markers and special values.
fn value(series: u32, step: u32) -> f64 {
    match series {
        0 => f64::from(step) * 3.0,
        1 => f64::from(step * 7919 % 10_007) / 100.0,
        2 => f64::from(step).sin(),
        3 if step % 50 == 49 => stale_nan(),
        3 => f64::from(step % 7),
        4 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300][step as usize % 5],
        _ => 42.0,
    }
}

fn labels(series: u32) -> Labels {
    Labels::of("kept_total", [("n", &series.to_string()), ("text", "ünïcode \"quoted\"\n")])
}

fn histogram(step: u32) -> HistogramSample {
    let count = f64::from(step + 1);
    let custom = step % 100 >= 90;
    let parts = HistogramParts {
        count: count * 2.0,
        sum: count / 3.0,
        zero_threshold: if custom { 0.0 } else { 1e-9 },
        zero_count: if custom { 0.0 } else { count },
        bounds: if custom { Bounds::Custom([0.25, 2.5].into()) } else { Bounds::Exponential(2) },
        positive: vec![Bucket { index: 1, count }, Bucket { index: 2, count: 0.5 }],
        negative: if custom { Vec::new() } else { vec![Bucket { index: -7, count }] },
        reset: if step % 100 == 50 { ResetHint::Gauge } else { ResetHint::Unknown },
    };
    let histogram = Arc::new(Histogram::new(parts).unwrap());
    HistogramSample { timestamp: at(step), histogram }
}

fn histogram_labels() -> Labels {
    Labels::of("took_seconds", [])
}

fn batch(step: u32) -> Batch {
    let sample = |series| SeriesSample::new(labels(series), at(step), value(series, step));
    let histogram = SeriesHistogram { labels: histogram_labels(), sample: histogram(step) };
    let metadata = (step == 0).then(metadata).into_iter().collect();
    Batch { samples: (0..6).map(sample).collect(), histograms: vec![histogram], metadata }
}

fn metadata() -> Metadata {
    Metadata {
        name: "kept_total".to_owned(),
        kind: MetricKind::Counter,
        help: "What was kept.".to_owned(),
        unit: "things".to_owned(),
    }
}

fn rule() -> Rule {
    Rule {
        id: "kept".to_owned(),
        name: "Kept".to_owned(),
        condition: "kept_total > 5".to_owned(),
        severity: Severity::High,
        description: "for the test".to_owned(),
        enabled: true,
        hold: Duration::from_mins(5),
        cooldown: Duration::from_mins(10),
        labels: [("team".to_owned(), "x".to_owned())].into(),
        origin: RuleOrigin::Api,
        created_at: START,
        updated_at: at(1),
    }
}

fn instance() -> AlertInstance {
    AlertInstance {
        rule_id: "kept".to_owned(),
        labels: labels(0),
        state: AlertState::Firing,
        value: 6.5,
        active_at: START,
        fired_at: Some(at(1)),
        notified_at: Some(at(1)),
        acknowledgement: None,
    }
}

fn accumulator() -> Accumulator {
    Accumulator {
        labels: Labels::of("took", []),
        kind: MetricKind::Histogram,
        count: 3,
        sum: 1.5,
        updated_at: at(STEPS),
        buckets: vec![(0.5, 1), (f64::INFINITY, 2)],
    }
}

fn transition(step: u32) -> Transition {
    Transition {
        time: at(step),
        rule_id: "kept".to_owned(),
        name: "Kept".to_owned(),
        severity: Severity::High,
        labels: labels(0),
        from: AlertState::Pending,
        to: AlertState::Firing,
        value: f64::from(step),
        notified: true,
    }
}

fn audit(step: u32) -> AuditRecord {
    AuditRecord {
        time: at(step),
        actor: "uid:0".to_owned(),
        action: "rules.put".to_owned(),
        subject: "kept".to_owned(),
        after: "enabled".to_owned(),
        ..AuditRecord::default()
    }
}

fn probe(step: u32) -> ProbeRecord {
    ProbeRecord {
        target: "web".to_owned(),
        state: TargetState::Unhealthy,
        started_at: at(step),
        duration: Duration::from_millis(5),
        attempts: vec![ProbeAttempt {
            started_at: at(step),
            duration: Duration::from_millis(4),
            error: "refused".to_owned(),
        }],
        answer: ProbeAnswer::default(),
        error: "refused".to_owned(),
        stderr_tail: "last words".to_owned(),
    }
}

fn changes() -> Vec<Change> {
    vec![
        Change::PutRule(rule()),
        Change::PutInstances { rule_id: "kept".to_owned(), instances: vec![instance()] },
        Change::PutTargetState {
            name: "web".to_owned(),
            state: TargetState::Unhealthy,
            since: at(2),
        },
        Change::PutAdoption("found".to_owned()),
        Change::PutAccumulator(accumulator()),
    ]
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn open(dir: &Path, clock: &Clock) -> Store {
    let opened = Store::open(dir, Options::default(), clock.clone(), &Telemetry::new());
    let (store, recovery) = opened.unwrap();
    assert_eq!(recovery.quarantined, Vec::<String>::new());
    store
}

/// Writes the steps of one life, and looks after the store every two hours.
fn live(store: &Store, clock: &Clock, steps: std::ops::Range<u32>) {
    for step in steps {
        clock.set(at(step));
        let history = (0..ENTRIES).flat_map(|_| {
            [
                Change::AddEvent(Event::AlertTransition(transition(step))),
                Change::AddAudit(audit(step)),
                Change::AddProbe(probe(step)),
            ]
        });
        let changes = history.chain(if step == 5 { changes() } else { Vec::new() }).collect();
        let summary = block(store.append_and_commit(batch(step), changes)).unwrap();
        assert_eq!(summary.accepted, 7, "{summary:?}");
        if step % 24 == 0 {
            store.seal().unwrap();
            store.compact().unwrap();
        }
    }
}

fn archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-format-1.tar.gz")
}

fn tar(arguments: &[&str], dir: &Path) {
    let archive = archive();
    let mut command = Command::new("tar");
    let status = command.args(arguments).arg(archive).arg("-C").arg(dir).arg(".").status();
    assert!(status.unwrap().success());
}

fn make() {
    assert!(!archive().exists(), "the store that old versions wrote is there: it stays");
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let store = open(temp.path(), &clock);
    live(&store, &clock, 0..SECOND_LIFE);
    store.close().unwrap();
    drop(store);
    let store = open(temp.path(), &clock);
    live(&store, &clock, SECOND_LIFE..STEPS);
    // As a crash would leave it.
    tar(&["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf"], temp.path());
}

#[test]
fn a_store_of_format_1_opens_with_all_that_it_held() {
    if std::env::var_os("BALEFIRE_MAKE_FIXTURE").is_some() {
        make();
    }
    let temp = tempfile::tempdir().unwrap();
    tar(&["-xzf"], temp.path());
    assert_eq!(store::verify(temp.path(), &mut |_| true).unwrap().problems, []);
    let clock = Clock::manual(at(STEPS));
    let store = open(temp.path(), &clock);
    check(&store);
    // The next life is like the ones before, and the one after that finds the same.
    store.seal().unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    drop(store);
    check(&open(temp.path(), &clock));
    assert!(fs::read_dir(temp.path().join("quarantine")).unwrap().next().is_none());
}

fn check(store: &Store) {
    check_samples(store);
    check_rollups(store);
    check_small_state(store);
    check_history(store);
}

fn select(store: &Store, resolution: Duration, column: RollupColumn) -> Vec<SeriesData> {
    let selection =
        Selection { resolution, column, ..Selection::raw(Vec::new(), START, at(STEPS)) };
    let found = store.snapshot().select(&selection).unwrap();
    assert_eq!(found.rollups.is_empty(), resolution.is_zero());
    found.series
}

fn check_samples(store: &Store) {
    let bits = |s: &Sample| (s.timestamp, s.value.to_bits());
    let found = select(store, Duration::ZERO, RollupColumn::Last);
    assert_eq!(found.len(), 7);
    for (series, found) in (0..6).zip(&found) {
        assert_eq!(found.labels, labels(series));
        let expected = (0..STEPS).map(|step| (at(step), value(series, step).to_bits()));
        assert!(found.samples.iter().map(bits).eq(expected), "series {series}");
    }
    assert_eq!(found[6].labels, histogram_labels());
    assert!(found[6].histograms.iter().cloned().eq((0..STEPS).map(histogram)));
}

/// Of rollups of an hour, those of the first day: whole hours after midnight, each with twelve samples.
fn check_rollups(store: &Store) {
    let hour = Duration::from_hours(1);
    let first_day = |column| {
        let mut found = select(store, hour, column);
        let rollups = found.swap_remove(0).samples.into_iter();
        rollups.skip(1).take(24).map(|sample| sample.value).collect::<Vec<f64>>()
    };
    let steps = |hour: u32| hour * 12 + 1..=hour * 12 + 12;
    let sums: Vec<f64> = (0..24).map(|hour| steps(hour).map(|step| value(0, step)).sum()).collect();
    let last: Vec<f64> = (0..24).map(|hour| value(0, *steps(hour).end())).collect();
    assert_eq!(first_day(RollupColumn::Count), [12.0; 24]);
    assert_eq!(first_day(RollupColumn::Sum), sums);
    assert_eq!(first_day(RollupColumn::Last), last);
}

fn check_small_state(store: &Store) {
    assert_eq!(store.metadata("kept_total"), Some(metadata()));
    assert_eq!(store.rules(), [rule()]);
    assert_eq!(store.instances("kept"), [instance()]);
    assert_eq!(store.target_state("web"), Some((TargetState::Unhealthy, at(2))));
    assert_eq!(store.adoptions(), ["found"]);
    assert_eq!(store.accumulator(&accumulator().labels), Some(accumulator()));
}

fn check_history(store: &Store) {
    let page = PageRequest::largest();
    let newest = |step: usize| STEPS - 1 - u32::try_from(step).unwrap() / ENTRIES;
    let transitions = store.transitions(None, START, at(STEPS), &page).unwrap().items;
    assert!(transitions.len() > 500);
    assert!(transitions.iter().enumerate().all(|(n, (_, found))| *found == transition(newest(n))));
    let probes = store.probes("web", START, at(STEPS), &page).unwrap().items;
    assert!(probes.iter().enumerate().all(|(n, found)| *found == probe(newest(n))));
    let entries = store.audit(&page).unwrap().items;
    assert!(entries.iter().enumerate().all(|(n, found)| found.record == audit(newest(n))));
    assert_eq!(entries[0].sequence, u64::from(STEPS * ENTRIES));
    let first = store.transitions(None, START, at(3), &page).unwrap().items;
    assert_eq!(
        (first.len(), &first[0].1),
        (4 * ENTRIES as usize, &transition(3)),
        "sealed history is there, too"
    );
}
