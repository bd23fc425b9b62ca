//! One series of the open window: encoded blocks, then a short tail of plain samples.
//!
//! Each sample of the tail knows the epoch that it came with, so that a snapshot leaves out what is
//! newer, and so that a commit that fails is taken back. Samples go from the tail into blocks when
//! every reader sees them; late ones are merged in then.

mod run;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::{
    Epoch,
    histograms::Lane,
    refusal::{Admission, Bounds, Refusal},
    tail::{Recent, Tail},
};
use crate::{
    model::{HistogramSample, Labels, Sample},
    store::{chunk::block, erase::Doomed},
    time::Timestamp,
};

/// Samples in the tail from which on it goes into blocks.
const TAIL: usize = 16;
/// Samples in a block.
const BLOCK: usize = 64;

/// A series. Whoever holds one may find that the head has let it go.
#[derive(Debug)]
pub(in crate::store) struct Series {
    labels: Labels,
    id: u32,
    open: Mutex<Open>,
}

/// What changes of a series.
#[derive(Debug)]
pub(in crate::store) struct Open {
    /// Blocks in the order of time.
    blocks: Vec<u8>,
    /// Where the last block begins.
    last_block: u32,
    /// Samples in the blocks.
    in_blocks: u32,
    /// The last sample in the blocks.
    newest_in_blocks: Option<Sample>,
    /// Late samples, which belong between those of the blocks, among them.
    tail: Tail,
    /// Native histograms; few series have any.
    histograms: Option<Box<Lane>>,
    /// Up to which epoch the tail was looked through for what may go into blocks.
    settled: Epoch,
    /// The time of the newest sample, kept beside the lock: looking into the tail for it would cost
    /// another miss of the cache for each sample.
    newest: Option<Timestamp>,
    /// The segment of the log that has named the series.
    named_in: u64,
    live: bool,
}

/// The blocks of a series, and those of its recent samples that one epoch sees.
#[derive(Debug, Default)]
pub(in crate::store) struct View {
    blocks: Vec<u8>,
    tail: Vec<Sample>,
    histograms: Vec<HistogramSample>,
}

impl Series {
    pub(super) fn new(id: u32, labels: Labels) -> Self {
        let open = Open {
            blocks: Vec::new(),
            last_block: 0,
            in_blocks: 0,
            newest_in_blocks: None,
            tail: Tail::default(),
            histograms: None,
            settled: 0,
            newest: None,
            named_in: 0,
            live: true,
        };
        Self { labels, id, open: Mutex::new(open) }
    }

    /// Names it.
    pub(in crate::store) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Names it in the log.
    pub(in crate::store) fn id(&self) -> u32 {
        self.id
    }

    pub(in crate::store) fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }

    /// What a reader of `epoch` sees from `start` to `end`; both belong to it.
    pub(in crate::store) fn view(&self, epoch: Epoch, start: Timestamp, end: Timestamp) -> View {
        self.lock().view(epoch, start, end)
    }

    /// The newest sample that a reader of `epoch` sees; none where a histogram is newer.
    pub(in crate::store) fn newest(&self, epoch: Epoch) -> Option<Sample> {
        let open = self.lock();
        let later = |a: Sample, b: Sample| if a.timestamp > b.timestamp { a } else { b };
        let newest = match (open.tail.newest(epoch), open.newest_in_blocks) {
            (Some(a), Some(b)) => Some(later(a, b)),
            (a, b) => a.or(b),
        };
        let histogram = open.histograms.as_ref().and_then(|lane| lane.newest_seen(epoch));
        newest.filter(|newest| Some(newest.timestamp) > histogram)
    }
}

impl Open {
    /// The head does not know the series any more.
    pub(super) fn retire(&mut self) {
        self.live = false;
    }

    /// Whether the segment of the log has named the series; it counts as named from now on.
    pub(in crate::store) fn name_in(&mut self, segment: u64) -> bool {
        std::mem::replace(&mut self.named_in, segment) == segment
    }

