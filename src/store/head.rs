//! The open window: recent samples of every live series, in memory.
//!
//! A series is a few chunks and a short tail of plain samples. All of it is copy-on-write (shards and
//! series behind `Arc`), so that a clone of the head is a consistent view that costs sixty-four
//! pointers, and so that a commit that fails is undone by forgetting the clone it was made in.
//! Must not know the disk.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    chunk::{self, DamagedChunk},
    erase::Doomed,
};
use crate::{
    limits,
    model::{Labels, METRIC_NAME, MatchOp, Matcher, Sample, matches_all},
    time::{Timestamp, format_duration},
};

/// How much older than the newest sample of its series a sample may be.
pub(super) const LATE_MAX: Duration = Duration::from_hours(2);
/// Shards: a commit copies those it touches where a snapshot still holds them.
const SHARDS: u32 = 64;
/// Plain samples at the end of a series.
const TAIL_MAX: usize = 64;

/// A run of samples in its short form.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: usize,
    pub(super) bytes: Arc<[u8]>,
}

impl Chunk {
    /// The samples, which are in order and not empty.
    fn of(samples: &[Sample]) -> Option<Self> {
        let (first, last) = (samples.first()?.timestamp, samples.last()?.timestamp);
        Some(Self { first, last, count: samples.len(), bytes: chunk::encode(samples).into() })
    }

    /// A chunk of our own making in memory, or one whose record passed its CRC and was decoded once.
    fn samples(&self) -> Vec<Sample> {
        chunk::decode(&self.bytes).expect("chunks of the head were encoded or checked by it")
    }
}

/// The samples of one series in the open window.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// Names the series in the log.
    pub(super) id: u32,
    newest: Sample,
    chunks: Vec<Chunk>,
    tail: Vec<Sample>,
}

impl Series {
    /// The sample with the latest time.
    pub(super) fn newest(&self) -> Sample {
        self.newest
    }

    fn oldest(&self) -> Option<Timestamp> {
        let tail = self.tail.first().map(|sample| sample.timestamp);
        self.chunks.first().map(|chunk| chunk.first).or(tail)
    }

    fn count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.count).sum::<usize>() + self.tail.len()
    }

    /// Whether a sample lies in the range; both ends belong to it.
    pub(super) fn has(&self, start: Timestamp, end: Timestamp) -> bool {
        self.first_in(start, end).is_some()
    }

    /// The first sample in the range; both ends belong to it.
    pub(super) fn first_in(&self, start: Timestamp, end: Timestamp) -> Option<Timestamp> {
        let in_chunk = |chunk: &Chunk| {
            if chunk.first >= start {
                return Some(chunk.first);
            }
            chunk.samples().iter().map(|sample| sample.timestamp).find(|time| *time >= start)
        };
        let chunk = self.chunks.iter().find(|chunk| chunk.last >= start);
        let tail = || self.tail.iter().map(|sample| sample.timestamp).find(|time| *time >= start);
        chunk.and_then(in_chunk).or_else(tail).filter(|time| *time <= end)
    }

    /// Appends the samples in the range, in order; both ends belong to it.
    pub(super) fn read(&self, start: Timestamp, end: Timestamp, out: &mut Vec<Sample>) {
        let inside = |sample: &Sample| sample.timestamp >= start && sample.timestamp <= end;
        let from = self.chunks.partition_point(|chunk| chunk.last < start);
        for chunk in self.chunks[from..].iter().take_while(|chunk| chunk.first <= end) {
            out.extend(chunk.samples().into_iter().filter(inside));
        }
        out.extend(self.tail.iter().copied().filter(inside));
    }

    /// Everything as chunks, for a checkpoint.
    pub(super) fn to_chunks(&self) -> Vec<Vec<u8>> {
        let tail = (!self.tail.is_empty()).then(|| chunk::encode(&self.tail));
        self.chunks.iter().map(|chunk| chunk.bytes.to_vec()).chain(tail).collect()
    }

    fn value_at(&self, time: Timestamp) -> Option<f64> {
        if time > self.newest.timestamp {
            return None;
        }
        let mut found = Vec::new();
        self.read(time, time, &mut found);
        found.first().map(|sample| sample.value)
    }

    /// Puts a sample, whose time is not there yet, in its place.
    fn insert(&mut self, sample: Sample) {
        let time = sample.timestamp;
        if time > self.newest.timestamp {
            self.newest = sample;
        }
        let at = self.chunks.partition_point(|chunk| chunk.last < time);
        if at < self.chunks.len() {
            self.insert_into_chunk(at, sample);
        } else {
            let at = self.tail.partition_point(|s| s.timestamp < time);
            self.tail.insert(at, sample);
        }
        if self.tail.len() >= TAIL_MAX {
            self.chunks.extend(Chunk::of(&self.tail));
            self.tail.clear();
        }
    }

    fn insert_into_chunk(&mut self, at: usize, sample: Sample) {
        let mut samples = self.chunks[at].samples();
        let place = samples.partition_point(|s| s.timestamp < sample.timestamp);
        samples.insert(place, sample);
        let half = if samples.len() > 2 * TAIL_MAX { samples.len() / 2 } else { samples.len() };
        let (left, right) = samples.split_at(half);
        self.chunks.splice(at..=at, Chunk::of(left).into_iter().chain(Chunk::of(right)));
    }

    /// Forgets the samples before `floor`; tells whether any are left.
    fn cut(&mut self, floor: Timestamp) -> bool {
        self.chunks.retain(|chunk| chunk.last >= floor);
        if let Some(first) = self.chunks.first_mut().filter(|chunk| chunk.first < floor) {
            let mut samples = first.samples();
            samples.retain(|sample| sample.timestamp >= floor);
            *first = Chunk::of(&samples).expect("its last sample is not before the floor");
        }
        self.tail.retain(|sample| sample.timestamp >= floor);
        !self.chunks.is_empty() || !self.tail.is_empty()
    }
}

