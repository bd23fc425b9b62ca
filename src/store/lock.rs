//! One process for each state directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::{StoreError, keys};

/// Holds the directory until it is dropped; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing alone is not enough: a child between fork and exec shares the lock for a moment.
    fn drop(&mut self) {
        // Where it fails, the kernel lets go when the last copy of the descriptor is closed.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Takes the directory, which is made where it is missing.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let path = dir.join(keys::LOCK);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(StoreError::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { dir: dir.to_owned(), holder: holder(&mut file) });
            }
            Err(error) => return Err(StoreError::io("lock", path)(error.into())),
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        // The pid is a courtesy; a full disk must not keep the daemon from starting.
        let _ = written;
        Ok(Self(file))
    }
}

/// Makes sure that nobody holds a store, and that nobody takes it while this lives; changes nothing.
#[derive(Debug)]
pub(super) struct Quiet(File);

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Quiet {
    /// The store in `dir`, which has to be there.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(keys::LOCK);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NoStore { dir: dir.to_owned() });
            }
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(StoreError::Locked { dir: dir.to_owned(), holder: holder(&mut file) })
            }
            Err(error) => Err(StoreError::io("lock", path)(error.into())),
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be read is not known.
    let _ = file.read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let temp = tempfile::tempdir().unwrap();
        let first = Lock::take(temp.path()).unwrap();
        let error = Lock::take(temp.path()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(error.contains(&format!("in use by process {pid}")), "{error}");
        drop(first);
        Lock::take(temp.path()).unwrap();
    }
}
