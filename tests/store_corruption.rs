//! Damage of every kind in every file of a store: it is reported, the rest is served, and no number is
//! ever wrong.
//!
//! A store with partitions, history, catalog, checkpoint and log is made once for each test; each case
//! damages one file of a copy, verifies the copy, opens it, and compares all that it serves with what
//! was written. sled keeps what it met damaged open for good, so the cases are spread over tests, each
//! of which nextest runs in a process of its own.

#![expect(clippy::unwrap_used, reason = "a failing helper of a test is a failing test")]
#![expect(clippy::print_stdout, reason = "figures for whoever looks at them")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use balefire::{
    model::{AuditRecord, Batch, Labels, PageRequest, Sample, SeriesSample},
    promql::{Queryable as _, Selection},
    store::{self, Change, Options, Recovery, Store},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_hours(1);
/// Tests that the cases are spread over.
const PARTS: usize = 6;

/// A small generator (`SplitMix64`), so that a failing run can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// `BALEFIRE_TEST_SEED`, or always the same.
fn seed() -> u64 {
    let given = std::env::var("BALEFIRE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(20_261_122)
}

/// What was written.
#[derive(Default)]
struct Model {
    samples: BTreeMap<Labels, BTreeMap<Timestamp, u64>>,
    /// Subjects of the audit by sequence.
    audit: Vec<String>,
    /// Everything before this instant is sealed.
    sealed: Timestamp,
    /// Audit entries before this one are sealed.
    audit_sealed: usize,
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn labels(series: u32) -> Labels {
    let name = ["requests_total", "room_degrees"][series as usize % 2];
    Labels::of(name, [("series", series.to_string().as_str())])
}

impl Model {
    /// One sample a minute for each of nine series.
    fn fill(&mut self, store: &Store, from: Timestamp, minutes: u32) {
        let mut samples = Vec::new();
        for series in 0..9 {
            for minute in 0..minutes {
                let timestamp = from.plus(Duration::from_mins(1) * minute);
                let value = match series {
                    0 => 7.0,
                    1 | 2 => f64::from(minute * (series + 3)),
                    _ => f64::from(minute * 7919 % 1000 + series).sqrt(),
                };
                samples.push(SeriesSample::new(labels(series), timestamp, value));
                let known = self.samples.entry(labels(series)).or_default();
                known.insert(timestamp, value.to_bits());
            }
        }
        let summary = block(store.append(Batch { samples, ..Batch::default() })).unwrap();
        assert_eq!(summary.rejected, 0, "{:?}", summary.rejections);
    }

    fn note(&mut self, store: &Store, count: usize) {
        let changes = (0..count).map(|_| {
            let subject = format!("rule {}", self.audit.len());
            self.audit.push(subject.clone());
            Change::AddAudit(AuditRecord {
                time: START,
                actor: "uid:0".into(),
                action: "rule.create".into(),
                subject,
                ..AuditRecord::default()
            })
        });
        block(store.commit(changes.collect())).unwrap();
    }
}

fn open(dir: &Path, clock: &Clock) -> (Store, Recovery, Telemetry) {
    let telemetry = Telemetry::new();
    let opened = Store::open(dir, Options::default(), clock.clone(), &telemetry);
    let (store, recovery) = opened.unwrap_or_else(|error| panic!("it does not open: {error}"));
    (store, recovery, telemetry)
}

/// Partitions, history and a catalog, and a log of two processes behind the checkpoint.
fn write_store(dir: &Path, clock: &Clock) -> Model {
    let mut model = Model::default();
    let (store, _, _) = open(dir, clock);
    model.fill(&store, START.minus(4 * HOUR), 240);
    model.note(&store, 8300);
    model.audit_sealed = model.audit.len();
    assert!(store.seal().unwrap() > 0);
    model.sealed = clock.now().minus(2 * HOUR).stretch(2 * HOUR).start;
    clock.set(START.plus(Duration::from_mins(20)));
    model.fill(&store, START, 5);
    model.note(&store, 3);
    model.note(&store, 3);
    store.close().unwrap();
    drop(store);
    let (store, _, _) = open(dir, clock);
    for part in 1..5 {
        model.fill(&store, START.plus(Duration::from_mins(part * 2 + 3)), 2);
        model.note(&store, 5);
    }
    store.close().unwrap();
    model
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(u64),
    Cut(u64),
    Zero(u64, u64),
}

impl Damage {
    fn apply(self, path: &Path) -> bool {
        let before = fs::read(path).unwrap();
        let mut bytes = before.clone();
        let at = |place: u64| usize::try_from(place).unwrap();
        match self {
            Self::Flip(place) => bytes[at(place)] ^= 0x10,
            Self::Cut(len) => bytes.truncate(at(len)),
            Self::Zero(from, to) => bytes[at(from)..at(to)].fill(0),
        }
        fs::remove_file(path).unwrap();
        fs::write(path, &bytes).unwrap();
        bytes != before
    }

    /// Header, middle, end, and places by chance.
    fn all(len: u64, random: &mut Random) -> Vec<Self> {
        let mut places = vec![0, 5.min(len - 1), len / 2, len - 1];
        places.extend((0..2).map(|_| random.below(len)));
        let mut all: Vec<Self> = places.into_iter().map(Self::Flip).collect();
        all.extend([Self::Cut(0), Self::Cut(len / 2), Self::Cut(len - 1)]);
        let from = random.below(len);
        all.extend([Self::Zero(0, len), Self::Zero(from, (from + 64).min(len))]);
        all
    }
}

/// What a damaged file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// What is not sealed.
    Log,
    /// Samples of a range.
    Samples(Timestamp, Timestamp),
    /// Sealed audit entries.
    History,
    /// Nothing: it is a spare.
    Catalog,
    /// Nothing.
    Other,
}

fn part_of(relative: &Path) -> Part {
    let mut names = relative.components().map(|part| part.as_os_str().to_str().unwrap());
    let mut name = names.next().unwrap();
    if name == "tiers" {
        name = names.next().unwrap();
    }
    match name {
        "wal" => Part::Log,
        "history" => Part::History,
        "catalog" => Part::Catalog,
        "partitions" | "raw" => {
            let range = names.next().unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let time = |text: &str| Timestamp::from_millis(text.parse().unwrap());
            Part::Samples(time(start), time(end))
        }
        _ => Part::Other,
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
}

/// A copy; files of databases are never written to, so they may be the same ones.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if from.iter().any(|part| part == "db") {
            fs::hard_link(entry.path(), target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What is missing of what was written.
#[derive(Debug, Default)]
struct Missing {
    samples: Vec<Timestamp>,
    audit: Vec<usize>,
}

impl Missing {
    fn is_nothing(&self) -> bool {
        self.samples.is_empty() && self.audit.is_empty()
    }
}

/// Reads everything, and fails at the first number that was not written.
fn compare(store: &Store, model: &Model) -> Missing {
    let (begin, end) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let selected = store.snapshot().select(&Selection::raw(Vec::new(), begin, end)).unwrap();
    let mut found: BTreeMap<Labels, BTreeMap<Timestamp, u64>> = BTreeMap::new();
    for series in selected.series {
        let samples = series.samples.into_iter();
        let samples = samples.map(|Sample { timestamp, value }| (timestamp, value.to_bits()));
        found.insert(series.labels, samples.collect());
    }
    for (labels, samples) in &found {
        let written = model.samples.get(labels).unwrap_or_else(|| panic!("{labels} is invented"));
        for (time, bits) in samples {
            assert_eq!(written.get(time), Some(bits), "a wrong sample of {labels} at {time}");
        }
    }
    let mut missing = Missing::default();
    for (labels, samples) in &model.samples {
        let there = found.get(labels);
        let absent = |time: &&Timestamp| there.is_none_or(|there| !there.contains_key(*time));
        missing.samples.extend(samples.keys().filter(absent));
    }
    missing.audit = missing_audit(store, model);
    missing
}

fn missing_audit(store: &Store, model: &Model) -> Vec<usize> {
    let mut there = vec![false; model.audit.len()];
    let mut page = PageRequest::largest();
    loop {
        let entries = store.audit(&page).unwrap();
        for entry in entries.items {
            let number: usize = entry.record.subject["rule ".len()..].parse().unwrap();
            assert_eq!(entry.record.subject, model.audit[number]);
            assert!(!there[number], "audit entry {number} twice");
            there[number] = true;
        }
        if entries.next.is_empty() {
            break;
        }
        page.token = entries.next;
    }
    there.iter().enumerate().filter(|(_, there)| !**there).map(|(number, _)| number).collect()
}

/// Whether the store has told of damage, at its opening or since.
fn told(recovery: &Recovery, telemetry: &Telemetry) -> bool {
    let families = telemetry.gather();
    let family = families.iter().find(|f| f.name() == "balefire_store_quarantined_total").unwrap();
    let counted = family.get_metric()[0].get_counter().get_value();
    !recovery.quarantined.is_empty() || counted > 0.0
}

struct Case<'a> {
    model: &'a Model,
    relative: PathBuf,
    /// Whether it is the end of the log.
    is_last: bool,
}

/// The segments of the log, in order.
fn segments(base: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    files(&base.join("wal"), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths
}

/// Whether a file is the end of the log.
fn is_last(base: &Path, relative: &Path) -> bool {
    segments(base).last() == Some(&base.join(relative))
}

impl Case<'_> {
    /// What may be missing because of it, and nothing else.
    fn check_loss(&self, missing: &Missing) {
        let may_lack = |time: &Timestamp| match part_of(&self.relative) {
            Part::Samples(start, end) => (start..end).contains(time),
            Part::Log => *time >= self.model.sealed,
            _ => false,
        };
        let strays: Vec<_> = missing.samples.iter().filter(|time| !may_lack(time)).collect();
        assert!(strays.is_empty(), "samples of other files are missing: {strays:?}");
        let may_lack = |number: &usize| match part_of(&self.relative) {
            Part::History => *number < self.model.audit_sealed,
            Part::Log => *number >= self.model.audit_sealed,
            _ => false,
        };
        let strays: Vec<_> = missing.audit.iter().filter(|number| !may_lack(number)).collect();
        assert!(strays.is_empty(), "audit entries of other files are missing: {strays:?}");
    }

    /// Runs on a damaged copy; tells whether verification found the damage.
    fn run(&self, dir: &Path, clock: &Clock) -> bool {
        let verified = store::verify(dir, &mut |_| true).unwrap();
        let reported = !verified.problems.is_empty();
        let (store, recovery, telemetry) = open(dir, clock);
        let missing = compare(&store, self.model);
        self.check_loss(&missing);
        let told = told(&recovery, &telemetry);
        // An end of the log that is not whole is what a crash leaves: it was never acknowledged.
        let is_end_of_log = self.is_last && !told;
        if !missing.is_nothing() && !is_end_of_log {
            assert!(told, "the store says nothing of what is missing");
            assert!(reported, "verification says nothing of what is missing");
        }
        if reported {
            let named: Vec<&str> = verified.problems.iter().map(|p| p.path.as_str()).collect();
            let relative = self.relative.display().to_string();
            assert!(named.iter().any(|name| relative.starts_with(name)), "{named:?}");
        }
        store.close().unwrap();
        reported
    }
}

/// sled keeps what it met damaged open: 81 descriptors each.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// One case for each kind of file and each sort of damage, chosen by the seed; all there are where
/// `BALEFIRE_TEST_ALL` is set.
fn cases(base: &Path) -> Vec<(PathBuf, Damage)> {
    let mut paths = Vec::new();
    files(base, &mut paths);
    let mut random = Random(seed());
    let mut groups: BTreeMap<(String, usize), Vec<(PathBuf, Damage)>> = BTreeMap::new();
    for path in paths.iter().filter(|path| path.file_name().is_some_and(|name| name != "lock")) {
        let relative = path.strip_prefix(base).unwrap().to_owned();
        let damages = Damage::all(fs::metadata(path).unwrap().len(), &mut random);
        for (sort, damage) in damages.into_iter().enumerate() {
            groups.entry((kind(&relative), sort)).or_default().push((relative.clone(), damage));
        }
    }
    if std::env::var_os("BALEFIRE_TEST_ALL").is_some() {
        return groups.into_values().flatten().collect();
    }
    let mut choose = |mut group: Vec<_>| {
        let number = random.below(group.len() as u64);
        group.swap_remove(usize::try_from(number).unwrap())
    };
    groups.into_values().map(&mut choose).collect()
}

/// The cases of one part.
fn run_part(part: usize) {
    raise_descriptor_limit();
    let temp = tempfile::tempdir().unwrap();
    let (base, clock) = (temp.path().join("base"), Clock::manual(START));
    let model = write_store(&base, &clock);
    let mut reported = BTreeMap::<String, (u32, u32)>::new();
    for (relative, damage) in cases(&base).into_iter().skip(part).step_by(PARTS) {
        let dir = temp.path().join("copy");
        copy(&base, &dir);
        if damage.apply(&dir.join(&relative)) {
            println!("{} {damage:?}", relative.display());
            let counted = reported.entry(kind(&relative)).or_default();
            let is_last = is_last(&base, &relative);
            let case = Case { model: &model, relative, is_last };
            counted.0 += u32::from(case.run(&dir, &clock));
            counted.1 += 1;
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("seed {}; reported, of all: {reported:?}", seed());
    assert!(reported.values().map(|counted| counted.0).sum::<u32>() > 5, "{reported:?}");
}

/// Where the frames of a segment begin: the first is at the end of its head.
fn frames(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let markers = bytes.windows(4).enumerate().filter(|(_, window)| window == b"\xf1BF\x0a");
    markers.map(|(at, _)| at as u64).collect()
}

#[test]
fn a_segment_that_ends_before_its_end_is_told_also_where_its_frames_are_whole() {
    raise_descriptor_limit();
    let temp = tempfile::tempdir().unwrap();
    let (base, clock) = (temp.path().join("base"), Clock::manual(START));
    let model = write_store(&base, &clock);
    let segments = segments(&base);
    assert!(segments.len() >= 2, "{segments:?}");
    for path in &segments[..segments.len() - 1] {
        let relative = path.strip_prefix(&base).unwrap().to_owned();
        let len = fs::metadata(path).unwrap().len();
        for at in frames(path) {
            for damage in [Damage::Cut(at), Damage::Zero(at, len)] {
                let dir = temp.path().join("copy");
                copy(&base, &dir);
                assert!(damage.apply(&dir.join(&relative)));
                let case = Case { model: &model, relative: relative.clone(), is_last: false };
                assert!(case.run(&dir, &clock), "{damage:?} is not found");
                fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
}

/// The kind of a file: its directories without numbers, and what it is in a database.
fn kind(relative: &Path) -> String {
    let name = relative.file_name().unwrap().to_string_lossy();
    let top = relative.iter().next().unwrap().to_string_lossy();
    let within = relative.parent().and_then(Path::file_name).unwrap_or_default();
    let within = within.to_string_lossy();
    match within.as_ref() {
        "slabs" => format!("{top} slabs"),
        "metadata" => format!("{top} metadata"),
        "db" => format!("{top} {name}"),
        _ if name == "manifest" => format!("{top} manifest"),
        _ => top.into_owned(),
    }
}

#[test]
fn part_0() {
    run_part(0);
}

#[test]
fn part_1() {
    run_part(1);
}

#[test]
fn part_2() {
    run_part(2);
}

#[test]
fn part_3() {
    run_part(3);
}

#[test]
fn part_4() {
    run_part(4);
}

#[test]
fn part_5() {
    run_part(5);
}
