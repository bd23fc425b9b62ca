//! Generated operations against a plain model: whatever happens, what was acknowledged is there, and
//! nothing else is.
//!
//! A crash is the directory as it is at that moment, copied, with a torn record behind the log; the
//! store it was copied from is thrown away. Engine and log fail on purpose now and then.

#![expect(clippy::unwrap_used, reason = "a failing helper of a test is a failing test")]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use balefire::{
    model::{
        AlertState, AuditChain, AuditRecord, Batch, Bucket, Event, Histogram, HistogramParts,
        HistogramSample, Labels, PageRequest, ProbeAnswer, ProbeRecord, SeriesHistogram,
        SeriesSample, Severity, TargetState, Transition,
    },
    promql::{Queryable as _, Selection, SeriesData},
    store::{
        Change, Options, Snapshot, Store, StoreError,
        testing::{self, Breakage},
    },
    time::{Clock, Timestamp},
};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const BEGINNING: Timestamp = Timestamp::from_millis(i64::MIN);
const END: Timestamp = Timestamp::from_millis(i64::MAX);
const DAY: Duration = Duration::from_hours(24);
/// The length of a partition, and how late a sample may be.
const RANGE: Duration = Duration::from_hours(2);
/// The longest partition at this retention.
const RANGE_MAX: Duration = Duration::from_hours(6);
/// How many targets there are.
const TARGETS: u8 = 3;

#[derive(Clone, Debug)]
enum Operation {
    /// Samples of series by number, at seconds before now, and history with them.
    Append {
        samples: Vec<(u8, u16)>,
        history: Written,
    },
    /// A target, by number, is gone.
    DeleteTarget(u8),
    /// The same batch again.
    Repeat,
    /// Minutes pass.
    Wait(u16),
    Seal,
    Compact,
    CleanUp,
    Reopen,
    /// Bytes of an unfinished record behind the log.
    Crash(u8),
    /// A reader takes a snapshot and keeps it.
    Hold,
    /// The reader who came first lets go.
    LetGo,
    /// The n-th writing call of the engine from now fails.
    BreakEngine(u8),
    /// The n-th writing call of the log from now fails.
    BreakLog(u8),
}

/// Entries of the history in one commit.
#[derive(Clone, Debug, Default)]
struct Written {
    /// How many audit entries.
    audit: u8,
    /// How many transitions.
    transitions: u8,
    /// Probes of targets by number.
    probes: Vec<u8>,
}

fn written() -> impl Strategy<Value = Written> {
    (0_u8..4, 0_u8..4, prop::collection::vec(0..TARGETS, 0..6))
        .prop_map(|(audit, transitions, probes)| Written { audit, transitions, probes })
}

fn operation() -> impl Strategy<Value = Operation> {
    let samples = prop::collection::vec((0_u8..6, 0_u16..20_000), 0..40);
    prop_oneof![
        8 => (samples, written())
            .prop_map(|(samples, history)| Operation::Append { samples, history }),
        1 => (0..TARGETS).prop_map(Operation::DeleteTarget),
        1 => Just(Operation::Repeat),
        3 => (1_u16..400).prop_map(Operation::Wait),
        2 => Just(Operation::Seal),
        1 => Just(Operation::Compact),
        1 => Just(Operation::CleanUp),
        1 => Just(Operation::Reopen),
        2 => any::<u8>().prop_map(Operation::Crash),
        2 => Just(Operation::Hold),
        1 => Just(Operation::LetGo),
        1 => (1_u8..12).prop_map(Operation::BreakEngine),
        1 => (1_u8..4).prop_map(Operation::BreakLog),
    ]
}

/// What has to be there, and what may come in.
#[derive(Debug)]
struct Model {
    series: Stored,
    audit: u64,
    /// The values of the transitions, oldest first.
    transitions: Vec<f64>,
    /// Target and text of each probe, oldest first.
    probes: Vec<(u8, String)>,
    /// Nothing older comes in.
    floor: Timestamp,
    /// What is older lies in partitions; a restart goes back to this floor.
    sealed: Timestamp,
}

