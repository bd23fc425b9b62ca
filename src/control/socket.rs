//! The file of the control socket: made, guarded, taken over from a dead daemon, removed. Where systemd
//! made it, it is used as it is and stays: clients then wait on it while the daemon restarts.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::access::Surroundings;

use super::peer::Accounts;

/// Owner and group may connect, others not.
const SOCKET_MODE: u32 = 0o660;
/// A folder that is made for the socket is its owner's alone.
const FOLDER_MODE: u32 = 0o700;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error("another daemon answers on {}: stop it, or choose another place with --socket", .0.display())]
    InUse(PathBuf),
    /// Something else has that name.
    #[error("{} is there and is no socket: remove it, or choose another place with --socket", .0.display())]
    NotASocket(PathBuf),
    /// The group is not known to this system.
    #[error(
        "no group {0:?} in /etc/group: create it with `groupadd --system {0}`, or give its number"
    )]
    UnknownGroup(String),
    /// The socket that we were started with has no file.
    #[error(
        "the socket named \"control\" that systemd passed has no path: give the socket unit \
         ListenStream=/run/balefire/control.sock"
    )]
    Nameless,
    /// The system refused.
    #[error("cannot {what} {}: {error}", .path.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A bound control socket; its file is removed with it, if it was made here.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that a file that took our place is left alone; `None` where the file is
    /// somebody else's from the start.
    made: Option<(u64, u64)>,
    gid: u32,
}

impl ControlSocket {
    /// Binds `path`, mode 0660, for `group` (a name or a number; `None` for this process' own). A
    /// missing folder is made with mode 0700, a dead daemon's socket is taken over.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, BindError> {
        let wanted = group.map(find_group).transpose()?;
        make_folder(path)?;
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(|e| failed("bind", path, e))?;
        listener.set_nonblocking(true).map_err(|e| failed("set up", path, e))?;
        if wanted.is_some() {
            chown(path, None, wanted).map_err(|e| failed("give the group of", path, e))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
            .map_err(|e| failed("set the mode of", path, e))?;
        let metadata = fs::symlink_metadata(path).map_err(|e| failed("look at", path, e))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            made: Some((metadata.dev(), metadata.ino())),
            gid: metadata.gid(),
        })
    }

    /// Takes a socket that is bound and listens already; its file must be there. Mode and group are the
    /// affair of who made it.
    pub fn inherited(listener: UnixListener) -> Result<Self, BindError> {
        let bound = listener.local_addr().ok();
        let path = bound.as_ref().and_then(|address| address.as_pathname());
        let path = path.ok_or(BindError::Nameless)?.to_owned();
        listener.set_nonblocking(true).map_err(|e| failed("set up", &path, e))?;
        let metadata = fs::symlink_metadata(&path).map_err(|e| failed("look at", &path, e))?;
        Ok(Self { listener, path, made: None, gid: metadata.gid() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A listener of this socket; another one for each time that the serving task starts.
    pub(super) fn listen(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }

    /// Whose it is: what decides on roles where the configuration says nothing.
    pub(super) fn surroundings(&self) -> Surroundings {
        let group = Accounts::read().group(self.gid);
        Surroundings { uid: rustix::process::geteuid().as_raw(), group }
    }

    /// Removes the file, if it was made here and is still ours.
    pub(super) fn remove(&self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| self.made == Some((metadata.dev(), metadata.ino())));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "control socket not removed");
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.remove();
    }
}

fn failed(what: &'static str, path: &Path, error: io::Error) -> BindError {
    BindError::System { what, path: path.to_owned(), error }
}

fn find_group(group: &str) -> Result<u32, BindError> {
    let found = Accounts::read().group_id(group);
    found.ok_or_else(|| BindError::UnknownGroup(group.to_owned()))
}

fn make_folder(socket: &Path) -> Result<(), BindError> {
    match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => {
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(FOLDER_MODE).create(folder);
            made.map_err(|e| failed("make the folder", folder, e))
        }
        _ => Ok(()),
    }
}

/// Removes the socket of a daemon that is no more; a file that is no socket, or one that is
/// answered, stays.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path, error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| failed("remove the stale socket", path, e))
        }
        Err(error) => Err(failed("connect to", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/control.sock");
        (dir, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn makes_folder_and_socket_with_their_modes() {
        let (_dir, path) = place();
        let socket = ControlSocket::bind(&path, None).unwrap();
        assert_eq!(mode(&path), SOCKET_MODE);
        assert_eq!(mode(path.parent().unwrap()), FOLDER_MODE);
        drop(socket);
        assert!(!path.exists(), "the file goes with the socket");
    }

    #[test]
    fn takes_over_from_a_dead_daemon() {
        let (_dir, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        ControlSocket::bind(&path, None).unwrap();
    }

    #[test]
    fn leaves_a_living_daemon_alone() {
        let (_dir, path) = place();
        let _first = ControlSocket::bind(&path, None).unwrap();
        let error = ControlSocket::bind(&path, None).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }

    #[test]
    fn leaves_other_files_alone() {
        let (_dir, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "precious").unwrap();
        let error = ControlSocket::bind(&path, None).unwrap_err();
        assert!(matches!(error, BindError::NotASocket(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn does_not_remove_a_file_that_took_its_place() {
        let (_dir, path) = place();
        let socket = ControlSocket::bind(&path, None).unwrap();
        let other = path.with_extension("other");
        fs::write(&other, "").unwrap();
        fs::rename(&other, &path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_socket_of_others_is_used_as_it_is_and_stays() {
        let (_dir, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let socket = ControlSocket::inherited(UnixListener::bind(&path).unwrap()).unwrap();
        assert_eq!(socket.path(), path);
        drop(socket);
        assert!(path.exists());
        let name = format!("balefire-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let nameless = UnixListener::bind_addr(&address).unwrap();
        let error = ControlSocket::inherited(nameless).unwrap_err();
        assert!(error.to_string().contains("ListenStream="), "{error}");
    }

    #[test]
    fn an_unknown_group_is_named() {
        let (_dir, path) = place();
        let error = ControlSocket::bind(&path, Some("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("groupadd --system no-such-group"), "{error}");
    }
}
