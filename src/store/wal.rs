//! The write-ahead log: what is acknowledged stands here first.
//!
//! A segment is a header (`BFWAL`, a version byte, the CRC-32 of both) and frames: marker, length, CRC-32 of length
//! and payload, payload (all little-endian; the payload is a `LogRecord`). One frame is one group of
//! commits, written and fdatasynced together: a torn last frame was never acknowledged. A segment
//! that begins with a checkpoint needs none of those before it. Must not know what records mean.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::Message as _;

use super::{StoreError, keys, record::LogRecord};

/// A new segment is begun when one is longer, where nothing else is said.
const SEGMENT_BYTES: u64 = 64 << 20;
/// What each segment begins with; version and CRC-32 follow.
const NAME: [u8; 5] = *b"BFWAL";
/// The version of the log.
const VERSION: u8 = 1;
/// Name, version, CRC-32 of both.
const HEADER: usize = NAME.len() + 5;
/// What each frame begins with, so that frames are found again behind damage.
const MARKER: [u8; 4] = *b"\xf1BF\x0a";
/// Marker, length, CRC-32.
const FRAME_HEAD: usize = 12;

/// What the log needs of a file; tests break it.
pub(super) trait LogFile: fmt::Debug + Send {
    /// Writes all of it, or fails with some of it written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes durable what was written.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts off what lies behind.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
}

/// Turns an open file into one that the log writes to.
pub(super) type Wrap = fn(&WalOptions, File) -> Box<dyn LogFile>;

/// Where the log lies, and how its files are written.
#[derive(Clone, Debug)]
pub(super) struct WalOptions {
    pub(super) dir: PathBuf,
    pub(super) wrap: Wrap,
    /// A new segment is begun when one is longer.
    pub(super) segment_bytes: u64,
    #[cfg(any(test, feature = "testing"))]
    pub(super) faults: super::engine::fault::Faults,
}

impl WalOptions {
    /// A log in `dir` on plain files.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            wrap: |_, file| Box::new(file),
            segment_bytes: SEGMENT_BYTES,
            #[cfg(any(test, feature = "testing"))]
            faults: super::engine::fault::Faults::default(),
        }
    }

    /// A log of short segments, whose writing fails by `faults`.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn with_faults(dir: PathBuf, faults: super::engine::fault::Faults) -> Self {
        let wrap: Wrap = |options, file| {
            Box::new(super::engine::fault::FaultFile { file, faults: options.faults.clone() })
        };
        Self { dir, wrap, segment_bytes: 2 << 10, faults }
    }
}

/// The open end of the log.
#[derive(Debug)]
pub(super) struct Wal {
    options: WalOptions,
    number: u64,
    file: Box<dyn LogFile>,
    /// The end of the last frame that is durable.
    len: u64,
    /// Whether an earlier process began the segment: ids of series in it are that one's.
    inherited: bool,
    /// Why nothing is written any more.
    poisoned: Option<Arc<str>>,
}

