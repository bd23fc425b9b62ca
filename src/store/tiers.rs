//! Which partitions there are, tier by tier, and which of them a reader needs. Pure.
//!
//! Partitions of one tier never overlap in time. A coarser tier repeats what a finer one still has, so
//! each stretch of a range is read from exactly one of them: see [`choose`].

use std::{sync::Arc, time::Duration};

use super::{partition::Partition, rollup::Tier};
use crate::{promql::RollupSpan, time::Timestamp};

/// What planning and choosing need to know of a partition.
pub(super) trait Part: Clone {
    /// The beginning of its range …
    fn start(&self) -> Timestamp;
    /// … and the end, which does not belong to it.
    fn end(&self) -> Timestamp;
    /// What it takes on disk.
    fn bytes(&self) -> u64;
    /// Whether it can be read.
    fn is_usable(&self) -> bool;
    /// How often its range was written anew.
    fn generation(&self) -> u64 {
        0
    }

    /// Whether all of `[start, end)` lies in its range.
    fn covers(&self, (start, end): Range) -> bool {
        self.start() <= start && self.end() >= end
    }

    /// Whether all of its range lies in `[start, end)`.
    fn lies_in(&self, (start, end): Range) -> bool {
        self.start() >= start && self.end() <= end
    }

    /// Whether any of its range lies in `[start, end)`.
    fn meets(&self, (start, end): Range) -> bool {
        self.start() < end && self.end() > start
    }

    /// Its range.
    fn range(&self) -> Range {
        (self.start(), self.end())
    }
}

impl Part for Arc<Partition> {
    fn start(&self) -> Timestamp {
        Partition::start(self)
    }

    fn end(&self) -> Timestamp {
        Partition::end(self)
    }

    fn bytes(&self) -> u64 {
        self.manifest().bytes
    }

    fn is_usable(&self) -> bool {
        !self.is_damaged()
    }

    fn generation(&self) -> u64 {
        self.manifest().generation
    }
}

/// From … to; the end does not belong to it.
pub(super) type Range = (Timestamp, Timestamp);

/// The partitions of samples, each tier from the oldest on.
#[derive(Clone, Debug)]
pub(super) struct Tiers<P = Arc<Partition>> {
    raw: Vec<P>,
    five: Vec<P>,
    hour: Vec<P>,
}

impl<P> Default for Tiers<P> {
    fn default() -> Self {
        Self { raw: Vec::new(), five: Vec::new(), hour: Vec::new() }
    }
}

impl<P: Part> Tiers<P> {
    /// The partitions of one tier.
    pub(super) fn of(&self, tier: Tier) -> &[P] {
        match tier {
            Tier::Raw => &self.raw,
            Tier::FiveMinutes => &self.five,
            Tier::Hour => &self.hour,
        }
    }

    fn of_mut(&mut self, tier: Tier) -> &mut Vec<P> {
        match tier {
            Tier::Raw => &mut self.raw,
            Tier::FiveMinutes => &mut self.five,
            Tier::Hour => &mut self.hour,
        }
    }

    /// All partitions, the finest tier first.
    pub(super) fn all(&self) -> impl Iterator<Item = (Tier, &P)> {
        Tier::ALL.into_iter().flat_map(|tier| self.of(tier).iter().map(move |part| (tier, part)))
    }

    /// Adds a partition at its place.
    pub(super) fn add(&mut self, tier: Tier, part: P) {
        let parts = self.of_mut(tier);
        let at = parts.partition_point(|known| known.start() <= part.start());
        parts.insert(at, part);
    }

    /// Removes the partitions of a tier that `goes` says.
    pub(super) fn remove(&mut self, tier: Tier, goes: impl Fn(&P) -> bool) {
        self.of_mut(tier).retain(|part| !goes(part));
    }

    /// Whether a coarser tier holds all that this partition of `tier` does; what nothing is made of
    /// counts as held.
    pub(super) fn is_rolled_up(&self, tier: Tier, part: &P) -> bool {
        let Some(coarser) = coarser(tier) else { return true };
        self.of(coarser).iter().any(|other| other.is_usable() && other.covers(part.range()))
    }

