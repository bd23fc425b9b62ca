//! A log file that is put aside when it is too large or too old.
//!
//! `x.log` is written to; `x.log.1` is the one before, up to `x.log.<max_files>`. Nothing is buffered:
//! a line is one `write`. (The crates that do this either bring a date library or count sizes but
//! not ages; all of it is the little below.)

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use prometheus::IntCounter;

use super::{LogError, LogOptions};
use crate::time::{Clock, Timestamp};

/// Readable by the owner and its group.
const MODE: u32 = 0o640;

/// The file and how it is kept. Whoever holds it may write whole lines.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    max_size: u64,
    max_age: Duration,
    max_files: usize,
    clock: Clock,
    lines_lost: IntCounter,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    file: File,
    size: u64,
    born: Timestamp,
}

impl RotatingFile {
    /// Opens the file that `options` name; `None` where they name none.
    pub(super) fn open(
        options: &LogOptions,
        lines_lost: &IntCounter,
    ) -> Result<Option<Self>, LogError> {
        let Some(path) = &options.file else { return Ok(None) };
        let file = Self {
            path: path.clone(),
            max_size: options.max_size,
            max_age: options.max_age,
            max_files: options.max_files,
            clock: Clock::System,
            lines_lost: lines_lost.clone(),
            current: Mutex::new(None),
        };
        let opened = file.open_current();
        let current = opened.map_err(|source| LogError::Open { path: path.clone(), source })?;
        *file.current.lock() = Some(current);
        Ok(Some(file))
    }

    /// Opens the file anew with the next line.
    pub(super) fn reopen(&self) {
        *self.current.lock() = None;
    }

    fn open_current(&self) -> io::Result<Current> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(&self.path)?;
        let metadata = file.metadata()?;
        // A file system that keeps no time of birth starts the age anew with each opening.
        let born = metadata.created().map_or_else(|_| self.clock.now(), timestamp);
        Ok(Current { file, size: metadata.len(), born })
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let mut slot = self.current.lock();
        let current = match slot.take() {
            Some(current) if self.is_full(&current, line.len()) => self.rotate(current)?,
            Some(current) => current,
            None => self.open_current()?,
        };
        slot.insert(current).append(line)
    }

    fn is_full(&self, current: &Current, more: usize) -> bool {
        let too_large = current.size.saturating_add(more as u64) > self.max_size;
        let too_old = self.clock.now().since(current.born) >= self.max_age;
        // A line that is longer than a whole file gets a file of its own.
        current.size > 0 && (too_large || too_old)
    }

    /// Puts the present file aside and begins a new one. Where that cannot be, the present one is
    /// begun anew: an end to its growth is worth more than its oldest lines.
    fn rotate(&self, current: Current) -> io::Result<Current> {
        let moved = if self.max_files == 0 { fs::remove_file(&self.path) } else { self.shift() };
        if moved.is_ok() {
            return self.open_current();
        }
        self.lines_lost.inc();
        current.file.set_len(0)?;
        Ok(Current { size: 0, born: self.clock.now(), ..current })
    }

    /// `x.log` becomes `x.log.1`, `x.log.1` becomes `x.log.2` …; the last is overwritten.
    fn shift(&self) -> io::Result<()> {
        for n in (1..self.max_files).rev() {
            match fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

impl Current {
    /// Appends the line, or nothing of it.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = (&self.file).write_all(line);
        if written.is_ok() {
            self.size += line.len() as u64;
        } else {
            // Half a line may be there already.
            let _ = self.file.set_len(self.size);
        }
        written
    }
}

impl Write for &RotatingFile {
    /// Takes one line; never fails: a line that cannot be written is counted and gone.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.write_line(line).is_err() {
            self.lines_lost.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn numbered(path: &Path, n: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{n}"));
    name.into()
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs::read_to_string;

    use super::*;

    fn file(dir: &Path, max_size: u64, max_files: usize) -> RotatingFile {
        RotatingFile {
            path: dir.join("x.log"),
            max_size,
            max_age: Duration::from_hours(1),
            max_files,
            clock: Clock::System,
            lines_lost: IntCounter::new("lost", "of the test").unwrap(),
            current: Mutex::new(None),
        }
    }

    /// What `x.log`, `x.log.1` … hold.
    fn contents(dir: &Path) -> Vec<String> {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let log = file(dir.path(), 10, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n"] {
            (&log).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(dir.path()), ["six\nseven\n", "four\nfive\n", "three\n"]);
        assert_eq!(log.lines_lost.get(), 0);
    }

    #[test]
    fn nothing_is_kept_aside_where_nothing_shall_be() {
        let dir = tempfile::tempdir().unwrap();
        let log = file(dir.path(), 5, 0);
        for line in ["one\n", "two\n"] {
            (&log).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(dir.path()), ["two\n"]);
    }

    #[test]
    fn an_old_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let log = file(dir.path(), 1000, 3);
        (&log).write_all(b"yesterday\n").unwrap();
        let later = Clock::System.now().plus(Duration::from_hours(2));
        let log = RotatingFile { clock: Clock::manual(later), ..log };
        (&log).write_all(b"today\n").unwrap();
        assert_eq!(contents(dir.path()), ["today\n", "yesterday\n"]);
    }

    #[test]
    fn a_file_is_continued_after_a_start_and_reopened_after_a_move() {
        let dir = tempfile::tempdir().unwrap();
        (&file(dir.path(), 1000, 3)).write_all(b"before\n").unwrap();
        let log = file(dir.path(), 1000, 3);
        (&log).write_all(b"after\n").unwrap();
        assert_eq!(contents(dir.path()), ["before\nafter\n"]);

        fs::rename(dir.path().join("x.log"), dir.path().join("y.log")).unwrap();
        log.reopen();
        (&log).write_all(b"anew\n").unwrap();
        assert_eq!(contents(dir.path()), ["anew\n", "before\nafter\n"]);
    }

    #[test]
    fn a_full_disk_loses_lines_counts_them_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let log = RotatingFile { path: "/dev/full".into(), ..file(dir.path(), 1000, 3) };
        for _ in 0..3 {
            (&log).write_all(b"a line\n").unwrap();
        }
        assert_eq!(log.lines_lost.get(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let log = file(dir.path(), 10, 1);
        // A folder that is not empty cannot be replaced.
        fs::create_dir_all(dir.path().join("x.log.1/in-the-way")).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            (&log).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(read_to_string(dir.path().join("x.log")).unwrap(), "three\n");
        assert_eq!(log.lines_lost.get(), 1);
    }
}
