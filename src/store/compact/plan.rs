//! What to compact next. Pure: from the partitions that there are to one job, or to none.
//!
//! # Windows
//! Each partition lies in a window of [`WINDOWS`]: two hours when it is sealed, then longer ones, each a
//! multiple of the one before, and each a [stretch](Timestamp::stretch) of its length. Its range is no longer than that of what it is
//! made of: where a tier has lost the beginning of a window by retention, a coarser one serves that.
//!
//! # Rules
//! - *Merging*: a window that is over becomes one partition of its tier. A tier merges up to its own
//!   longest window, and to a quarter of its retention at most, so that little is kept longer than asked
//!   for. A byte is written three times as a sample, two times as a rollup of five minutes and three
//!   times as one of an hour, at default settings.
//! - *Rolling up*: a window that is over in a finer tier is added to the coarser one, as soon as it is
//!   long enough for the number of partitions to stay small, and long before the finer one's retention
//!   ends.
//! - No job reads more than [`INPUTS_MAX`] partitions: each that is open costs memory and descriptors.
//! - What cannot be read holds a window up, for a restart may mend it; when the window's retention ends,
//!   the rest goes on without it.

use std::time::Duration;

use super::super::{
    Options,
    rollup::Tier,
    tiers::{Part, Range, Tiers, coarser, finer},
};
use crate::time::Timestamp;

const DAY: Duration = Duration::from_hours(24);

/// How long partitions are, the shortest first; each divides the next.
const WINDOWS: [Duration; 6] = [
    Duration::from_hours(2),
    Duration::from_hours(6),
    DAY,
    Duration::from_hours(5 * 24),
    Duration::from_hours(30 * 24),
    Duration::from_hours(180 * 24),
];
/// The longest window that is rolled up at once: what is younger than it is read as it came.
const ROLL_MAX: Duration = Duration::from_hours(5 * 24);
/// Partitions that one job reads at most.
pub(super) const INPUTS_MAX: usize = 6;

/// What the plan depends on beside the partitions.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Horizon {
    /// The time.
    pub(in crate::store) now: Timestamp,
    /// No sample before this instant comes in any more, and all that came are in partitions.
    pub(in crate::store) sealed: Timestamp,
}

/// One partition to be made out of others.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct Job<P> {
    /// The tier that it belongs to.
    pub(in crate::store) tier: Tier,
    /// Its range.
    pub(in crate::store) range: Range,
    /// What it is made of, in order of time within each tier. Those of its own tier go when it is there.
    pub(in crate::store) inputs: Vec<(Tier, P)>,
}

impl<P: Part> Job<P> {
    /// The job that puts these together; there is one of them at least.
    fn of(tier: Tier, inputs: Vec<(Tier, P)>) -> Option<Self> {
        let start = inputs.iter().map(|(_, part)| part.start()).min()?;
        let end = inputs.iter().map(|(_, part)| part.end()).max()?;
        Some(Self { tier, range: (start, end), inputs })
    }

    /// Bytes that it reads: it writes no more than about these.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.inputs.iter().map(|(_, part)| part.bytes()).sum()
    }
}

/// How long a tier is kept.
pub(in crate::store) fn kept(options: &Options, tier: Tier) -> Duration {
    match tier {
        Tier::Raw => options.retention,
        Tier::FiveMinutes => options.retention_5m,
        Tier::Hour => options.retention_1h,
    }
}

/// The longest that any samples are kept.
pub(in crate::store) fn longest(options: &Options) -> Duration {
    Tier::ALL.map(|tier| kept(options, tier)).into_iter().max().unwrap_or_default()
}

fn window_max(tier: Tier) -> Duration {
    match tier {
        Tier::Raw => DAY,
        Tier::FiveMinutes => DAY * 30,
        Tier::Hour => DAY * 180,
    }
}

/// Windows of a tier, the longest first; the shortest is always among them.
fn windows(options: &Options, tier: Tier) -> impl Iterator<Item = Duration> {
    let most = window_max(tier).min(kept(options, tier) / 4).max(WINDOWS[0]);
    WINDOWS.into_iter().rev().filter(move |window| *window <= most)
}

/// The window that is rolled up at once into `tier`.
fn roll_window(options: &Options, tier: Tier, from: Tier) -> Duration {
    let most = ROLL_MAX.min(kept(options, from) / 2).max(WINDOWS[0]);
    windows(options, tier).find(|window| *window <= most).unwrap_or(WINDOWS[0])
}

/// The window of this length around an instant.
fn around(instant: Timestamp, length: Duration) -> Range {
    let stretch = instant.stretch(length);
    (stretch.start, stretch.end)
}

/// The plan in the making.
struct Planner<'a, P> {
    tiers: &'a Tiers<P>,
    horizon: Horizon,
    options: &'a Options,
}

