//! Samples of the log on their way into the head.
//!
//! The log has them as they came: one of each series, and then again. A series takes a block's worth
//! at a time for a fraction of what one by one costs. So the thread that reads the log gathers them by
//! series, and hands runs to others, which put them into their series: those of one series always to
//! the same, in the order of the log. What is gathered and what is under way is bounded, however long
//! the log is and however many series it names.

use std::{
    io,
    panic::resume_unwind,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, Scope, ScopedJoinHandle},
};

use crate::{
    model::Sample,
    store::{
        StoreError,
        head::{Bounds, Epoch, Series},
    },
    time::Timestamp,
};

/// Samples of all series that are gathered at most: 100 MiB, of which those are touched that are used.
const GATHERED_MAX: usize = 6_553_600;
/// Samples of one series that are gathered at most: a block.
const RUN_MAX: usize = 64;
/// … and where there are very many series.
const RUN_MIN: usize = 4;
/// Samples that are handed over at a time.
const PARCEL: usize = 8192;
/// Parcels that wait for one thread.
const PARCELS_MAX: usize = 4;
/// Threads that put samples into series.
const WORKERS: usize = 2;
/// Late samples that wait in the tails of their series, for each of those threads.
const LATE_MAX: usize = 500_000;

/// How the samples of the log go into the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) epoch: Epoch,
    pub(super) bounds: Bounds,
}

/// Runs of some series, one behind the other.
#[derive(Debug, Default)]
struct Parcel {
    runs: Vec<(Arc<Series>, usize)>,
    samples: Vec<Sample>,
}

/// Where the samples of one series gather.
#[derive(Clone, Debug, Default)]
struct Place {
    series: Option<Arc<Series>>,
    /// Where in all samples it begins; `None` where it has no room.
    start: Option<u32>,
    len: u32,
}

/// Samples by series, and where they go.
#[derive(Debug)]
pub(super) struct Runs {
    /// Room for runs, each as long as the others.
    samples: Vec<Sample>,
    room: usize,
    run_max: usize,
    /// By the numbers of the series in the head.
    places: Vec<Place>,
    lines: Vec<Line>,
}

/// The way to one thread.
#[derive(Debug)]
struct Line {
    parcel: Parcel,
    sender: SyncSender<Parcel>,
    /// Empty parcels that come back.
    back: Receiver<Parcel>,
}

impl Line {
    /// Hands over what there is. A thread that has gone has panicked, which whoever joins it finds.
    fn hand_over(&mut self) {
        let next = self.back.try_recv().unwrap_or_default();
        let _ = self.sender.send(std::mem::replace(&mut self.parcel, next));
    }
}

/// Runs `read`, which pushes the samples of the log in `dir`; returns when they are in the head, and
/// how many were taken.
pub(super) fn put_in(
    terms: Terms,
    dir: &Path,
    read: impl FnOnce(&mut Runs) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    gather(GATHERED_MAX, terms, dir, read)
}

fn gather(
    room: usize,
    terms: Terms,
    dir: &Path,
    read: impl FnOnce(&mut Runs) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    thread::scope(|scope| {
        let begun: io::Result<Vec<_>> = (0..WORKERS).map(|_| begin(scope, terms)).collect();
        let begun = begun.map_err(StoreError::io("start the threads that replay", dir))?;
        let (lines, workers): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
        let mut runs = Runs::new(room, lines);
        let outcome = read(&mut runs);
        runs.finish();
        let join = |worker: ScopedJoinHandle<'_, u64>| {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        let taken = workers.into_iter().map(join).sum();
        outcome.map(|()| taken)
    })
}

fn begin<'s>(
    scope: &'s Scope<'s, '_>,
    terms: Terms,
) -> io::Result<(Line, ScopedJoinHandle<'s, u64>)> {
    let (sender, parcels) = sync_channel(PARCELS_MAX);
    let (give_back, back) = sync_channel(PARCELS_MAX + 1);
    let worker = thread::Builder::new().name("store-replay".to_owned());
    let worker =
        worker.spawn_scoped(scope, move || Worker::new(terms).run(&parcels, &give_back))?;
    Ok((Line { parcel: Parcel::default(), sender, back }, worker))
}

impl Runs {
    fn new(room: usize, lines: Vec<Line>) -> Self {
        // All at once: growing would leave holes behind. It is address space until it is used.
        let samples = Vec::with_capacity(room);
        Self { samples, room, run_max: RUN_MAX, places: Vec::new(), lines }
    }

    /// Makes a series known; gives the number to push its samples by.
    pub(super) fn know(&mut self, series: Arc<Series>) -> u32 {
        let number = series.id();
        let at = number as usize;
        if at >= self.places.len() {
            self.places.resize(at + 1, Place::default());
        }
        self.places[at].series = Some(series);
        number
    }

    /// The series that has this number.
    pub(super) fn series(&self, number: u32) -> Option<&Arc<Series>> {
        self.places.get(number as usize)?.series.as_ref()
    }

    /// Takes a sample of the series that has this number.
    pub(super) fn push(&mut self, number: u32, sample: Sample) {
        let at = number as usize;
        let start = match self.places[at].start {
            Some(start) => start,
            None => self.make_room(at),
        };
        let place = &mut self.places[at];
        self.samples[(start + place.len) as usize] = sample;
        place.len += 1;
        if place.len as usize == self.run_max {
            self.hand_over(at);
        }
    }