    /// The segment failed to name it.
    pub(in crate::store) fn unname(&mut self) {
        self.named_in = 0;
    }

    /// How many samples there are, whoever sees them.
    pub(super) fn len(&self) -> usize {
        self.in_blocks as usize + self.tail.len() + self.histograms.as_ref().map_or(0, |l| l.len())
    }

    /// Bytes that its histograms may take on disk.
    pub(super) fn histogram_bytes(&self) -> u64 {
        self.histograms.as_ref().map_or(0, |lane| lane.disk_bytes())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_blocks == 0 && self.tail.is_empty() && self.histograms.is_none()
    }

    /// Takes a sample in with `epoch`, if it may come in; `None` where the head does not know the
    /// series any more, so that nobody would find the sample.
    pub(in crate::store) fn append_live(
        &mut self,
        sample: Sample,
        epoch: Epoch,
        bounds: &Bounds,
    ) -> Option<Admission> {
        self.live.then(|| self.append(sample, epoch, bounds))
    }

    /// Takes a sample in with `epoch`, if it may come in.
    pub(super) fn append(&mut self, sample: Sample, epoch: Epoch, bounds: &Bounds) -> Admission {
        let time = sample.timestamp;
        if let Some(refusal) = bounds.refuses(time) {
            return Admission::Refused(refusal);
        }
        let recent = Recent { sample, epoch };
        let Some(newest) = self.newest.filter(|newest| *newest >= time) else {
            self.tail.push(recent);
            self.newest = Some(time);
            return Admission::Accepted;
        };
        match self.value_at(time) {
            Some(value) if value.to_bits() == sample.value.to_bits() => Admission::Duplicate,
            Some(_) => Admission::Refused(Refusal::Conflict(time)),
            None if self.histogram_at(time).is_some() => {
                Admission::Refused(Refusal::Conflict(time))
            }
            None if time < newest.minus(bounds.window) => {
                Admission::Refused(Refusal::Late(time, bounds.window))
            }
            None => {
                self.tail.insert(recent);
                Admission::Accepted
            }
        }
    }

    /// Takes a histogram in with `epoch`, as [`Open::append_live`] does a sample.
    pub(in crate::store) fn append_histogram(
        &mut self,
        sample: &HistogramSample,
        epoch: Epoch,
        bounds: &Bounds,
    ) -> Option<Admission> {
        self.live.then(|| self.admit_histogram(sample, epoch, bounds))
    }

    fn admit_histogram(
        &mut self,
        sample: &HistogramSample,
        epoch: Epoch,
        bounds: &Bounds,
    ) -> Admission {
        let time = sample.timestamp;
        if let Some(refusal) = bounds.refuses(time) {
            return Admission::Refused(refusal);
        }
        if let Some(newest) = self.newest.filter(|newest| *newest >= time) {
            match self.histogram_at(time) {
                Some(known) if known == *sample => return Admission::Duplicate,
                Some(_) => return Admission::Refused(Refusal::Conflict(time)),
                None if self.value_at(time).is_some() => {
                    return Admission::Refused(Refusal::Conflict(time));
                }
                None if time < newest.minus(bounds.window) => {
                    return Admission::Refused(Refusal::Late(time, bounds.window));
                }
                None => {}
            }
        }
        self.newest = self.newest.max(Some(time));
        self.histograms.get_or_insert_default().put(sample.clone(), epoch);
        Admission::Accepted
    }

    fn histogram_at(&self, time: Timestamp) -> Option<HistogramSample> {
        self.histograms.as_ref()?.at(time)
    }

    /// The time of the first sample that is not before `from`.
    pub(super) fn first_from(&self, from: Timestamp) -> Option<Timestamp> {
        let in_lane = self.histograms.as_ref().and_then(|lane| lane.first_from(from));
        self.first_value_from(from).into_iter().chain(in_lane).min()
    }

