//! The write-ahead log: what is acknowledged stands here first.
//!
//! Segments are numbered files of frames ([`frame`]), one frame for each group of commits ([`group`]),
//! written and fdatasynced together: a torn last frame was never acknowledged. A checkpoint
//! ([`checkpoint`]) has the number of a segment and holds everything that came before it: older
//! segments are removed when it is durable. Room for a segment is taken in steps, which grow with it,
//! so that a commit seldom changes the file's length. Each segment says how long the one before it was
//! when it was left: what is cut off at the end of a frame would not be missed otherwise.

pub(super) mod checkpoint;
mod frame;
pub(super) mod group;

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use self::group::Group;
use super::{StoreError, keys};

pub(super) use frame::End;

/// A new segment is begun when one is longer, where nothing else is said.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Room that is taken at once, at least …
const ROOM_MIN: u64 = 128 << 10;
/// … and at most.
const ROOM_MAX: u64 = 8 << 20;
/// What each segment begins with; version and CRC-32 follow.
const NAME: frame::Name = *b"BFWAL";
/// The version of segments.
const VERSION: u8 = 1;
/// What comes before the first frame of a segment: the head of the file, how long the segment before
/// was, the CRC-32 of that.
const SEGMENT_HEAD: usize = frame::FILE_HEAD + 12;

/// What the log needs of a file; tests break it.
pub(super) trait LogFile: fmt::Debug + Send {
    /// Writes all of it, or fails with some of it written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes durable what was written.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts off what lies behind.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the file so long, with zeros that have their place on the disk.
    fn take_room(&self, len: u64) -> io::Result<()>;
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

    fn take_room(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, len)?)
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
    /// How long the file is.
    room: u64,
    /// Whether groups were written that were not synced yet.
    unsynced: bool,
    /// Whether an earlier process began the segment: numbers of series in it are that one's.
    inherited: bool,
    /// Why nothing is written any more.
    poisoned: Option<Arc<str>>,
}

impl Wal {
    /// Begins segment `number`, which goes on after one that is `previous_len` bytes long; after nothing
    /// where that is 0.
    pub(super) fn begin(
        options: WalOptions,
        number: u64,
        previous_len: u64,
    ) -> Result<Self, StoreError> {
        let path = keys::segment(&options.dir, number);
        let unfinished = keys::unfinished(&path);
        let head = [frame::file_head(NAME, VERSION), put_previous_len(previous_len)].concat();
        let file = put_in_place(&options, &unfinished, &path, &head)?;
        let len = head.len() as u64;
        let (inherited, unsynced) = (false, false);
        Ok(Self { options, number, file, len, room: len, unsynced, inherited, poisoned: None })
    }

    /// Goes on with a segment whose good part is `len` bytes long; the rest is cut off.
    pub(super) fn resume(options: WalOptions, number: u64, len: u64) -> Result<Self, StoreError> {
        let path = keys::segment(&options.dir, number);
        let file = OpenOptions::new().write(true).open(&path);
        let file = (options.wrap)(&options, file.map_err(StoreError::io("open", &path))?);
        file.set_len(len).map_err(StoreError::io("cut", &path))?;
        file.sync_data().map_err(StoreError::io("sync", &path))?;
        let (inherited, unsynced) = (true, false);
        Ok(Self { options, number, file, len, room: len, unsynced, inherited, poisoned: None })
    }

    /// The number of the open segment.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How long the open segment is, in bytes.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the next segment is due: the open one is long enough, or an earlier process began it.
    pub(super) fn is_done(&self) -> bool {
        self.inherited || self.len >= self.options.segment_bytes
    }

    /// Begins the next segment.
    pub(super) fn rotate(&mut self) -> Result<(), StoreError> {
        self.check()?;
        match Self::begin(self.options.clone(), self.number + 1, self.len) {
            Ok(next) => {
                let done = std::mem::replace(self, next);
                // Room that stays is read as what it is: zeros at the end.
                let _ = done.file.set_len(done.len);
                Ok(())
            }
            Err(error) => {
                if let StoreError::Poisoned(reason) = &error {
                    self.poisoned = Some(reason.as_str().into());
                }
                Err(error)
            }
        }
    }

    /// Writes a group and waits until it is durable; returns how many bytes that took. Where it
    /// fails, nothing of it stays.
    pub(super) fn append(&mut self, group: &Group) -> Result<u64, StoreError> {
        let bytes = self.put(group)?;
        if self.unsynced {
            // It is not for this group alone: what was acknowledged before may be lost with it.
            self.sync()?;
        } else if let Err(error) = self.file.sync_data() {
            self.len -= bytes;
            return Err(self.take_back(&error));
        }
        Ok(bytes)
    }

    /// Writes a group without waiting until it is durable, which [`Wal::sync`] makes it.
    pub(super) fn write(&mut self, group: &Group) -> Result<u64, StoreError> {
        let bytes = self.put(group)?;
        self.unsynced = true;
        Ok(bytes)
    }