/// The job that is due first, if any is. Carrying it out and asking anew comes to an end.
pub(in crate::store) fn next<P: Part>(
    tiers: &Tiers<P>,
    horizon: Horizon,
    options: &Options,
) -> Option<Job<P>> {
    let planner = Planner { tiers, horizon, options };
    planner
        .merge(Tier::Raw)
        .or_else(|| planner.roll(Tier::Raw, Tier::FiveMinutes))
        .or_else(|| planner.roll(Tier::FiveMinutes, Tier::Hour))
        // Coarse ones first, so that what covers a window is never shorter than what it covers.
        .or_else(|| planner.merge(Tier::Hour))
        .or_else(|| planner.merge(Tier::FiveMinutes))
}

/// The job that rolls this one partition up, whether or not its window is over.
pub(in crate::store) fn roll_now<P: Part>(
    tiers: &Tiers<P>,
    tier: Tier,
    part: &P,
) -> Option<Job<P>> {
    let to = coarser(tier)?;
    let window = WINDOWS
        .into_iter()
        .map(|length| around(part.start(), length))
        .find(|window| part.lies_in(*window))?;
    roll_job(tiers, (tier, to), window)
}

fn roll_job<P: Part>(tiers: &Tiers<P>, (from, to): (Tier, Tier), window: Range) -> Option<Job<P>> {
    let inputs = [from, to]
        .into_iter()
        .flat_map(|tier| inside(tiers, tier, window).map(move |part| (tier, part.clone())));
    Job::of(to, inputs.collect())
}

/// Partitions of a tier within a window that can be read.
fn inside<P: Part>(tiers: &Tiers<P>, tier: Tier, window: Range) -> impl Iterator<Item = &P> {
    tiers.of(tier).iter().filter(move |part| part.is_usable() && part.lies_in(window))
}

impl<P: Part> Planner<'_, P> {
    /// A window of `tier` that holds several partitions and is over.
    fn merge(&self, tier: Tier) -> Option<Job<P>> {
        windows(self.options, tier).find_map(|length| {
            let parts = self.tiers.of(tier).iter();
            parts.map(|part| around(part.start(), length)).find_map(|window| {
                let inputs: Vec<(Tier, P)> =
                    inside(self.tiers, tier, window).map(|part| (tier, part.clone())).collect();
                let fits = (2..=INPUTS_MAX).contains(&inputs.len());
                (fits && self.may_merge(tier, window)).then(|| Job::of(tier, inputs)).flatten()
            })
        })
    }

    /// Whether a window is over, readable as a whole, and covered by the coarser tier as a whole, or not
    /// at all.
    fn may_merge(&self, tier: Tier, window: Range) -> bool {
        let readable = |part: &P| part.is_usable() && part.lies_in(window);
        let met = |tier: Tier| self.tiers.of(tier).iter().filter(|part| part.meets(window));
        self.is_over(tier, window)
            && met(tier).all(readable)
            && coarser(tier).is_none_or(|coarser| met(coarser).all(|part| part.covers(window)))
    }

    /// Whether nothing is to be added to a window of `tier` any more.
    fn is_over(&self, tier: Tier, window: Range) -> bool {
        let Some(finer) = finer(tier) else { return window.1 <= self.horizon.sealed };
        let added = |part: &P| !part.meets(window) || self.is_done(finer, part);
        self.tiers.of(finer).iter().all(added) && self.is_over(finer, window)
    }

    /// Whether nothing is to be made of a partition any more.
    fn is_done(&self, tier: Tier, part: &P) -> bool {
        self.tiers.is_rolled_up(tier, part)
            || part.end() <= self.horizon.now.minus(longest(self.options))
            || (!part.is_usable() && self.is_due(tier, part))
    }

    /// Whether a partition's retention has ended.
    fn is_due(&self, tier: Tier, part: &P) -> bool {
        part.end() <= self.horizon.now.minus(kept(self.options, tier))
    }

    /// A window of `from` that is over and that `to` does not have.
    fn roll(&self, from: Tier, to: Tier) -> Option<Job<P>> {
        let parts = self.tiers.of(from).iter();
        let mut waiting = parts.filter(|part| part.is_usable() && !self.is_done(from, part));
        waiting.find_map(|part| self.roll_around(part, from, to))
    }

    fn roll_around(&self, part: &P, from: Tier, to: Tier) -> Option<Job<P>> {
        let most = roll_window(self.options, to, from);
        let around_part = |length| Some(around(part.start(), length)).filter(|w| part.lies_in(*w));
        let own = WINDOWS.into_iter().find(|length| around_part(*length).is_some())?;
        if !self.is_over(from, around(part.start(), most.max(own))) {
            return None;
        }
        let lengths = WINDOWS.into_iter().rev().filter(|length| *length <= most.max(own));
        let windows = lengths.filter_map(around_part);
        let mut jobs =
            windows.filter_map(|window| Some((window, roll_job(self.tiers, (from, to), window)?)));
        let (window, job) = jobs.find(|(_, job)| job.inputs.len() <= INPUTS_MAX)?;
        let blocked = |tier: Tier| {
            let parts = self.tiers.of(tier).iter();
            parts.filter(|part| part.meets(window)).any(|part| !part.is_usable())
        };
        let held_up = blocked(from) || blocked(to);
        (!held_up || self.is_due(from, part)).then_some(job)
    }
}
