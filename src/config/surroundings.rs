//! What the process finds around itself, and the places that follow from it.
//!
//! As a *system service* everything lies in `/etc/balefire`, `/var/lib/balefire` and
//! `/run/balefire`; for a person, in the XDG directories. It is a system service where systemd hands
//! it directories of the system, where `--config` (or `BALEFIRE_CONFIG`) lies in `/etc/balefire`, or
//! where root starts it and `/etc/balefire/balefire.toml` is there. Root without any of these is a
//! person like any other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The name of the base file.
const FILE_NAME: &str = "balefire.toml";
/// Where the system service's configuration lies.
const SYSTEM_CONFIG_DIR: &str = "/etc/balefire";
/// The socket of `balefire-spawn.socket`.
const SPAWN_SOCKET: &str = "/run/balefire/spawn.sock";

/// The environment and the user of a process; read once.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    pub(super) env: BTreeMap<String, String>,
    pub(super) is_root: bool,
    /// Where `/etc` is looked for; another directory in tests.
    pub(super) root_dir: PathBuf,
}

/// Where things lie where nothing else is said; `None` where nobody can know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The base file, which need not be there.
    pub(super) config_file: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
    /// The control socket; below the state directory where this is `None`.
    pub(super) socket: Option<PathBuf>,
    /// The user's home; `None` for the system service, which has nobody's.
    pub(super) home: Option<PathBuf>,
    /// Where the system service has MCP servers started, if that is there.
    pub(super) spawn_socket: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            env: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            is_root: rustix::process::geteuid().is_root(),
            root_dir: PathBuf::from("/"),
        }
    }

    /// The same; for a process that is a person's even where root starts it, where `is_persons`.
    pub(super) fn of_person(&self, is_persons: bool) -> Self {
        Self { is_root: self.is_root && !is_persons, ..self.clone() }
    }

    /// A variable that is set and not empty.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// An absolute path from a variable; systemd's may hold several, of which the first counts.
    fn dir(&self, name: &str) -> Option<PathBuf> {
        let first = self.var(name)?.split(':').next()?;
        Some(PathBuf::from(first)).filter(|path| path.is_absolute())
    }

    /// The places for this process, where `named` is the file that it was told to read.
    pub(super) fn places(&self, named: Option<&Path>) -> Places {
        let is_system = self.is_system(named);
        let usual = if is_system { Self::system_places() } else { self.user_places() };
        Places {
            config_file: self
                .dir("CONFIGURATION_DIRECTORY")
                .map(|dir| dir.join(FILE_NAME))
                .or(usual.config_file),
            state_dir: self.dir("STATE_DIRECTORY").or(usual.state_dir),
            socket: self
                .dir("RUNTIME_DIRECTORY")
                .map(|dir| dir.join("control.sock"))
                .or(usual.socket),
            home: usual.home,
            spawn_socket: self.spawn_socket().filter(|_| is_system),
        }
    }

    fn spawn_socket(&self) -> Option<PathBuf> {
        let is_there = self.root_dir.join(SPAWN_SOCKET.trim_start_matches('/')).exists();
        is_there.then(|| SPAWN_SOCKET.into())
    }

    fn is_system(&self, named: Option<&Path>) -> bool {
        // A user's unit has these variables as well, with directories of the user's.
        let given = [
            ("CONFIGURATION_DIRECTORY", "/etc"),
            ("STATE_DIRECTORY", "/var/lib"),
            ("RUNTIME_DIRECTORY", "/run/balefire"),
        ];
        let by_systemd = given
            .iter()
            .any(|(name, system)| self.dir(name).is_some_and(|dir| dir.starts_with(system)));
        let system_file = self.root_dir.join("etc/balefire").join(FILE_NAME);
        by_systemd
            || named.is_some_and(|file| file.starts_with(SYSTEM_CONFIG_DIR))
            || (self.is_root && named.is_none() && system_file.exists())
    }

    fn system_places() -> Places {
        Places {
            config_file: Some(Path::new(SYSTEM_CONFIG_DIR).join(FILE_NAME)),
            state_dir: Some("/var/lib/balefire".into()),
            socket: Some("/run/balefire/control.sock".into()),
            home: None,
            spawn_socket: None,
        }
    }

    fn user_places(&self) -> Places {
        let home = self.dir("HOME");
        let xdg = |name: &str, below_home: &str| {
            self.dir(name).or_else(|| Some(home.as_ref()?.join(below_home)))
        };
        Places {
            config_file: xdg("XDG_CONFIG_HOME", ".config")
                .map(|dir| dir.join("balefire").join(FILE_NAME)),
            state_dir: xdg("XDG_STATE_HOME", ".local/state").map(|dir| dir.join("balefire")),
            socket: self.dir("XDG_RUNTIME_DIR").map(|dir| dir.join("balefire/control.sock")),
            home,
            spawn_socket: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `env` is written `NAME=value NAME=value`; the answer is `config state socket`.
    #[track_caller]
    fn check(env: &str, named: Option<&str>, expected: &str) {
        let env = env.split_whitespace().map(|pair| pair.split_once('=').unwrap());
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let around = Surroundings { env, is_root: true, root_dir: "/nonexistent".into() };
        let places = around.places(named.map(Path::new));
        let show = |path: Option<PathBuf>| path.map_or("-".into(), |p| p.display().to_string());
        let shown = [places.config_file, places.state_dir, places.socket].map(show);
        assert_eq!(shown.join(" "), expected);
    }

    const SYSTEM: &str = "/etc/balefire/balefire.toml /var/lib/balefire /run/balefire/control.sock";

    #[test]
    fn a_person_has_the_xdg_directories() {
        check(
            "HOME=/home/a XDG_RUNTIME_DIR=/run/user/1000",
            None,
            "/home/a/.config/balefire/balefire.toml /home/a/.local/state/balefire \
             /run/user/1000/balefire/control.sock",
        );
        check(
            "HOME=/home/a XDG_CONFIG_HOME=/c XDG_STATE_HOME=/s",
            None,
            "/c/balefire/balefire.toml /s/balefire -",
        );
        check(
            "HOME=/home/a XDG_STATE_HOME=relative",
            None,
            "/home/a/.config/balefire/balefire.toml /home/a/.local/state/balefire -",
        );
        check("", None, "- - -");
    }

    #[test]
    fn the_system_service_has_the_systems() {
        check("HOME=/root", Some("/etc/balefire/balefire.toml"), SYSTEM);
        check("STATE_DIRECTORY=/var/lib/balefire", None, SYSTEM);
        check(
            "HOME=/root CONFIGURATION_DIRECTORY=/etc/balefire RUNTIME_DIRECTORY=/run/balefire",
            None,
            SYSTEM,
        );
        check(
            "STATE_DIRECTORY=/var/lib/private/balefire:/var/lib/other",
            None,
            "/etc/balefire/balefire.toml /var/lib/private/balefire /run/balefire/control.sock",
        );
    }

    #[test]
    fn a_users_unit_stays_the_users() {
        check(
            "HOME=/home/a STATE_DIRECTORY=/home/a/.local/state/balefire \
             RUNTIME_DIRECTORY=/run/user/1000/balefire",
            None,
            "/home/a/.config/balefire/balefire.toml /home/a/.local/state/balefire \
             /run/user/1000/balefire/control.sock",
        );
    }

    #[test]
    fn root_is_the_system_where_its_file_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let env = BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]);
        let mut around = Surroundings { env, is_root: true, root_dir: dir.path().into() };
        assert_eq!(around.places(None).home, Some("/root".into()));
        std::fs::create_dir_all(dir.path().join("etc/balefire")).unwrap();
        std::fs::write(dir.path().join("etc/balefire/balefire.toml"), "").unwrap();
        assert_eq!(around.places(None), Surroundings::system_places());
        around.is_root = false;
        assert_eq!(around.places(None).home, Some("/root".into()));
    }
}
