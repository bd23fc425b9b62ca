//! Text as stored samples, streamed: the inverse of an export.
//!
//! What is taken is durable before it is told of. An import that breaks off may be begun anew: what
//! is stored already is counted as such and changes nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::{
    error_code::ErrorCode,
    exposition::{ImportFormat, ImportPiece, ImportReader, InvalidLine},
    limits,
    model::{AuditOutcome, Batch, HistogramSample, Labels, Sample},
    promql::{Queryable, Selection, SeriesData},
    store::{AppendSummary, Rejection, Store},
    time::Timestamp,
};

use super::{Caller, Failure, ImportProblem, ImportProgress, Monitor, slices::exact};

/// Samples that are stored at once; beside them stand the native histograms of a line or two.
const SAMPLES_AT_ONCE: usize = limits::BATCH_SAMPLES_MAX / 2;
/// Problems that are told one by one.
const PROBLEMS_MAX: usize = 100;

/// An import under way.
#[derive(Debug)]
pub struct Import {
    store: Store,
    /// Taken out while it reads on another thread.
    reader: Option<ImportReader>,
    progress: ImportProgress,
    told: usize,
}

impl Monitor {
    /// An import of a text in this format by `caller`, fed piece by piece. What has no timestamp is from
    /// now.
    pub async fn import(&self, caller: &Caller, format: ImportFormat) -> Result<Import, Failure> {
        let what = ("import", format_name(format));
        let audit = self.audit_outcome(caller, AuditOutcome::Begun, what, String::new());
        self.parts.store.commit(vec![audit]).await?;
        Ok(Import {
            store: self.parts.store.clone(),
            reader: Some(ImportReader::new(format, self.now())),
            progress: ImportProgress::default(),
            told: 0,
        })
    }

    /// Writes down what an import came to that is at its end.
    pub async fn note_import(
        &self,
        caller: &Caller,
        format: ImportFormat,
        progress: &ImportProgress,
    ) -> Result<(), Failure> {
        let ImportProgress { accepted, duplicates, rejected, .. } = progress;
        let after = format!("{accepted} samples, {duplicates} known already, {rejected} refused");
        let what = ("import", format_name(format));
        let audit = self.audit_outcome(caller, AuditOutcome::Applied, what, after);
        Ok(self.parts.store.commit(vec![audit]).await?)
    }
}

fn format_name(format: ImportFormat) -> &'static str {
    match format {
        ImportFormat::Json => "json",
        ImportFormat::Csv => "csv",
        ImportFormat::Prometheus => "prometheus",
        ImportFormat::Text => "text",
        ImportFormat::Influx => "influx",
    }
}

/// What a thread read.
struct Parsed {
    reader: ImportReader,
    rest: Bytes,
    piece: Option<ImportPiece>,
}

impl Import {
    /// The next piece of the text, cut anywhere. Its samples are stored when they are many, and tell
    /// how far it has come.
    pub async fn feed(&mut self, text: Bytes) -> Result<ImportProgress, Failure> {
        self.progress.bytes += text.len() as u64;
        let reader = self.take_reader()?;
        let mut parsed = parse(reader, text).await?;
        while let Some(piece) = parsed.piece {
            let (stored, next) = tokio::join!(self.store(piece), parse(parsed.reader, parsed.rest));
            stored?;
            parsed = next?;
        }
        self.reader = Some(parsed.reader);
        Ok(self.report())
    }

    /// The text is at its end, and all of it is stored.
    pub async fn finish(&mut self) -> Result<ImportProgress, Failure> {
        let mut reader = self.take_reader()?;
        let piece = reader.finish();
        self.reader = Some(reader);
        self.store(piece).await?;
        Ok(self.report())
    }

    fn take_reader(&mut self) -> Result<ImportReader, Failure> {
        let gone = || Failure::new(ErrorCode::Internal, "an import that failed was fed again");
        self.reader.take().ok_or_else(gone)
    }

    /// What has happened, and what was wrong since the last time.
    fn report(&mut self) -> ImportProgress {
        if let Some(reader) = &mut self.reader {
            let counts = reader.counts();
            self.progress.lines = counts.lines;
            self.progress.invalid_lines = counts.invalid;
            self.progress.text_fields = counts.texts;
            let invalid = reader.take_invalid();
            for line in invalid {
                self.tell(invalid_line(line));
            }
        }
        let problems = std::mem::take(&mut self.progress.problems);
        ImportProgress { problems, ..self.progress.clone() }
    }

    fn tell(&mut self, problem: ImportProblem) {
        if self.told < PROBLEMS_MAX {
            self.told += 1;
            self.progress.problems.push(problem);
        }
    }

    async fn store(&mut self, piece: ImportPiece) -> Result<(), Failure> {
        let lines = (piece.first_line, piece.last_line);
        for batch in parts(piece.batch) {
            let mut summary = self.store.append(batch.clone()).await?;
            if summary.rejected > 0 {
                let store = self.store.clone();
                summary = on_a_thread(move || without_known(&store, &batch, summary)).await?;
            }
            self.count(summary, lines);
        }
        Ok(())
    }

