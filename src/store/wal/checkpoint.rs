//! Checkpoints: everything that the segments before held, so that these may go.
//!
//! A file of frames: first what the whole is about, then changes, then series with their blocks as
//! the head keeps them, then how many of each there are. It is written beside the log, while that goes
//! on, from a view that does not change, and gets its name when it is durable. The layout stands in
//! `docs/format/wal.md`.

use std::{fs, io, path::Path};

use super::{
    LogFile, VERSION, WalOptions, create, frame,
    group::{get_bytes, get_histograms, get_labels, get_message, put_labels, put_message, varint},
    publish, read_frames,
};
use crate::{
    model::{HistogramSample, Labels},
    store::{
        StoreError,
        chunk::histograms::{self, Effort},
        keys,
        record::{BadRecord, ChangeRecord, CheckpointRecord},
    },
};
use prost::{Message as _, encoding::encode_varint};

/// What each checkpoint begins with; version and CRC-32 follow.
const NAME: frame::Name = *b"BFCKP";
/// A frame is closed when it is longer.
const FRAME_BYTES: usize = 256 << 10;

/// What a frame holds: its first byte.
const ABOUT: u8 = 1;
const CHANGES: u8 = 2;
const SERIES: u8 = 3;
const TOTALS: u8 = 4;

/// A checkpoint in the making.
#[derive(Debug)]
pub(in crate::store) struct Writer<'a> {
    options: &'a WalOptions,
    number: u64,
    file: Box<dyn LogFile>,
    len: u64,
    kind: u8,
    pending: Vec<u8>,
    changes: u64,
    series: u64,
}

impl<'a> Writer<'a> {
    pub(in crate::store) fn begin(
        options: &'a WalOptions,
        number: u64,
        about: &CheckpointRecord,
    ) -> Result<Self, StoreError> {
        let path = keys::unfinished(&keys::checkpoint(&options.dir, number));
        let file = create(options, &path)?;
        let (kind, pending) = (CHANGES, Vec::new());
        let mut writer =
            Self { options, number, file, len: 0, kind, pending, changes: 0, series: 0 };
        let head = frame::file_head(NAME, VERSION);
        let about = frame::frame(|out| {
            out.push(ABOUT);
            about.encode(out).expect("a vector grows");
        });
        writer.write(&[head, about].concat()).map_err(StoreError::io("write", path))?;
        Ok(writer)
    }

    pub(in crate::store) fn change(&mut self, change: &ChangeRecord) -> Result<(), StoreError> {
        self.changes += 1;
        self.put(CHANGES, |out| put_message(change, out))
    }

    pub(in crate::store) fn series(
        &mut self,
        labels: &Labels,
        blocks: &[u8],
        histograms: &[HistogramSample],
    ) -> Result<(), StoreError> {
        self.series += 1;
        self.put(SERIES, |out| {
            put_labels(labels, out);
            put_bytes(blocks, out);
            let chunks = histograms.chunks(histograms::HISTOGRAMS_MAX);
            encode_varint(chunks.len() as u64, out);
            chunks.for_each(|chunk| put_bytes(&histograms::encode(chunk, Effort::Quick), out));
        })
    }