impl Series {
    /// Forgets what is to be erased; tells whether any is left.
    fn erase(&mut self, doomed: &Doomed) -> bool {
        let mut samples = Vec::new();
        let (begin, end) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        self.read(begin, end, &mut samples);
        samples.retain(|sample| !doomed.holds(sample.timestamp));
        let Some(newest) = samples.last() else { return false };
        self.newest = *newest;
        self.tail.clear();
        self.chunks = samples.chunks(TAIL_MAX).filter_map(Chunk::of).collect();
        true
    }
}

type Shard = HashMap<Labels, Arc<Series>>;

/// The open window.
#[derive(Clone, Debug)]
pub(super) struct Head {
    shards: Vec<Arc<Shard>>,
    series: usize,
    series_max: usize,
    next_id: u32,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is in; the id of its series.
    Accepted(u32),
    /// It was there, with the same value.
    Duplicate,
    /// It is not in.
    Refused(Refusal),
}

/// Why a sample is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another value has this time already.
    Conflict(Timestamp),
    /// Too far behind the newest sample of the series.
    Late(Timestamp),
    /// Older than the retention, which begins at the second time.
    Expired(Timestamp, Timestamp),
    /// Before everything that is still open.
    Sealed(Timestamp, Timestamp),
    /// Ahead of the clock.
    Future(Timestamp),
    /// No more series are taken.
    TooManySeries(usize),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let late = format_duration(LATE_MAX);
        match self {
            Self::Conflict(time) => {
                write!(f, "another value is stored for {time} already: samples are never changed")
            }
            Self::Late(time) => write!(
                f,
                "{time} is more than {late} behind the newest sample of the series: send samples sooner"
            ),
            Self::Expired(time, oldest) => write!(
                f,
                "{time} is too old: what lies before {oldest} is past the retention and not kept; check \
                 that the time is in milliseconds"
            ),
            Self::Sealed(time, floor) => write!(
                f,
                "{time} is too old: what lies before {floor} is sealed, samples may be {late} late"
            ),
            Self::Future(time) => write!(
                f,
                "{time} is more than {} in the future: check the clock, and that the time is in \
                 milliseconds",
                format_duration(limits::SAMPLE_FUTURE_MAX)
            ),
            Self::TooManySeries(max) => write!(
                f,
                "the limit of {max} series is reached: send fewer different labels, or wait until \
                 idle series have left the open window"
            ),
        }
    }
}

/// Between which times samples are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What lies before is older than the retention.
    pub(super) oldest: Timestamp,
    /// What lies before is sealed.
    pub(super) floor: Timestamp,
    /// The clock, and what it may be wrong.
    pub(super) latest: Timestamp,
}

