//! Stored samples as text, streamed: memory does not grow with the size of an export.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::timeout};

use crate::{
    error_code::ErrorCode,
    exposition::{ExportWriter, by_metric},
    model::{Labels, METRIC_NAME, Matcher},
    promql::{Queryable, Selection},
    store::Store,
};

use super::{
    ExportFormat, ExportRequest, ExportStream, Failure, Monitor, TimeRange,
    queries::{check_range, parse_selectors},
};

/// A piece of text is sent when it has grown to this.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for a slow reader; then the export waits, too.
const PIECES_WAITING_MAX: usize = 4;
/// A reader that takes nothing for so long is given up.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

impl ExportFormat {
    fn writer(self) -> ExportWriter {
        match self {
            Self::Json => ExportWriter::Json,
            Self::Csv => ExportWriter::Csv,
            Self::Prometheus => ExportWriter::prometheus(),
            Self::Influx => ExportWriter::influx(),
        }
    }
}

impl Monitor {
    /// Samples as text.
    pub async fn export(&self, request: ExportRequest) -> Result<ExportStream, Failure> {
        check_range(request.range)?;
        let selectors = parse_selectors(&request.matchers)?;
        let range = request.range;
        let found = self.blocking(move |store| store.series(&selectors, range.start, range.end));
        let series = found.await??;

        let (pieces, stream) = mpsc::channel(PIECES_WAITING_MAX);
        let store = self.parts.store.clone();
        let mut export = Export {
            writer: request.format.writer(),
            range,
            text: String::new(),
            pieces,
            runtime: Handle::current(),
        };
        let place = self.queries.clone().acquire_owned().await;
        // Ends by itself when the reader is gone, or stands still.
        let _detached = spawn_blocking(move || {
            let _place = place;
            export.run(&store, series);
        });
        Ok(stream)
    }
}

struct Export {
    writer: ExportWriter,
    range: TimeRange,
    text: String,
    pieces: mpsc::Sender<Result<Bytes, Failure>>,
    runtime: Handle,
}

/// The reader went away, stood still, or was told of a failure.
struct Ended;

impl Export {
    fn run(&mut self, store: &Store, mut series: Vec<Labels>) {
        self.writer.begin(&mut self.text);
        series.sort_by(by_metric);
        let metrics: BTreeSet<&str> = series.iter().map(Labels::metric).collect();
        let wanted: HashSet<&Labels> = series.iter().collect();
        for metric in metrics {
            if self.metric(store, metric, &wanted).is_err() {
                return;
            }
        }
        self.writer.finish(&mut self.text);
        let _gone = self.send();
    }

    /// One metric at a time: that is what has to fit into memory.
    fn metric(
        &mut self,
        store: &Store,
        metric: &str,
        wanted: &HashSet<&Labels>,
    ) -> Result<(), Ended> {
        let matchers = vec![Matcher::equal(METRIC_NAME, metric)];
        let selection = Selection::raw(matchers, self.range.start, self.range.end);
        let selected = store.snapshot().select(&selection).map_err(|error| {
            let _gone = self.hand_over(Err(Failure::new(ErrorCode::Internal, error.to_string())));
            Ended
        })?;
        let metadata = store.metadata(metric);
        for data in selected.series.iter().filter(|data| wanted.contains(&data.labels)) {
            self.writer.series(&data.labels, &data.samples, metadata.as_ref(), &mut self.text);
            if self.text.len() >= PIECE_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Ended> {
        let piece = Bytes::from(std::mem::take(&mut self.text));
        self.hand_over(Ok(piece))
    }

    /// Waits for the reader, but not for one that stands still: it holds up others.
    fn hand_over(&self, piece: Result<Bytes, Failure>) -> Result<(), Ended> {
        let sent = self.runtime.block_on(timeout(READER_TIMEOUT, self.pieces.send(piece)));
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(Ended) }
    }
}