    fn put(&mut self, kind: u8, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), StoreError> {
        if self.kind != kind || self.pending.len() > FRAME_BYTES {
            self.flush()?;
            self.kind = kind;
        }
        put(&mut self.pending);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (kind, pending) = (self.kind, std::mem::take(&mut self.pending));
        let bytes = frame::frame(|out| {
            out.push(kind);
            out.extend(&pending);
        });
        let written = self.write(&bytes);
        self.pending = pending;
        self.pending.clear();
        written.map_err(|error| self.failed(error))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> StoreError {
        let path = keys::checkpoint(&self.options.dir, self.number);
        // Best effort: leftovers are removed at the next start, too.
        let _ = fs::remove_file(keys::unfinished(&path));
        StoreError::io("write", path)(error)
    }

    /// Makes it durable and gives it its name; returns how long it is.
    pub(in crate::store) fn finish(mut self) -> Result<u64, StoreError> {
        self.flush()?;
        let (changes, series) = (self.changes, self.series);
        let totals = frame::frame(|out| {
            out.push(TOTALS);
            encode_varint(changes, out);
            encode_varint(series, out);
        });
        let written = self.write(&totals);
        let path = keys::checkpoint(&self.options.dir, self.number);
        publish(self.options, &*self.file, written, &keys::unfinished(&path), &path)?;
        Ok(self.len)
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_varint(bytes.len() as u64, out);
    out.extend(bytes);
}

/// What becomes of a checkpoint that is read.
pub(in crate::store) trait Restore {
    fn about(&mut self, about: &CheckpointRecord) -> Result<(), BadRecord>;
    fn change(&mut self, change: &ChangeRecord) -> Result<(), BadRecord>;
    fn series(
        &mut self,
        labels: Labels,
        blocks: Vec<u8>,
        histograms: Vec<HistogramSample>,
    ) -> Result<(), BadRecord>;
}

/// What was found in a checkpoint.
#[derive(Debug, Default)]
pub(in crate::store) struct Found {
    /// Whether everything that was written is there.
    pub(in crate::store) whole: bool,
    /// Frames that make no sense although their CRC-32 is right, in words.
    pub(in crate::store) bad: Option<BadRecord>,
}

/// Reads a checkpoint; what is unharmed goes to `restore`.
pub(in crate::store) fn read<R: Restore>(
    path: &Path,
    restore: &mut R,
) -> Result<Found, StoreError> {
    let mut count = Counts::default();
    let mut bad = None;
    let (unharmed, end) = read_frames((path, NAME), &mut |_| frame::FILE_HEAD, |payload| {
        if let Err(error) = count.take(payload, restore) {
            bad = Some(error);
        }
    })?;
    let whole = unharmed
        && count.about
        && count.totals == Some((count.changes, count.series))
        && end.gaps.is_empty()
        && end.torn == 0
        && bad.is_none();
    Ok(Found { whole, bad })
}

#[derive(Default)]
struct Counts {
    about: bool,
    changes: u64,
    series: u64,
    totals: Option<(u64, u64)>,
}

impl Counts {
    fn take<R: Restore>(&mut self, payload: &[u8], restore: &mut R) -> Result<(), BadRecord> {
        let (kind, mut bytes) = payload.split_first().ok_or(BadRecord("frame"))?;
        match *kind {
            ABOUT => {
                let about = CheckpointRecord::decode(bytes).map_err(|_| BadRecord("checkpoint"))?;
                self.about = true;
                restore.about(&about)
            }
            CHANGES => self.take_changes(&mut bytes, restore),
            SERIES => self.take_series(&mut bytes, restore),
            TOTALS => {
                self.totals = Some((varint(&mut bytes)?, varint(&mut bytes)?));
                Ok(())
            }
            _ => Err(BadRecord("kind of frame")),
        }
    }

    fn take_changes<R: Restore>(
        &mut self,
        bytes: &mut &[u8],
        restore: &mut R,
    ) -> Result<(), BadRecord> {
        while !bytes.is_empty() {
            restore.change(&get_message(bytes)?)?;
            self.changes += 1;
        }
        Ok(())
    }

    fn take_series<R: Restore>(
        &mut self,
        bytes: &mut &[u8],
        restore: &mut R,
    ) -> Result<(), BadRecord> {
        while !bytes.is_empty() {
            let labels = get_labels(bytes)?;
            let blocks = get_bytes(bytes)?.to_vec();
            let mut histograms = Vec::new();
            for _ in 0..varint(bytes)? {
                histograms.extend(get_histograms(bytes)?);
            }
            restore.series(labels, blocks, histograms)?;
            self.series += 1;
        }
        Ok(())
    }
}
