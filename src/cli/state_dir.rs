//! Where the store is, for commands that work without a daemon.

use std::path::PathBuf;

use crate::config::{Config, Overrides};

use super::{args::Place, error::CliError};

/// `--state-dir`, or what a daemon started with this `--config`, environment and user would take.
pub(super) fn find(place: &Place) -> Result<PathBuf, CliError> {
    if let Some(dir) = &place.state_dir {
        return Ok(dir.clone());
    }
    let overrides = Overrides { config_file: place.config.clone(), ..Overrides::default() };
    let config = Config::load(&overrides).map_err(|problems| {
        CliError::Usage(format!(
            "the configuration does not tell where the store is: {problems}; name it with --state-dir"
        ))
    })?;
    Ok(config.state_dir)
}
