//! The encoded blocks of a series, one behind the other in the order of time.
//!
//! A series has one of these and a short tail of plain samples; blocks are made of what every reader
//! sees.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{model::Sample, store::chunk::block, time::Timestamp};

/// Samples in a block.
pub(super) const BLOCK: usize = 64;

/// The blocks of one series.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    bytes: Vec<u8>,
    /// Where the last block begins.
    last: u32,
    /// Samples in all of them.
    count: u32,
    /// The last sample.
    newest: Option<Sample>,
}

/// Bytes that are no blocks of a series.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct BadBlocks;

impl Blocks {
    /// Takes blocks of a checkpoint, which are whole and in order.
    pub(super) fn restored(bytes: Vec<u8>) -> Result<Self, BadBlocks> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let (mut at, mut last, mut count) = (0, 0, 0);
        let mut newest = None;
        while at < bytes.len() {
            let header = block::peek(&bytes[at..]).map_err(|_| BadBlocks)?;
            let ordered = newest.is_none_or(|newest| newest < header.first);
            if header.len == 0 || at + header.len > bytes.len() || !ordered {
                return Err(BadBlocks);
            }
            newest = Some(header.last);
            last = at;
            count += header.count;
            at += header.len;
        }
        let mut samples = Vec::new();
        block::decode(&mut &bytes[last..], &mut samples).map_err(|_| BadBlocks)?;
        let newest = samples.last().copied();
        Ok(Self { bytes, last: as_u32(last), count: as_u32(count), newest })
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// The last sample.
    pub(super) fn newest(&self) -> Option<Sample> {
        self.newest
    }

    /// The time of the last sample.
    pub(super) fn newest_time(&self) -> Option<Timestamp> {
        self.newest.map(|sample| sample.timestamp)
    }

    pub(super) fn value_at(&self, time: Timestamp) -> Option<f64> {
        if self.newest_time() < Some(time) {
            return None;
        }
        let mut found = Vec::new();
        read(&self.bytes, time, time, &mut found);
        found.first().map(|sample| sample.value)
    }

    /// The time of the first sample that is not before `from`.
    pub(super) fn first_from(&self, from: Timestamp) -> Option<Timestamp> {
        let mut at = 0;
        for header in headers(&self.bytes) {
            if header.first >= from {
                return Some(header.first);
            }
            if header.last >= from {
                let mut samples = Vec::new();
                decode_one(&self.bytes[at..], &mut samples);
                let mut times = samples.iter().map(|sample| sample.timestamp);
                if let Some(found) = times.find(|time| *time >= from) {
                    return Some(found);
                }
            }
            at += header.len;
        }
        None
    }

    /// The blocks that hold samples of the range; both ends belong to it.
    pub(super) fn between(&self, start: Timestamp, end: Timestamp) -> Vec<u8> {
        let (mut from, mut to) = (None, 0);
        let mut at = 0;
        for header in headers(&self.bytes) {
            if header.last >= start && header.first <= end {
                from.get_or_insert(at);
                to = at + header.len;
            }
            at += header.len;
        }
        from.map_or_else(Vec::new, |from| self.bytes[from..to].to_vec())
    }

    /// Takes the last block apart where there is room in it for so many samples.
    pub(super) fn reopen_last(&mut self, room: usize, out: &mut Vec<Sample>) {
        let at = self.last as usize;
        let Some(last) = headers(&self.bytes[at..]).next() else { return };
        if last.count + room <= BLOCK {
            self.reopen(at, out);
        }
    }

    /// Takes the blocks apart that a sample of `time` and later ones belong to.
    pub(super) fn reopen_from(&mut self, time: Timestamp, out: &mut Vec<Sample>) {
        let before = headers(&self.bytes).take_while(|header| header.last < time);
        let at = before.map(|header| header.len).sum();
        self.reopen(at, out);
    }

    fn reopen(&mut self, at: usize, out: &mut Vec<Sample>) {
        let before = out.len();
        decode_all(&self.bytes[at..], out);
        self.count -= as_u32(out.len() - before);
        self.bytes.truncate(at);
    }

