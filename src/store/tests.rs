//! The store through its face, on real sled, with a clock that is moved by hand.

mod damage;
mod deferred;
mod labels;
mod partitions;
mod replay;
mod upkeep;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;
use crate::{
    access,
    model::{
        AlertState, AuditChain, AuditRecord, BrokenChain, CheckedChain, Event, Sample, Severity,
        stale_nan,
    },
    promql::{Queryable as _, Selection},
};

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_hours(1);

struct Fixture {
    temp: tempfile::TempDir,
    clock: Clock,
}

impl Fixture {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap(), clock: Clock::manual(START) }
    }

    fn dir(&self) -> &Path {
        self.temp.path()
    }

    fn try_open(&self) -> Result<(Store, Recovery), StoreError> {
        Store::open(self.dir(), Options::default(), self.clock.clone(), &Telemetry::new())
    }

    /// On an engine in memory and a log of short segments, both of which fail by `breakage`.
    fn open_breakable(&self, breakage: &testing::Breakage) -> Store {
        let opened =
            testing::open(self.dir(), Options::default(), self.clock.clone(), breakage).unwrap();
        assert_eq!(opened.1.quarantined, Vec::<String>::new());
        opened.0
    }

    fn open(&self) -> Store {
        let (store, recovery) = self.try_open().unwrap();
        assert_eq!(recovery.quarantined, Vec::<String>::new());
        store
    }
}

pub(super) fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn batch(samples: impl IntoIterator<Item = (&'static str, Timestamp, f64)>) -> Batch {
    let samples = samples
        .into_iter()
        .map(|(name, time, value)| SeriesSample::new(Labels::of(name, []), time, value));
    Batch { samples: samples.collect(), ..Batch::default() }
}

fn append(store: &Store, name: &'static str, time: Timestamp, value: f64) -> AppendSummary {
    block(store.append(batch([(name, time, value)]))).unwrap()
}

/// One sample a minute from `from` on.
fn fill(store: &Store, name: &'static str, from: Timestamp, minutes: u32) {
    let samples = (0..minutes)
        .map(|minute| (name, from.plus(Duration::from_mins(1) * minute), f64::from(minute)));
    let summary = block(store.append(batch(samples))).unwrap();
    assert_eq!(summary.rejected, 0, "{:?}", summary.rejections);
}

/// A store with five hours of one series; what is old of them lies in partitions.
fn sealed() -> (Fixture, Store) {
    let fixture = Fixture::new();
    let store = fixture.open();
    fill(&store, "a", START.minus(5 * HOUR), 300);
    assert!(store.seal().unwrap() > 0);
    (fixture, store)
}

fn all(store: &Store, matchers: Vec<Matcher>) -> Vec<(String, Vec<Sample>)> {
    let (start, end) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let found = store.snapshot().select(&Selection::raw(matchers, start, end)).unwrap().series;
    found.into_iter().map(|series| (series.labels.to_string(), series.samples)).collect()
}

fn audit(store: &Store, count: u32) {
    let changes = (0..count).map(|n| {
        Change::AddAudit(AuditRecord {
            time: store.0.clock.now(),
            actor: "uid:0".into(),
            action: "rule.create".into(),
            subject: format!("rule {n}"),
            ..AuditRecord::default()
        })
    });
    block(store.commit(changes.collect())).unwrap();
}

/// Checks the whole audit, in pages of another size than blocks and partitions have.
fn chain(store: &Store) -> Result<CheckedChain, BrokenChain> {
    let mut page = PageRequest { size: 333, token: String::new() };
    let mut chain = AuditChain::default();
    loop {
        let found = store.audit(&page).unwrap();
        found.items.into_iter().try_for_each(|entry| chain.take(entry))?;
        if found.next.is_empty() {
            return chain.finish();
        }
        page.token = found.next;
    }
}

fn probe(target: &str, at: Timestamp) -> Change {
    Change::AddProbe(ProbeRecord {
        target: target.into(),
        state: TargetState::Healthy,
        started_at: at,
        duration: Duration::from_millis(5),
        attempts: Vec::new(),
        answer: crate::model::ProbeAnswer::default(),
        error: String::new(),
        stderr_tail: String::new(),
    })
}

#[test]
fn samples_survive_sealing_and_reopening() {
    let fixture = Fixture::new();
    let store = fixture.open();
    fill(&store, "a", START.minus(5 * HOUR), 300);
    fill(&store, "b", START.minus(HOUR), 60);
    let before = all(&store, Vec::new());
    let snapshot = store.snapshot();
    assert!(store.seal().unwrap() > 0);
    assert!(store.seal().unwrap() == 0, "nothing is left to seal");
    assert_eq!(all(&store, Vec::new()), before);
    assert_eq!(store.stats().samples, 360);
    assert_eq!(store.stats().oldest, Some(START.minus(5 * HOUR)));
    drop((store, snapshot));
    let store = fixture.open();
    assert_eq!(all(&store, Vec::new()), before);
    assert_eq!(all(&store, vec![Matcher::equal("__name__", "b")]), before[1..]);
    let series = store.series(&[], START.minus(5 * HOUR), START.minus(4 * HOUR)).unwrap();
    assert_eq!(series, [Labels::of("a", [])]);
}

#[test]
fn a_long_log_is_replaced_by_a_checkpoint() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let log = || partition::size_of(&fixture.dir().join(keys::WAL));
    for part in 0..4 {
        let from = START.plus(Duration::from_secs(80) * part);
        let samples = (0..80_000).map(|n| ("a", from.plus(Duration::from_millis(1) * n), 0.123));
        block(store.append(batch(samples))).unwrap();
    }
    let before = log();
    assert_eq!(store.seal().unwrap(), 0, "nothing is old enough");
    assert!(log() < before / 2, "{before} bytes became {}", log());
    drop(store);
    assert_eq!(all(&fixture.open(), Vec::new())[0].1.len(), 320_000);
}

