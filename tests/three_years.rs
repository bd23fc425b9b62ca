//! Three years of one host in some minutes, by a clock that is moved by hand: upkeep seals, compacts and
//! cleans up as in the daemon. Each tier grows until its retention has passed and stays there, what it
//! tells is true, and nothing piles up beside it.
//!
//! Partitions are files of a simple engine in memory here, for there are thousands of them; with
//! `BALEFIRE_THREE_YEARS=sled` they are sled's, which takes an hour. A slice on sled is always run.

#![expect(clippy::unwrap_used, reason = "a failing helper of a test is a failing test")]
#![expect(clippy::print_stdout, reason = "figures for whoever looks at them")]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use balefire::{
    model::{Batch, Labels, Sample, SeriesSample, is_stale, stale_nan},
    promql::{Queryable as _, RollupColumn, Selected, Selection},
    store::{
        Options, Store, Tier, TierSize,
        testing::{self, Breakage},
    },
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// The length of a sealed partition.
const RANGE: Duration = Duration::from_hours(2);
const START: Timestamp = Timestamp::from_secs(1_700_000_000 / 86_400 * 86_400);
const SERIES: i64 = 5;
/// When samples come, in seconds of each hour: some stretches of five minutes hold several, and some
/// samples are the last that their stretch can hold, or one of the first.
const SECONDS: [i64; 5] = [100, 300, 301, 1800, 3600];

/// The sample of a series at a time; every number can be told again from these two alone.
fn sample(series: i64, time: Timestamp) -> Sample {
    let seconds = time.as_millis() / 1000;
    let hour = seconds.div_euclid(3600);
    let noise = (seconds.wrapping_mul(0x5851_F42D_4C95_7F2D) >> 33).rem_euclid(10_000) as f64;
    let value = match series {
        0 => 1.0,
        1 => hour as f64 * 7.0,
        2 => noise / 100.0,
        3 if hour % 50 == 49 => stale_nan(),
        3 => noise - 5000.0,
        _ => noise * 0.000_123,
    };
    Sample { timestamp: time, value }
}

fn labels(series: i64) -> Labels {
    Labels::of("m", [("n", &series.to_string())])
}

/// The times of the samples in a window; its end belongs to it, its beginning does not.
fn times(from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
    let hours =
        (0_u32..).map(move |n| from.aligned(HOUR).plus(HOUR * n)).take_while(move |h| *h < to);
    let of = |hour: Timestamp| SECONDS.map(|s| Timestamp::from_millis(hour.as_millis() + s * 1000));
    hours.flat_map(of).filter(move |time| *time > from && *time <= to)
}

struct World {
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    clock: Clock,
    store: Store,
    /// What each tier had, day by day.
    days: Vec<Vec<TierSize>>,
    descriptors: usize,
    threads: usize,
}