    fn first_value_from(&self, from: Timestamp) -> Option<Timestamp> {
        let mut in_tail = self.tail.iter().map(|recent| recent.sample.timestamp);
        let in_tail = in_tail.find(|time| *time >= from);
        let mut at = 0;
        for header in headers(&self.blocks) {
            if header.first >= from {
                return in_tail.into_iter().chain([header.first]).min();
            }
            if header.last >= from {
                let mut samples = Vec::new();
                decode_one(&self.blocks[at..], &mut samples);
                let mut times = samples.iter().map(|sample| sample.timestamp);
                if let Some(in_block) = times.find(|time| *time >= from) {
                    return in_tail.into_iter().chain([in_block]).min();
                }
            }
            at += header.len;
        }
        in_tail
    }

    /// The time of the newest sample, whoever sees it.
    pub(super) fn newest_time(&self) -> Option<Timestamp> {
        self.newest
    }

    /// After samples went.
    fn look_for_newest(&mut self) {
        let in_blocks = self.newest_in_blocks.map(|sample| sample.timestamp);
        // A lane that is left empty is no lane.
        self.histograms.take_if(|lane| lane.len() == 0);
        let in_lane = self.histograms.as_ref().and_then(|lane| lane.newest());
        self.newest = self.tail.last_time().max(in_blocks).max(in_lane);
    }

    fn value_at(&self, time: Timestamp) -> Option<f64> {
        if let Some(value) = self.tail.value_at(time) {
            return Some(value);
        }
        if self.newest_in_blocks.is_none_or(|newest| newest.timestamp < time) {
            return None;
        }
        let mut found = Vec::new();
        read_blocks(&self.blocks, time, time, &mut found);
        found.first().map(|sample| sample.value)
    }

    /// Takes back what came with `epoch`, none of which is in blocks.
    pub(in crate::store) fn take_back(&mut self, epoch: Epoch) -> usize {
        let before = self.len();
        self.tail.retain(|recent| recent.epoch != epoch);
        if let Some(lane) = &mut self.histograms {
            lane.take_back(epoch);
        }
        self.look_for_newest();
        before - self.len()
    }

    /// Moves what every reader sees into blocks, where the tail has grown long.
    pub(in crate::store) fn settle(&mut self, seen_by_all: Epoch) {
        if let Some(lane) = &mut self.histograms {
            lane.settle(seen_by_all);
        }
        // Nothing comes in that is seen already, so there is nothing to find twice.
        if self.tail.len() < TAIL || seen_by_all <= self.settled {
            return;
        }
        self.settled = seen_by_all;
        if self.tail.iter().filter(|recent| recent.epoch <= seen_by_all).count() >= TAIL / 2 {
            self.put_in_blocks(seen_by_all);
        }
    }

    fn put_in_blocks(&mut self, seen_by_all: Epoch) {
        let mut settled = Vec::with_capacity(BLOCK + TAIL);
        let newest = self.newest_in_blocks.map(|newest| newest.timestamp);
        let late = self.tail.first_time().filter(|first| Some(*first) < newest);
        match late {
            Some(first) => self.reopen_from(first, &mut settled),
            None => self.reopen_last_block(TAIL, &mut settled),
        }
        self.tail.take_seen(seen_by_all, TAIL, &mut settled);
        if late.is_some() {
            settled.sort_by_key(|sample| sample.timestamp);
        }
        self.append_blocks(&settled);
    }

    /// Takes the last block apart where there is room in it for so many samples.
    fn reopen_last_block(&mut self, room: usize, settled: &mut Vec<Sample>) {
        let at = self.last_block as usize;
        let Some(last) = headers(&self.blocks[at..]).next() else { return };
        if last.count + room <= BLOCK {
            self.reopen(at, settled);
        }
    }

    /// Takes the blocks apart that a sample of `time` and later ones belong to.
    fn reopen_from(&mut self, time: Timestamp, settled: &mut Vec<Sample>) {
        let before = headers(&self.blocks).take_while(|header| header.last < time);
        let at = before.map(|header| header.len).sum();
        self.reopen(at, settled);
    }

