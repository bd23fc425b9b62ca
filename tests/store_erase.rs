//! What was erased is nowhere: not in answers, not in any tier, not in any byte of any file.

#![expect(clippy::unwrap_used, reason = "a failing helper of a test is a failing test")]

use std::{fs, path::Path, thread, time::Duration};

use balefire::{
    model::{Batch, HistogramSample, Labels, Matcher, SeriesHistogram, SeriesSample},
    promql::{Queryable as _, Selection},
    store::{self, Erased, Options, Store, testing::histograms::latencies},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

/// A whole day since 1970.
const START: Timestamp = Timestamp::from_secs(19_700 * 86_400);
const BEGIN: Timestamp = Timestamp::from_millis(i64::MIN);
const END: Timestamp = Timestamp::from_millis(i64::MAX);
const DAY: Duration = Duration::from_hours(24);
/// A label value that stands nowhere by chance.
const SECRET: &str = "zebulon-7731-quagga";

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn open(dir: &Path, clock: &Clock) -> Store {
    let opened = Store::open(dir, Options::default(), clock.clone(), &Telemetry::new());
    let (store, recovery) = opened.unwrap();
    assert_eq!(recovery.quarantined, Vec::<String>::new());
    store
}

/// Ten series, one of which is secret, a sample a minute.
fn fill(store: &Store, from: Timestamp, minutes: u32) {
    let mut samples = Vec::new();
    for series in 0..10 {
        let person = if series == 4 { SECRET.to_owned() } else { format!("person {series}") };
        let labels = Labels::of("visits_total", [("person", person.as_str())]);
        samples.extend((0..minutes).map(|minute| {
            let time = from.plus(Duration::from_mins(1) * minute);
            SeriesSample::new(labels.clone(), time, f64::from(minute * (series + 1)))
        }));
    }
    let summary = block(store.append(Batch { samples, ..Batch::default() })).unwrap();
    assert_eq!(summary.rejected, 0, "{:?}", summary.rejections);
}

/// How many samples can be read of the secret series, and of the others, at this resolution.
fn counts(store: &Store, resolution: Duration) -> (usize, usize) {
    let selection = Selection { resolution, ..Selection::raw(Vec::new(), BEGIN, END) };
    let (mut secret, mut others) = (0, 0);
    for series in store.snapshot().select(&selection).unwrap().series {
        let is_secret = series.labels.get("person") == Some(SECRET);
        *(if is_secret { &mut secret } else { &mut others }) += series.samples.len();
    }
    (secret, others)
}

/// The files below a directory in which the secret can be read.
fn files_with_secret(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with_secret(&path));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        if bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn secret() -> Vec<Vec<Matcher>> {
    vec![vec![Matcher::equal("person", SECRET)]]
}

/// A store with a day of raw samples, rollups, a fresh partition, and recent samples in memory.
fn write_store(dir: &Path, clock: &Clock) -> Store {
    let store = open(dir, clock);
    fill(&store, START.minus(Duration::from_hours(4)), 200);
    clock.set(START.plus(20 * DAY));
    assert!(store.seal().unwrap() > 0);
    store.compact().unwrap();
    fill(&store, clock.now().minus(Duration::from_hours(1)), 60);
    clock.set(clock.now().plus(Duration::from_hours(6)));
    assert!(store.seal().unwrap() > 0);
    fill(&store, clock.now().minus(Duration::from_mins(90)), 80);
    store
}

#[test]
fn what_was_erased_is_in_no_answer_and_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let store = write_store(temp.path(), &clock);
    let sizes = store.inventory().unwrap();
    let tiers = sizes.tiers.iter().filter(|tier| tier.partitions > 0).count();
    assert!(tiers >= 2, "there are rollups: {sizes:?}");
    assert!(!files_with_secret(temp.path()).is_empty(), "the search finds what is there");
    let (before, others) = counts(&store, Duration::ZERO);
    assert_eq!((before, others), (340, 9 * 340));
    let rolled = counts(&store, Duration::from_mins(5));

    let erased = store.erase(secret(), (BEGIN, END)).unwrap();
    assert_eq!((erased.series, erased.samples), (1, 340), "{erased:?}");
    assert!(erased.rollups > 0 && erased.partitions >= 3, "{erased:?}");
    for (resolution, others) in [(Duration::ZERO, others), (Duration::from_mins(5), rolled.1)] {
        assert_eq!(counts(&store, resolution), (0, others));
    }
    assert_eq!(files_with_secret(temp.path()), Vec::<String>::new());
    assert_eq!(store.erase(secret(), (BEGIN, END)).unwrap(), Erased::default());

    store.close().unwrap();
    drop(store);
    assert_eq!(store::verify(temp.path(), &mut |_| true).unwrap().problems, []);
    let store = open(temp.path(), &clock);
    for (resolution, others) in [(Duration::ZERO, others), (Duration::from_mins(5), rolled.1)] {
        assert_eq!(counts(&store, resolution), (0, others));
    }
    assert_eq!(store.series(&secret(), BEGIN, END).unwrap(), []);
}

