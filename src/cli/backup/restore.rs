//! `balefire restore`: a backup in the place of the store, without a daemon.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::{
    cli::{
        args::Restore,
        error::{CliError, Verdict},
        human, output,
        progress::Progress,
        session::Session,
        state_dir,
    },
    store::{Restoring, prove_opens},
    time::Timestamp,
};

use super::{
    below, create, failed,
    manifest::{FileEntry, Manifest, STORE, hex},
    sync_dirs,
};

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 256 << 10;
/// Free disk that is left alone.
const RESERVE_BYTES: u64 = 64 << 20;

pub(in crate::cli) async fn run(session: &Session, args: Restore) -> Result<Verdict, CliError> {
    let dir = std::path::absolute(&args.dir).map_err(failed("find", &args.dir))?;
    let manifest = Manifest::read(&dir)?;
    let state_dir = state_dir::find(&args.place)?;
    if !args.yes && !confirmed(&manifest, &state_dir)? {
        output::note("nothing was changed");
        return Ok(Verdict::No);
    }
    let work = Work {
        dir,
        manifest,
        state_dir,
        now: session.now(),
        progress: Progress::new(session, "restore"),
    };
    // The store waits for its own threads, which an async thread must not.
    let restored = spawn_blocking(move || work.run()).await;
    let restored =
        restored.map_err(|error| CliError::Io("restore".to_owned(), io::Error::other(error)))??;
    session.show(&restored, |restored, _| restored.render())?;
    Ok(Verdict::Fine)
}

/// Asks at a terminal; elsewhere `--yes` is needed.
fn confirmed(manifest: &Manifest, state_dir: &Path) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        let text = "restore replaces the store: say --yes where nobody can be asked";
        return Err(CliError::Usage(text.to_owned()));
    }
    output::confirm(&format!(
        "Put the backup of {} ({} files, {}) in the place of {}? The store that is there is kept \
         beside it. [y/N] ",
        manifest.created,
        manifest.total_files,
        human::bytes(manifest.total_bytes),
        state_dir.join(STORE).display()
    ))
}

struct Work {
    dir: PathBuf,
    manifest: Manifest,
    state_dir: PathBuf,
    now: Timestamp,
    progress: Progress,
}

#[derive(Debug, Serialize)]
struct Restored {
    store: String,
    created: String,
    files: u64,
    bytes: u64,
    samples_in_log: u64,
    /// What was damaged already when the backup was made.
    quarantined: Vec<String>,
    /// The store that was there; `null` where there was none.
    set_aside: Option<String>,
}

impl Restored {
    fn render(&self) -> String {
        let bytes = human::bytes(self.bytes);
        let mut lines = vec![format!(
            "the backup of {} ({} files, {bytes}) is in place: {}",
            self.created, self.files, self.store
        )];
        for what in &self.quarantined {
            lines.push(format!("damaged before it was backed up, and put aside: {what}"));
        }
        if let Some(aside) = &self.set_aside {
            let store = &self.store;
            lines.push(format!("the store that was there is kept: {aside}"));
            lines.push(format!(
                "to go back: stop the daemon, then `rm -r {store} && mv {aside} {store}`; to stay: \
                 `rm -r {aside}`"
            ));
        }
        lines.join("\n")
    }
}