/// Files of the directory that this process has open below `name`.
fn open_files(dir: &Path, name: &str) -> usize {
    let dir = dir.join(name);
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    links.filter(|link| fs::read_link(link.path()).is_ok_and(|to| to.starts_with(&dir))).count()
}

#[test]
fn a_start_opens_no_database_and_sealing_closes_idle_ones() {
    let (fixture, store) = sealed();
    drop(store);
    let store = fixture.open();
    let open = || -> usize {
        [keys::PARTITIONS, keys::HISTORY, keys::CATALOG]
            .map(|n| open_files(fixture.dir(), n))
            .iter()
            .sum()
    };
    assert_eq!(open(), 0);
    assert_eq!(all(&store, Vec::new())[0].1.len(), 300);
    assert!(open() > 0, "reading keeps them open for the next reader");
    store.seal().unwrap();
    assert_eq!(open(), 0);
}

#[test]
fn readers_of_many_partitions_keep_few_open() {
    let fixture = Fixture::new();
    let store = fixture.open();
    fill(&store, "a", START.minus(36 * HOUR), 2160);
    store.seal().unwrap();
    assert_eq!(all(&store, Vec::new())[0].1.len(), 2160);
    let locks = |name| open_files(fixture.dir(), name);
    // Of 17 partitions, 81 descriptors each.
    assert!(locks(keys::PARTITIONS) <= 16 * 82, "{}", locks(keys::PARTITIONS));
}

#[test]
fn a_day_of_fresh_partitions_is_opened_once() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    fill(&store, "a", START.minus(26 * HOUR), 1560);
    store.seal().unwrap();
    let opened = || breakage.engine_opened.load(Ordering::SeqCst);
    let before = opened();
    assert_eq!(all(&store, Vec::new())[0].1.len(), 1560);
    let first = opened() - before;
    assert!(first >= 11, "{first}");
    assert_eq!(all(&store, Vec::new())[0].1.len(), 1560);
    assert_eq!(opened() - before, first);
}

