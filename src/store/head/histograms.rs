//! The native histograms of a series in the open window: encoded blocks, then a short tail.
//!
//! Kept apart from the plain samples, since few series have any; in the same way otherwise. An end of
//! the series is told by a staleness marker among the plain samples.

use std::collections::BTreeMap;

use super::Epoch;
use crate::{
    model::HistogramSample,
    store::chunk::histograms::{self as chunk, Effort},
    time::Timestamp,
};

/// Histograms in the tail from which on it goes into a block.
const TAIL: usize = 16;
/// Histograms in a block at most.
const BLOCK: usize = 64;
/// What a histogram takes on disk, and what each of its buckets does, generously.
const DISK_BYTES: u64 = 64;
const BUCKET_BYTES: u64 = 8;

/// The histograms of one series.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// In the order of time.
    blocks: Vec<Block>,
    /// By time: late ones, which belong between those of the blocks, come first, and seldom at the end.
    tail: BTreeMap<Timestamp, Recent>,
    /// Up to which epoch the tail was looked through for what may go into a block.
    settled: Epoch,
}

/// Histograms that every reader sees.
#[derive(Debug)]
struct Block {
    count: usize,
    /// Of all of them.
    buckets: usize,
    first: Timestamp,
    last: Timestamp,
    bytes: Box<[u8]>,
}

/// A histogram that not every reader sees yet, or not for long.
#[derive(Debug)]
struct Recent {
    sample: HistogramSample,
    epoch: Epoch,
}

fn buckets_of(sample: &HistogramSample) -> usize {
    sample.histogram.positive.len() + sample.histogram.negative.len()
}

impl Block {
    fn of(samples: &[HistogramSample]) -> Option<Self> {
        Some(Self {
            count: samples.len(),
            buckets: samples.iter().map(buckets_of).sum(),
            first: samples.first()?.timestamp,
            last: samples.last()?.timestamp,
            bytes: chunk::encode(samples, Effort::Quick).into(),
        })
    }

    fn samples(&self) -> Vec<HistogramSample> {
        chunk::decode(&self.bytes).expect("blocks of the head were encoded by it")
    }
}

