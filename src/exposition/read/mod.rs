//! Text as samples, line by line: what `balefire import` takes. The inverse of
//! [`ExportWriter`](super::ExportWriter), and a reader of what others write in these formats.
//!
//! A text may be larger than the memory: it is fed in pieces, cut anywhere, and comes out in batches.
//! A line that is wrong is told of and passed over.

mod csv;
mod describe;
mod influx;
mod json;
mod text;

use std::mem;

use crate::{model::Batch, time::Timestamp};

pub(super) use text::TextLines;

/// The longest line, in bytes: one series with all its labels escaped fits.
const LINE_BYTES_MAX: usize = 4 << 20;
/// A batch is given out when it holds so many samples; one line more may be in it.
const BATCH_SAMPLES: usize = 20_000;
/// Lines that are told of one by one.
const INVALID_LINES_MAX: usize = 100;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// As [`ExportFormat::Json`](super::ExportFormat::Json).
    Json,
    /// As [`ExportFormat::Csv`](super::ExportFormat::Csv); without the last column, too.
    Csv,
    /// OpenMetrics: timestamps in seconds, and `# EOF` at the end.
    Prometheus,
    /// Prometheus' text format 0.0.4: timestamps in milliseconds.
    Text,
    /// InfluxDB line protocol, from any program: a field `value` is a sample of the metric that the
    /// measurement names, any other one of `measurement_field`.
    Influx,
}

/// A line that is not in the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct InvalidLine {
    /// From 1.
    pub line: u64,
    /// The character that it is wrong from, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// What some lines held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportPiece {
    /// Samples, native histograms and metadata.
    pub batch: Batch,
    /// The first line of it, from 1.
    pub first_line: u64,
    /// The last one.
    pub last_line: u64,
}

/// What has been read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Lines in all.
    pub lines: u64,
    /// Lines that were wrong.
    pub invalid: u64,
    /// Fields of line protocol that hold text, which is no sample.
    pub texts: u64,
}

/// What is wrong with a line.
#[derive(Debug)]
pub(super) struct Fault {
    /// Bytes of the line from there to its end.
    left: usize,
    pub(super) reason: String,
}

impl Fault {
    fn new(rest: &str, reason: impl Into<String>) -> Self {
        Self { left: rest.len(), reason: reason.into() }
    }

    /// The character of `line` that it is wrong from, from 1.
    pub(super) fn column(&self, line: &str) -> usize {
        let end = line.len().saturating_sub(self.left);
        line.char_indices().take_while(|(at, _)| *at < end).count() + 1
    }
}

/// One format.
trait Lines: Send {
    /// A line without its end. Where it is wrong, what it added is taken back.
    fn line(&mut self, line: &str, batch: &mut Batch) -> Result<(), Fault>;

    /// Adds what was kept back.
    fn flush(&mut self, _batch: &mut Batch) {}

    /// Whether the text may end here.
    fn end(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// Fields that hold text.
    fn texts(&self) -> u64 {
        0
    }
}

/// Reads a text in pieces.
pub struct ImportReader {
    lines: Box<dyn Lines>,
    /// The beginning of a line whose end is yet to come.
    begun: Vec<u8>,
    /// Within a line that is too long.
    passing_over: bool,
    piece: ImportPiece,
    counts: LineCounts,
    invalid: Vec<InvalidLine>,
}

impl ImportReader {
    /// A reader of one text; what has no timestamp is from `now`.
    pub fn new(format: ImportFormat, now: Timestamp) -> Self {
        let lines: Box<dyn Lines> = match format {
            ImportFormat::Json => Box::new(json::JsonLines),
            ImportFormat::Csv => Box::new(csv::CsvLines::new(now)),
            ImportFormat::Prometheus => Box::new(TextLines::open_metrics(now)),
            ImportFormat::Text => Box::new(TextLines::text(now)),
            ImportFormat::Influx => Box::new(influx::InfluxLines::new(now)),
        };
        Self {
            lines,
            begun: Vec::new(),
            passing_over: false,
            piece: ImportPiece::default(),
            counts: LineCounts::default(),
            invalid: Vec::new(),
        }
    }

    /// Reads from the front of `text`, and takes away what it has read: all of it, or as much as fills
    /// a batch, which it gives.
    pub fn read(&mut self, text: &mut &[u8]) -> Option<ImportPiece> {
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = text.split_at(end);
            *text = &rest[1..];
            self.whole_line(line);
            if self.piece.batch.samples.len() + self.weight_of_histograms() >= BATCH_SAMPLES {
                return Some(self.take());
            }
        }
        self.keep(text);
        *text = &[];
        None
    }

    /// The text is at its end; gives what is left of it.
    pub fn finish(&mut self) -> ImportPiece {
        if !self.begun.is_empty() || self.passing_over {
            self.whole_line(b"");
        }
        if let Err(fault) = self.lines.end() {
            self.tell(1, fault.reason);
        }
        self.take()
    }

    /// How much has been read.
    pub fn counts(&self) -> LineCounts {
        LineCounts { texts: self.lines.texts(), ..self.counts }
    }

    /// Lines that were wrong and have not been told of; no more than a hundred in all.
    pub fn take_invalid(&mut self) -> Vec<InvalidLine> {
        mem::take(&mut self.invalid)
    }

    fn weight_of_histograms(&self) -> usize {
        // A histogram is about as long as so many samples.
        64 * self.piece.batch.histograms.len()
    }

    fn keep(&mut self, start: &[u8]) {
        if self.begun.len() + start.len() > LINE_BYTES_MAX {
            self.passing_over = true;
            self.begun = Vec::new();
        }
        if !self.passing_over {
            self.begun.extend_from_slice(start);
        }
    }

    /// A line whose beginning may be kept already.
    fn whole_line(&mut self, end: &[u8]) {
        self.counts.lines += 1;
        if self.begun.is_empty() && !self.passing_over && end.len() <= LINE_BYTES_MAX {
            return self.line(end);
        }
        self.keep(end);
        let line = mem::take(&mut self.begun);
        if mem::take(&mut self.passing_over) {
            let reason = format!("longer than {LINE_BYTES_MAX} bytes: write it as several lines");
            return self.tell(1, reason);
        }
        self.line(&line);
    }

    fn line(&mut self, line: &[u8]) {
        let line = match std::str::from_utf8(line) {
            Ok(line) => line.strip_suffix('\r').unwrap_or(line),
            Err(error) => {
                let good = String::from_utf8_lossy(&line[..error.valid_up_to()]);
                return self.tell(good.chars().count() + 1, "not UTF-8".to_owned());
            }
        };
        let batch = &mut self.piece.batch;
        let before = (batch.samples.len(), batch.histograms.len());
        if let Err(fault) = self.lines.line(line, batch) {
            batch.samples.truncate(before.0);
            batch.histograms.truncate(before.1);
            self.tell(fault.column(line), fault.reason);
        }
    }

    fn tell(&mut self, column: usize, reason: String) {
        if self.counts.invalid < INVALID_LINES_MAX as u64 {
            self.invalid.push(InvalidLine { line: self.counts.lines, column, reason });
        }
        self.counts.invalid += 1;
    }

    fn take(&mut self) -> ImportPiece {
        self.lines.flush(&mut self.piece.batch);
        let last_line = self.counts.lines;
        let next = ImportPiece { first_line: last_line + 1, ..ImportPiece::default() };
        let piece = mem::replace(&mut self.piece, next);
        ImportPiece { first_line: piece.first_line.max(1), last_line, ..piece }
    }
}

impl std::fmt::Debug for ImportReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportReader").field("counts", &self.counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
