//! `balefire backup` and `balefire restore`.
//!
//! A backup is a directory: `backup.json` names every file with its length and SHA-256, `store/` holds
//! them (docs/format/backup.md). It is written as `<DIR>.partial` and gets its name when it is whole.

mod manifest;
mod restore;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use ring::digest::{Context, SHA256};
use serde::Serialize;

use crate::{
    client::{ClientError, take},
    wire::{InvalidField, v1, v1::backup_response::Part},
};

use super::{
    error::{CliError, Verdict},
    human,
    progress::Progress,
    session::Session,
};

use manifest::{FileEntry, MANIFEST, Manifest, STORE};
pub(super) use restore::run as restore;

/// Makes a backup in `dir`, which is absent or empty.
pub(super) async fn run(session: &Session, dir: PathBuf) -> Result<Verdict, CliError> {
    let mut place = Partial::create(&dir)?;
    let written = tokio::select! {
        written = write(session, &mut place) => written,
        _ = tokio::signal::ctrl_c() => {
            let error = io::Error::new(io::ErrorKind::Interrupted, "interrupted; nothing is left of it");
            Err(CliError::Io("finish the backup".to_owned(), error))
        }
    };
    let manifest = match written {
        Ok(manifest) => manifest,
        Err(error) => {
            place.remove();
            return Err(error);
        }
    };
    let made = Made {
        dir: dir.display().to_string(),
        created: manifest.created.clone(),
        files: manifest.total_files,
        bytes: manifest.total_bytes,
    };
    session.show(&made, |made, _| {
        let bytes = human::bytes(made.bytes);
        format!(
            "backup of {} files, {bytes}, written to {} and verified\nto restore it: stop the daemon, \
             then `balefire restore {}`",
            made.files, made.dir, made.dir
        )
    })?;
    Ok(Verdict::Fine)
}

#[derive(Debug, Serialize)]
struct Made {
    dir: String,
    created: String,
    files: u64,
    bytes: u64,
}

async fn write(session: &Session, place: &mut Partial) -> Result<Manifest, CliError> {
    let mut system = session.connection.system();
    let version = take(system.get_status(v1::GetStatusRequest {}).await)?.version;
    let mut parts = take(system.backup(v1::BackupRequest {}).await)?;
    let progress = Progress::new(session, "backup");
    let mut writer = Writer::new(place, &progress);
    while let Some(part) = parts.message().await.map_err(ClientError::from)? {
        writer.take(part.part)?;
    }
    let files = writer.finish()?;
    let manifest = Manifest::new(session.now().to_string(), version, files);
    place.finish(&manifest)?;
    progress.clear();
    Ok(manifest)
}

/// `what` could not be done to `path`.
fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> CliError + 'a {
    move |error| CliError::Io(format!("{what} {}", path.display()), error)
}

/// A path of a backup below `base`: nothing that climbs out of it.
fn below(base: &Path, path: &str) -> Result<PathBuf, CliError> {
    let relative = Path::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !path.is_empty() {
        return Ok(base.join(relative));
    }
    let field = InvalidField::new("path", format!("{path:?} is no path below the store"));
    Err(CliError::Answer(field))
}

/// Makes the directories of `path` below `base`, for nobody else to read.
fn make_parents(path: &Path) -> Result<(), CliError> {
    let parent = path.parent().unwrap_or(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.map_err(failed("create", parent))
}

fn create(path: &Path) -> Result<File, CliError> {
    make_parents(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(failed("create", path))
}

/// Makes a directory durable with everything below it; files are synced as they are written.
fn sync_dirs(dir: &Path) -> Result<(), CliError> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.is_dir() {
            sync_dirs(&path)?;
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

/// A backup that is being written.
struct Partial {
    dir: PathBuf,
    partial: PathBuf,
}

impl Partial {
    fn create(dir: &Path) -> Result<Self, CliError> {
        let dir = std::path::absolute(dir).map_err(failed("find", dir))?;
        let used = match fs::read_dir(&dir) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed("list", &dir)(error)),
        };
        if used {
            let text =
                format!("{} is not empty: name a directory that is not there", dir.display());
            return Err(CliError::Usage(text));
        }
        let mut partial = dir.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match DirBuilder::new().mode(0o700).create(&partial) {
            Ok(()) => Ok(Self { dir, partial }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = format!(
                    "{} is there: another backup is being written, or one did not end; in that case \
                     remove it",
                    partial.display()
                );
                Err(CliError::Usage(text))
            }
            Err(error) => Err(failed("create", &partial)(error)),
        }
    }

    fn remove(&self) {
        // What stays says by its name that it is not whole.
        let _ = fs::remove_dir_all(&self.partial);
    }

    /// Writes the manifest, makes everything durable, and gives it its name.
    fn finish(&self, manifest: &Manifest) -> Result<(), CliError> {
        let path = self.partial.join(MANIFEST);
        let mut file = create(&path)?;
        let written = file.write_all(manifest.to_text()?.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(failed("write", &path))?;
        sync_dirs(&self.partial)?;
        fs::rename(&self.partial, &self.dir).map_err(failed("rename", &self.partial))?;
        let parent = self.dir.parent().unwrap_or(&self.dir);
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed("sync", parent))
    }
}

/// Takes the parts of a backup in order.
struct Writer<'a> {
    base: PathBuf,
    progress: &'a Progress,
    open: Option<Open>,
    files: Vec<FileEntry>,
    end: Option<v1::BackupTotals>,
}

