//! Stored samples as text, streamed: memory grows with the size neither of an export nor of a metric.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::timeout};

use crate::{
    exposition::{ExportWriter, PIECE_BYTES, Points},
    limits,
    model::{METRIC_NAME, Matcher, Metadata, MetricKind},
    promql::SeriesData,
    store::Store,
};

use super::{
    ExportPiece, ExportRequest, ExportStream, Failure, Monitor, TimeRange,
    queries::{check_range, parse_selectors},
    slices::{Slices, Stopped},
};

/// Pieces that wait for a slow reader; then the export waits, too.
const PIECES_WAITING_MAX: usize = 4;
/// A reader that takes nothing for so long is given up.
const READER_TIMEOUT: Duration = Duration::from_secs(30);
/// A piece ends with a whole line, which may be a little more.
const PIECE_ROOM: usize = PIECE_BYTES + 16 * 1024;

impl Monitor {
    /// Samples as text.
    pub async fn export(&self, request: ExportRequest) -> Result<ExportStream, Failure> {
        let range = self.stored_range(request.range)?;
        let selectors = parse_selectors(&request.matchers)?;
        let asked = selectors.clone();
        let named =
            move |store: &Store| store.label_values(METRIC_NAME, &asked, range.start, range.end);
        let metrics = self.blocking(named).await??;

        let (pieces, stream) = mpsc::channel(PIECES_WAITING_MAX);
        let store = self.parts.store.clone();
        let out = Out { text: Vec::with_capacity(PIECE_ROOM), pieces, runtime: Handle::current() };
        let writer = ExportWriter::new(request.format);
        let place = self.queries.clone().acquire_owned().await;
        // Ends by itself when the reader is gone, or stands still.
        let _detached = spawn_blocking(move || {
            let _place = place;
            Export { store: &store, selectors, range, writer, out, told: BTreeSet::new() }
                .run(&metrics);
        });
        Ok(stream)
    }

    /// The part of a range in which there can be anything: the rest would be walked through.
    fn stored_range(&self, range: TimeRange) -> Result<TimeRange, Failure> {
        check_range(range)?;
        let oldest = self.parts.store.stats().oldest.unwrap_or(range.start);
        let end = range.end.min(self.now().plus(limits::SAMPLE_FUTURE_MAX)).max(range.start);
        Ok(TimeRange { start: range.start.max(oldest).min(end), end })
    }
}

struct Export<'a> {
    store: &'a Store,
    selectors: Vec<Vec<Matcher>>,
    range: TimeRange,
    writer: ExportWriter,
    out: Out,
    /// Histograms and summaries that were described with the first of their parts.
    told: BTreeSet<String>,
}

impl Export<'_> {
    fn run(mut self, metrics: &BTreeSet<String>) {
        self.writer.begin(&mut self.out.text);
        let mut slices = Slices::new(self.store, self.range);
        for metric in metrics {
            match self.metric(metric, &mut slices) {
                Ok(()) => {}
                Err(Stopped::Ended) => return,
                Err(Stopped::Failed(failure)) => {
                    let _gone = self.out.hand_over(Err(failure));
                    return;
                }
            }
        }
        let summary = self.writer.finish(&mut self.out.text);
        if self.out.send().is_ok() {
            let _gone = self.out.hand_over(Ok(ExportPiece::Summary(summary)));
        }
    }

    fn metric(&mut self, metric: &str, slices: &mut Slices<'_>) -> Result<(), Stopped> {
        let selectors = self.selectors_of(metric);
        let series = self.store.series(&selectors, self.range.start, self.range.end);
        let series = series.map_err(|error| Stopped::Failed(error.into()))?;
        let known = self.known(metric);
        self.writer.metric(metric, &known, &mut self.out.text);
        let (writer, out) = (&mut self.writer, &mut self.out);
        slices.metric(&series, &mut |data| push(writer, data, out))
    }

    /// What was asked for, of one metric.
    fn selectors_of(&self, metric: &str) -> Vec<Vec<Matcher>> {
        let named = Matcher::equal(METRIC_NAME, metric);
        if self.selectors.is_empty() {
            return vec![vec![named]];
        }
        let all = self
            .selectors
            .iter()
            .map(|matchers| matchers.iter().cloned().chain([named.clone()]).collect());
        all.collect()
    }

    /// What is known of a metric; of the histogram or summary that it is a part of, too, once.
    fn known(&mut self, metric: &str) -> Vec<Metadata> {
        let own = self.store.metadata(metric);
        let bases =
            ["_bucket", "_sum", "_count"].iter().filter_map(|part| metric.strip_suffix(part));
        let whole = bases
            .filter_map(|base| self.store.metadata(base))
            .find(|metadata| matches!(metadata.kind, MetricKind::Histogram | MetricKind::Summary));
        let whole = whole.filter(|whole| self.told.insert(whole.name.clone()));
        own.into_iter().chain(whole).collect()
    }
}

fn push(writer: &mut ExportWriter, data: &SeriesData, out: &mut Out) -> Result<(), Stopped> {
    let mut points = Points { samples: &data.samples, histograms: &data.histograms };
    while !points.is_empty() {
        writer.points(&data.labels, &mut points, &mut out.text);
        if out.text.len() >= PIECE_BYTES {
            out.send()?;
        }
    }
    Ok(())
}

/// Where the text goes.
struct Out {
    text: Vec<u8>,
    pieces: mpsc::Sender<Result<ExportPiece, Failure>>,
    runtime: Handle,
}

impl Out {
    fn send(&mut self) -> Result<(), Stopped> {
        let piece = std::mem::replace(&mut self.text, Vec::with_capacity(PIECE_ROOM));
        self.hand_over(Ok(ExportPiece::Text(Bytes::from(piece))))
    }

    /// Waits for the reader, but not for one that stands still: it holds up others.
    fn hand_over(&self, piece: Result<ExportPiece, Failure>) -> Result<(), Stopped> {
        let sent = self.runtime.block_on(timeout(READER_TIMEOUT, self.pieces.send(piece)));
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(Stopped::Ended) }
    }
}
