//! Compaction and retention through the store's face, on an engine in memory.

mod simulation;
mod windows;

use std::{fs, path::Path, time::Duration};

use super::super::{
    Change, DataKind, Options, Store, StoreError, Tier, retention,
    rollup::thin,
    testing::{self, Breakage, histograms::latencies},
    tests::block,
};
use crate::{
    model::{
        Accumulator, Batch, HistogramSample, Labels, MetricKind, Sample, SeriesHistogram,
        SeriesSample, is_stale, stale_nan,
    },
    promql::{Queryable as _, RollupColumn, RollupSpan, Selected, Selection},
    time::{Clock, Timestamp},
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A midnight after which a window of five days begins …
const START: Timestamp = Timestamp::from_secs(86_400 * 5 * 4000);
/// … and its first instant.
const FIRST: Timestamp = Timestamp::from_millis(START.as_millis() + 1);
const SERIES: u32 = 3;

struct Fixture {
    temp: tempfile::TempDir,
    clock: Clock,
    options: Options,
    breakage: Breakage,
    /// From one sample of a series to the next.
    step: Duration,
}

impl Fixture {
    fn new(options: Options) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (breakage, step) = (Breakage::default(), Duration::from_mins(7));
        Self { temp, clock: Clock::manual(START), options, breakage, step }
    }

    fn open(&self) -> Store {
        let (options, clock) = (self.options.clone(), self.clock.clone());
        let (store, found) =
            testing::open(self.temp.path(), options, clock, &self.breakage).unwrap();
        assert_eq!(found.quarantined, Vec::<String>::new());
        store
    }

    /// A store that has lived from `START` on: samples are written and sealed, and nothing more.
    fn lived(&self, hours: u32) -> Store {
        let store = self.open();
        for slot in 0..hours / 2 {
            let from = START.plus(HOUR * 2 * slot);
            self.clock.set(from.plus(HOUR * 2));
            append(&store, samples(from, self.step));
            store.seal().unwrap();
        }
        self.clock.set(START.plus(HOUR * (hours + 4)));
        append(&store, vec![sample(0, START.plus(HOUR * (hours + 4)), 0.0)]);
        store.seal().unwrap();
        store
    }

    fn names(&self, tier: Tier) -> Vec<String> {
        let dir = self.temp.path().join("tiers").join(tier.name());
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn sample(series: u32, time: Timestamp, value: f64) -> SeriesSample {
    SeriesSample::new(Labels::of("m", [("n", &series.to_string())]), time, value)
}

/// Two hours of samples behind `from`, with a marker now and then.
fn samples(from: Timestamp, step: Duration) -> Vec<SeriesSample> {
    let times = (1_u32..).map(|n| from.plus(step * n));
    let times = times.take_while(|time| *time <= from.plus(HOUR * 2));
    let of = |series: u32, time: Timestamp| {
        let minutes = time.as_millis() / 60_000;
        let noise = (time.as_millis() / 1000 * 7919) % 100_003;
        let value = noise as f64 + f64::from(series);
        sample(series, time, if minutes % 97 == 0 { stale_nan() } else { value })
    };
    times.flat_map(|time| (0..SERIES).map(move |series| of(series, time))).collect()
}

fn append(store: &Store, samples: Vec<SeriesSample>) {
    append_batch(store, Batch { samples, ..Batch::default() });
}

fn append_batch(store: &Store, batch: Batch) {
    let count = (batch.samples.len() + batch.histograms.len()) as u64;
    let summary = block(store.append(batch)).unwrap();
    assert_eq!(summary.accepted, count, "{:?}", summary.rejections);
}

fn select(store: &Store, resolution: Duration, column: RollupColumn) -> Selected {
    let selection =
        Selection { resolution, column, ..Selection::raw(Vec::new(), START, store.0.clock.now()) };
    store.snapshot().select(&selection).unwrap()
}

fn raw(store: &Store) -> Vec<Vec<(i64, u64)>> {
    let bits = |s: &Sample| (s.timestamp.as_millis(), s.value.to_bits());
    let found = select(store, Duration::ZERO, RollupColumn::Last).series;
    found.iter().map(|series| series.samples.iter().map(bits).collect()).collect()
}

/// What a column has to hold for the samples of one stretch; `None` where nothing stands under it.
fn expected(stretch: &[Sample], column: RollupColumn) -> Option<f64> {
    let values: Vec<f64> = stretch.iter().map(|s| s.value).filter(|v| !is_stale(*v)).collect();
    if values.is_empty() && column != RollupColumn::Last {
        return None;
    }
    Some(match column {
        RollupColumn::Last => stretch[stretch.len() - 1].value,
        RollupColumn::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        RollupColumn::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        RollupColumn::Sum => values.iter().sum(),
        RollupColumn::Count => values.len() as f64,
    })
}

/// Compares what is read at a resolution with what the samples come to.
fn check_rollups(store: &Store, samples: &[Vec<Sample>], resolution: Duration) {
    use RollupColumn::{Count, Last, Max, Min, Sum};
    for column in [Last, Min, Max, Sum, Count] {
        let found = select(store, resolution, column);
        let [span] = found.rollups[..] else { panic!("{:?}", found.rollups) };
        assert_eq!((span.resolution, span.start), (resolution, FIRST));
        for (series, samples) in found.series.iter().zip(samples) {
            let rolled = samples.iter().take_while(|s| s.timestamp < span.end).count();
            let stretches = samples[..rolled].chunk_by(|a, b| {
                a.timestamp.stretch(resolution) == b.timestamp.stretch(resolution)
            });
            let wanted: Vec<(Timestamp, u64)> = stretches
                .filter_map(|all| {
                    Some((all[all.len() - 1].timestamp, expected(all, column)?.to_bits()))
                })
                .collect();
            let in_span = series.samples.iter().filter(|s| s.timestamp < span.end);
            let got: Vec<_> = in_span.map(|s| (s.timestamp, s.value.to_bits())).collect();
            assert_eq!(got, wanted, "{column:?} of {} at {resolution:?}", series.labels);
        }
    }
}

#[test]
fn days_become_one_partition_and_rollups_tell_what_they_held() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.lived(6 * 24);
    let before = raw(&store);
    let found = select(&store, Duration::ZERO, RollupColumn::Last).series;
    let samples: Vec<Vec<Sample>> = found.into_iter().map(|series| series.samples).collect();
    assert_eq!(fixture.names(Tier::Raw).len(), 6 * 12);
    assert!(store.compact().unwrap() > 6);
    let counts = Tier::ALL.map(|tier| fixture.names(tier).len());
    assert_eq!(counts, [6, 1, 1]);
    assert_eq!(raw(&store), before);
    assert_eq!(select(&store, Duration::ZERO, RollupColumn::Last).rollups, []);
    check_rollups(&store, &samples, Duration::from_mins(5));
    check_rollups(&store, &samples, HOUR);
    assert_eq!(store.compact().unwrap(), 0, "there is nothing left to do");
    drop(store);
    assert_eq!(raw(&fixture.open()), before);
}

#[test]
fn histograms_come_through_sealing_and_compaction_and_into_rollups() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.open();
    let all: Vec<HistogramSample> = (0..)
        .zip(latencies(6 * 24 * 6))
        .map(|(at, sample)| HistogramSample { timestamp: START.plus(HOUR / 6 * at), ..sample })
        .collect();
    for slot in all.chunks(12) {
        fixture.clock.set(slot[slot.len() - 1].timestamp.plus(HOUR / 6));
        let of = |sample: &HistogramSample| SeriesHistogram {
            labels: Labels::of("m", []),
            sample: sample.clone(),
        };
        append_batch(
            &store,
            Batch { histograms: slot.iter().map(of).collect(), ..Batch::default() },
        );
        store.seal().unwrap();
    }
    let found = |store: &Store, resolution| {
        let found = select(store, resolution, RollupColumn::Last);
        let [series] = &found.series[..] else { panic!("{} series", found.series.len()) };
        assert_eq!(series.samples, []);
        (series.histograms.clone(), found.rollups.last().map(|span| span.end))
    };
    assert!(found(&store, Duration::ZERO).0 == all);
    store.compact().unwrap();
    assert!(found(&store, Duration::ZERO).0 == all);
    let (rolled, until) = found(&store, HOUR);
    let until = until.unwrap();
    let (coarse, fine) = all.split_at(all.partition_point(|sample| sample.timestamp < until));
    assert!(coarse.len() > 600);
    assert!(rolled == [thin(coarse, HOUR), fine.to_vec()].concat());
    drop(store);
    assert!(found(&fixture.open(), Duration::ZERO).0 == all);
}