impl Wal {
    /// Begins segment `number` with `first`, whole or not at all.
    pub(super) fn begin(
        options: WalOptions,
        number: u64,
        first: Option<&LogRecord>,
    ) -> Result<Self, StoreError> {
        let mut bytes = header(VERSION);
        if let Some(first) = first {
            bytes.extend(frame(first));
        }
        let path = keys::segment(&options.dir, number);
        let unfinished = path.with_extension("log.tmp");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished);
        let file = (options.wrap)(&options, file.map_err(StoreError::io("create", &unfinished))?);
        let written = file.write_all_at(&bytes, 0).and_then(|()| file.sync_data());
        if let Err(error) = written.and_then(|()| fs::rename(&unfinished, &path)) {
            // Best effort: leftovers are removed at the next start, too.
            let _ = fs::remove_file(&unfinished);
            return Err(StoreError::io("write", path)(error));
        }
        // From here on the segment may be there after a crash, and count.
        let synced = File::open(&options.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| StoreError::Poisoned(error.to_string()))?;
        Ok(Self {
            options,
            number,
            file,
            len: bytes.len() as u64,
            inherited: false,
            poisoned: None,
        })
    }

    /// Goes on with a segment whose good part is `len` bytes long; the rest is cut off.
    pub(super) fn resume(options: WalOptions, number: u64, len: u64) -> Result<Self, StoreError> {
        let path = keys::segment(&options.dir, number);
        let file = OpenOptions::new().write(true).open(&path);
        let file = (options.wrap)(&options, file.map_err(StoreError::io("open", &path))?);
        file.set_len(len).map_err(StoreError::io("cut", &path))?;
        file.sync_data().map_err(StoreError::io("sync", &path))?;
        let inherited = len != HEADER as u64;
        Ok(Self { options, number, file, len, inherited, poisoned: None })
    }

    /// The number of the open segment.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the next segment is due: the open one is long enough, or an earlier process began it.
    pub(super) fn is_done(&self) -> bool {
        self.inherited || self.len >= self.options.segment_bytes
    }

    /// Begins the next segment, with `first`.
    pub(super) fn rotate(&mut self, first: Option<&LogRecord>) -> Result<(), StoreError> {
        self.check()?;
        match Self::begin(self.options.clone(), self.number + 1, first) {
            Ok(next) => *self = next,
            Err(error) => {
                if let StoreError::Poisoned(reason) = &error {
                    self.poisoned = Some(reason.as_str().into());
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes one frame and waits until it is durable. Where that fails, nothing of it stays.
    pub(super) fn append(&mut self, record: &LogRecord) -> Result<(), StoreError> {
        self.check()?;
        let bytes = frame(record);
        let written = self.file.write_all_at(&bytes, self.len);
        match written.and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(error) => Err(self.take_back(&error)),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            Some(reason) => Err(StoreError::Poisoned(reason.to_string())),
            None => Ok(()),
        }
    }

    /// Cuts off a frame that failed. The pages before it were clean and durable: what could not be
    /// written concerns the cut-off part only.
    fn take_back(&mut self, error: &io::Error) -> StoreError {
        match self.file.set_len(self.len).and_then(|()| self.file.sync_data()) {
            Ok(()) => StoreError::NotDurable(error.to_string()),
            Err(again) => {
                let reason = format!("{error}, then {again}");
                self.poisoned = Some(reason.as_str().into());
                StoreError::Poisoned(reason)
            }
        }
    }
}

/// What a segment of that version begins with; its form is the same in all.
fn header(version: u8) -> Vec<u8> {
    let mut bytes = NAME.to_vec();
    bytes.push(version);
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// The version of a segment, where its header is unharmed.
fn version_of(segment: &[u8]) -> Option<u8> {
    let version = *segment.get(NAME.len())?;
    segment.starts_with(&header(version)).then_some(version)
}

fn frame(record: &LogRecord) -> Vec<u8> {
    let size = record.encoded_len();
    let len = u32::try_from(size).expect("a group of commits is far below 4 GiB").to_le_bytes();
    let mut bytes = Vec::with_capacity(FRAME_HEAD + size);
    bytes.extend(MARKER);
    bytes.extend(len);
    bytes.extend([0; 4]);
    record.encode(&mut bytes).expect("a vector grows");
    let crc = checksum(len, &bytes[FRAME_HEAD..]);
    bytes[8..FRAME_HEAD].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn checksum(len: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(payload);
    hasher.finalize()
}

/// The segments in `dir`, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        numbers.extend(keys::segment_number(&path));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether the first record of a segment is a checkpoint, unharmed.
pub(super) fn begins_with_checkpoint(path: &Path) -> Result<bool, StoreError> {
    let mut begin = vec![0; HEADER + FRAME_HEAD];
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    if file.read_exact_at(&mut begin, 0).is_err() {
        return Ok(false);
    }
    let head = &begin[HEADER..];
    let len = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
    let size = file.metadata().map_err(StoreError::io("read", path))?.len();
    let Some(len) = usize::try_from(len).ok().filter(|_| begin.len() as u64 + len <= size) else {
        return Ok(false);
    };
    let mut frame = vec![0; FRAME_HEAD + len];
    let at = HEADER as u64;
    file.read_exact_at(&mut frame, at).map_err(StoreError::io("read", path))?;
    Ok(read_frame(&frame).is_some_and(|(record, _)| record.checkpoint.is_some()))
}

/// How the reading of a segment ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentEnd {
    /// The end of the last good frame.
    pub(super) good: u64,
    /// Bytes after it that are no frame.
    pub(super) torn: u64,
    /// Stretches with good frames behind them that are none: from, to.
    pub(super) gaps: Vec<(u64, u64)>,
}

/// Reads a segment; each good record goes to `visit`, also those behind damage.
pub(super) fn read_segment(
    path: &Path,
    visit: &mut dyn FnMut(LogRecord),
) -> Result<SegmentEnd, StoreError> {
    let bytes = fs::read(path).map_err(StoreError::io("read", path))?;
    let version = version_of(&bytes);
    if let Some(found) = version.filter(|found| *found != VERSION) {
        return Err(StoreError::UnknownFormat { path: path.to_owned(), found, known: VERSION });
    }
    let mut end = SegmentEnd::default();
    let mut at = if version.is_some() { HEADER } else { 0 };
    end.good = at as u64;
    while at < bytes.len() {
        if let Some((record, len)) = read_frame(&bytes[at..]) {
            visit(record);
            at += len;
            end.good = at as u64;
        } else {
            let next = find_frame(&bytes, at + 1);
            match next {
                Some(next) => end.gaps.push((at as u64, next as u64)),
                None => end.torn = (bytes.len() - at) as u64,
            }
            at = next.unwrap_or(bytes.len());
        }
    }
    Ok(end)
}

/// The frame that begins here, and its length.
fn read_frame(bytes: &[u8]) -> Option<(LogRecord, usize)> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD>()?;
    let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let len = usize::try_from(u32::from_le_bytes(word(4))).ok()?;
    let payload = rest.get(..len)?;
    let whole =
        head.starts_with(&MARKER) && checksum(word(4), payload) == u32::from_le_bytes(word(8));
    let record = whole.then(|| LogRecord::decode(payload).ok()).flatten()?;
    Some((record, FRAME_HEAD + len))
}

/// Where the next good frame begins, from `start` on.
fn find_frame(bytes: &[u8], start: usize) -> Option<usize> {
    (start..bytes.len().saturating_sub(FRAME_HEAD - 1))
        .find(|at| bytes[*at..].starts_with(&MARKER) && read_frame(&bytes[*at..]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{engine::fault::Faults, record::CommitRecord};

    fn record(value: u64) -> LogRecord {
        let commit = CommitRecord { values: vec![value; 10], ..CommitRecord::default() };
        LogRecord { commits: vec![commit], checkpoint: None }
    }

    fn read(path: &Path) -> (Vec<u64>, SegmentEnd) {
        let mut values = Vec::new();
        let end = read_segment(path, &mut |record| values.push(record.commits[0].values[0]));
        (values, end.unwrap())
    }

    /// A segment with records 0, 1, 2 and the ends of its frames.
    fn written(dir: &Path) -> (PathBuf, Vec<u64>) {
        let mut wal = Wal::begin(WalOptions::new(dir.to_owned()), 1, None).unwrap();
        let ends = (0..3).map(|value| {
            wal.append(&record(value)).unwrap();
            fs::metadata(keys::segment(dir, 1)).unwrap().len()
        });
        let ends = ends.collect();
        (keys::segment(dir, 1), ends)
    }

    #[test]
    fn a_torn_tail_is_told_from_the_good_part_at_every_length() {
        let temp = tempfile::tempdir().unwrap();
        let (path, ends) = written(temp.path());
        let bytes = fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            fs::write(&path, &bytes[..len]).unwrap();
            let (values, end) = read(&path);
            let whole = ends.iter().filter(|end| **end <= len as u64).count();
            assert_eq!(values.len(), whole, "cut at {len}");
            assert_eq!((end.good + end.torn, end.gaps.len()), (len as u64, 0));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_a_gap_or_a_torn_tail_and_never_a_wrong_record() {
        let temp = tempfile::tempdir().unwrap();
        let (path, ends) = written(temp.path());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            fs::write(&path, damaged).unwrap();
            let hit = ends.iter().filter(|end| **end <= at as u64).count() as u64;
            let hit = (at >= HEADER).then_some(hit);
            let (values, end) = read(&path);
            let expected: Vec<u64> = (0..3).filter(|value| Some(*value) != hit).collect();
            assert_eq!(values, expected, "bit flipped at {at}");
            let last = hit == Some(2);
            assert_eq!((end.gaps.len(), end.torn > 0), (usize::from(!last), last));
        }
    }

    #[test]
    fn zeros_behind_the_end_are_a_torn_tail() {
        let temp = tempfile::tempdir().unwrap();
        let (path, ends) = written(temp.path());
        OpenOptions::new().write(true).open(&path).unwrap().set_len(ends[2] + 5000).unwrap();
        let (values, end) = read(&path);
        assert_eq!((values.len(), end.torn), (3, 5000));
        let options = WalOptions::new(temp.path().to_owned());
        let mut wal = Wal::resume(options, 1, end.good).unwrap();
        wal.append(&record(3)).unwrap();
        assert_eq!(read(&path).0, [0, 1, 2, 3]);
    }

    #[test]
    fn a_later_version_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x");
        let bytes = [&header(7)[..], b"rest"].concat();
        fs::write(&path, &bytes).unwrap();
        let outcome = read_segment(&path, &mut |_| {});
        assert!(matches!(outcome, Err(StoreError::UnknownFormat { found: 7, .. })));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_full_disk_fails_the_commit_and_leaves_a_good_log() {
        let temp = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let options = WalOptions::with_faults(temp.path().to_owned(), faults.clone());
        let mut wal = Wal::begin(options, 1, None).unwrap();
        wal.append(&record(0)).unwrap();
        for failing_call in [1, 2] {
            faults.arm(failing_call);
            let outcome = wal.append(&record(9));
            assert!(matches!(outcome, Err(StoreError::NotDurable(_))), "{outcome:?}");
        }
        wal.append(&record(1)).unwrap();
        let (values, end) = read(&keys::segment(temp.path(), 1));
        assert_eq!((values, end.torn, end.gaps), (vec![0, 1], 0, vec![]));
    }
}