    #[cold]
    fn make_room(&mut self, at: usize) -> u32 {
        if self.samples.len() + self.run_max > self.room {
            self.begin_anew();
        }
        let start = self.samples.len();
        let nothing = Sample { timestamp: Timestamp::default(), value: 0.0 };
        self.samples.resize(start + self.run_max, nothing);
        let start = u32::try_from(start).expect("the room has fewer places than that");
        self.places[at].start = Some(start);
        start
    }

    /// There are more series than runs have room: from now on they are shorter.
    fn begin_anew(&mut self) {
        self.hand_over_all();
        self.samples.clear();
        for place in &mut self.places {
            place.start = None;
        }
        self.run_max = (self.run_max / 2).max(RUN_MIN);
    }

    fn hand_over_all(&mut self) {
        for at in 0..self.places.len() {
            self.hand_over(at);
        }
    }

    /// Hands over what there is of one series.
    fn hand_over(&mut self, at: usize) {
        let place = &mut self.places[at];
        let (Some(series), Some(start), len @ 1..) = (&place.series, place.start, place.len) else {
            return;
        };
        let (start, len) = (start as usize, len as usize);
        place.len = 0;
        let lines = self.lines.len();
        let line = &mut self.lines[at % lines];
        line.parcel.runs.push((Arc::clone(series), len));
        line.parcel.samples.extend(&self.samples[start..start + len]);
        if line.parcel.samples.len() >= PARCEL {
            line.hand_over();
        }
    }

    /// Hands over everything; the threads end when they have it in place.
    fn finish(mut self) {
        self.hand_over_all();
        self.lines.iter_mut().for_each(Line::hand_over);
    }
}

/// What puts runs into their series.
struct Worker {
    terms: Terms,
    /// Series whose late samples wait, and about how many those are.
    unsettled: Vec<Arc<Series>>,
    late: usize,
    taken: u64,
}

impl Worker {
    fn new(terms: Terms) -> Self {
        Self { terms, unsettled: Vec::new(), late: 0, taken: 0 }
    }

    /// Works until there are no more parcels; tells how many samples were taken.
    fn run(mut self, parcels: &Receiver<Parcel>, give_back: &SyncSender<Parcel>) -> u64 {
        for mut parcel in parcels {
            let mut samples = &parcel.samples[..];
            for (series, len) in parcel.runs.drain(..) {
                let (run, rest) = samples.split_at(len);
                samples = rest;
                self.take(series, run);
            }
            parcel.samples.clear();
            // Nobody may want it any more.
            let _ = give_back.try_send(parcel);
        }
        self.settle();
        self.taken
    }

    fn take(&mut self, series: Arc<Series>, run: &[Sample]) {
        let mut open = series.lock();
        self.taken += open.append_run(run, self.terms.epoch, &self.terms.bounds) as u64;
        if !open.is_unsettled() {
            return;
        }
        drop(open);
        self.unsettled.push(series);
        self.late += run.len();
        if self.late > LATE_MAX {
            self.settle();
        }
    }

    fn settle(&mut self) {
        for series in self.unsettled.drain(..) {
            series.lock().settle_unread();
        }
        self.late = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::{model::Labels, store::head::Head};

    const ALL: (Timestamp, Timestamp) =
        (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    const FLOOR: i64 = 100;

    fn terms() -> Terms {
        let floor = Timestamp::from_millis(FLOOR);
        let bounds = Bounds { oldest: ALL.0, floor, latest: ALL.1, window: Duration::MAX };
        Terms { epoch: 1, bounds }
    }

    /// Stretches of a log: series, time of the first sample, how many follow, and how far apart.
    fn stretches() -> impl Strategy<Value = Vec<(usize, i64, i64, i64)>> {
        let step = prop::sample::select(vec![1_i64, 1, 1, 7, -1, -3]);
        prop::collection::vec((0_usize..40, 0_i64..5000, 1_i64..300, step), 1..60)
    }

    fn read(series: &Series) -> Vec<(i64, u64)> {
        let mut samples = Vec::new();
        series.view(Epoch::MAX, ALL.0, ALL.1).read(ALL.0, ALL.1, &mut samples);
        samples.iter().map(|s| (s.timestamp.as_millis(), s.value.to_bits())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_first_sample_of_each_time_is_taken_whatever_the_room(
            stretches in stretches(),
            room in prop::sample::select(vec![RUN_MAX, 200, 1000, GATHERED_MAX]),
        ) {
            let head = Head::new(100);
            let labels = |n: usize| Labels::of("m", [("n", &n.to_string())]);
            let series: Vec<_> = (0..40).map(|n| head.find_or_restore(&labels(n))).collect();
            let mut expected = vec![BTreeMap::new(); 40];
            let taken = gather(room, terms(), Path::new("log"), |runs| {
                for (value, (at, first, count, step)) in (0_u32..).zip(&stretches) {
                    let number = runs.know(Arc::clone(&series[*at]));
                    for n in 0..*count {
                        let (time, value) = (first + n * step, f64::from(value));
                        let timestamp = Timestamp::from_millis(time);
                        runs.push(number, Sample { timestamp, value });
                        if time >= FLOOR {
                            expected[*at].entry(time).or_insert(value.to_bits());
                        }
                    }
                }
                Ok(())
            });
            let all: usize = expected.iter().map(BTreeMap::len).sum();
            prop_assert_eq!(taken.unwrap(), all as u64);
            for (series, expected) in series.iter().zip(expected) {
                prop_assert_eq!(read(series), expected.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_error_on_the_way_ends_the_threads_and_is_told() {
        let error = put_in(terms(), Path::new("log"), |_| Err(StoreError::Closed)).unwrap_err();
        assert!(matches!(error, StoreError::Closed), "{error}");
    }
}
