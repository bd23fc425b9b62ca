//! Writers: each sends its share of the series, step by step, and waits for each answer.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use balefire::time::Timestamp;

use crate::{
    measure::now,
    workload::{Data, Point, Values, Workload},
};

/// Writers go through so many steps apart from each other, at most …
const STRIDE: u32 = 8;
/// … and through no more seconds: the clock of the store stands still meanwhile, and it takes nothing
/// from more than ten minutes ahead.
const STRIDE_SECONDS: u32 = 480;

/// Where requests go.
pub(crate) trait Sink: Send {
    /// Sends one request; returns when it is acknowledged, or when another may follow.
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String>;

    /// Returns when everything is acknowledged.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// One writer: its values, where they go, and how long each request took, in microseconds.
struct Writer {
    values: Box<dyn Values>,
    sink: Box<dyn Sink>,
    latencies: Vec<u32>,
    samples: u64,
}

/// All writers of a workload, and the step they are at.
pub(crate) struct Fleet {
    data: Data,
    writers: Vec<Writer>,
    step: u32,
}

/// What a stretch of writing came to.
pub(crate) struct Outcome {
    pub(crate) samples: u64,
    pub(crate) seconds: f64,
    pub(crate) latencies: Vec<u32>,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.samples as f64 / self.seconds
    }
}

impl Fleet {
    pub(crate) fn new(
        data: &Data,
        workload: Workload,
        mut sink: impl FnMut() -> Result<Box<dyn Sink>, String>,
    ) -> Result<Self, String> {
        let writer =
            |values| Ok(Writer { values, sink: sink()?, latencies: Vec::new(), samples: 0 });
        let writers = workload.values.into_iter().map(writer).collect::<Result<_, String>>()?;
        Ok(Self { data: data.clone(), writers, step: 0 })
    }

    /// The time of the step that comes next.
    pub(crate) fn time(&self) -> Timestamp {
        self.data.time(self.step)
    }

    /// Seconds from one step to the next.
    pub(crate) fn interval(&self) -> u32 {
        self.data.interval
    }

    /// The values go on where they are, at a later time: as if nothing had been measured meanwhile.
    pub(crate) fn skip(&mut self, steps: u32) {
        self.data.start += i64::from(steps) * i64::from(self.data.interval) * 1000;
    }

    fn stride(&self) -> u32 {
        (STRIDE_SECONDS / self.data.interval.max(1)).clamp(1, STRIDE)
    }

    /// Writes so many steps; every few of them, all writers wait while `between` is told the
    /// time they are at. It may end the stretch by `false`.
    pub(crate) fn run(
        &mut self,
        steps: u32,
        mut between: impl FnMut(Timestamp) -> bool + Send,
    ) -> Result<Outcome, String> {
        let (first, end, data) = (self.step, self.step + steps, self.data.clone());
        let stride = self.stride();
        let barrier = Barrier::new(self.writers.len() + 1);
        let stop = AtomicBool::new(false);
        let began = now();
        let mut reached = first;
        let results: Vec<Result<(), String>> = thread::scope(|scope| {
            let run = |writer| {
                scope.spawn(|| write(writer, (first, end, stride), &data, (&barrier, &stop)))
            };
            let running: Vec<_> = self.writers.iter_mut().map(run).collect();
            for step in (first..end).step_by(stride as usize) {
                let goes_on = between(data.time(step)) && !stop.load(Ordering::SeqCst);
                stop.store(!goes_on, Ordering::SeqCst);
                barrier.wait();
                if !goes_on {
                    break;
                }
                reached = end.min(step + stride);
                barrier.wait();
            }
            running.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        let seconds = began.elapsed().as_secs_f64();
        self.step = reached;
        results.into_iter().collect::<Result<Vec<()>, String>>()?;
        Ok(self.outcome(seconds))
    }

    fn outcome(&mut self, seconds: f64) -> Outcome {
        let latencies = self.writers.iter_mut().flat_map(|writer| writer.latencies.drain(..));
        let latencies = latencies.collect();
        let samples = self.writers.iter_mut().map(|writer| std::mem::take(&mut writer.samples));
        Outcome { samples: samples.sum(), seconds, latencies }
    }
}

/// A failing writer goes on to meet the others at the barrier, and sends nothing more.
fn write(
    writer: &mut Writer,
    (first, end, stride): (u32, u32, u32),
    data: &Data,
    (barrier, stop): (&Barrier, &AtomicBool),
) -> Result<(), String> {
    let mut result = Ok(());
    for step in (first..end).step_by(stride as usize) {
        barrier.wait();
        if stop.load(Ordering::SeqCst) {
            break;
        }
        result = result.and_then(|()| {
            (step..end.min(step + stride)).try_for_each(|step| write_step(writer, step, data))
        });
        if result.is_err() {
            stop.store(true, Ordering::SeqCst);
        }
        barrier.wait();
    }
    result.and_then(|()| writer.sink.finish())
}

fn write_step(writer: &mut Writer, step: u32, data: &Data) -> Result<(), String> {
    let mut points = Vec::new();
    writer.values.next_step(&mut points);
    for points in points.chunks(data.batch.max(1)) {
        let began = now();
        writer.sink.send(data.time(step), points)?;
        writer.latencies.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        writer.samples += points.len() as u64;
    }
    Ok(())
}
