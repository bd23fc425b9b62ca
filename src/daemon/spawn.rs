//! `balefired --spawn`: starts one MCP server of the administrator's, outside the daemon's sandbox.
//!
//! systemd runs it for each connection to `balefire-spawn.socket`, which is its standard input, as a
//! user of its own. What is run comes from the configuration alone, and only where nobody but root can
//! have written it: the daemon says no more than a name.

use std::{
    env, fs, io,
    os::fd::AsFd,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};

use crate::{
    config::{Overrides, spawned_target},
    limits::CONFIG_BYTES_MAX,
    probe,
};

/// The system's configuration, and the name of the credential by which systemd hands it on.
const CONFIG: &str = "/etc/balefire/balefire.toml";
const CREDENTIAL: &str = "balefire.toml";
/// Write permission of a group, and of everybody.
const WRITABLE: u32 = 0o022;

/// Serves the connection on standard input. The error stands in the journal.
pub(super) fn run(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let config = overrides.config_file.clone().unwrap_or_else(|| CONFIG.into());
    let control = io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
    let served = probe::serve(control, |name| {
        let text = read(&config).map_err(|why| format!("{}: {why}", config.display()))?;
        spawned_target(&config, &text, name)
    });
    served.map(|()| ExitCode::SUCCESS).map_err(|why| anyhow!(why))
}

/// What stands in the configuration, where root alone could write it, and lay it there.
fn read(config: &Path) -> Result<String, String> {
    for path in [config.parent(), Some(config)].into_iter().flatten() {
        let looked = fs::metadata(path);
        let found = looked.map_err(|error| format!("cannot look who may write it: {error}"))?;
        check_owner(path, found.uid(), found.mode())?;
    }
    let found = credential().unwrap_or_else(|| config.to_owned());
    let size = fs::metadata(&found).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(format!("it is larger than {CONFIG_BYTES_MAX} bytes"));
    }
    fs::read_to_string(found).map_err(|error| format!("cannot be read: {error}"))
}

/// What systemd read as root: the helper's user, and with it every server, need not be able to.
fn credential() -> Option<PathBuf> {
    let path = Path::new(&env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.is_file().then_some(path)
}

fn check_owner(path: &Path, owner: u32, mode: u32) -> Result<(), String> {
    let path = path.display();
    if owner != 0 {
        return Err(format!(
            "nothing of it is run, as user {owner} owns {path}: `chown root {path}`"
        ));
    }
    if mode & WRITABLE != 0 {
        return Err(format!(
            "nothing of it is run, as others than root may write {path}: `chmod go-w {path}`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_root_alone_can_write_is_run() {
        let path = Path::new("/etc/balefire/balefire.toml");
        for mode in [0o100_644, 0o100_640, 0o100_600, 0o40_755] {
            assert_eq!(check_owner(path, 0, mode), Ok(()), "{mode:o}");
        }
        for (owner, mode, mend) in
            [(1000, 0o644, "chown root"), (0, 0o664, "chmod go-w"), (0, 0o602, "chmod go-w")]
        {
            let refused = check_owner(path, owner, mode).unwrap_err();
            assert!(refused.contains(mend) && refused.contains("balefire.toml"), "{refused}");
        }
    }
}
