//! The store without a daemon around it: the one file that calls it.

use std::{fs, hint::black_box, path::Path, sync::Arc};

use balefire::{
    model::{Batch, Labels, SeriesSample},
    store::{Options, Recovery, Store},
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

    /// Short partitions into long ones with their rollups; `None` while there is no such thing.
    #[expect(clippy::unused_self, reason = "will ask the store, once it can")]
    pub(crate) fn compact(&self) -> Option<Result<(), String>> {
        None
    }

    /// Bytes that the store says it wrote, by kind (log, sealing, compaction, catalog); null while it
    /// does not count them.
    pub(crate) fn written(&self) -> Value {
        let families = self.telemetry.gather();
        let written = families.iter().filter(|f| f.name() == "balefire_store_written_bytes_total");
        let counts = written.flat_map(|family| family.get_metric()).map(|metric| {
            let kind = metric.get_label().first().map_or("all", |label| label.value());
            (kind.to_owned(), json!(metric.get_counter().get_value()))
        });
        let counts: serde_json::Map<String, Value> = counts.collect();
        if counts.is_empty() { Value::Null } else { Value::Object(counts) }
    }

    pub(crate) fn sink(&self, labels: &Arc<[Labels]>) -> Result<Box<dyn Sink>, String> {
        let runtime = Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        let labels = Arc::clone(labels);
        Ok(Box::new(CoreSink { store: self.store.clone(), labels, runtime }))
    }
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

struct CoreSink {
    store: Store,
    labels: Arc<[Labels]>,
    runtime: Runtime,
}

impl Sink for CoreSink {
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String> {
        let batch = batch(&self.labels, at, points);
        let stored = self.runtime.block_on(self.store.append(batch));
        let stored = stored.map_err(|error| error.to_string())?;
        match stored.rejections.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} refused: {}", stored.rejected, first.reason)),
        }
    }
}

fn batch(labels: &[Labels], at: Timestamp, points: &[Point]) -> Batch {
    let sample =
        |point: &Point| SeriesSample::new(labels[point.series as usize].clone(), at, point.value);
    Batch { samples: points.iter().map(sample).collect(), metadata: Vec::new() }
}

/// Makes every batch and drops it: what the generator takes of the CPU time.
pub(crate) struct DrySink(pub(crate) Arc<[Labels]>);

impl Sink for DrySink {
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String> {
        black_box(batch(&self.0, at, points));
        Ok(())
    }
}
