//! One series of the open window: encoded blocks, then a short tail of plain samples.
//!
//! Each sample of the tail knows the epoch that it came with, so that a snapshot leaves out what is
//! newer, and so that a commit that fails is taken back. Samples go from the tail into blocks when
//! every reader sees them; late ones are merged in then.

mod run;

use parking_lot::{Mutex, MutexGuard};

use super::{
    Epoch,
    blocks::{BLOCK, BadBlocks, Blocks},
    histograms::Lane,
    refusal::{Admission, Bounds, Refusal},
    tail::{Recent, Tail},
    view::View,
};
use crate::{
    model::{HistogramSample, Labels, Sample},
    store::erase::Doomed,
    time::Timestamp,
};

/// Samples in the tail from which on it goes into blocks.
const TAIL: usize = 16;

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
    blocks: Blocks,
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

impl Series {
    pub(super) fn new(id: u32, labels: Labels) -> Self {
        let open = Open {
            blocks: Blocks::default(),
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
        let newest = match (open.tail.newest(epoch), open.blocks.newest()) {
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
        self.blocks.len() + self.tail.len() + self.histograms.as_ref().map_or(0, |l| l.len())
    }

    /// Bytes that its histograms may take on disk.
    pub(super) fn histogram_bytes(&self) -> u64 {
        self.histograms.as_ref().map_or(0, |lane| lane.disk_bytes())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.len() == 0 && self.tail.is_empty() && self.histograms.is_none()
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
        let mut in_tail = self.tail.iter().map(|recent| recent.sample.timestamp);
        let in_tail = in_tail.find(|time| *time >= from);
        let in_lane = self.histograms.as_ref().and_then(|lane| lane.first_from(from));
        in_tail.into_iter().chain(self.blocks.first_from(from)).chain(in_lane).min()
    }

    /// The time of the newest sample, whoever sees it.
    pub(super) fn newest_time(&self) -> Option<Timestamp> {
        self.newest
    }

    /// After samples went.
    fn look_for_newest(&mut self) {
        // A lane that is left empty is no lane.
        self.histograms.take_if(|lane| lane.len() == 0);
        let in_lane = self.histograms.as_ref().and_then(|lane| lane.newest());
        self.newest = self.tail.last_time().max(self.blocks.newest_time()).max(in_lane);
    }

    fn value_at(&self, time: Timestamp) -> Option<f64> {
        self.tail.value_at(time).or_else(|| self.blocks.value_at(time))
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
        let newest = self.blocks.newest_time();
        let late = self.tail.first_time().filter(|first| Some(*first) < newest);
        match late {
            Some(first) => self.blocks.reopen_from(first, &mut settled),
            None => self.blocks.reopen_last(TAIL, &mut settled),
        }
        self.tail.take_seen(seen_by_all, TAIL, &mut settled);
        if late.is_some() {
            settled.sort_by_key(|sample| sample.timestamp);
        }
        self.blocks.append(&settled);
    }

    fn view(&self, epoch: Epoch, start: Timestamp, end: Timestamp) -> View {
        let blocks = self.blocks.between(start, end);
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
        self.blocks.cut(floor);
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
        let mut samples = self.blocks.take();
        samples.retain(&mut stays);
        self.blocks.append(&samples);
        let gone = self.histograms.as_mut().map(|lane| lane.retain(|time| !doomed.holds(time)));
        for time in gone.unwrap_or_default() {
            all += 1;
            unsealed += u64::from(time >= sealed);
        }
        self.look_for_newest();
        (all, unsealed)
    }

    /// Takes blocks of a checkpoint, which are whole and in order.
    pub(super) fn restore(&mut self, blocks: Vec<u8>) -> Result<(), BadBlocks> {
        self.blocks = Blocks::restored(blocks)?;
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
