//! What lies where in a store's directory, for those who look at it as a tree of files: backup,
//! verification, sizes. Must not know what is in the files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{StoreError, keys, rollup::Tier};

/// The file that names the format, and its first line.
pub(super) const FORMAT: &str = "format";
/// … which is this.
pub(super) const FORMAT_LINE: &str = "balefire store 1";
/// What the file of a store says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Format {
    Ours,
    /// Of another version, in its words.
    Other(String),
    Damaged,
}

/// The file's content: the line twice, so that damage is told from another version.
pub(super) fn format_text() -> String {
    format!("{FORMAT_LINE}\n{FORMAT_LINE}\n")
}

/// What a store's file with these bytes says.
pub(super) fn format_of(bytes: &[u8]) -> Format {
    if bytes == format_text().as_bytes() {
        return Format::Ours;
    }
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let says = first.starts_with("balefire store ") && first == second && first != FORMAT_LINE;
    if says { Format::Other(first.to_owned()) } else { Format::Damaged }
}

/// Where links for a backup are, while one is streamed.
pub(super) const BACKUP: &str = "backup";

/// What a write-once directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    Samples(Tier),
    History,
    Catalog,
}

/// A directory that was written once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) holds: Holds,
    pub(super) dir: PathBuf,
}

/// All write-once directories of a store, in order; what is unfinished is left out.
pub(super) fn places(store: &Path) -> Result<Vec<Place>, StoreError> {
    let tiers = Tier::ALL.map(|tier| (Holds::Samples(tier), store.join(keys::tier(tier))));
    let others =
        [(Holds::History, store.join(keys::HISTORY)), (Holds::Catalog, store.join(keys::CATALOG))];
    let mut found = Vec::new();
    for (holds, parent) in tiers.into_iter().chain(others) {
        let dirs = list(&parent)?.into_iter().filter(|path| path.is_dir());
        found.extend(dirs.map(|dir| Place { holds, dir }));
    }
    found.sort();
    Ok(found)
}

/// The entries of a directory by name, those left out that are unfinished; none where there is no
/// such directory.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", dir)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        if path.extension().is_none_or(|extension| extension != keys::UNFINISHED) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Regular files below `dir`, sorted, relative to `store`.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for path in list(dir)? {
        let data = fs::symlink_metadata(&path).map_err(StoreError::io("look at", &path))?;
        if data.is_dir() {
            found.extend(files(&path)?);
        } else if data.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}