    fn reopen(&mut self, at: usize, settled: &mut Vec<Sample>) {
        let before = settled.len();
        decode_all(&self.blocks[at..], settled);
        self.in_blocks -= as_u32(settled.len() - before);
        self.blocks.truncate(at);
    }

    /// Appends samples, which come after those of the blocks, as blocks.
    fn append_blocks(&mut self, samples: &[Sample]) {
        let mut encoded = Vec::with_capacity(samples.len() * 3);
        for run in samples.chunks(BLOCK) {
            self.last_block = as_u32(self.blocks.len() + encoded.len());
            block::encode(run, &mut encoded);
        }
        // Exact, with a little to grow into: a hundred thousand series are as many of these.
        if self.blocks.capacity() - self.blocks.len() < encoded.len() {
            self.blocks.reserve_exact(encoded.len() + self.blocks.len() / 8);
        }
        self.blocks.extend(&encoded);
        self.newest_in_blocks = samples.last().copied().or(self.newest_in_blocks);
        self.in_blocks += as_u32(samples.len());
    }

    fn view(&self, epoch: Epoch, start: Timestamp, end: Timestamp) -> View {
        let (mut from, mut to) = (None, 0);
        let mut at = 0;
        for header in headers(&self.blocks) {
            if header.last >= start && header.first <= end {
                from.get_or_insert(at);
                to = at + header.len;
            }
            at += header.len;
        }
        let blocks = from.map_or_else(Vec::new, |from| self.blocks[from..to].to_vec());
        let inside = |sample: &Sample| sample.timestamp >= start && sample.timestamp <= end;
        let seen = self.tail.iter().filter(|recent| recent.epoch <= epoch);
        let tail = seen.map(|recent| recent.sample).filter(inside).collect();
        let histograms = self.histograms.as_ref().map(|lane| lane.view(epoch, start, end));
        View { blocks, tail, histograms: histograms.unwrap_or_default() }
    }

    /// Forgets the samples before `floor`; tells how many those were.
    pub(super) fn cut(&mut self, floor: Timestamp) -> usize {
        let before = self.len();
        self.tail.retain(|recent| recent.sample.timestamp >= floor);
        if let Some(lane) = &mut self.histograms {
            lane.retain(|time| time >= floor);
        }
        let mut gone = 0;
        let mut straddling = false;
        for header in headers(&self.blocks) {
            if header.last >= floor {
                straddling = header.first < floor;
                break;
            }
            gone += header.len;
        }
        if gone > 0 || straddling {
            let kept = self.blocks.split_off(gone);
            let mut samples = Vec::new();
            if straddling {
                decode_all(&kept, &mut samples);
                samples.retain(|sample| sample.timestamp >= floor);
                self.blocks = Vec::new();
                self.in_blocks = 0;
                self.append_blocks(&samples);
            } else {
                self.last_block = self.last_block.saturating_sub(as_u32(gone));
                self.blocks = kept;
                self.in_blocks = headers(&self.blocks).map(|h| as_u32(h.count)).sum();
            }
            self.newest_in_blocks =
                self.newest_in_blocks.filter(|newest| newest.timestamp >= floor);
        }
        self.look_for_newest();
        before - self.len()
    }

    /// Forgets what is to be erased; tells how many samples, and how many of them from `sealed` on.
    pub(super) fn erase(&mut self, doomed: &Doomed, sealed: Timestamp) -> (u64, u64) {
        let (mut all, mut unsealed) = (0, 0);
        let mut stays = |sample: &Sample| {
            let goes = doomed.holds(sample.timestamp);
            all += u64::from(goes);
            unsealed += u64::from(goes && sample.timestamp >= sealed);
            !goes
        };
        self.tail.retain(|recent| stays(&recent.sample));
        let mut samples = Vec::new();
        decode_all(&self.blocks, &mut samples);
        samples.retain(&mut stays);
        let gone = self.histograms.as_mut().map(|lane| lane.retain(|time| !doomed.holds(time)));
        for time in gone.unwrap_or_default() {
            all += 1;
            unsealed += u64::from(time >= sealed);
        }
        self.blocks = Vec::new();
        (self.last_block, self.in_blocks, self.newest_in_blocks) = (0, 0, None);
        self.append_blocks(&samples);
        self.look_for_newest();
        (all, unsealed)
    }