#[test]
fn a_range_is_read_from_one_tier_at_a_time() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.lived(6 * 24);
    store.compact().unwrap();
    // Five days are rolled up, the sixth is not; what is asked for begins and ends within an hour.
    let (start, end) = (START.plus(HOUR / 2), START.plus(DAY * 5 + HOUR / 2));
    let selection = Selection { resolution: HOUR, ..Selection::raw(Vec::new(), start, end) };
    let found = store.snapshot().select(&selection).unwrap();
    let span = RollupSpan { resolution: HOUR, start: FIRST, end: FIRST.plus(DAY * 5) };
    assert_eq!(found.rollups, [span]);
    for series in &found.series {
        let times: Vec<Timestamp> = series.samples.iter().map(|s| s.timestamp).collect();
        assert!(times.is_sorted_by(|a, b| a < b));
        assert!(times[0] >= start && times[times.len() - 1] <= end);
        let coarse = times.iter().filter(|time| **time < span.end).count();
        assert_eq!((coarse, times.len() - coarse), (5 * 24, 4));
    }
}

#[test]
fn what_a_crash_has_left_is_removed_at_the_next_start() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.lived(24);
    let before = raw(&store);
    let (dir, kept) = (fixture.temp.path().join("tiers/raw"), tempfile::tempdir().unwrap());
    copy_dir(&dir, kept.path());
    store.compact().unwrap();
    let compacted = fixture.names(Tier::Raw);
    drop(store);
    copy_dir(kept.path(), &dir);
    assert!(fixture.names(Tier::Raw).len() > 12);
    let store = fixture.open();
    assert_eq!(raw(&store), before);
    assert_eq!(fixture.names(Tier::Raw), compacted);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_snapshot_keeps_what_it_reads() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.lived(24);
    let (before, snapshot) = (raw(&store), store.snapshot());
    store.compact().unwrap();
    assert_eq!(fixture.names(Tier::Raw).len(), 12 + 1, "the old ones are still being read");
    let selection = Selection::raw(Vec::new(), START, store.0.clock.now());
    let found = snapshot.select(&selection).unwrap().series;
    assert_eq!(found.len(), before.len());
    assert!(found.iter().zip(&before).all(|(series, before)| series.samples.len() == before.len()));
    drop(snapshot);
    assert_eq!(fixture.names(Tier::Raw).len(), 1);
}