    /// Makes durable what was written. Where that fails, nobody knows what is: the log is given up.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.check()?;
        self.unsynced = false;
        self.file.sync_data().map_err(|error| {
            self.poisoned = Some(error.to_string().into());
            StoreError::Poisoned(error.to_string())
        })
    }

    fn put(&mut self, group: &Group) -> Result<u64, StoreError> {
        self.check()?;
        let bytes = frame::frame(|out| group.write(out));
        self.make_room(bytes.len() as u64);
        match self.file.write_all_at(&bytes, self.len) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                self.room = self.room.max(self.len);
                Ok(bytes.len() as u64)
            }
            Err(error) => Err(self.take_back(&error)),
        }
    }

    /// Takes room for what comes. Where there is none, writing finds that out and tells.
    fn make_room(&mut self, bytes: u64) {
        if self.len + bytes > self.room {
            let step = (self.len / 4).clamp(ROOM_MIN, ROOM_MAX);
            let room = self.len + bytes + step;
            if self.file.take_room(room).is_ok() {
                self.room = room;
            }
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
        self.room = self.len;
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

/// Writes a file whole and durable under its name, or not at all; returns it open.
fn put_in_place(
    options: &WalOptions,
    unfinished: &Path,
    path: &Path,
    bytes: &[u8],
) -> Result<Box<dyn LogFile>, StoreError> {
    let file = create(options, unfinished)?;
    let written = file.write_all_at(bytes, 0);
    publish(options, &*file, written, unfinished, path)?;
    Ok(file)
}

fn create(options: &WalOptions, path: &Path) -> Result<Box<dyn LogFile>, StoreError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    Ok((options.wrap)(options, file.map_err(StoreError::io("create", path))?))
}

/// Gives a file that was `written` its name, durably.
fn publish(
    options: &WalOptions,
    file: &dyn LogFile,
    written: io::Result<()>,
    unfinished: &Path,
    path: &Path,
) -> Result<(), StoreError> {
    let named = written.and_then(|()| file.sync_data()).and_then(|()| fs::rename(unfinished, path));
    if let Err(error) = named {
        // Best effort: leftovers are removed at the next start, too.
        let _ = fs::remove_file(unfinished);
        return Err(StoreError::io("write", path)(error));
    }
    // From here on the file may be there after a crash, and count.
    let synced = File::open(&options.dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StoreError::Poisoned(error.to_string()))
}

/// The numbers of the segments in `dir`, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>, StoreError> {
    numbers(dir, keys::segment_number)
}

/// The numbers of the checkpoints in `dir`, in order.
pub(super) fn checkpoints(dir: &Path) -> Result<Vec<u64>, StoreError> {
    numbers(dir, keys::checkpoint_number)
}

fn numbers(dir: &Path, number: fn(&Path) -> Option<u64>) -> Result<Vec<u64>, StoreError> {
    let entries = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(number(&entry.map_err(StoreError::io("list", dir))?.path()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a segment; the payload of each good frame goes to `visit`, also those behind damage.
pub(super) fn read_segment(path: &Path, visit: impl FnMut(&[u8])) -> Result<End, StoreError> {
    let mut previous_len = None;
    let mut start = |head: &[u8]| {
        previous_len = get_previous_len(&head[frame::FILE_HEAD..]);
        if previous_len.is_some() { SEGMENT_HEAD } else { frame::FILE_HEAD }
    };
    let (_, end) = read_frames((path, NAME), &mut start, visit)?;
    Ok(End { previous_len, ..end })
}

/// Reads a file of frames of our version; tells whether its head is unharmed, too. Where it is, `start`
/// says by the file's first bytes where the first frame begins.
fn read_frames(
    (path, name): (&Path, frame::Name),
    start: &mut dyn FnMut(&[u8]) -> usize,
    visit: impl FnMut(&[u8]),
) -> Result<(bool, End), StoreError> {
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut reader = frame::Reader::new(file);
    let version = reader.version(name).map_err(StoreError::io("read", path))?;
    if let Some(found) = version.filter(|found| *found != VERSION) {
        return Err(StoreError::UnknownFormat { path: path.to_owned(), found, known: VERSION });
    }
    let start = version.map_or(0, |_| start(reader.first_bytes()));
    let end = reader.read(start, visit).map_err(StoreError::io("read", path))?;
    Ok((version.is_some(), end))
}

/// How long the segment before this one was when it was left, where the head of this one is unharmed.
pub(super) fn previous_len_of(path: &Path) -> Result<Option<u64>, StoreError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    file.take(SEGMENT_HEAD as u64).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    let head = frame::version_of(NAME, &bytes).filter(|version| *version == VERSION);
    Ok(head.and_then(|_| get_previous_len(&bytes[frame::FILE_HEAD..])))
}

/// How long the segment before was, as the head of a segment says it.
fn put_previous_len(len: u64) -> Vec<u8> {
    let bytes = len.to_le_bytes();
    [&bytes[..], &crc32fast::hash(&bytes).to_le_bytes()].concat()
}

fn get_previous_len(bytes: &[u8]) -> Option<u64> {
    let len = u64::from_le_bytes(*bytes.first_chunk()?);
    bytes.starts_with(&put_previous_len(len)).then_some(len)
}

#[cfg(test)]
mod tests;