    /// Takes out what lies in the range of another partition of its tier, of two of the same range the
    /// one of the lower generation: a crash between publishing a partition and removing those that it
    /// was made of leaves both.
    pub(super) fn take_superseded(&mut self) -> Vec<P> {
        let mut taken = Vec::new();
        for tier in Tier::ALL {
            let parts = std::mem::take(self.of_mut(tier));
            let is_superseded = |part: &P| {
                let later = |other: &P| {
                    other.range() != part.range() || other.generation() > part.generation()
                };
                parts.iter().any(|other| other.covers(part.range()) && later(other))
            };
            let (gone, stay) = parts.iter().cloned().partition(is_superseded);
            *self.of_mut(tier) = stay;
            taken.extend::<Vec<P>>(gone);
        }
        taken
    }
}

/// The next coarser tier.
pub(super) fn coarser(tier: Tier) -> Option<Tier> {
    match tier {
        Tier::Raw => Some(Tier::FiveMinutes),
        Tier::FiveMinutes => Some(Tier::Hour),
        Tier::Hour => None,
    }
}

/// The next finer tier.
pub(super) fn finer(tier: Tier) -> Option<Tier> {
    match tier {
        Tier::Raw => None,
        Tier::FiveMinutes => Some(Tier::Raw),
        Tier::Hour => Some(Tier::FiveMinutes),
    }
}

/// A stretch of time that is read from one tier.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span<P> {
    /// The tier.
    pub(super) tier: Tier,
    /// Its beginning …
    pub(super) start: Timestamp,
    /// … and end, which does not belong to it.
    pub(super) end: Timestamp,
    /// What to read of it, in order.
    pub(super) parts: Vec<P>,
}

impl<P: Part> Span<P> {
    fn follows(&self, before: &Self) -> bool {
        self.tier == before.tier && self.start == before.end
    }

    /// The stretch in whole rollups, for who evaluates them; `None` for samples as they came.
    pub(super) fn rollups(&self) -> Option<RollupSpan> {
        let resolution = self.tier.resolution();
        let nearly = resolution.saturating_sub(Duration::from_millis(1));
        (self.tier != Tier::Raw).then(|| RollupSpan {
            resolution,
            start: self.start.aligned(resolution),
            end: self.end.plus(nearly).aligned(resolution),
        })
    }
}

/// The tiers in the order in which a reader wants them who is content with `resolution`: the coarsest
/// that will do, then finer ones, then coarser ones, where nothing else is left.
fn preference(resolution: Duration) -> Vec<Tier> {
    let (mut order, too_coarse): (Vec<Tier>, Vec<Tier>) =
        Tier::ALL.into_iter().partition(|tier| tier.resolution() <= resolution);
    order.reverse();
    order.extend(too_coarse);
    order
}

/// What to read of each stretch of `[start, end)`, in order and without overlap: of the tiers that have
/// it, the one that suits `resolution` best. No stretch that any tier has is left out; one that cannot
/// be read is taken from another tier.
///
/// Ranges of partitions are whole hours, so that only the ends of the range cut a rollup's stretch.
pub(super) fn choose<P: Part>(
    tiers: &Tiers<P>,
    range: Range,
    resolution: Duration,
) -> Vec<Span<P>> {
    let mut open = vec![range];
    let mut found = Vec::new();
    for tier in preference(resolution) {
        for part in tiers.of(tier).iter().filter(|part| part.is_usable() && part.meets(range)) {
            let mut rest = Vec::new();
            for stretch in open {
                cut(stretch, part.range(), &mut rest, |(start, end)| {
                    found.push(Span { tier, start, end, parts: vec![part.clone()] });
                });
            }
            open = rest;
        }
    }
    found.sort_by_key(|span| span.start);
    found.into_iter().fold(Vec::new(), join)
}

/// Hands `take` what `stretch` and `range` share, and leaves the rest in `rest`.
fn cut(stretch: Range, range: Range, rest: &mut Vec<Range>, take: impl FnOnce(Range)) {
    let (start, end) = (stretch.0.max(range.0), stretch.1.min(range.1));
    if start >= end {
        rest.push(stretch);
        return;
    }
    take((start, end));
    let around = [(stretch.0, start), (end, stretch.1)];
    rest.extend(around.into_iter().filter(|(from, to)| from < to));
}

fn join<P: Part>(mut spans: Vec<Span<P>>, span: Span<P>) -> Vec<Span<P>> {
    match spans.last_mut().filter(|last| span.follows(last)) {
        Some(last) => {
            last.end = span.end;
            last.parts.extend(span.parts);
        }
        None => spans.push(span),
    }
    spans
}
