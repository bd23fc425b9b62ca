//! Years of sealing, compacting and cleaning up in a second: the planner, the choice of tiers and
//! retention against partitions that are only numbers.

use std::{collections::BTreeMap, collections::BTreeSet, rc::Rc, time::Duration};

use proptest::prelude::*;

use super::super::{
    super::{
        Options,
        retention::removable,
        rollup::Tier,
        tiers::{Part, Tiers, choose},
    },
    plan::{Horizon, INPUTS_MAX, Job, next},
};
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const SLOT: Duration = Duration::from_hours(2);
/// A prime number of slots, so that checks come at all hours.
const CHECK_EVERY: i64 = 61;

/// A partition that knows which two hours its samples are of, and how often each was written.
#[derive(Clone, Debug, PartialEq)]
struct Fake {
    start: Timestamp,
    end: Timestamp,
    usable: bool,
    slots: Rc<BTreeMap<i64, u32>>,
}

impl Part for Fake {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn end(&self) -> Timestamp {
        self.end
    }

    fn bytes(&self) -> u64 {
        self.slots.len() as u64
    }

    fn is_usable(&self) -> bool {
        self.usable
    }
}

/// The beginning of a slot.
fn slot(number: i64) -> Timestamp {
    Timestamp::from_millis(1).plus(SLOT * u32::try_from(number).unwrap())
}

struct Simulation {
    options: Options,
    tiers: Tiers<Fake>,
    /// Slots that were sealed.
    sealed: BTreeSet<i64>,
    /// Slots whose partition could not be read at some time.
    lost: BTreeSet<i64>,
    written_max: u32,
    jobs: usize,
}

impl Simulation {
    fn new(days: [u32; 3]) -> Self {
        Self::with(Options {
            retention: DAY * days[0],
            retention_5m: DAY * days[1],
            retention_1h: DAY * days[2],
            ..Options::default()
        })
    }

    fn with(options: Options) -> Self {
        let (sealed, lost) = Default::default();
        Self { options, tiers: Tiers::default(), sealed, lost, written_max: 0, jobs: 0 }
    }

    fn horizon(number: i64) -> Horizon {
        Horizon { now: slot(number).plus(HOUR * 2), sealed: slot(number) }
    }

    fn seal(&mut self, number: i64) {
        let slots = Rc::new(BTreeMap::from([(number, 1)]));
        let (start, end) = (slot(number), slot(number + 1));
        self.tiers.add(Tier::Raw, Fake { start, end, usable: true, slots });
        self.sealed.insert(number);
    }

    fn run(&mut self, job: &Job<Fake>) {
        self.jobs += 1;
        assert!(job.inputs.len() <= INPUTS_MAX, "{job:?}");
        let mut slots: BTreeMap<i64, u32> = BTreeMap::new();
        for (tier, part) in &job.inputs {
            assert!(part.usable && part.lies_in(job.range), "{job:?}");
            for (number, written) in part.slots.iter() {
                let before = if *tier == job.tier { *written } else { 0 };
                let known = slots.entry(*number).or_default();
                *known = (*known).max(before + 1);
            }
        }
        self.written_max = self.written_max.max(slots.values().copied().max().unwrap_or(0));
        let (start, end) = job.range;
        let replaced =
            |part: &Fake| part.lies_in(job.range) || (!part.usable && part.meets(job.range));
        let gone: Vec<Fake> =
            self.tiers.of(job.tier).iter().filter(|p| replaced(p)).cloned().collect();
        self.tiers.remove(job.tier, |part| gone.contains(part));
        self.tiers.add(job.tier, Fake { start, end, usable: true, slots: Rc::new(slots) });
    }

    /// What upkeep does: compact until there is nothing to do.
    fn compact(&mut self, number: i64) {
        let horizon = Self::horizon(number);
        for _ in 0..10_000 {
            let Some(job) = next(&self.tiers, horizon, &self.options) else { return };
            self.run(&job);
        }
        panic!("compaction does not come to an end");
    }

    fn clean_up(&mut self, number: i64) {
        let now = Self::horizon(number).now;
        for (tier, part) in removable(&self.tiers, now, &self.options) {
            self.tiers.remove(tier, |known| *known == part);
        }
    }

    /// Seals, compacts, and cleans up once a day, for so many two hours.
    fn live(&mut self, slots: std::ops::Range<i64>, runs: impl Fn(i64) -> bool) {
        for number in slots {
            if runs(number) {
                self.seal(number);
            }
            self.compact(number + 1);
            if number % 12 == 5 {
                self.clean_up(number + 1);
            }
            if number % CHECK_EVERY == CHECK_EVERY - 1 {
                self.check(number + 1);
            }
        }
    }

    fn check(&self, number: i64) {
        for tier in Tier::ALL {
            let parts = self.tiers.of(tier);
            let apart = parts.windows(2).all(|pair| pair[0].end <= pair[1].start);
            assert!(apart, "partitions of {tier:?} overlap or are out of order: {parts:#?}");
        }
        let now = Self::horizon(number).now;
        for resolution in [Duration::ZERO, Tier::FiveMinutes.resolution(), HOUR] {
            let found = self.read(number, resolution);
            let kept_from = now.minus(self.options.retention_1h);
            let kept = self.sealed.iter().filter(|slot_number| slot(**slot_number) >= kept_from);
            let missing: Vec<_> =
                kept.filter(|n| !found.contains(n) && !self.lost.contains(n)).collect();
            assert!(missing.is_empty(), "at {number}, {resolution:?}: {missing:?}");
        }
    }