/// The file that is being written.
struct Open {
    entry: FileEntry,
    path: PathBuf,
    file: File,
    hash: Context,
    written: u64,
}

impl<'a> Writer<'a> {
    fn new(place: &Partial, progress: &'a Progress) -> Self {
        let base = place.partial.join(STORE);
        Self { base, progress, open: None, files: Vec::new(), end: None }
    }

    fn take(&mut self, part: Option<Part>) -> Result<(), CliError> {
        match part {
            Some(Part::Begin(totals)) => self.progress.set_total(totals.bytes),
            Some(Part::File(file)) => self.begin(file)?,
            Some(Part::Chunk(bytes)) => self.write(&bytes)?,
            Some(Part::Sha256(sum)) => self.close(&sum)?,
            Some(Part::End(totals)) => self.end = Some(totals),
            // What a later daemon may add.
            None => {}
        }
        Ok(())
    }

    fn begin(&mut self, file: v1::BackupFile) -> Result<(), CliError> {
        if self.open.is_some() {
            return Err(out_of_order());
        }
        let path = below(&self.base, &file.path)?;
        self.open = Some(Open {
            file: create(&path)?,
            path,
            entry: FileEntry { path: file.path, bytes: file.bytes, sha256: String::new() },
            hash: Context::new(&SHA256),
            written: 0,
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let open = self.open.as_mut().ok_or_else(out_of_order)?;
        open.file.write_all(bytes).map_err(failed("write", &open.path))?;
        open.hash.update(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        open.written += length;
        self.progress.add(length);
        Ok(())
    }

    fn close(&mut self, sum: &[u8]) -> Result<(), CliError> {
        let mut open = self.open.take().ok_or_else(out_of_order)?;
        let own = open.hash.finish();
        if own.as_ref() != sum || open.written != open.entry.bytes {
            let text = format!("{} did not come as the daemon sent it: try again", open.entry.path);
            return Err(CliError::Answer(InvalidField::new("sha256", text)));
        }
        open.file.sync_all().map_err(failed("sync", &open.path))?;
        open.entry.sha256 = manifest::hex(sum);
        self.files.push(open.entry);
        Ok(())
    }

    /// The files, where all of them came.
    fn finish(self) -> Result<Vec<FileEntry>, CliError> {
        let count = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        match self.end {
            Some(end) if end.files == count && self.open.is_none() => Ok(self.files),
            _ => Err(CliError::Answer(InvalidField::new("end", "the backup ended too early"))),
        }
    }
}

fn out_of_order() -> CliError {
    CliError::Answer(InvalidField::new("part", "the parts of the backup are out of order"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_climbs_out_of_the_backup() {
        let base = Path::new("/b");
        assert_eq!(below(base, "wal/1.log").unwrap(), Path::new("/b/wal/1.log"));
        for path in ["", "/etc/passwd", "../x", "a/../../x", "./a"] {
            assert!(below(base, path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_directory_that_is_used_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("mine"), "x").unwrap();
        let error = Partial::create(temp.path()).map(drop).unwrap_err();
        assert!(error.to_string().contains("is not empty"), "{error}");
        let free = temp.path().join("free");
        let first = Partial::create(&free).unwrap();
        let error = Partial::create(&free).map(drop).unwrap_err();
        assert!(error.to_string().contains("free.partial is there"), "{error}");
        first.remove();
        assert!(Partial::create(&free).is_ok());
    }
}
