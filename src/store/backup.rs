//! Backup: a consistent copy of the store, streamed while it goes on being used.
//!
//! The log begins anew with everything that is not sealed; then each file gets a second name below
//! `backup/`, which costs no room and keeps it from vanishing; then the files are read from there, at
//! the pace of whoever takes them. A write-once file stays as it is, and of the log only what was there
//! when it was linked is read. The second names go when the [`Backup`] is dropped, and at the next start.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use super::{Inner, Store, StoreError, engine::still::holding_still, keys, layout, wal};

/// The longest piece of a file.
const PIECE_BYTES: usize = 64 << 10;
/// How often linking is tried where files vanish meanwhile.
const TRIES: u32 = 5;
/// What is of no use in another place.
const LEFT_OUT: [&str; 3] = [keys::LOCK, keys::QUARANTINE, layout::BACKUP];

/// A copy of the store as of one moment. One at a time.
#[derive(Debug)]
pub struct Backup {
    files: Vec<Linked>,
    links: Links,
}

#[derive(Debug)]
struct Linked {
    /// Below the store, with `/`.
    path: String,
    bytes: u64,
}

/// A part of a backup, in the order in which they come: for each file its name, its bytes, its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupPart {
    /// How much there will be.
    Begin {
        /// Files.
        files: u64,
        /// Bytes of all files.
        bytes: u64,
    },
    /// A file begins.
    File {
        /// Its path below the store, with `/`.
        path: String,
        /// Its length.
        bytes: u64,
    },
    /// Its next bytes, at most 64 KiB.
    Piece(Bytes),
    /// The SHA-256 of the file, which is whole now.
    Hash([u8; 32]),
    /// That was all.
    End {
        /// Files.
        files: u64,
        /// Bytes of all files.
        bytes: u64,
    },
}

/// The second names, and the word that a backup is under way.
#[derive(Debug)]
struct Links {
    store: Arc<Inner>,
    dir: PathBuf,
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            self.store.events.left_over(&self.dir, &error);
        }
        self.store.backing_up.store(false, Ordering::Release);
    }
}

impl Store {
    /// Takes a consistent copy of everything that is durable by now, to be streamed; one at a time.
    /// Blocking: waits for sealing, compaction and clean-up.
    pub fn begin_backup(&self) -> Result<Backup, StoreError> {
        begin(&self.0)
    }
}

fn begin(store: &Arc<Inner>) -> Result<Backup, StoreError> {
    if store.backing_up.swap(true, Ordering::AcqRel) {
        return Err(StoreError::Busy("another backup is under way: try again when it has ended"));
    }
    let number = store.clock.now().as_millis();
    let dir = store.dir.join(layout::BACKUP).join(format!("{number}.{}", keys::UNFINISHED));
    let links = Links { store: Arc::clone(store), dir };
    // Nothing is sealed, compacted or removed meanwhile.
    let _alone = store.maintenance.lock();
    store.checkpoint(|_| {})?;
    link_all(&store.dir, &links.dir)?;
    let files = measure(&links.dir)?;
    Ok(Backup { files, links })
}

/// Removes what a backup left that did not end well.
pub(super) fn remove_leftovers(store: &Path) -> Result<(), StoreError> {
    let dir = store.join(layout::BACKUP);
    remove(&dir).map_err(StoreError::io("remove", dir))
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn link_all(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(to).map_err(StoreError::io("create", to))?;
    for path in layout::list(from)? {
        let name = path.file_name().unwrap_or_default();
        if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
            link_unit(&path, &to.join(name), TRIES)?;
        }
    }
    Ok(())
}

/// Links what stands at the top of a store, whole. What vanishes meanwhile (a segment of the log, a
/// partition whose last reader has gone) was superfluous when it did: then all of it is looked at
/// again.
fn link_unit(from: &Path, to: &Path, tries: u32) -> Result<(), StoreError> {
    match link(from, to) {
        Err(StoreError::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound && tries > 1 =>
        {
            remove(to).map_err(StoreError::io("remove", to))?;
            link_unit(from, to, tries - 1)
        }
        outcome => outcome,
    }
}

fn link(from: &Path, to: &Path) -> Result<(), StoreError> {
    let data = fs::symlink_metadata(from).map_err(StoreError::io("look at", from))?;
    if data.is_file() {
        return fs::hard_link(from, to).map_err(StoreError::io("link", from));
    }
    if !data.is_dir() {
        return Ok(());
    }
    fs::create_dir(to).map_err(StoreError::io("create", to))?;
    // A database's files belong together.
    let _still = from.ends_with(keys::DATABASE).then(holding_still);
    link_entries(from, to)
}

fn link_entries(from: &Path, to: &Path) -> Result<(), StoreError> {
    for path in layout::list(from)? {
        link(&path, &to.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// Each file with its length. Of a segment of the log that is the end of its last frame: the open one
/// grows, and has room behind it that comes and goes.
fn measure(links: &Path) -> Result<Vec<Linked>, StoreError> {
    let mut files = Vec::new();
    for path in layout::files(links)? {
        let bytes = match keys::segment_number(&path) {
            Some(_) => wal::read_segment(&path, |_| {})?.good,
            None => fs::metadata(&path).map_err(StoreError::io("measure", &path))?.len(),
        };
        let name = path.strip_prefix(links).unwrap_or(&path);
        let name = name.to_str().ok_or_else(|| StoreError::Damaged {
            path: path.clone(),
            reason: "its name is no text".to_owned(),
        })?;
        files.push(Linked { path: name.to_owned(), bytes });
    }
    Ok(files)
}

/// What takes the parts of a backup; `false` ends it.
pub(super) type TakePart<'a> = &'a mut dyn FnMut(BackupPart) -> bool;

impl Backup {
    /// Hands over everything, or ends early where `take` wants no more. Blocking.
    pub fn stream(&self, take: TakePart<'_>) -> Result<(), StoreError> {
        let files = self.files.len() as u64;
        let bytes = self.files.iter().map(|file| file.bytes).sum();
        if !take(BackupPart::Begin { files, bytes }) {
            return Ok(());
        }
        for file in &self.files {
            if !self.stream_file(file, take)? {
                return Ok(());
            }
        }
        take(BackupPart::End { files, bytes });
        Ok(())
    }

    /// Tells whether more is wanted.
    fn stream_file(&self, file: &Linked, take: TakePart<'_>) -> Result<bool, StoreError> {
        if !take(BackupPart::File { path: file.path.clone(), bytes: file.bytes }) {
            return Ok(false);
        }
        let path = self.links.dir.join(&file.path);
        let mut source = File::open(&path).map_err(StoreError::io("open", &path))?;
        let (mut left, mut hash) = (file.bytes, Context::new(&SHA256));
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let mut piece = vec![0; length];
            source.read_exact(&mut piece).map_err(StoreError::io("read", &path))?;
            hash.update(&piece);
            left -= length as u64;
            if !take(BackupPart::Piece(piece.into())) {
                return Ok(false);
            }
        }
        let mut sum = [0; 32];
        sum.copy_from_slice(hash.finish().as_ref());
        Ok(take(BackupPart::Hash(sum)))
    }
}