    fn count(&mut self, summary: AppendSummary, lines: (u64, u64)) {
        self.progress.accepted += summary.accepted;
        self.progress.duplicates += summary.duplicates;
        self.progress.rejected += summary.rejected;
        self.progress.metadata_dropped += summary.metadata_dropped;
        for Rejection { labels, samples, reason } in summary.rejections {
            self.tell(ImportProblem {
                first_line: lines.0,
                last_line: lines.1,
                column: 0,
                series: labels,
                samples,
                reason,
            });
        }
    }
}

async fn parse(mut reader: ImportReader, text: Bytes) -> Result<Parsed, Failure> {
    on_a_thread(move || {
        let mut rest: &[u8] = &text;
        let piece = reader.read(&mut rest);
        let rest = text.slice(text.len() - rest.len()..);
        Parsed { reader, rest, piece }
    })
    .await
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(ErrorCode::Internal, format!("an import panicked: {error}")))
}

fn invalid_line(InvalidLine { line, column, reason }: InvalidLine) -> ImportProblem {
    let (first_line, last_line, column) = (line, line, column as u64);
    ImportProblem { first_line, last_line, column, series: Labels::empty(), samples: 0, reason }
}

/// Batches that the store takes: one line may hold more than that.
fn parts(mut batch: Batch) -> Vec<Batch> {
    let mut parts = Vec::new();
    while batch.samples.len() > SAMPLES_AT_ONCE {
        let samples = batch.samples.split_off(batch.samples.len() - SAMPLES_AT_ONCE);
        parts.push(Batch { samples, ..Batch::default() });
    }
    parts.push(batch);
    // What was split off came last, and a series takes its samples in order.
    parts.reverse();
    parts
}

/// What was sealed is refused without a look: here is one. What is stored exactly so counts as a
/// duplicate, so that the same text may be imported twice.
fn without_known(store: &Store, batch: &Batch, summary: AppendSummary) -> AppendSummary {
    let mut missing: BTreeMap<&Labels, u64> = BTreeMap::new();
    for (labels, points) in by_series(batch) {
        let absent = points.missing_in(&stored(store, labels, &points));
        if absent > 0 {
            missing.insert(labels, absent);
        }
    }
    let rejected = missing.values().sum::<u64>().min(summary.rejected);
    let rejections = summary.rejections.into_iter().filter_map(|rejection| {
        let samples = *missing.get(&rejection.labels)?;
        Some(Rejection { samples, ..rejection })
    });
    AppendSummary {
        duplicates: summary.duplicates + summary.rejected - rejected,
        rejected,
        rejections: rejections.collect(),
        ..summary
    }
}

/// Points of one series.
#[derive(Default)]
struct SeriesPoints<'a> {
    samples: Vec<Sample>,
    histograms: Vec<&'a HistogramSample>,
}

impl SeriesPoints<'_> {
    fn times(&self) -> impl Iterator<Item = Timestamp> {
        let histograms = self.histograms.iter().map(|one| one.timestamp);
        self.samples.iter().map(|one| one.timestamp).chain(histograms)
    }

    /// How many of them `stored` does not have, exactly so.
    fn missing_in(&self, stored: &SeriesData) -> u64 {
        let has = |sample: &Sample| {
            let found = stored.samples.binary_search_by_key(&sample.timestamp, |s| s.timestamp);
            found.is_ok_and(|at| stored.samples[at].value.to_bits() == sample.value.to_bits())
        };
        let has_histogram = |one: &HistogramSample| {
            let found = stored.histograms.binary_search_by_key(&one.timestamp, |h| h.timestamp);
            found.is_ok_and(|at| stored.histograms[at] == *one)
        };
        let samples = self.samples.iter().filter(|sample| !has(sample)).count();
        let histograms = self.histograms.iter().filter(|one| !has_histogram(one)).count();
        (samples + histograms) as u64
    }
}

fn by_series(batch: &Batch) -> BTreeMap<&Labels, SeriesPoints<'_>> {
    let mut series: BTreeMap<&Labels, SeriesPoints<'_>> = BTreeMap::new();
    for one in &batch.samples {
        series.entry(&one.labels).or_default().samples.push(one.sample);
    }
    for one in &batch.histograms {
        series.entry(&one.labels).or_default().histograms.push(&one.sample);
    }
    series
}

/// What is stored of a series where these points lie; nothing where it cannot be read.
fn stored(store: &Store, labels: &Labels, points: &SeriesPoints<'_>) -> SeriesData {
    let nothing =
        || SeriesData { labels: labels.clone(), samples: Vec::new(), histograms: Vec::new() };
    let (Some(start), Some(end)) = (points.times().min(), points.times().max()) else {
        return nothing();
    };
    let selection = Selection::raw(exact(labels, &std::collections::BTreeSet::new()), start, end);
    let selected = store.snapshot().select(&selection).unwrap_or_default();
    selected.series.into_iter().find(|data| data.labels == *labels).unwrap_or_else(nothing)
}

#[cfg(test)]
mod tests;