impl Model {
    /// Takes what may come in; returns how many samples are accepted, repeated, refused.
    fn append(&mut self, batch: &Batch, now: Timestamp) -> (u64, u64, u64) {
        let (mut accepted, mut duplicates, mut rejected) = (0, 0, 0);
        for (labels, time, value) in values_of(batch) {
            let series = self.series.entry(labels.clone()).or_default();
            let newest = series.last_key_value().map(|(newest, _)| *newest);
            let late = newest.is_some_and(|n| n >= self.sealed && time < n.minus(RANGE));
            match series.get(&time) {
                _ if time < self.floor || time < now.minus(DAY) => rejected += 1,
                Some(known) if known.to_bits() == value.to_bits() => duplicates += 1,
                Some(_) => rejected += 1,
                None if late => rejected += 1,
                None => {
                    series.insert(time, value);
                    accepted += 1;
                }
            }
        }
        self.series.retain(|_, samples| !samples.is_empty());
        (accepted, duplicates, rejected)
    }

    /// What sealing would raise the floor to; `None` where nothing is due.
    fn next_floor(&self, now: Timestamp) -> Option<Timestamp> {
        let floor = now.minus(RANGE).stretch(RANGE).start;
        let due = |time: &Timestamp| *time >= self.sealed && *time < floor;
        self.series.values().any(|samples| samples.keys().any(due)).then_some(floor)
    }

    /// Partitions that are over go as a whole; how long each is, `stored` tells.
    fn clean_up(&mut self, now: Timestamp, stored: &Stored) {
        let limit = now.minus(DAY);
        let over = |time: Timestamp, length: Duration| {
            time < self.sealed && time.stretch(length).end <= limit
        };
        for (labels, samples) in &mut self.series {
            let stored = stored.get(labels);
            samples.retain(|time, _| {
                let stays = stored.is_some_and(|stored| stored.contains_key(time));
                assert!(!stays || !over(*time, RANGE_MAX), "what is too old is still there");
                stays || !over(*time, RANGE)
            });
        }
        self.series.retain(|_, samples| !samples.is_empty());
    }

    fn restart(&mut self) {
        self.floor = self.sealed;
    }
}

struct World {
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    clock: Clock,
    breakage: Breakage,
    /// `None` only between two.
    store: Option<Store>,
    model: Model,
    /// Snapshots, and what was there when they were taken.
    held: Vec<(Snapshot, Stored)>,
    last: Batch,
    value: f64,
}

impl World {
    fn new() -> Self {
        let model = Model {
            series: BTreeMap::new(),
            audit: 0,
            transitions: Vec::new(),
            probes: Vec::new(),
            floor: BEGINNING,
            sealed: BEGINNING,
        };
        let mut world = Self {
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            dir: temporary(),
            clock: Clock::manual(START),
            breakage: Breakage::default(),
            store: None,
            model,
            held: Vec::new(),
            last: Batch::default(),
            value: 0.0,
        };
        world.open(false);
        world
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn open(&mut self, torn: bool) {
        self.breakage.engine.disarm();
        self.breakage.log.disarm();
        let options =
            Options { retention: DAY, retention_5m: DAY, retention_1h: DAY, ..Options::default() };
        let (store, recovery) =
            testing::open(self.dir.path(), options, self.clock.clone(), &self.breakage).unwrap();
        assert_eq!(recovery.torn_bytes > 0, torn);
        assert_eq!(recovery.quarantined, Vec::<String>::new());
        self.store = Some(store);
        self.model.restart();
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Append { samples, history } => {
                self.last = self.batch(samples);
                self.send(history);
            }
            Operation::DeleteTarget(target) => self.delete_target(*target),
            Operation::Repeat => self.send(&Written::default()),
            Operation::Wait(minutes) => {
                let now = self.clock.now().plus(Duration::from_mins(1) * u32::from(*minutes));
                self.clock.set(now);
            }
            Operation::Seal => self.seal(),
            // What fails is tried again, and nobody sees the difference.
            Operation::Compact => drop(self.store().compact()),
            Operation::CleanUp => {
                self.store().clean_up().unwrap();
                let stored = stored(&self.store().snapshot());
                self.model.clean_up(self.clock.now(), &stored);
            }
            Operation::Reopen => {
                self.held.clear();
                self.store = None;
                self.open(false);
            }
            Operation::Crash(torn) => self.crash(*torn),
            Operation::Hold if self.held.len() < 3 => {
                self.held.push((self.store().snapshot(), self.model.series.clone()));
            }
            Operation::Hold => {}
            Operation::LetGo => drop(self.held.drain(..self.held.len().min(1))),
            Operation::BreakEngine(n) => self.breakage.engine.arm(i64::from(*n)),
            Operation::BreakLog(n) => self.breakage.log.arm(i64::from(*n)),
        }
    }

