//! The daemon's flags: how this process runs. What is watched stands in the configuration.

use std::path::PathBuf;

use clap::Parser;

use crate::config::Overrides;

/// Watches this host and its MCP servers, keeps the history, tells who must be told.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(name = "balefired", version, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// The configuration file; none is needed [default: balefire.toml in /etc/balefire for the
    /// service, in ~/.config/balefire for a user; else what `BALEFIRE_CONFIG` says]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the history is kept
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where HTTP listens; port 0 takes a free one [default: 127.0.0.1:9494]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Log to this file instead of the journal or standard error
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Run as this user's agent beside the system's service: find and probe the user's targets, and report
    /// them to the service at `--socket` [default: /run/balefire/control.sock]
    #[arg(long, conflicts_with = "listen")]
    pub(super) agent: bool,
    /// Start the one MCP server that the other end of standard input names, as `--config` has it
    #[arg(long, hide = true, conflicts_with_all = ["agent", "check", "print_config"])]
    pub(super) spawn: bool,
    /// Check the configuration, print every problem with file, line and key, and exit
    #[arg(long, conflicts_with = "print_config")]
    pub(super) check: bool,
    /// Print the effective configuration with the origin of each value, and exit
    #[arg(long)]
    pub(super) print_config: bool,
}

const AFTER_HELP: &str = "\
Started with no arguments by an ordinary user it just works: no root, no configuration, no network.
Ask it with `balefire status`. Signals: TERM and INT stop it (a second one at once), HUP reloads.";

impl Arguments {
    /// What the flags say over the configuration.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            config_file: self.config.clone(),
            state_dir: self.state_dir.clone(),
            socket: self.socket.clone(),
            listen: self.listen.clone(),
            log_file: self.log_file.clone(),
            agent: self.agent,
        }
    }
}
