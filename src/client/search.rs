//! Where the daemon's socket may be.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The socket of the system service.
const SYSTEM_SOCKET: &str = "/run/balefire/control.sock";

/// The sockets to try, in order.
///
/// `--socket`, else `BALEFIRE_SOCKET`: just that one. Else the user's own daemon
/// (`$XDG_RUNTIME_DIR/balefire/control.sock`; where that variable is unset, `run/control.sock` in
/// the state directory), then the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    candidates: Vec<PathBuf>,
}

impl Search {
    /// The search order under this process' environment.
    pub fn from_environment(choice: Option<&Path>) -> Self {
        Self::new(choice, |name| env::var_os(name))
    }

    /// The search order under the environment that `variable` reads; empty variables count as unset.
    pub fn new(choice: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(chosen) = choice.map(Path::to_owned) {
            return Self::of(vec![chosen]);
        }
        if let Some(chosen) = variable("BALEFIRE_SOCKET") {
            return Self::of(vec![chosen.into()]);
        }
        let user = user_socket(variable);
        Self::of(user.into_iter().chain([PathBuf::from(SYSTEM_SOCKET)]).collect())
    }

    /// Just these sockets, in this order.
    pub fn of(candidates: Vec<PathBuf>) -> Self {
        Self { candidates }
    }

    /// The sockets to try, in order.
    pub fn candidates(&self) -> &[PathBuf] {
        &self.candidates
    }
}

/// The socket of the user's own daemon; `None` where not even `HOME` is set.
fn user_socket(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(runtime) = variable("XDG_RUNTIME_DIR") {
        return Some(PathBuf::from(runtime).join("balefire/control.sock"));
    }
    let state = match variable("XDG_STATE_HOME") {
        Some(state) => PathBuf::from(state),
        None => PathBuf::from(variable("HOME")?).join(".local/state"),
    };
    Some(state.join("balefire/run/control.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(choice: Option<&str>, environment: &[(&str, &str)], expected: &[&str]) {
        let search = Search::new(choice.map(Path::new), |name| {
            environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        });
        let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(search.candidates(), expected);
    }

    #[test]
    fn a_choice_is_the_only_candidate() {
        check(Some("/a.sock"), &[("BALEFIRE_SOCKET", "/b.sock")], &["/a.sock"]);
        check(None, &[("BALEFIRE_SOCKET", "/b.sock"), ("HOME", "/h")], &["/b.sock"]);
    }

    #[test]
    fn the_users_socket_comes_before_the_systems() {
        let runtime = [("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/h")];
        check(None, &runtime, &["/run/user/7/balefire/control.sock", SYSTEM_SOCKET]);
        let state = [("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        check(None, &state, &["/s/balefire/run/control.sock", SYSTEM_SOCKET]);
        let home = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "")];
        check(None, &home, &["/h/.local/state/balefire/run/control.sock", SYSTEM_SOCKET]);
        check(None, &[], &[SYSTEM_SOCKET]);
    }
}
