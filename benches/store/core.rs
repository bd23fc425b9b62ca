//! The store without a daemon around it: the one file that calls it.

use std::{fs, hint::black_box, path::Path, sync::Arc};

use balefire::{
    model::{Batch, Labels, Sample, SeriesSample},
    store::{AppendSummary, Options, Recovery, SeriesHandle, Store},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{drive::Sink, measure::disk_bytes, workload::Point};

/// A store, the clock that it goes by, and its metrics.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) recovery: Recovery,
    telemetry: Telemetry,
}

impl Core {
    /// Opens or creates the store in `dir` at a time that stands still.
    pub(crate) fn open(dir: &Path, at: Timestamp) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let (clock, telemetry) = (Clock::manual(at), Telemetry::new());
        let opened = Store::open(dir, Options::default(), clock.clone(), &telemetry);
        let (store, recovery) = opened.map_err(|error| error.to_string())?;
        Ok(Self { store, clock, recovery, telemetry })
    }

    /// What the daemon does every five minutes; tells how many samples were sealed.
    pub(crate) fn upkeep(&self) -> Result<u64, String> {
        self.store.seal().map_err(|error| error.to_string())
    }

    /// Short partitions into long ones with their rollups, all that is due.
    pub(crate) fn compact(&self) -> Result<(), String> {
        self.store.compact().map(drop).map_err(|error| error.to_string())
    }

    /// Bytes that the store says it wrote, by kind (log, sealing, compaction, catalog); null while it
    /// does not count them.
    pub(crate) fn written(&self) -> Value {
        let families = self.telemetry.gather();
        let written = families.iter().filter(|f| f.name() == "balefire_store_written_bytes_total");
        let counts = written.flat_map(prometheus::proto::MetricFamily::get_metric).map(|metric| {
            let kind = metric.get_label().first().map_or("all", |label| label.value());
            (kind.to_owned(), json!(metric.get_counter().get_value()))
        });
        let counts: serde_json::Map<String, Value> = counts.collect();
        if counts.is_empty() { Value::Null } else { Value::Object(counts) }
    }

    /// Removes what is older than its retention.
    pub(crate) fn clean_up(&self) -> Result<(), String> {
        self.store.clean_up().map(drop).map_err(|error| error.to_string())
    }

    /// A writer of its own, by labels or by handles.
    pub(crate) fn sink(&self, labels: &Arc<[Labels]>, way: Way) -> Result<Box<dyn Sink>, String> {
        let runtime = Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        let store = self.store.clone();
        Ok(match way {
            Way::Labels => Box::new(LabelsSink { store, labels: Arc::clone(labels), runtime }),
            Way::Handles => {
                let handles = labels.iter().cloned().map(SeriesHandle::new).collect();
                Box::new(HandlesSink { store, handles, runtime })
            }
        })
    }
}

/// How samples name their series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// By all labels, each time, as `Write` and collectors do.
    Labels,
    /// By what was found before, as `WriteStream` does.
    Handles,
}

/// Bytes on disk by the folders of the store, blocks and not lengths.
pub(crate) fn sizes(dir: &Path) -> Value {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| {
        (entry.file_name().to_string_lossy().into_owned(), json!(disk_bytes(&entry.path())))
    });
    Value::Object(sizes.collect())
}

/// Bytes on disk of what is sealed, wherever this version keeps it.
pub(crate) fn sealed_bytes(dir: &Path) -> u64 {
    ["tiers/raw", "partitions"].iter().map(|folder| disk_bytes(&dir.join(folder))).sum()
}

/// Bytes on disk of rollups, where there are any.
pub(crate) fn rollup_bytes(dir: &Path) -> u64 {
    ["tiers/5m", "tiers/1h"].iter().map(|folder| disk_bytes(&dir.join(folder))).sum()
}

struct LabelsSink {
    store: Store,
    labels: Arc<[Labels]>,
    runtime: Runtime,
}

impl Sink for LabelsSink {
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String> {
        let batch = batch(&self.labels, at, points);
        let stored = self.runtime.block_on(self.store.append(batch));
        taken(&stored.map_err(|error| error.to_string())?)
    }
}

struct HandlesSink {
    store: Store,
    handles: Vec<SeriesHandle>,
    runtime: Runtime,
}

impl Sink for HandlesSink {
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String> {
        let sample = |point: &Point| {
            let handle = self.handles[point.series as usize].clone();
            (handle, Sample { timestamp: at, value: point.value })
        };
        let samples = points.iter().map(sample).collect();
        let stored = self.runtime.block_on(self.store.append_to(samples));
        taken(&stored.map_err(|error| error.to_string())?)?;
        self.find(points);
        Ok(())
    }
}

impl HandlesSink {
    /// Looks for the series that were new, now that they are there.
    fn find(&mut self, points: &[Point]) {
        for point in points {
            let handle = &mut self.handles[point.series as usize];
            if !handle.is_found() {
                self.store.find(&mut [handle]);
            }
        }
    }
}

fn taken(stored: &AppendSummary) -> Result<(), String> {
    match stored.rejections.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} refused: {}", stored.rejected, first.reason)),
    }
}

fn batch(labels: &[Labels], at: Timestamp, points: &[Point]) -> Batch {
    let sample =
        |point: &Point| SeriesSample::new(labels[point.series as usize].clone(), at, point.value);
    Batch { samples: points.iter().map(sample).collect(), ..Batch::default() }
}

/// Makes every batch and drops it: what the generator takes of the CPU time.
pub(crate) struct DrySink(pub(crate) Arc<[Labels]>);

impl Sink for DrySink {
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String> {
        black_box(batch(&self.0, at, points));
        Ok(())
    }
}
