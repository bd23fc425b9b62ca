//! The measurements of the store itself, each in a process of its own.

use std::{
    path::Path, sync::Arc, sync::atomic::AtomicBool, sync::atomic::Ordering, thread, time::Duration,
};

use balefire::{
    model::{Batch, SeriesSample},
    time::Timestamp,
};
use clap::Args;

use crate::{
    core::{Core, DrySink, Way, rollup_bytes, sealed_bytes, sizes},
    drive::{Fleet, Sink},
    measure::{Report, cpu_seconds, forget_pages, forget_peak, timed, write_bytes},
    reads,
    workload::{Data, Workload, labels_of},
};

/// How often the daemon looks after its store.
const UPKEEP: Duration = Duration::from_mins(5);
/// From a sample's time until nothing keeps it in the open window: two hours of a partition, two in
/// which late samples may come, and what is left of a third.
const SEALED_AFTER: Duration = Duration::from_hours(6);

const DAY: Duration = Duration::from_hours(24);

/// Where the store is, and what goes into it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The folder of the store.
    #[arg(long)]
    pub(crate) dir: std::path::PathBuf,
    /// How samples name their series.
    #[arg(long, default_value = "handles")]
    pub(crate) by: Way,
    #[command(flatten)]
    pub(crate) data: Data,
}

fn begin(place: &Place) -> Result<(Core, Fleet), String> {
    let core = Core::open(&place.dir, place.data.time(0))?;
    let workload = Workload::new(&place.data)?;
    let labels = Arc::clone(&workload.labels);
    let fleet = Fleet::new(&place.data, workload, || core.sink(&labels, place.by))?;
    Ok((core, fleet))
}

/// What the generator alone takes.
pub(crate) fn dry(data: &Data) -> Result<Report, String> {
    let mut report = Report::default();
    let workload = Workload::new(data)?;
    let (steps, labels) = (workload.steps, Arc::clone(&workload.labels));
    let mut fleet =
        Fleet::new(data, workload, || Ok(Box::new(DrySink(Arc::clone(&labels))) as Box<dyn Sink>))?;
    let before = cpu_seconds();
    let outcome = fleet.run(steps, |_| true)?;
    report.put("samples", outcome.samples);
    report.put("cpu_seconds", cpu_seconds() - before);
    report.put_memory("memory");
    Ok(report)
}

/// W1: as fast as it goes, each request acknowledged; then on, while what was written is sealed.
pub(crate) fn ingest(place: &Place) -> Result<Report, String> {
    let mut report = Report::default();
    let (core, mut fleet) = begin(place)?;
    report.put_memory("memory_before");
    let (cpu, written) = (cpu_seconds(), write_bytes());
    let outcome = fleet.run(place.data.steps, |at| {
        core.clock.set(at);
        true
    })?;
    report.put("samples", outcome.samples);
    report.put("seconds", outcome.seconds);
    report.put("rate", outcome.rate());
    report.put("cpu_seconds", cpu_seconds() - cpu);
    report.put("write_bytes", write_bytes() - written);
    report.put_latencies("latency_us", outcome.latencies);
    report.put_memory("memory");
    report.put("sizes", sizes(&place.dir));
    report.put("written", core.written());
    seal_while_writing(&core, &mut fleet, &mut report)?;
    Ok(report)
}

/// Writers go on at a time at which everything so far is due for sealing.
fn seal_while_writing(core: &Core, fleet: &mut Fleet, report: &mut Report) -> Result<(), String> {
    let steps = SEALED_AFTER.as_secs() / u64::from(fleet.interval());
    fleet.skip(u32::try_from(steps).unwrap_or(u32::MAX));
    core.clock.set(fleet.time());
    forget_peak();
    let done = AtomicBool::new(false);
    let (sealed, outcome) = thread::scope(|scope| {
        let sealing = scope.spawn(|| {
            let sealed = timed(|| core.upkeep());
            done.store(true, Ordering::SeqCst);
            sealed
        });
        let outcome = fleet.run(240, |at| {
            core.clock.set(at);
            !done.load(Ordering::SeqCst)
        });
        (sealing.join().expect("sealing"), outcome)
    });
    let (seconds, sealed) = sealed;
    let outcome = outcome?;
    report.put("sealed_samples", sealed?);
    report.put("seal_seconds", seconds);
    report.put("rate_while_sealing", outcome.rate());
    report.put_latencies("latency_while_sealing_us", outcome.latencies);
    report.put_memory("memory_while_sealing");
    Ok(())
}