#[test]
fn histograms_are_erased_like_samples() {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let store = open(temp.path(), &clock);
    let labels = Labels::of("seconds", [("person", SECRET)]);
    let write = |from: Timestamp| {
        let sample = |(at, sample): (u32, HistogramSample)| SeriesHistogram {
            labels: labels.clone(),
            sample: HistogramSample { timestamp: from.plus(Duration::from_mins(1) * at), ..sample },
        };
        let histograms = (0..).zip(latencies(60)).map(sample).collect();
        let summary = block(store.append(Batch { histograms, ..Batch::default() })).unwrap();
        assert_eq!(summary.accepted, 60);
    };
    write(START.minus(Duration::from_hours(1)));
    clock.set(START.plus(Duration::from_hours(6)));
    assert_eq!(store.seal().unwrap(), 60);
    write(clock.now().minus(Duration::from_hours(1)));
    let count = || {
        let found = store.snapshot().select(&Selection::raw(Vec::new(), BEGIN, END)).unwrap();
        found.series.iter().map(|series| series.histograms.len()).sum::<usize>()
    };
    assert_eq!(count(), 120);
    let (half, later) =
        (START.minus(Duration::from_mins(30)), clock.now().minus(Duration::from_mins(30)));
    let erased = store.erase(secret(), (half, later)).unwrap();
    assert_eq!((erased.samples, count()), (61, 59));
    assert_eq!(store.erase(secret(), (BEGIN, END)).unwrap().samples, 59);
    assert_eq!(files_with_secret(temp.path()), Vec::<String>::new());
}

#[test]
fn a_reader_keeps_what_it_holds_and_the_files_go_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let store = write_store(temp.path(), &clock);
    let snapshot = store.snapshot();
    let all = Selection::raw(Vec::new(), BEGIN, END);
    let held = || -> usize {
        let series = snapshot.select(&all).unwrap().series;
        let others = series.iter().filter(|series| series.labels.get("person") != Some(SECRET));
        others.map(|series| series.samples.len()).sum()
    };
    assert_eq!(held(), 9 * 340);
    let eraser = {
        let store = store.clone();
        thread::spawn(move || store.erase(secret(), (BEGIN, END)))
    };
    while counts(&store, Duration::ZERO).0 + counts(&store, Duration::from_mins(5)).0 > 0 {
        thread::yield_now();
    }
    assert_eq!(held(), 9 * 340, "what it reads is still there");
    assert!(!eraser.is_finished(), "it is still on disk");
    drop(snapshot);
    assert_eq!(eraser.join().unwrap().unwrap().samples, 340);
    assert_eq!(files_with_secret(temp.path()), Vec::<String>::new());
}

/// Copies what is in `from` and not in `to`.
fn copy_missing(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_missing(&entry.path(), &target);
        } else if !target.exists() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn what_a_crash_left_of_it_does_not_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, old) = (temp.path().join("store"), temp.path().join("old"));
    let clock = Clock::manual(START);
    let store = write_store(&dir, &clock);
    let (_, others) = counts(&store, Duration::ZERO);
    copy_missing(&dir.join("tiers"), &old);
    store.erase(secret(), (BEGIN, END)).unwrap();
    drop(store);
    // As if the old ones had not gone yet.
    let partitions = || fs::read_dir(dir.join("tiers/raw")).unwrap().count();
    let left = partitions();
    copy_missing(&old, &dir.join("tiers"));
    assert!(partitions() > left);
    let store = open(&dir, &clock);
    assert_eq!(counts(&store, Duration::ZERO), (0, others));
    assert_eq!(counts(&store, Duration::from_mins(5)).0, 0);
    assert_eq!(partitions(), left);
}

#[test]
fn nothing_is_erased_while_a_backup_holds_it() {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let store = write_store(temp.path(), &clock);
    let backup = store.begin_backup().unwrap();
    let refused = store.erase(secret(), (BEGIN, END)).unwrap_err();
    assert!(refused.to_string().contains("backup"), "{refused}");
    assert_eq!(counts(&store, Duration::ZERO), (340, 9 * 340));
    drop(backup);
    assert_eq!(store.erase(secret(), (BEGIN, END)).unwrap().samples, 340);
    assert_eq!(files_with_secret(temp.path()), Vec::<String>::new());
}

#[test]
fn a_range_is_erased_and_what_lies_around_it_stays() {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let store = write_store(temp.path(), &clock);
    let from = clock.now().minus(Duration::from_mins(80));
    let to = from.plus(Duration::from_mins(9));
    let erased = store.erase(secret(), (from, to)).unwrap();
    assert_eq!((erased.series, erased.samples, erased.partitions), (1, 10, 0), "{erased:?}");
    assert_eq!(counts(&store, Duration::ZERO), (330, 9 * 340));
    // The series goes on.
    fill(&store, clock.now().minus(Duration::from_mins(5)), 3);
    assert_eq!(counts(&store, Duration::ZERO), (333, 9 * 343));
    let begin = START.minus(Duration::from_hours(3));
    let erased = store.erase(secret(), (begin, begin.plus(Duration::from_mins(1)))).unwrap();
    assert_eq!((erased.series, erased.samples), (1, 2), "{erased:?}");
    assert!(erased.rollups >= 1, "the stretch that is touched goes whole: {erased:?}");
    assert_eq!(counts(&store, Duration::ZERO), (331, 9 * 343));
}

#[test]
fn a_partition_of_which_nothing_is_left_goes() {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let store = write_store(temp.path(), &clock);
    let all = vec![vec![Matcher::equal("__name__", "visits_total")]];
    let erased = store.erase(all, (BEGIN, END)).unwrap();
    assert_eq!((erased.series, erased.samples), (10, 3400), "{erased:?}");
    let sizes = store.inventory().unwrap();
    assert!(sizes.tiers.iter().all(|tier| tier.partitions == 0), "{sizes:?}");
    drop(store);
    assert_eq!(counts(&open(temp.path(), &clock), Duration::ZERO), (0, 0));
}