impl Lane {
    /// How many there are, whoever sees them.
    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.count).sum::<usize>() + self.tail.len()
    }

    /// Bytes that they may take on disk, generously.
    pub(super) fn disk_bytes(&self) -> u64 {
        let in_blocks = self.blocks.iter().map(|block| (block.count, block.buckets));
        let buckets = |recent: &Recent| buckets_of(&recent.sample);
        let in_tail = self.tail.values().map(|recent| (1, buckets(recent)));
        let bytes = |(count, buckets)| count as u64 * DISK_BYTES + buckets as u64 * BUCKET_BYTES;
        in_blocks.chain(in_tail).map(bytes).sum()
    }

    /// The time of the newest, whoever sees it.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        let in_tail = self.tail.last_key_value().map(|(time, _)| *time);
        in_tail.max(self.blocks.last().map(|block| block.last))
    }

    /// The time of the newest that a reader of `epoch` sees.
    pub(super) fn newest_seen(&self, epoch: Epoch) -> Option<Timestamp> {
        let in_tail = self.tail.values().rev().find(|recent| recent.epoch <= epoch);
        let in_tail = in_tail.map(|recent| recent.sample.timestamp);
        in_tail.max(self.blocks.last().map(|block| block.last))
    }

    /// The one at this time, whoever sees it.
    pub(super) fn at(&self, time: Timestamp) -> Option<HistogramSample> {
        if let Some(recent) = self.tail.get(&time) {
            return Some(recent.sample.clone());
        }
        let block = self.blocks.iter().find(|block| block.first <= time && time <= block.last)?;
        block.samples().into_iter().find(|sample| sample.timestamp == time)
    }

    /// Takes one in; there is none at its time.
    pub(super) fn put(&mut self, sample: HistogramSample, epoch: Epoch) {
        self.tail.insert(sample.timestamp, Recent { sample, epoch });
    }

    /// Takes back what came with `epoch`, none of which is in blocks.
    pub(super) fn take_back(&mut self, epoch: Epoch) {
        self.tail.retain(|_, recent| recent.epoch != epoch);
    }

    /// Moves what every reader sees into a block, where the tail has grown long.
    pub(super) fn settle(&mut self, seen_by_all: Epoch) {
        if seen_by_all <= self.settled || !self.is_due() {
            return;
        }
        self.settled = seen_by_all;
        if self.tail.values().filter(|recent| recent.epoch <= seen_by_all).count() >= TAIL {
            self.move_into_blocks(seen_by_all);
        }
    }

    /// Moves a tail that has grown long into a block: there are no readers yet.
    pub(super) fn settle_unseen(&mut self) {
        if self.is_due() {
            self.move_into_blocks(Epoch::MAX);
        }
    }

    /// Whether the tail is worth a block. Late ones wait until they are a good part of all, so that those
    /// that come in any order take blocks apart a few times and not each time.
    fn is_due(&self) -> bool {
        let in_blocks = || self.blocks.iter().map(|block| block.count).sum::<usize>();
        let first = self.tail.first_key_value().map(|(time, _)| *time);
        let has_late = first < self.blocks.last().map(|block| block.last);
        self.tail.len() >= TAIL && (!has_late || self.tail.len() >= in_blocks() / 4)
    }

    fn move_into_blocks(&mut self, seen_by_all: Epoch) {
        let is_seen = |_: &Timestamp, recent: &mut Recent| recent.epoch <= seen_by_all;
        let seen = self.tail.extract_if(.., is_seen).map(|(_, recent)| recent.sample).collect();
        self.put_in_blocks(seen);
    }

    /// Puts histograms in, in order, that every reader sees.
    pub(super) fn put_in_blocks(&mut self, mut samples: Vec<HistogramSample>) {
        let first = samples.first().map(|sample| sample.timestamp);
        // Late ones belong into or between the blocks behind: those are made anew.
        let behind = self.blocks.partition_point(|block| Some(block.last) < first);
        let late = behind < self.blocks.len();
        for block in self.blocks.drain(behind..) {
            samples.extend(block.samples());
        }
        if late {
            samples.sort_by_key(|sample| sample.timestamp);
        }
        self.append_blocks(&samples);
    }

    fn append_blocks(&mut self, samples: &[HistogramSample]) {
        self.blocks.extend(samples.chunks(BLOCK).filter_map(Block::of));
    }

    /// What a reader of `epoch` sees from `start` to `end`, which both belong to it, in order.
    pub(super) fn view(
        &self,
        epoch: Epoch,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<HistogramSample> {
        let inside =
            |sample: &HistogramSample| start <= sample.timestamp && sample.timestamp <= end;
        let blocks = self.blocks.iter().filter(|block| block.first <= end && block.last >= start);
        let mut found: Vec<_> = blocks.flat_map(Block::samples).filter(inside).collect();
        let seen = self.tail.range(start..=end).map(|(_, recent)| recent);
        let seen = seen.filter(|recent| recent.epoch <= epoch);
        found.extend(seen.map(|recent| &recent.sample).filter(|s| inside(s)).cloned());
        if !found.is_sorted_by_key(|sample| sample.timestamp) {
            found.sort_by_key(|sample| sample.timestamp);
        }
        found
    }

    /// The time of the first that is not before `from`.
    pub(super) fn first_from(&self, from: Timestamp) -> Option<Timestamp> {
        let in_tail = self.tail.range(from..).map(|(time, _)| *time);
        let in_block = self.blocks.iter().find(|block| block.last >= from).and_then(|block| {
            let mut times = block.samples().into_iter().map(|sample| sample.timestamp);
            times.find(|time| *time >= from)
        });
        in_tail.chain(in_block).min()
    }

    /// Forgets those that `stays` does not want; tells their times.
    pub(super) fn retain(&mut self, stays: impl Fn(Timestamp) -> bool) -> Vec<Timestamp> {
        let mut gone = Vec::new();
        let mut keep = |sample: &HistogramSample| {
            let stays = stays(sample.timestamp);
            gone.extend((!stays).then_some(sample.timestamp));
            stays
        };
        self.tail.retain(|_, recent| keep(&recent.sample));
        let mut kept: Vec<HistogramSample> = Vec::new();
        for block in std::mem::take(&mut self.blocks) {
            kept.extend(block.samples().into_iter().filter(&mut keep));
        }
        self.append_blocks(&kept);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::histograms::latencies;

    const ALL: (Timestamp, Timestamp) =
        (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));

    fn filled(samples: &[HistogramSample]) -> Lane {
        let mut lane = Lane::default();
        for (epoch, sample) in (1..).zip(samples) {
            lane.put(sample.clone(), epoch);
            lane.settle(epoch - 1);
        }
        lane
    }

    #[test]
    fn a_reader_sees_what_came_up_to_its_epoch() {
        let samples = latencies(100);
        let lane = filled(&samples);
        assert!(!lane.blocks.is_empty());
        assert_eq!(lane.view(100, ALL.0, ALL.1), samples);
        assert_eq!(lane.view(97, ALL.0, ALL.1), samples[..97]);
        let (start, end) = (samples[5].timestamp, samples[90].timestamp);
        assert_eq!(lane.view(100, start, end), samples[5..=90]);
        assert_eq!(lane.newest_seen(97), Some(samples[96].timestamp));
        assert_eq!(lane.first_from(samples[3].timestamp), Some(samples[3].timestamp));
    }

    #[test]
    fn late_ones_find_their_place() {
        let samples = latencies(60);
        let (odd, even): (Vec<_>, Vec<_>) =
            samples.iter().cloned().partition(|s| s.timestamp.as_millis() / 30_000 % 2 == 1);
        let lane = filled(&[even, odd].concat());
        assert_eq!(lane.view(100, ALL.0, ALL.1), samples);
        assert_eq!(lane.at(samples[7].timestamp), Some(samples[7].clone()));
        assert_eq!(lane.len(), 60);
    }

    #[test]
    fn blocks_are_made_a_few_times_only_whatever_the_order() {
        let mut lane = Lane::default();
        let mut made = 0;
        for (count, sample) in (1..).zip(latencies(5000).iter().rev()) {
            lane.put(sample.clone(), 1);
            let tail = lane.tail.len();
            lane.settle_unseen();
            made += if lane.tail.len() < tail { count } else { 0 };
        }
        assert_eq!(lane.len(), 5000);
        assert!(made < 10 * 5000, "{made} histograms were encoded");
    }

    #[test]
    fn what_is_taken_back_or_not_retained_is_gone() {
        let samples = latencies(50);
        let mut lane = filled(&samples);
        lane.take_back(50);
        let gone = lane.retain(|time| time >= samples[10].timestamp);
        assert_eq!(gone.len(), 10);
        assert_eq!(lane.view(100, ALL.0, ALL.1), samples[10..49]);
    }
}