    fn batch(&mut self, samples: &[(u8, u16)]) -> Batch {
        let now = self.clock.now();
        let mut batch = Batch::default();
        for (series, ago) in samples {
            self.value += 1.0;
            let labels = Labels::of("m", [("n", &series.to_string())]);
            let timestamp = now.minus(Duration::from_secs(u64::from(*ago)));
            // One series of histograms, and one of both.
            if *series == 5 || (*series == 4 && ago % 3 == 0) {
                let sample = HistogramSample { timestamp, histogram: histogram(self.value) };
                batch.histograms.push(SeriesHistogram { labels, sample });
            } else {
                batch.samples.push(SeriesSample::new(labels, timestamp, self.value));
            }
        }
        batch
    }

    fn send(&mut self, history: &Written) {
        let now = self.clock.now();
        let audit = (0..history.audit).map(|_| Change::AddAudit(entry(now)));
        let mut next = || {
            self.value += 1.0;
            self.value
        };
        let values: Vec<f64> = (0..history.transitions).map(|_| next()).collect();
        let probes: Vec<(u8, String)> =
            history.probes.iter().map(|target| (*target, next().to_string())).collect();
        let transitions = values
            .iter()
            .map(|value| Change::AddEvent(Event::AlertTransition(transition(now, *value))));
        let of_targets = probes.iter().map(|(n, text)| Change::AddProbe(probe(now, *n, text)));
        let changes = audit.chain(transitions).chain(of_targets).collect();
        let sent = self.store().append_and_commit(self.last.clone(), changes);
        match self.runtime.block_on(sent) {
            Ok(summary) => {
                let expected = self.model.append(&self.last, now);
                assert_eq!((summary.accepted, summary.duplicates, summary.rejected), expected);
                self.model.audit += u64::from(history.audit);
                self.model.transitions.extend(values);
                self.model.probes.extend(probes);
            }
            // Nothing of it is there, and the next one may succeed.
            Err(StoreError::NotDurable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn delete_target(&mut self, target: u8) {
        let change = Change::DeleteTarget(target.to_string());
        match self.runtime.block_on(self.store().commit(vec![change])) {
            Ok(()) => self.model.probes.retain(|(probed, _)| *probed != target),
            Err(StoreError::NotDurable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn seal(&mut self) {
        let next = self.model.next_floor(self.clock.now());
        let outcome = self.store().seal();
        self.model.floor = next.unwrap_or(self.model.floor).max(self.model.floor);
        if outcome.is_ok() && next.is_some() {
            self.model.sealed = self.model.floor;
        }
    }

    fn crash(&mut self, torn: u8) {
        let copy = temporary();
        copy_dir(self.dir.path(), copy.path());
        self.held.clear();
        self.store = None;
        self.dir = copy;
        let wal = self.dir.path().join("wal");
        let segments = fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path());
        let last = segments.max().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        // A frame may end in a few zeros; the room behind it has thousands.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 100;
        bytes.resize(bytes.len().max(end), 0);
        bytes
            .splice(end..(end + usize::from(torn)).min(bytes.len()), vec![torn; usize::from(torn)]);
        fs::write(last, bytes).unwrap();
        self.open(torn > 0);
    }

    fn check(&self) {
        assert_eq!(stored(&self.store().snapshot()), self.model.series);
        for (snapshot, expected) in &self.held {
            assert_eq!(stored(snapshot), *expected, "a snapshot changed");
        }
        let series = self.store().series(&[], BEGINNING, END).unwrap();
        assert!(series.iter().eq(self.model.series.keys()));
        let page = self.store().audit(&PageRequest::largest()).unwrap();
        let sequences = page.items.iter().map(|entry| entry.sequence);
        assert!(sequences.eq((1..=self.model.audit).rev()));
        let mut chain = AuditChain::default();
        page.items.into_iter().try_for_each(|entry| chain.take(entry)).unwrap();
        assert_eq!(chain.finish().unwrap().chained, self.model.audit);
        let all = PageRequest::largest();
        let transitions = self.store().transitions(None, BEGINNING, END, &all).unwrap().items;
        let stored: Vec<_> = transitions.iter().rev().map(|(n, t)| (*n, t.value)).collect();
        let expected: Vec<_> = (1..).zip(self.model.transitions.iter().copied()).collect();
        assert_eq!(stored, expected);
        (0..TARGETS).for_each(|target| self.check_probes(target));
    }

    fn check_probes(&self, target: u8) {
        let name = target.to_string();
        let all = PageRequest::largest();
        let stored = self.store().probes(&name, BEGINNING, END, &all).unwrap().items;
        let mine = self.model.probes.iter().filter(|(probed, _)| *probed == target);
        let expected: Vec<&str> = mine.map(|(_, text)| text.as_str()).rev().collect();
        assert_eq!(stored.iter().map(|p| p.error.as_str()).collect::<Vec<_>>(), expected);
        let last = self.store().last_probe(&name);
        assert_eq!(last.map(|p| p.error).as_deref(), expected.first().copied());
    }
}

/// Series, time and number of each sample, then of each histogram, whose number is below zero.
fn values_of(batch: &Batch) -> impl Iterator<Item = (&Labels, Timestamp, f64)> {
    let samples = batch.samples.iter().map(|s| (&s.labels, s.sample.timestamp, s.sample.value));
    let number = |s: &HistogramSample| -s.histogram.count;
    let histograms = batch.histograms.iter();
    samples.chain(histograms.map(move |h| (&h.labels, h.sample.timestamp, number(&h.sample))))
}

/// A histogram that is known by its count.
fn histogram(number: f64) -> Arc<Histogram> {
    let parts = HistogramParts {
        count: number,
        sum: number / 3.0,
        positive: vec![Bucket { index: 7, count: number }],
        ..HistogramParts::default()
    };
    Arc::new(Histogram::new(parts).unwrap())
}

/// Numbers by time, of each series.
type Stored = BTreeMap<Labels, BTreeMap<Timestamp, f64>>;

fn stored(snapshot: &Snapshot) -> Stored {
    let everything = Selection::raw(Vec::new(), BEGINNING, END);
    let found = snapshot.select(&everything).unwrap().series;
    found.into_iter().map(|series| (series.labels.clone(), by_time(&series))).collect()
}

/// Numbers by time, where they came in order and once each, and histograms whole.
fn by_time(series: &SeriesData) -> BTreeMap<Timestamp, f64> {
    let SeriesData { samples, histograms, .. } = series;
    assert!(samples.is_sorted_by(|a, b| a.timestamp < b.timestamp));
    assert!(histograms.is_sorted_by(|a, b| a.timestamp < b.timestamp));
    let whole = |sample: &HistogramSample| sample.histogram == histogram(sample.histogram.count);
    assert!(histograms.iter().all(whole));
    let numbers = histograms.iter().map(|sample| (sample.timestamp, -sample.histogram.count));
    let all = samples.iter().map(|sample| (sample.timestamp, sample.value)).chain(numbers);
    let found: BTreeMap<_, _> = all.collect();
    assert_eq!(found.len(), samples.len() + histograms.len());
    found
}

fn entry(time: Timestamp) -> AuditRecord {
    AuditRecord {
        time,
        actor: "uid:0".into(),
        action: "test".into(),
        subject: String::new(),
        ..AuditRecord::default()
    }
}

fn transition(time: Timestamp, value: f64) -> Transition {
    Transition {
        time,
        rule_id: "r".into(),
        name: "R".into(),
        severity: Severity::High,
        labels: Labels::of("ALERTS", []),
        from: AlertState::Pending,
        to: AlertState::Firing,
        value,
        notified: false,
    }
}

fn probe(started_at: Timestamp, target: u8, text: &str) -> ProbeRecord {
    ProbeRecord {
        target: target.to_string(),
        state: TargetState::Unhealthy,
        started_at,
        duration: Duration::from_millis(5),
        attempts: Vec::new(),
        answer: ProbeAnswer::default(),
        error: text.to_owned(),
        stderr_tail: String::new(),
    }
}

/// In memory where that is to be had: a copy is what survives a crash here, not what fsync reached.
fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Cases of each part: 10,000 in all, or what `BALEFIRE_TEST_MODEL_CASES` says.
fn cases() -> u32 {
    let given = std::env::var("BALEFIRE_TEST_MODEL_CASES").ok();
    given.map_or(2500, |cases| cases.parse().unwrap())
}

/// The parts draw different cases, and the same ones each time.
macro_rules! parts {
    ($($name:ident: $seed:literal,)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig {
                cases: cases(),
                failure_persistence: None,
                rng_seed: proptest::test_runner::RngSeed::Fixed($seed),
                ..ProptestConfig::default()
            })]

            #[test]
            fn $name(operations in prop::collection::vec(operation(), 1..30)) {
                let mut world = World::new();
                for operation in &operations {
                    world.apply(operation);
                    world.check();
                }
            }
        }
    )*};
}

mod the_store_keeps_what_it_acknowledged {
    use super::*;

    parts! {
        part_1: 20_261_122,
        part_2: 20_261_123,
        part_3: 20_261_124,
        part_4: 20_261_125,
    }
}