#[test]
fn what_was_sealed_takes_no_more_samples() {
    let (_fixture, store) = sealed();
    let summary = append(&store, "new", START.minus(5 * HOUR), 1.0);
    assert_eq!((summary.accepted, summary.rejected), (0, 1));
    assert!(summary.rejections[0].reason.contains("is sealed"), "{:?}", summary.rejections);
}

#[test]
fn a_snapshot_does_not_see_what_comes_after_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    append(&store, "a", START, 1.0);
    let snapshot = store.snapshot();
    append(&store, "a", START.plus(Duration::from_secs(1)), 2.0);
    let (start, end) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let everything = Selection::raw(Vec::new(), start, end);
    assert_eq!(snapshot.select(&everything).unwrap().series[0].samples.len(), 1);
    assert_eq!(all(&store, Vec::new())[0].1.len(), 2);
}

#[test]
fn the_second_process_is_told_who_holds_the_directory() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let error = fixture.try_open().unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    store.close().unwrap();
    assert!(matches!(block(store.append(Batch::default())), Err(StoreError::Closed)));
    fixture.open();
}

#[test]
fn latest_leaves_out_what_is_stale_or_old() {
    let fixture = Fixture::new();
    let store = fixture.open();
    append(&store, "live", START, 1.0);
    append(&store, "old", START.minus(HOUR), 1.0);
    append(&store, "ended", START, stale_nan());
    let latest = store.latest(&[], START.minus(Duration::from_mins(5)));
    assert_eq!(latest, [SeriesSample::new(Labels::of("live", []), START, 1.0)]);
}

#[test]
fn history_is_paged_without_gaps_across_memory_and_disk() {
    let fixture = Fixture::new();
    let store = fixture.open();
    audit(&store, 9000);
    store.seal().unwrap();
    audit(&store, 5);
    drop(store);
    let store = fixture.open();
    let mut page = PageRequest { size: 1000, token: String::new() };
    let mut seen = Vec::new();
    loop {
        let found = store.audit(&page).unwrap();
        seen.extend(found.items.iter().map(|entry| entry.sequence));
        if found.next.is_empty() {
            break;
        }
        page.token = found.next;
    }
    assert!(seen.iter().copied().eq((1..=9005).rev()));
    audit(&store, 1);
    assert_eq!(chain(&store).unwrap().span, Some((1, 9006)), "whole over memory, disk and restart");
}

#[test]
fn a_deleted_target_takes_its_probes_with_it_also_sealed_ones() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let commit = |changes| block(store.commit(changes)).unwrap();
    commit((0..8200).map(|_| probe("gone", START)).collect());
    commit(vec![probe("stays", START)]);
    store.seal().unwrap();
    assert!(store.last_probe("gone").is_some());
    commit(vec![Change::DeleteTarget("gone".into())]);
    let far = Timestamp::from_millis(i64::MAX);
    let count = |store: &Store, target: &str| {
        store.probes(target, START, far, &PageRequest::largest()).unwrap().items.len()
    };
    assert_eq!((count(&store, "gone"), count(&store, "stays")), (0, 1));
    commit(vec![probe("gone", START)]);
    let reopened = {
        drop(store);
        fixture.open()
    };
    assert_eq!((count(&reopened, "gone"), count(&reopened, "stays")), (1, 1));
}

fn token(id: &str) -> Token {
    Token {
        id: id.into(),
        name: format!("token {id}"),
        roles: access::Role::Viewer.into(),
        secret_hash: Token::hash(id),
        created_at: START,
        created_by: "ada".into(),
        expires_at: None,
        last_used_at: None,
    }
}

