//! Reads the kernel's small files, into one buffer that is used again.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::CollectError;

/// Longest stretch of a file that is read: the largest one needed, `/proc/stat`, takes some 50 KiB on
/// a host with hundreds of CPUs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where `/proc` and `/sys` are, and the buffers for what is read there.
#[derive(Debug)]
pub struct Files {
    proc_root: PathBuf,
    sys_root: PathBuf,
    path: PathBuf,
    bytes: Vec<u8>,
    text: String,
}

impl Files {
    /// This host's files.
    pub fn host() -> Self {
        Self::below("/proc", "/sys")
    }

    /// Files below other roots.
    pub fn below(proc_root: impl Into<PathBuf>, sys_root: impl Into<PathBuf>) -> Self {
        Self {
            proc_root: proc_root.into(),
            sys_root: sys_root.into(),
            path: PathBuf::new(),
            bytes: Vec::new(),
            text: String::new(),
        }
    }

    /// Where `/sys` is.
    pub(super) fn sys_root(&self) -> &Path {
        &self.sys_root
    }

    /// Where `/proc` is.
    pub(super) fn proc_root(&self) -> &Path {
        &self.proc_root
    }

    /// A file below `/proc`.
    pub(super) fn proc(&mut self, name: &str) -> Result<&str, CollectError> {
        self.path.clone_from(&self.proc_root);
        self.path.push(name);
        self.load()
    }

    /// A file below `/proc` that some kernels or hosts do not have.
    pub(super) fn proc_optional(&mut self, name: &str) -> Result<Option<&str>, CollectError> {
        self.path.clone_from(&self.proc_root);
        self.path.push(name);
        match self.read() {
            Ok(()) => Ok(Some(&self.text)),
            // A kernel booted with `psi=0` has the file and answers EOPNOTSUPP.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
                    || error.raw_os_error()
                        == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) =>
            {
                Ok(None)
            }
            Err(source) => Err(CollectError::Read { path: self.path.clone(), source }),
        }
    }

    /// An attribute at an absolute path, without the white space around it; `None` where it cannot be
    /// read: attributes come and go with their devices.
    pub(super) fn attribute(&mut self, directory: &Path, name: &str) -> Option<&str> {
        self.path.clear();
        self.path.push(directory);
        self.path.push(name);
        self.read().ok()?;
        Some(self.text.trim())
    }

    /// A numeric attribute.
    pub(super) fn number(&mut self, directory: &Path, name: &str) -> Option<f64> {
        self.attribute(directory, name)?.parse().ok()
    }

    /// The directories in a directory below `/sys`, sorted; none where there is no such directory.
    pub(super) fn sys_entries(&self, directory: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.sys_root.join(directory)).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    fn load(&mut self) -> Result<&str, CollectError> {
        match self.read() {
            Ok(()) => Ok(&self.text),
            Err(source) => Err(CollectError::Read { path: self.path.clone(), source }),
        }
    }

    /// Reads `path` into `text`; bytes that are no UTF-8 (a mount point may have any) are replaced.
    fn read(&mut self) -> io::Result<()> {
        self.bytes.clear();
        self.text.clear();
        File::open(&self.path)?.take(FILE_BYTES_MAX).read_to_end(&mut self.bytes)?;
        self.text.push_str(&String::from_utf8_lossy(&self.bytes));
        Ok(())
    }
}

/// The number at the front of `words`.
pub(super) fn next_number<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<f64> {
    words.next()?.parse().ok()
}