#[test]
fn a_job_that_fails_changes_nothing_and_is_tried_again() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.lived(24);
    let (before, names) = (raw(&store), fixture.names(Tier::Raw));
    for call in 1..4 {
        fixture.breakage.engine.arm(call);
        assert!(store.compact().is_err(), "writing call {call}");
        fixture.breakage.engine.disarm();
        assert_eq!((raw(&store), fixture.names(Tier::Raw)), (before.clone(), names.clone()));
    }
    store.compact().unwrap();
    assert_eq!((raw(&store), fixture.names(Tier::Raw).len()), (before, 1));
}

#[test]
fn compaction_ends_when_the_daemon_stops() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.lived(24);
    let names = fixture.names(Tier::Raw);
    store.stop_compacting();
    assert!(matches!(store.compact(), Err(StoreError::Closed)));
    assert_eq!(fixture.names(Tier::Raw), names);
}

#[test]
fn samples_go_when_their_rollups_are_there_and_not_before() {
    let days = |days| DAY * days;
    let options = Options { retention: days(2), retention_5m: days(4), ..Options::default() };
    let fixture = Fixture::new(options);
    let store = fixture.lived(8 * 24);
    assert_eq!(store.clean_up().unwrap().partitions, 0, "nothing is rolled up yet");
    store.compact().unwrap();
    let freed = store.clean_up().unwrap();
    assert_eq!(freed.for_size, 0);
    let kinds: Vec<DataKind> = freed.kinds.keys().copied().collect();
    assert_eq!(kinds, [DataKind::Samples, DataKind::FiveMinutes]);
    assert!(freed.kinds.values().all(|freed| freed.count > 0 && freed.bytes > 0));
    // Samples of two days, rollups of four, and of an hour from the beginning.
    let spans = select(&store, Duration::ZERO, RollupColumn::Last).rollups;
    let resolutions: Vec<Duration> = spans.iter().map(|span| span.resolution).collect();
    assert_eq!(resolutions, [HOUR, Duration::from_mins(5)]);
    assert_eq!(spans[0].start, FIRST);
    let raw_from = store.0.clock.now().minus(days(2));
    assert!(spans[1].end <= raw_from && spans[1].end > raw_from.minus(DAY), "{spans:?}");
    assert_eq!(store.clean_up().unwrap().partitions, 0);
}