/// W2, or a corpus: sealed as it comes, then all of it, then compacted; sizes of each, and the reads.
pub(crate) fn day(place: &Place) -> Result<Report, String> {
    let mut report = Report::default();
    let (core, mut fleet, end) =
        fill_to(place, &mut report, Habit { every: UPKEEP, compact: false })?;
    core.clock.set(end.plus(SEALED_AFTER));
    core.upkeep()?;
    let samples = core.store.stats().samples;
    report.put("samples", samples);
    report.put("fresh_bytes", sealed_bytes(&place.dir));
    let range = (place.data.time(0), end);
    report.put("fresh", reads::figures(&core, range)?);
    // A day is compacted once it is over, also where the data ends before midnight.
    core.clock.set(end.aligned(DAY).plus(DAY).plus(SEALED_AFTER));
    core.compact()?;
    report.put("daily_bytes", sealed_bytes(&place.dir));
    report.put("rollup_bytes", rollup_bytes(&place.dir));
    report.put("daily", reads::figures(&core, range)?);
    report.put("sizes", sizes(&place.dir));
    report.put("written", core.written());
    if place.data.corpus.is_none() {
        // Later than the clock has been.
        fleet.skip(u32::try_from(2 * DAY.as_secs()).unwrap_or(u32::MAX) / place.data.interval);
        report.put("writers", reads::beside_writers(&core, &mut fleet, range)?);
    }
    report.put_memory("memory");
    Ok(report)
}

/// How a store is looked after while it is filled.
#[derive(Clone, Copy)]
struct Habit {
    every: Duration,
    compact: bool,
}

impl Habit {
    fn take(self, core: &Core) -> Result<(), String> {
        core.upkeep()?;
        if self.compact { core.compact() } else { Ok(()) }
    }
}

/// Writes all steps with upkeep on the way; tells the time after the last one.
fn fill_to(
    place: &Place,
    report: &mut Report,
    habit: Habit,
) -> Result<(Core, Fleet, Timestamp), String> {
    let core = Core::open(&place.dir, place.data.time(0))?;
    let workload = Workload::new(&place.data)?;
    let (labels, steps) = (Arc::clone(&workload.labels), workload.steps);
    let mut fleet = Fleet::new(&place.data, workload, || core.sink(&labels, place.by))?;
    let mut looked_after = place.data.time(0);
    let mut failed = None;
    let (cpu, written) = (cpu_seconds(), write_bytes());
    let outcome = fleet.run(steps, |at| {
        core.clock.set(at);
        if at.since(looked_after) >= habit.every {
            looked_after = at;
            failed = habit.take(&core).err();
        }
        failed.is_none()
    })?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    report.put("steps", steps);
    report.put("series", labels.len());
    report.put("fill_seconds", outcome.seconds);
    report.put("fill_cpu_seconds", cpu_seconds() - cpu);
    report.put("write_bytes", write_bytes() - written);
    report.put_memory("memory_after_fill");
    let end = fleet.time();
    Ok((core, fleet, end))
}