impl Head {
    /// An empty head that takes `series_max` series.
    pub(super) fn new(series_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Arc::default()).collect();
        Self { shards, series: 0, series_max, next_id: 0 }
    }

    /// How many series there are.
    pub(super) fn series_count(&self) -> usize {
        self.series
    }

    /// All series, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Labels, &Series)> {
        self.shards
            .iter()
            .flat_map(|shard| shard.iter())
            .map(|(labels, series)| (labels, &**series))
    }

    /// The series that pass all matchers, in no order.
    pub(super) fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
    ) -> impl Iterator<Item = (&'a Labels, &'a Series)> {
        let name = matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        let only = name.map(|matcher| shard_of(matcher.value()));
        (0..)
            .zip(&self.shards)
            .filter(move |(at, _)| only.is_none_or(|only| only == *at))
            .flat_map(|(_, shard)| shard.iter())
            .filter(|(labels, _)| matches_all(matchers, labels))
            .map(|(labels, series)| (labels, &**series))
    }

    /// Takes a sample in, if it may come in.
    pub(super) fn append(&mut self, labels: &Labels, sample: Sample, bounds: Bounds) -> Admission {
        let time = sample.timestamp;
        if time > bounds.latest {
            return Admission::Refused(Refusal::Future(time));
        }
        if time < bounds.oldest {
            return Admission::Refused(Refusal::Expired(time, bounds.oldest));
        }
        if time < bounds.floor {
            return Admission::Refused(Refusal::Sealed(time, bounds.floor));
        }
        let shard = &mut self.shards[shard_of(labels.metric())];
        let Some(series) = shard.get(labels) else { return self.start(labels, sample) };
        match series.value_at(time) {
            Some(value) if value.to_bits() == sample.value.to_bits() => Admission::Duplicate,
            Some(_) => Admission::Refused(Refusal::Conflict(time)),
            None if time < series.newest.timestamp.minus(LATE_MAX) => {
                Admission::Refused(Refusal::Late(time))
            }
            None => {
                let series = Arc::make_mut(shard).get_mut(labels).expect("it was just found");
                let series = Arc::make_mut(series);
                series.insert(sample);
                Admission::Accepted(series.id)
            }
        }
    }

    fn start(&mut self, labels: &Labels, sample: Sample) -> Admission {
        if self.series >= self.series_max {
            return Admission::Refused(Refusal::TooManySeries(self.series_max));
        }
        let id = self.next_id;
        let series = Series { id, newest: sample, chunks: Vec::new(), tail: vec![sample] };
        self.put(labels, series);
        Admission::Accepted(id)
    }

    fn put(&mut self, labels: &Labels, series: Series) {
        self.next_id = self.next_id.max(series.id).wrapping_add(1);
        let shard = Arc::make_mut(&mut self.shards[shard_of(labels.metric())]);
        if shard.insert(labels.clone(), Arc::new(series)).is_none() {
            self.series += 1;
        }
    }

    /// Takes a series from a checkpoint.
    pub(super) fn restore(
        &mut self,
        labels: &Labels,
        id: u32,
        chunks: &[Vec<u8>],
    ) -> Result<(), DamagedChunk> {
        let mut restored = Vec::with_capacity(chunks.len());
        let mut newest = None;
        for bytes in chunks {
            let samples = chunk::decode(bytes)?;
            newest = samples.last().copied().or(newest);
            restored.extend(Chunk::of(&samples));
        }
        if let Some(newest) = newest {
            self.put(labels, Series { id, newest, chunks: restored, tail: Vec::new() });
        }
        Ok(())
    }

    /// Forgets samples before `floor`, and series that have no others.
    pub(super) fn cut(&mut self, floor: Timestamp) {
        for shard in &mut self.shards {
            if shard.values().any(|series| series.oldest().is_none_or(|oldest| oldest < floor)) {
                Arc::make_mut(shard).retain(|_, series| Arc::make_mut(series).cut(floor));
            }
        }
        self.series = self.shards.iter().map(|shard| shard.len()).sum();
    }

    /// Forgets what is to be erased; tells of which series, and how many samples of each.
    pub(super) fn erase(&mut self, doomed: &Doomed) -> Vec<(Labels, u64)> {
        let mut gone = Vec::new();
        for shard in &mut self.shards {
            if shard.keys().any(|labels| doomed.matches(labels)) {
                Arc::make_mut(shard).retain(|labels, series| {
                    let before = series.count();
                    let left = !doomed.matches(labels) || Arc::make_mut(series).erase(doomed);
                    let erased = before - if left { series.count() } else { 0 };
                    gone.extend((erased > 0).then(|| (labels.clone(), erased as u64)));
                    left
                });
            }
        }
        self.series = self.shards.iter().map(|shard| shard.len()).sum();
        gone
    }

    /// How many samples there are.
    pub(super) fn samples(&self) -> u64 {
        self.iter().map(|(_, series)| series.count() as u64).sum()
    }

    /// The times of the oldest and the newest sample.
    pub(super) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let oldest = self.iter().filter_map(|(_, series)| series.oldest()).min()?;
        let newest = self.iter().map(|(_, series)| series.newest.timestamp).max()?;
        Some((oldest, newest))
    }
}