#[test]
fn a_store_that_is_too_large_loses_its_oldest_samples_and_keeps_their_rollups() {
    // Dense, so that rollups are much smaller than what they stand for.
    let mut fixture = Fixture::new(Options::default());
    fixture.step = Duration::from_secs(10);
    let store = fixture.lived(4 * 24);
    store.compact().unwrap();
    let all = store.stats().disk_bytes;
    let count = fixture.names(Tier::Raw).len();
    assert!(store.clean_up().unwrap().kinds.is_empty());
    drop(store);
    fixture.options.size_max = Some(all - 1);
    let store = fixture.open();
    let freed = store.clean_up().unwrap();
    assert!(freed.for_size > 0 && freed.for_size == freed.partitions, "{freed:?}");
    assert!(store.stats().disk_bytes < all);
    assert!(fixture.names(Tier::Raw).len() < count);
    let spans = select(&store, Duration::ZERO, RollupColumn::Last).rollups;
    assert_eq!(spans[0].start, FIRST, "the oldest day is told by rollups");
}

#[test]
fn the_newest_samples_stay_however_small_the_store_has_to_be() {
    let mut fixture = Fixture::new(Options::default());
    fixture.step = Duration::from_secs(10);
    let store = fixture.lived(3 * 24);
    store.compact().unwrap();
    let newest = fixture.names(Tier::Raw).pop().unwrap();
    drop(store);
    // Log and catalog alone are larger: nothing would help.
    fixture.options.size_max = Some(1);
    let store = fixture.open();
    let before = fixture.names(Tier::Raw);
    assert_eq!(store.clean_up().unwrap().for_size, 0);
    assert_eq!(fixture.names(Tier::Raw), before);
    let beside = retention::beside_partitions(&store.0);
    assert!(store.stats().disk_bytes > 4 * beside);
    drop(store);
    fixture.options.size_max = Some(2 * beside);
    let store = fixture.open();
    let freed = store.clean_up().unwrap();
    assert!(freed.for_size > 0, "{freed:?}");
    assert_eq!(fixture.names(Tier::Raw), [newest]);
    assert_eq!(store.clean_up().unwrap().for_size, 0);
}

#[test]
fn sums_of_observations_go_when_nothing_is_added_any_more() {
    let fixture = Fixture::new(Options::default());
    let store = fixture.open();
    let labels = Labels::of("seconds", []);
    let sum = Accumulator {
        labels: labels.clone(),
        kind: MetricKind::Histogram,
        count: 1,
        sum: 0.5,
        updated_at: START,
        buckets: vec![(1.0, 1)],
    };
    block(store.commit(vec![Change::PutAccumulator(sum.clone())])).unwrap();
    fixture.clock.set(START.plus(DAY * 30));
    assert_eq!(store.clean_up().unwrap().kinds.len(), 0);
    assert_eq!(store.accumulator(&labels), Some(sum));
    fixture.clock.set(START.plus(DAY * 31));
    let freed = store.clean_up().unwrap();
    assert_eq!(freed.kinds[&DataKind::Accumulators].count, 1);
    assert_eq!(store.accumulator(&labels), None);
}
