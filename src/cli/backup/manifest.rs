//! `backup.json`: what a backup holds.

use std::{fmt::Write as _, fs, path::Path};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::cli::error::CliError;

/// The file that says what a backup holds.
pub(super) const MANIFEST: &str = "backup.json";
/// The directory of its files.
pub(super) const STORE: &str = "store";
/// The version of the manifest.
const VERSION: u32 = 1;
/// The format of the store that this program knows.
const STORE_FORMAT: u32 = 1;
/// The largest manifest: a million files.
const BYTES_MAX: u64 = 256 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of this file.
    pub(super) backup: u32,
    /// The format of the store.
    pub(super) store_format: u32,
    /// When it was made, RFC 3339.
    pub(super) created: String,
    /// The version of the daemon that made it.
    pub(super) daemon_version: String,
    pub(super) total_files: u64,
    pub(super) total_bytes: u64,
    /// SHA-256 over the lines `<sha256> <bytes> <path>` of all files in order.
    pub(super) digest: String,
    pub(super) files: Vec<FileEntry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    /// Below `store/`.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn new(created: String, daemon_version: String, files: Vec<FileEntry>) -> Self {
        Self {
            backup: VERSION,
            store_format: STORE_FORMAT,
            created,
            daemon_version,
            total_files: u64::try_from(files.len()).unwrap_or(u64::MAX),
            total_bytes: files.iter().map(|file| file.bytes).sum(),
            digest: digest_of(&files),
            files,
        }
    }

    pub(super) fn to_text(&self) -> Result<String, CliError> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|error| CliError::Io("write JSON".to_owned(), error.into()))?;
        Ok(text + "\n")
    }

    /// The manifest of the backup in `dir`, unharmed and of a version that this program knows.
    pub(super) fn read(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join(MANIFEST);
        let shown = path.display();
        let length = fs::metadata(&path).map_err(super::failed("read", &path))?.len();
        if length > BYTES_MAX {
            return Err(CliError::Backup(format!("{shown} is too large to be a backup's")));
        }
        let text = fs::read(&path).map_err(super::failed("read", &path))?;
        let versions: Versions = serde_json::from_slice(&text)
            .map_err(|error| CliError::Backup(format!("{shown} is damaged: {error}")))?;
        versions.check(&path)?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| CliError::Backup(format!("{shown} is damaged: {error}")))?;
        let totals = Self::new(String::new(), String::new(), manifest.files.clone());
        let told = (manifest.total_files, manifest.total_bytes, &manifest.digest);
        if told != (totals.total_files, totals.total_bytes, &totals.digest) {
            let text =
                format!("{shown} is damaged: its list of files is not the one it was made with");
            return Err(CliError::Backup(text));
        }
        Ok(manifest)
    }
}

/// What is the same in every version.
#[derive(Deserialize)]
struct Versions {
    backup: u32,
    store_format: u32,
}

impl Versions {
    fn check(&self, path: &Path) -> Result<(), CliError> {
        if (self.backup, self.store_format) == (VERSION, STORE_FORMAT) {
            return Ok(());
        }
        Err(CliError::Backup(format!(
            "{} has version {} with a store of format {}, and this program knows {VERSION} and \
             {STORE_FORMAT}: use the version that wrote it, or a later one",
            path.display(),
            self.backup,
            self.store_format
        )))
    }
}

fn digest_of(files: &[FileEntry]) -> String {
    let mut text = String::new();
    for FileEntry { path, bytes, sha256 } in files {
        // Nothing fails that writes to a text.
        let _ = writeln!(text, "{sha256} {bytes} {path}");
    }
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(change: impl FnOnce(&mut Manifest)) -> (tempfile::TempDir, Manifest) {
        let entry = FileEntry { path: "wal/1.log".into(), bytes: 3, sha256: "ab".into() };
        let mut manifest = Manifest::new("now".into(), "0.1.0".into(), vec![entry]);
        change(&mut manifest);
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(MANIFEST), manifest.to_text().unwrap()).unwrap();
        (temp, manifest)
    }

    #[test]
    fn reads_what_it_wrote() {
        let (temp, manifest) = written(|_| {});
        assert_eq!(Manifest::read(temp.path()).unwrap(), manifest);
    }

    #[test]
    fn a_list_that_was_changed_is_damaged() {
        let changes: [fn(&mut Manifest); 3] = [
            |manifest| manifest.files[0].path = "wal/2.log".into(),
            |manifest| manifest.total_bytes = 4,
            |manifest| drop(manifest.files.pop()),
        ];
        for change in changes {
            let (temp, _) = written(change);
            let error = Manifest::read(temp.path()).unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
        }
    }

    #[test]
    fn a_later_version_is_told_as_such() {
        for change in [|m: &mut Manifest| m.backup = 2, |m: &mut Manifest| m.store_format = 9] {
            let (temp, _) = written(change);
            let error = Manifest::read(temp.path()).unwrap_err().to_string();
            assert!(error.contains("use the version that wrote it"), "{error}");
        }
    }
}