impl Work {
    fn run(self) -> Result<Restored, CliError> {
        let store = self.state_dir.join(STORE);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir);
        made.map_err(failed("create", &self.state_dir))?;
        let held = Restoring::begin(&store)?;
        self.need_room()?;
        let staged = self.state_dir.join("store.restoring");
        let restored = self.stage(&staged).and_then(|recovery| {
            give_to_owner(&staged, &self.state_dir)?;
            Ok(recovery)
        });
        let recovery = match restored {
            Ok(recovery) => recovery,
            Err(error) => {
                self.progress.clear();
                remove(&staged)?;
                return Err(error);
            }
        };
        let aside = self.aside();
        held.swap(&staged, &aside)?;
        self.progress.clear();
        Ok(Restored {
            store: store.display().to_string(),
            created: self.manifest.created,
            files: self.manifest.total_files,
            bytes: self.manifest.total_bytes,
            samples_in_log: recovery.samples_replayed,
            quarantined: recovery.quarantined,
            set_aside: keep(&aside)?,
        })
    }

    /// Copies everything, compares every hash, and opens the copy once.
    fn stage(&self, staged: &Path) -> Result<crate::store::Recovery, CliError> {
        remove(staged)?;
        self.progress.set_total(self.manifest.total_bytes);
        DirBuilder::new().mode(0o700).create(staged).map_err(failed("create", staged))?;
        for entry in &self.manifest.files {
            self.copy(entry, staged)?;
        }
        let recovery = prove_opens(staged)?;
        sync_dirs(staged)?;
        Ok(recovery)
    }

    fn copy(&self, entry: &FileEntry, staged: &Path) -> Result<(), CliError> {
        let from = below(&self.dir.join(STORE), &entry.path)?;
        let to = below(staged, &entry.path)?;
        let data = fs::symlink_metadata(&from).map_err(failed("read", &from))?;
        if !data.is_file() || data.len() != entry.bytes {
            return Err(damaged(&from, &format!("it is no file of {} bytes", entry.bytes)));
        }
        let mut source = File::open(&from).map_err(failed("open", &from))?;
        let mut copy = create(&to)?;
        let (mut hash, mut piece) = (Context::new(&SHA256), vec![0; PIECE_BYTES]);
        loop {
            let length = source.read(&mut piece).map_err(failed("read", &from))?;
            if length == 0 {
                break;
            }
            hash.update(&piece[..length]);
            copy.write_all(&piece[..length]).map_err(failed("write", &to))?;
            self.progress.add(u64::try_from(length).unwrap_or(u64::MAX));
        }
        if hex(hash.finish().as_ref()) != entry.sha256 {
            return Err(damaged(&from, "its SHA-256 is another one than when it was made"));
        }
        copy.sync_all().map_err(failed("sync", &to))
    }

    fn need_room(&self) -> Result<(), CliError> {
        let disk = rustix::fs::statvfs(&self.state_dir)
            .map_err(|error| failed("measure", &self.state_dir)(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = self.manifest.total_bytes.saturating_add(RESERVE_BYTES);
        if free >= needed {
            return Ok(());
        }
        Err(CliError::Backup(format!(
            "{} has {} free, and the backup needs {}, as the present store is kept: free some space",
            self.state_dir.display(),
            human::bytes(free),
            human::bytes(needed)
        )))
    }

    /// Where the present store goes.
    fn aside(&self) -> PathBuf {
        let time = self.now.to_string().replace(':', "");
        let name = format!("store.before-{time}");
        let names = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}.{n}") });
        let mut paths = names.map(|name| self.state_dir.join(name));
        paths.find(|path| !path.exists()).unwrap_or_else(|| self.state_dir.join(&name))
    }
}

fn damaged(path: &Path, reason: &str) -> CliError {
    CliError::Backup(format!(
        "{} is damaged: {reason}; nothing was changed: use another backup",
        path.display()
    ))
}

fn remove(dir: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// A store that was set aside is kept; one that this command made itself, to hold its place, is not.
fn keep(aside: &Path) -> Result<Option<String>, CliError> {
    let entries = fs::read_dir(aside).map_err(failed("list", aside))?;
    if entries.flatten().any(|entry| entry.file_name() != "lock") {
        return Ok(Some(aside.display().to_string()));
    }
    remove(aside)?;
    Ok(None)
}

/// What root restores belongs to who owns the state directory: the service's user.
fn give_to_owner(dir: &Path, state_dir: &Path) -> Result<(), CliError> {
    let owner = fs::metadata(state_dir).map_err(failed("look at", state_dir))?;
    if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    give(dir, owner.uid(), owner.gid())
}

fn give(path: &Path, uid: u32, gid: u32) -> Result<(), CliError> {
    chown(path, Some(uid), Some(gid)).map_err(failed("give to its owner", path))?;
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(failed("list", path))? {
            give(&entry.map_err(failed("list", path))?.path(), uid, gid)?;
        }
    }
    Ok(())
}