#[test]
fn alerts_and_tokens_keep_their_state() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let instance = AlertInstance {
        rule_id: "r".into(),
        labels: Labels::of("ALERTS", []),
        state: AlertState::Firing,
        value: 1.0,
        active_at: START,
        fired_at: Some(START),
        notified_at: None,
        acknowledgement: None,
    };
    let transition = Transition {
        time: START,
        rule_id: "r".into(),
        name: "R".into(),
        severity: Severity::High,
        labels: Labels::of("ALERTS", []),
        from: AlertState::Pending,
        to: AlertState::Firing,
        value: 1.0,
        notified: true,
    };
    let changes = vec![
        Change::PutInstances { rule_id: "r".into(), instances: vec![instance.clone()] },
        Change::AddEvent(Event::AlertTransition(transition.clone())),
        Change::PutAdoption("x".into()),
        Change::PutTargetState { name: "x".into(), state: TargetState::Degraded, since: START },
        Change::PutToken(token("a")),
        Change::PutToken(token("b")),
        Change::DeleteToken("b".into()),
        // Of what is gone already: a use that was told late brings nothing back.
        Change::UseToken { id: "b".into(), at: START },
        Change::UseToken { id: "a".into(), at: START },
    ];
    block(store.commit(changes)).unwrap();
    drop(store);
    let store = fixture.open();
    assert_eq!(store.instances("r"), [instance]);
    let page = store.transitions(Some("r"), START, START, &PageRequest::default()).unwrap();
    assert_eq!(page.items, [(1, transition)]);
    assert_eq!(store.adoptions(), ["x"]);
    let used = Token { last_used_at: Some(START), ..token("a") };
    assert_eq!(store.tokens(), [std::sync::Arc::new(used)]);
    assert_eq!(store.target_state("x"), Some((TargetState::Degraded, START)));
}

#[test]
fn clean_up_frees_whole_partitions_and_old_history() {
    let fixture = Fixture::new();
    let store = fixture.open();
    fill(&store, "a", START.minus(5 * HOUR), 300);
    audit(&store, 3);
    store.seal().unwrap();
    let partitions = fs::read_dir(fixture.dir().join(keys::PARTITIONS)).unwrap().count();
    // Nothing of it is worth rolling up any more.
    fixture.clock.set(START.plus(800 * 24 * HOUR));
    let snapshot = store.snapshot();
    let freed = store.clean_up().unwrap();
    assert_eq!((freed.partitions, freed.entries()), (partitions as u64, 3));
    assert!(freed.bytes() > 0);
    let everything = Selection::raw(Vec::new(), START.minus(6 * HOUR), START);
    let held = snapshot.select(&everything).unwrap().series;
    assert_eq!(held[0].samples.len(), 300, "a reader keeps what it holds");
    drop((held, snapshot));
    assert_eq!(fs::read_dir(fixture.dir().join(keys::PARTITIONS)).unwrap().count(), 0);
    // What is left tells what went; that goes in its turn, and is told again.
    assert_eq!(chain(&store).unwrap().span, Some((4, 4)));
    audit(&store, 2);
    fixture.clock.set(START.plus(1600 * 24 * HOUR));
    assert_eq!(store.clean_up().unwrap().entries(), 3);
    drop(store);
    let store = fixture.open();
    // The log had all of them still: they go again, and that is not told twice.
    assert_eq!(store.clean_up().unwrap().entries(), 6);
    let left = store.audit(&PageRequest::default()).unwrap().items;
    assert_eq!((left[0].sequence, left[0].record.subject.as_str()), (7, "6"));
    assert_eq!(chain(&store).unwrap().span, Some((7, 7)));
}

#[test]
fn the_audit_loses_its_beginning_only_where_a_clock_jumped() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let limit = START.plus(Options::default().history_retention);
    for at in [START, limit, START, limit] {
        fixture.clock.set(at);
        audit(&store, 1);
    }
    fixture.clock.set(limit.plus(HOUR));
    store.clean_up().unwrap();
    assert_eq!(chain(&store).unwrap().span, Some((2, 5)));
}