impl World {
    fn new(options: Options, sled: bool) -> Self {
        let dir = temporary();
        let clock = Clock::manual(START);
        let opened = if sled {
            Store::open(dir.path(), options, clock.clone(), &Telemetry::new())
        } else {
            testing::open(dir.path(), options, clock.clone(), &Breakage::default())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (store, days) = (opened.unwrap().0, Vec::new());
        Self { runtime, dir, clock, store, days, descriptors: 0, threads: 0 }
    }

    /// Two hours pass.
    fn pass(&mut self) {
        let from = self.clock.now();
        self.clock.set(from.plus(RANGE));
        let all = times(from, from.plus(RANGE)).flat_map(|time| {
            (0..SERIES).map(move |series| SeriesSample {
                labels: labels(series),
                sample: sample(series, time),
            })
        });
        let batch = Batch { samples: all.collect(), ..Batch::default() };
        let summary = self.runtime.block_on(self.store.append(batch)).unwrap();
        assert_eq!(summary.rejected, 0, "{:?}", summary.rejections);
        self.store.seal().unwrap();
        self.store.compact().unwrap();
    }

    /// A day passes, and then comes the clean-up.
    fn pass_day(&mut self) {
        (0..12).for_each(|_| self.pass());
        let before = self.size();
        let freed = self.store.clean_up().unwrap();
        let returned = before - self.size();
        // Manifests come on top of what they tell.
        let told = freed.bytes()..=freed.bytes() + 1024 * freed.partitions;
        assert!(told.contains(&returned), "{returned} bytes returned of {freed:?}");
        self.days.push(self.tiers());
        self.descriptors = self.descriptors.max(fs::read_dir("/proc/self/fd").unwrap().count());
        self.threads = self.threads.max(fs::read_dir("/proc/self/task").unwrap().count());
    }

    /// What the tiers hold; all that is on disk is told.
    fn tiers(&self) -> Vec<TierSize> {
        let tiers = self.store.inventory().unwrap().tiers;
        for size in &tiers {
            let dir = self.dir.path().join("tiers").join(size.tier.name());
            assert_eq!(fs::read_dir(&dir).unwrap().count() as u64, size.partitions, "{size:?}");
        }
        tiers
    }

    fn size(&self) -> u64 {
        size_of(&self.dir.path().join("tiers"))
    }

    fn select(
        &self,
        range: (Timestamp, Timestamp),
        resolution: Duration,
        column: RollupColumn,
    ) -> Selected {
        let selection =
            Selection { resolution, column, ..Selection::raw(Vec::new(), range.0, range.1) };
        self.store.snapshot().select(&selection).unwrap()
    }

    /// Reads three days that lie so far back, under every column, and compares them with what was
    /// written; all of them come from one tier.
    fn check(&self, days_back: u32, resolution: Duration, tier: Tier) {
        use RollupColumn::{Count, Last, Max, Min, Sum};
        let start = self.clock.now().minus(DAY * days_back).aligned(HOUR);
        let (first, end) = (start.plus(Duration::from_millis(1)), start.plus(DAY * 3));
        for column in [Last, Min, Max, Sum, Count] {
            let found = self.select((first, end), resolution, column);
            let used: Vec<Duration> = found.rollups.iter().map(|span| span.resolution).collect();
            let wanted: &[Duration] = if tier == Tier::Raw { &[] } else { &[tier.resolution()] };
            assert_eq!(used, wanted, "{days_back} days back, at {resolution:?}");
            assert_eq!(found.series.len(), usize::try_from(SERIES).unwrap());
            for (number, series) in (0..).zip(&found.series) {
                let all: Vec<Sample> = times(start, end).map(|time| sample(number, time)).collect();
                let stretch = |sample: &Sample| sample.timestamp.stretch(tier.resolution());
                let same = |a: &Sample, b: &Sample| stretch(a) == stretch(b);
                let wanted = all.chunk_by(same).filter_map(|all| expected(all, column));
                let got = series.samples.iter().map(|s| (s.timestamp, s.value.to_bits()));
                assert!(got.eq(wanted), "{column:?} of {}, {days_back} days back", series.labels);
            }
        }
    }
}

/// What has to stand under a column for the samples of one stretch.
fn expected(stretch: &[Sample], column: RollupColumn) -> Option<(Timestamp, u64)> {
    let last = stretch[stretch.len() - 1];
    let values: Vec<f64> = stretch.iter().map(|s| s.value).filter(|v| !is_stale(*v)).collect();
    let value = match column {
        RollupColumn::Last => last.value,
        _ if values.is_empty() => return None,
        RollupColumn::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        RollupColumn::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        RollupColumn::Sum => sum_by_five_minutes(stretch),
        RollupColumn::Count => values.len() as f64,
    };
    Some((last.timestamp, value.to_bits()))
}

/// Sums of an hour are sums of sums, and floating point minds the order.
fn sum_by_five_minutes(stretch: &[Sample]) -> f64 {
    let mut sums: BTreeMap<Timestamp, f64> = BTreeMap::new();
    for sample in stretch.iter().filter(|s| !is_stale(s.value)) {
        let stretch = sample.timestamp.stretch(Duration::from_mins(5)).start;
        *sums.entry(stretch).or_insert(-0.0) += sample.value;
    }
    sums.into_values().reduce(|a, b| a + b).unwrap_or_default()
}

/// The least and the most of a tier's numbers over some days.
fn span(days: &[Vec<TierSize>], tier: Tier, number: impl Fn(&TierSize) -> u64) -> (u64, u64) {
    let all = || days.iter().flatten().filter(|size| size.tier == tier).map(&number);
    (all().min().unwrap(), all().max().unwrap())
}

/// Fails where a tier goes on growing in the days given, or holds more partitions than it may.
#[track_caller]
fn check_plateau(days: &[Vec<TierSize>], tier: Tier, partitions_max: u64) {
    let (_, most) = span(days, tier, |size| size.partitions);
    let (least_bytes, most_bytes) = span(days, tier, |size| size.bytes);
    let (least_samples, most_samples) = span(days, tier, |size| size.samples);
    println!(
        "{}: {most} partitions at most, {least_samples} to {most_samples} samples, {least_bytes} to \
         {most_bytes} bytes",
        tier.name()
    );
    assert!(most <= partitions_max, "{tier:?} has {most} partitions");
    // The longest partition is a quarter of what is kept, and goes as a whole.
    assert!(most_samples as f64 <= least_samples as f64 * 1.3, "{tier:?} swings too far");
    // Nothing else may pile up in it.
    let each = |size: &TierSize| size.bytes * 1000 / size.samples;
    let (first, second) = days.split_at(days.len() / 2);
    let [(_, first), (_, second)] = [first, second].map(|half| span(half, tier, each));
    assert!(
        second as f64 <= first as f64 * 1.05,
        "{tier:?} grows from {first} to {second} bytes for 1,000 samples"
    );
}

#[test]
fn three_years_at_default_settings() {
    let sled = std::env::var("BALEFIRE_THREE_YEARS").is_ok_and(|engine| engine == "sled");
    let mut world = World::new(Options::default(), sled);
    for day in 1..=3 * 365_u32 {
        world.pass_day();
        if day % 90 == 0 {
            world.check(10, Duration::ZERO, Tier::Raw);
            world.check(20, Duration::from_mins(5), Tier::FiveMinutes);
            world.check(30, HOUR, Tier::Hour);
        }
        if day % 180 == 0 {
            world.check(60, Duration::ZERO, Tier::FiveMinutes);
        }
        if day >= 730 && day % 120 == 0 {
            world.check(400, Duration::ZERO, Tier::Hour);
            world.check(725, HOUR, Tier::Hour);
        }
    }
    println!("{} descriptors, {} threads at most", world.descriptors, world.threads);
    check_plateau(&world.days[40..], Tier::Raw, 40);
    check_plateau(&world.days[220..], Tier::FiveMinutes, 14);
    check_plateau(&world.days[735..], Tier::Hour, 16);
    assert!(world.descriptors < 1000 && world.threads < 40);
}

/// The same mechanics on the real engine, by shorter retentions.
#[test]
fn a_fortnight_on_sled() {
    let options = Options {
        retention: DAY * 4,
        retention_5m: DAY * 6,
        retention_1h: DAY * 9,
        ..Options::default()
    };
    let mut world = World::new(options, true);
    for day in 1..=14_u32 {
        world.pass_day();
        if day == 13 {
            world.check(4, Duration::ZERO, Tier::Raw);
            world.check(6, HOUR, Tier::Hour);
        }
    }
    let bytes = world.days[13][0].bytes;
    println!("raw {bytes} bytes, {} descriptors, {} threads", world.descriptors, world.threads);
    assert!(world.descriptors < 1000, "{}", world.descriptors);
    assert!(world.threads < 60, "{}", world.threads);
}

/// In memory where that is to be had: nothing here is about what survives a power cut.
fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).unwrap()
}

fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let size = |entry: fs::DirEntry| {
        let data = entry.metadata().unwrap();
        if data.is_dir() { size_of(&entry.path()) } else { data.len() }
    };
    entries.map(size).sum()
}