    /// The slots that a reader of everything sees; panics where it sees one twice.
    fn read(&self, number: i64, resolution: Duration) -> BTreeSet<i64> {
        let mut found = BTreeSet::new();
        let mut last = Timestamp::from_millis(i64::MIN);
        for span in choose(&self.tiers, (slot(0), slot(number + 12)), resolution) {
            assert!(span.start >= last && span.start < span.end, "{span:?}");
            last = span.end;
            for part in &span.parts {
                let seen =
                    part.slots.keys().filter(|n| slot(**n) >= span.start && slot(**n) < span.end);
                for seen in seen {
                    assert!(found.insert(*seen), "slot {seen} is read twice");
                }
            }
        }
        found
    }

    fn counts(&self) -> [usize; 3] {
        Tier::ALL.map(|tier| self.tiers.of(tier).len())
    }
}

#[test]
fn three_years_at_default_settings_stay_on_their_plateaus() {
    let mut simulation = Simulation::with(Options::default());
    let (mut most, mut opens) = ([0; 3], 0);
    for day in 0..3 * 365 {
        simulation.live(day * 12..(day + 1) * 12, |_| true);
        let counts = simulation.counts();
        most = [0, 1, 2].map(|tier| counts[tier].max(most[tier]));
        let end = slot((day + 1) * 12);
        let spans = choose(&simulation.tiers, (end.minus(DAY * 730), end), HOUR);
        opens = opens.max(spans.iter().map(|span| span.parts.len()).sum());
    }
    let total: usize = most.iter().sum();
    assert!(total <= 70, "{most:?}");
    assert!(opens <= 26, "a query over two years opens {opens}");
    assert_eq!(simulation.written_max, 3, "a byte is written too often");
    assert!(simulation.jobs <= 3 * 365 * 6, "{}", simulation.jobs);
    // Each tier holds its retention and a quarter of it more, at most.
    let slots = |tier| simulation.tiers.of(tier).iter().map(|part| part.slots.len()).sum::<usize>();
    assert!((30 * 12..=32 * 12).contains(&slots(Tier::Raw)), "{}", slots(Tier::Raw));
    assert!((175 * 12..=217 * 12).contains(&slots(Tier::FiveMinutes)));
    assert!((725 * 12..=911 * 12).contains(&slots(Tier::Hour)));
}

#[test]
fn data_is_rolled_up_before_it_goes_whatever_is_kept() {
    for days in [[1, 2, 3], [1, 1, 400], [2, 2, 2], [7, 14, 30], [400, 400, 400]] {
        let mut simulation = Simulation::new(days);
        simulation.live(0..12 * 220, |_| true);
        assert!(simulation.written_max <= 5, "{days:?}: {}", simulation.written_max);
    }
    let hours = Options { retention: HOUR, retention_5m: HOUR, ..Options::default() };
    let mut simulation = Simulation::with(hours);
    simulation.live(0..12 * 100, |_| true);
    assert!(simulation.counts()[0] <= 13, "{:?}", simulation.counts());
}

#[test]
fn a_retention_that_changes_loses_nothing_that_is_still_kept() {
    let mut simulation = Simulation::new([30, 180, 730]);
    simulation.live(0..12 * 200, |_| true);
    simulation.options.retention = HOUR;
    simulation.options.retention_5m = DAY * 2;
    simulation.live(12 * 200..12 * 240, |_| true);
    simulation.options.retention = DAY * 90;
    simulation.options.retention_5m = DAY * 90;
    simulation.live(12 * 240..12 * 400, |_| true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Hosts that run now and then, with any retention, and partitions that become unreadable.
    #[test]
    fn nothing_is_lost_or_read_twice(
        seed in any::<u64>(),
        runs in 1_u64..10,
        raw in 1_u32..40,
        five in 0_u32..200,
        hour in 0_u32..400,
        damaged in prop::collection::vec((0_i64..12 * 120, any::<prop::sample::Index>()), 0..4),
    ) {
        let mut simulation = Simulation::new([raw, raw + five, raw + five + hour]);
        let awake = |number: i64| {
            // Whole stretches of eight hours, drawn by a hash.
            let draw = (number / 4).unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
            (draw.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 60) < runs + 4
        };
        for number in 0..12 * 120 {
            for (_, index) in damaged.iter().filter(|(at, _)| *at == number) {
                simulation.break_one(*index);
            }
            simulation.live(number..number + 1, awake);
        }
    }
}

impl Simulation {
    /// Makes one partition unreadable; what it held may be missing from now on.
    fn break_one(&mut self, index: prop::sample::Index) {
        let all: Vec<(Tier, Fake)> =
            self.tiers.all().map(|(tier, part)| (tier, part.clone())).collect();
        if all.is_empty() {
            return;
        }
        let (tier, mut part) = index.get(&all).clone();
        self.tiers.remove(tier, |known| *known == part);
        self.lost.extend(part.slots.keys());
        part.usable = false;
        self.tiers.add(tier, part);
    }
}