    /// Takes all of them apart.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        decode_all(&std::mem::take(self).bytes, &mut samples);
        samples
    }

    /// Appends samples, which come after the others.
    pub(super) fn append(&mut self, samples: &[Sample]) {
        let mut encoded = Vec::with_capacity(samples.len() * 3);
        for run in samples.chunks(BLOCK) {
            self.last = as_u32(self.bytes.len() + encoded.len());
            block::encode(run, &mut encoded);
        }
        // Exact, with a little to grow into: a hundred thousand series are as many of these.
        if self.bytes.capacity() - self.bytes.len() < encoded.len() {
            self.bytes.reserve_exact(encoded.len() + self.bytes.len() / 8);
        }
        self.bytes.extend(&encoded);
        self.newest = samples.last().copied().or(self.newest);
        self.count += as_u32(samples.len());
    }

    /// Forgets the samples before `floor`.
    pub(super) fn cut(&mut self, floor: Timestamp) {
        let older = headers(&self.bytes).take_while(|header| header.last < floor);
        let (gone, count) = older.fold((0, 0), |sum, h| (sum.0 + h.len, sum.1 + h.count));
        let next = headers(&self.bytes[gone..]).next();
        if next.is_some_and(|next| next.first < floor) {
            let mut samples = self.take();
            samples.retain(|sample| sample.timestamp >= floor);
            self.append(&samples);
        } else if gone > 0 {
            self.bytes = self.bytes.split_off(gone);
            self.last = self.last.saturating_sub(as_u32(gone));
            self.count -= as_u32(count);
            self.newest = self.newest.filter(|newest| newest.timestamp >= floor);
        }
    }
}

/// The headers of blocks that were encoded here, or checked when they were restored.
pub(super) fn headers(mut blocks: &[u8]) -> impl Iterator<Item = block::Header> {
    std::iter::from_fn(move || {
        let header = block::peek(blocks).ok()?;
        blocks = blocks.get(header.len..)?;
        Some(header)
    })
}

/// Appends the samples of the range, in order; both ends belong to it.
pub(super) fn read(blocks: &[u8], start: Timestamp, end: Timestamp, out: &mut Vec<Sample>) {
    let begin = out.len();
    let until_end = || headers(blocks).take_while(|header| header.first <= end);
    out.reserve(until_end().filter(|h| h.last >= start).map(|header| header.count).sum());
    let mut at = 0;
    for header in until_end() {
        if header.last >= start {
            decode_one(&blocks[at..], out);
        }
        at += header.len;
    }
    let outside = |sample: &Sample| sample.timestamp < start || sample.timestamp > end;
    let (first, last) = (out.get(begin), out.last());
    if first.is_some_and(outside) || last.is_some_and(outside) {
        let mut inside = out.split_off(begin);
        inside.retain(|sample| !outside(sample));
        out.append(&mut inside);
    }
}

fn decode_all(mut blocks: &[u8], out: &mut Vec<Sample>) {
    while !blocks.is_empty() {
        let before = blocks.len();
        decode_one(blocks, out);
        blocks = &blocks[block::peek(blocks).map_or(before, |header| header.len)..];
    }
}

/// Decodes the first of some blocks. It was encoded here, or comes from a checkpoint, whose CRC-32 is
/// trusted: decoding all blocks would make a start longer, and finds nothing but what a CRC-32 misses,
/// and defects. Where one makes no sense all the same, it is left out and counted: the committer must
/// not die of it.
fn decode_one(mut blocks: &[u8], out: &mut Vec<Sample>) {
    if block::decode(&mut blocks, out).is_err() {
        UNREADABLE.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often a block made no sense, of all series: a counter in each would cost more than it is worth.
static UNREADABLE: AtomicU64 = AtomicU64::new(0);

/// How often a block in memory made no sense, since this was last asked.
pub(in crate::store) fn take_unreadable() -> u64 {
    UNREADABLE.swap(0, Ordering::Relaxed)
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).expect("the blocks of one series are far below 4 GiB")
}