#[test]
fn the_audit_outlives_its_partitions_as_a_chain() {
    let fixture = Fixture::new();
    let store = fixture.open();
    audit(&store, 9000);
    store.seal().unwrap();
    audit(&store, 3);
    drop(store);
    let store = fixture.open();
    fixture.clock.set(START.plus(800 * 24 * HOUR));
    assert_eq!(store.clean_up().unwrap().entries(), 9003);
    assert_eq!(chain(&store).unwrap().span, Some((9004, 9004)));
}

#[test]
fn rules_come_from_the_catalog_where_the_log_is_lost() {
    let fixture = Fixture::new();
    let store = fixture.open();
    fill(&store, "a", START.minus(5 * HOUR), 300);
    block(store.commit(vec![Change::PutAdoption("x".into())])).unwrap();
    audit(&store, 7);
    store.seal().unwrap();
    drop(store);
    fs::remove_dir_all(fixture.dir().join(keys::WAL)).unwrap();
    let (store, recovery) = fixture.try_open().unwrap();
    assert_eq!(recovery.quarantined.len(), 1);
    assert_eq!(store.adoptions(), ["x"]);
    audit(&store, 1);
    assert_eq!(chain(&store).unwrap().span, Some((1, 8)));
    drop(store);
    assert_eq!(fixture.open().adoptions(), ["x"]);
}

#[test]
fn too_large_a_batch_is_refused_whole() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let samples = (0..=limits::BATCH_SAMPLES_MAX).map(|_| ("a", START, 1.0));
    let error = block(store.append(batch(samples))).unwrap_err();
    assert_eq!(error.code(), crate::error_code::ErrorCode::InvalidArgument);
    assert_eq!(store.stats().samples, 0);
}

#[test]
fn a_clock_far_off_is_told() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let summary = append(&store, "a", START.plus(HOUR), 1.0);
    assert!(summary.rejections[0].reason.contains("in the future"), "{:?}", summary.rejections);
}

#[test]
fn series_are_named_again_in_each_segment() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    for round in 0..4 {
        // More than a segment takes.
        let from = START.plus(Duration::from_secs(1) * round);
        let samples = (0..500).map(|n| ("a", from.plus(Duration::from_millis(1) * n), 0.123));
        block(store.append(batch(samples))).unwrap();
    }
    drop(store);
    assert!(wal::segments(&fixture.dir().join(keys::WAL)).unwrap().len() >= 4);
    assert_eq!(all(&fixture.open_breakable(&breakage), Vec::new())[0].1.len(), 2000);
}

#[test]
fn samples_older_than_the_retention_are_refused() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let retention = Options::default().retention;
    let limit = START.minus(retention);
    for time in [Timestamp::from_millis(i64::MIN), limit.minus(Duration::from_millis(1))] {
        let summary = append(&store, "a", time, 1.0);
        assert!(summary.rejections[0].reason.contains("retention"), "{:?}", summary.rejections);
    }
    assert_eq!(append(&store, "a", limit, 1.0).accepted, 1);
    assert_eq!(store.seal().unwrap(), 1);
}

#[test]
fn a_start_on_a_full_disk_goes_on_and_loses_nothing() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    append(&store, "a", START, 1.0);
    append(&store, "b", START, 2.0);
    drop(store);
    // The segment is cut and synced; the new one finds no room, and at the first commit again none.
    breakage.log.arm(3);
    let store = fixture.open_breakable(&breakage);
    breakage.log.arm(1);
    append(&store, "c", START, 3.0);
    append(&store, "b", START.plus(Duration::from_secs(1)), 4.0);
    let before = all(&store, Vec::new());
    drop(store);
    assert_eq!(all(&fixture.open_breakable(&breakage), Vec::new()), before);
}

#[test]
fn a_dead_committer_is_told_and_nobody_waits_for_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    append(&store, "a", START, 1.0);
    let outcomes = [
        store.0.edit(|_| panic!("on purpose")).map(drop),
        block(store.append(Batch::default())).map(drop),
        store.clean_up().map(drop),
        store.close(),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(StoreError::CommitterDied)), "{outcome:?}");
    }
    assert_eq!(all(&fixture.open(), Vec::new())[0].1.len(), 1);
}