fn shard_of(metric: &str) -> usize {
    (crc32fast::hash(metric.as_bytes()) % SHARDS) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN: Bounds = Bounds {
        oldest: Timestamp::from_millis(i64::MIN),
        floor: Timestamp::from_millis(i64::MIN),
        latest: Timestamp::from_millis(i64::MAX),
    };

    fn put(head: &mut Head, seconds: i64, value: f64) -> Admission {
        let timestamp = Timestamp::from_secs(seconds);
        head.append(&Labels::of("up", []), Sample { timestamp, value }, OPEN)
    }

    fn seconds(head: &Head) -> Vec<i64> {
        let mut out = Vec::new();
        for (_, series) in head.iter() {
            series.read(OPEN.floor, OPEN.latest, &mut out);
        }
        out.iter().map(|sample| sample.timestamp.as_millis() / 1000).collect()
    }

    #[test]
    fn late_samples_find_their_place_and_older_ones_are_refused() {
        let mut head = Head::new(10);
        for second in (0..400).step_by(2) {
            assert_eq!(put(&mut head, second * 30, 1.0), Admission::Accepted(0));
        }
        for second in (201..399).step_by(2) {
            assert_eq!(put(&mut head, second * 30, 1.0), Admission::Accepted(0));
        }
        assert!(seconds(&head).is_sorted());
        assert_eq!(seconds(&head).len(), 200 + 99);
        let late = Timestamp::from_secs(101 * 30);
        assert_eq!(put(&mut head, 101 * 30, 1.0), Admission::Refused(Refusal::Late(late)));
    }

    #[test]
    fn repeated_times_are_duplicates_or_conflicts() {
        let mut head = Head::new(10);
        for second in 0..200 {
            put(&mut head, second, f64::from(7));
        }
        for second in [0, 100, 199] {
            assert_eq!(put(&mut head, second, 7.0), Admission::Duplicate);
            let conflict = Refusal::Conflict(Timestamp::from_secs(second));
            assert_eq!(put(&mut head, second, 8.0), Admission::Refused(conflict));
        }
        assert_eq!(head.samples(), 200);
    }

    #[test]
    fn the_limit_of_series_holds_and_idle_series_make_room() {
        let mut head = Head::new(1);
        put(&mut head, 5, 1.0);
        let other = Labels::of("down", []);
        let sample = Sample { timestamp: Timestamp::from_secs(9), value: 0.0 };
        let refused = Admission::Refused(Refusal::TooManySeries(1));
        assert_eq!(head.append(&other, sample, OPEN), refused);
        head.cut(Timestamp::from_secs(6));
        assert_eq!(head.series_count(), 0);
        assert!(matches!(head.append(&other, sample, OPEN), Admission::Accepted(_)));
    }

    #[test]
    fn a_clone_does_not_change() {
        let mut head = Head::new(10);
        put(&mut head, 1, 1.0);
        let before = head.clone();
        put(&mut head, 2, 2.0);
        assert_eq!((seconds(&before), seconds(&head)), (vec![1], vec![1, 2]));
    }

    #[test]
    fn bounds_are_kept() {
        let bounds = Bounds {
            oldest: Timestamp::from_secs(50),
            floor: Timestamp::from_secs(100),
            latest: Timestamp::from_secs(200),
        };
        let mut head = Head::new(10);
        let mut at = |second| {
            let timestamp = Timestamp::from_secs(second);
            head.append(&Labels::of("up", []), Sample { timestamp, value: 1.0 }, bounds)
        };
        assert!(matches!(at(49), Admission::Refused(Refusal::Expired(..))));
        assert!(matches!(at(99), Admission::Refused(Refusal::Sealed(..))));
        assert!(matches!(at(201), Admission::Refused(Refusal::Future(_))));
        assert!(matches!((at(100), at(200)), (Admission::Accepted(_), Admission::Accepted(_))));
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_series(times in prop::collection::vec(0_i64..7000, 1..400), cut in 0_i64..7000) {
            let mut head = Head::new(10);
            for time in &times {
                put(&mut head, *time, 1.0);
            }
            let mut expected = times.clone();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(seconds(&head), expected.clone());
            head.cut(Timestamp::from_secs(cut));
            expected.retain(|time| *time >= cut);
            prop_assert_eq!(seconds(&head), expected);
        }
    }
}
