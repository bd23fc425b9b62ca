//! The targets that the user has adopted: a small file, written whole or not at all.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use crate::{limits, pipeline::adopted_name};

/// Adoptions in memory and in the file, one a line.
#[derive(Debug)]
pub(super) struct Adoptions {
    file: PathBuf,
    adopted: Mutex<BTreeSet<String>>,
}

impl Adoptions {
    /// Those of `file`, which need not be there.
    pub(super) fn open(file: PathBuf) -> io::Result<Self> {
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let adopted = text.lines().take(limits::TARGETS_MAX).map(str::to_owned).collect();
        Ok(Self { file, adopted: Mutex::new(adopted) })
    }

    /// All adoptions.
    pub(super) fn all(&self) -> BTreeSet<String> {
        self.adopted.lock().clone()
    }

    /// Keeps an adoption. Blocking.
    pub(super) fn put(&self, adoption: String) -> io::Result<()> {
        self.change(|adopted| {
            adopted.insert(adoption);
        })
    }

    /// Takes back what was adopted under a name. Blocking.
    pub(super) fn remove_of(&self, name: &str) -> io::Result<()> {
        self.change(|adopted| adopted.retain(|adoption| adopted_name(adoption) != name))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>)) -> io::Result<()> {
        let mut adopted = self.adopted.lock();
        let mut new = adopted.clone();
        change(&mut new);
        if new.len() > limits::TARGETS_MAX {
            return Err(io::Error::other("too many are adopted: forget some"));
        }
        write(&self.file, &new)?;
        *adopted = new;
        Ok(())
    }
}

/// Beside its place, to the disk, and renamed.
fn write(file: &Path, adopted: &BTreeSet<String>) -> io::Result<()> {
    let text: String = adopted.iter().flat_map(|adoption| [adoption, "\n"]).collect();
    let beside = file.with_extension("tmp");
    let mut options = OpenOptions::new();
    let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adoptions_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent-adoptions");
        let adoptions = Adoptions::open(file.clone()).unwrap();
        adoptions.put("time#aa".to_owned()).unwrap();
        adoptions.put("docs#bb".to_owned()).unwrap();
        adoptions.put("time#cc".to_owned()).unwrap();
        adoptions.remove_of("time").unwrap();
        let again = Adoptions::open(file).unwrap();
        assert_eq!(again.all(), BTreeSet::from(["docs#bb".to_owned()]));
    }

    #[test]
    fn what_cannot_be_written_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let adoptions = Adoptions::open(dir.path().join("gone/agent-adoptions")).unwrap();
        assert!(adoptions.put("time#aa".to_owned()).is_err());
        assert_eq!(adoptions.all(), BTreeSet::new());
    }
}