    /// Takes blocks of a checkpoint, which are whole and in order.
    pub(super) fn restore(&mut self, blocks: Vec<u8>) -> Result<(), BadBlocks> {
        if blocks.is_empty() {
            return Ok(());
        }
        let (mut at, mut last, mut count) = (0, 0, 0);
        let mut newest = None;
        while at < blocks.len() {
            let header = block::peek(&blocks[at..]).map_err(|_| BadBlocks)?;
            let ordered = newest.is_none_or(|newest| newest < header.first);
            if header.len == 0 || at + header.len > blocks.len() || !ordered {
                return Err(BadBlocks);
            }
            newest = Some(header.last);
            last = at;
            count += header.count;
            at += header.len;
        }
        let mut samples = Vec::new();
        block::decode(&mut &blocks[last..], &mut samples).map_err(|_| BadBlocks)?;
        self.newest_in_blocks = samples.last().copied();
        (self.last_block, self.in_blocks) = (as_u32(last), as_u32(count));
        self.blocks = blocks;
        self.look_for_newest();
        Ok(())
    }

    /// Takes histograms of a checkpoint, which are in order.
    pub(super) fn restore_histograms(&mut self, samples: Vec<HistogramSample>) {
        if !samples.is_empty() {
            self.histograms.get_or_insert_default().put_in_blocks(samples);
            self.look_for_newest();
        }
    }
}

/// Bytes that are no blocks of a series.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct BadBlocks;

impl View {
    /// The histograms in the range, in order.
    pub(in crate::store) fn take_histograms(&mut self) -> Vec<HistogramSample> {
        std::mem::take(&mut self.histograms)
    }

    /// Appends the samples in the range, in order; both ends belong to it.
    pub(in crate::store) fn read(&self, start: Timestamp, end: Timestamp, out: &mut Vec<Sample>) {
        let begin = out.len();
        read_blocks(&self.blocks, start, end, out);
        let newest = out[begin..].last().map(|sample| sample.timestamp);
        let late = self.tail.first().is_some_and(|first| Some(first.timestamp) < newest);
        out.extend(self.tail.iter().filter(|s| s.timestamp >= start && s.timestamp <= end));
        if late {
            out[begin..].sort_by_key(|sample| sample.timestamp);
        }
    }

    /// Everything from `start` on as blocks.
    pub(in crate::store) fn into_blocks(mut self, start: Timestamp) -> Vec<u8> {
        let newest = headers(&self.blocks).last().map(|header| header.last);
        let late = self.tail.first().is_some_and(|first| Some(first.timestamp) < newest);
        if late || headers(&self.blocks).next().is_some_and(|header| header.first < start) {
            let mut all = Vec::new();
            self.read(start, Timestamp::from_millis(i64::MAX), &mut all);
            self.blocks.clear();
            self.tail = all;
        }
        for run in self.tail.chunks(BLOCK) {
            block::encode(run, &mut self.blocks);
        }
        self.blocks
    }
}

/// The headers of blocks that were encoded here, or checked when they were restored.
fn headers(mut blocks: &[u8]) -> impl Iterator<Item = block::Header> {
    std::iter::from_fn(move || {
        let header = block::peek(blocks).ok()?;
        blocks = blocks.get(header.len..)?;
        Some(header)
    })
}

fn read_blocks(blocks: &[u8], start: Timestamp, end: Timestamp, out: &mut Vec<Sample>) {
    let begin = out.len();
    let mut at = 0;
    for header in headers(blocks).take_while(|header| header.first <= end) {
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