/// Fills a store, says so, and waits to be killed; or, with `close`, ends in order. `upkeep`: sealed
/// and looked after on the way, else all of it stays in the log.
pub(crate) fn fill(place: &Place, upkeep: bool, close: bool) -> Result<Report, String> {
    let mut report = Report::default();
    let (core, end) = if upkeep {
        let (core, _, end) = fill_to(place, &mut report, Habit { every: UPKEEP, compact: true })?;
        (core, end)
    } else {
        let (core, mut fleet) = begin(place)?;
        let outcome = fleet.run(place.data.steps, |at| {
            core.clock.set(at);
            true
        })?;
        report.put("samples", outcome.samples);
        (core, fleet.time())
    };
    if close {
        core.upkeep()?;
        core.store.close().map_err(|error| error.to_string())?;
    }
    report.put("end", end.as_millis());
    report.put("written", core.written());
    report.put("sizes", sizes(&place.dir));
    if close {
        return Ok(report);
    }
    report.print();
    loop {
        thread::park();
    }
}

/// How long a start takes, its pages in memory or not.
pub(crate) fn open(dir: &Path, at: i64, cold: bool) -> Result<Report, String> {
    if cold {
        forget_pages(dir);
    }
    let mut report = Report::default();
    let cpu = cpu_seconds();
    let (seconds, core) = timed(|| Core::open(dir, Timestamp::from_millis(at)));
    report.put("seconds", seconds);
    report.put("cpu_seconds", cpu_seconds() - cpu);
    let core = core?;
    report.put("replayed", core.recovery.samples_replayed);
    report.put("samples", core.store.stats().samples);
    report.put_memory("memory");
    Ok(report)
}

/// Very many series with two samples each; the generator keeps nothing of them.
pub(crate) fn many(place: &Place) -> Result<Report, String> {
    let mut report = Report::default();
    let core = Core::open(&place.dir, place.data.time(0))?;
    report.put_memory("memory_before");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    for step in 0..2 {
        let at = place.data.time(step);
        core.clock.set(at);
        let (seconds, result) = timed(|| {
            (0..place.data.series).step_by(place.data.batch).try_for_each(|first| {
                let end =
                    place.data.series.min(first + u32::try_from(place.data.batch).unwrap_or(1));
                let sample = |n| SeriesSample::new(labels_of(n), at, f64::from(n + step));
                let batch =
                    Batch { samples: (first..end).map(sample).collect(), ..Batch::default() };
                let stored = runtime.block_on(core.store.append(batch));
                let stored = stored.map_err(|error| error.to_string())?;
                if stored.rejected > 0 { Err(format!("{stored:?}")) } else { Ok(()) }
            })
        });
        result?;
        report.put(if step == 0 { "create_seconds" } else { "write_seconds" }, seconds);
    }
    report.put_memory("memory");
    let range = (place.data.time(0), place.data.time(1));
    report.put("reads", reads::figures(&core, range)?);
    report.put_memory("memory_after_reads");
    report.put("sizes", sizes(&place.dir));
    Ok(report)
}

/// Fills two years, with all that is due on the way once a day; the raw samples of most of them are
/// gone at the end. A process that has read nothing yet then runs [`cold`].
pub(crate) fn years(place: &Place) -> Result<Report, String> {
    let mut report = Report::default();
    let habit = Habit { every: DAY, compact: true };
    let (core, _, end) = fill_to(place, &mut report, habit)?;
    core.clock.set(end.plus(SEALED_AFTER));
    habit.take(&core)?;
    core.clean_up()?;
    core.store.close().map_err(|error| error.to_string())?;
    report.put("end", end.as_millis());
    report.put("sizes", sizes(&place.dir));
    Ok(report)
}

/// The first query of two years, and the ones after it, in milliseconds.
pub(crate) fn cold(place: &Place, end: i64) -> Result<Report, String> {
    let mut report = Report::default();
    let end = Timestamp::from_millis(end);
    forget_pages(&place.dir);
    let core = Core::open(&place.dir, end)?;
    let range = (end.minus(Duration::from_hours(730 * 24)), end);
    let (first, series) = timed(|| reads::long(&core, range));
    report.put("cold_ms", first * 1e3);
    report.put("series", series?);
    report.put("warm_ms", crate::measure::median(9, || reads::long(&core, range)) * 1e3);
    report.put_memory("memory");
    Ok(report)
}
