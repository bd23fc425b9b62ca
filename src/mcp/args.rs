//! The shim's command line.

use std::{io, net::SocketAddr, path::PathBuf};

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Gives MCP clients this host's metrics, health checks and alerts.
///
/// Speaks MCP over standard input and output, or over streamable HTTP with `--http`, and forwards
/// every call to the daemon `balefired`.
#[derive(Debug, Parser)]
#[command(name = "balefire-mcp", version)]
pub(super) struct Args {
    /// The daemon's control socket [default: the user's own daemon, then the system's]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Serve streamable HTTP on this loopback address (such as 127.0.0.1:9495) instead of standard
    /// input and output; who sends no token of Balefire's (`Authorization: Bearer`) reads only
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub(super) http: Option<SocketAddr>,
    /// Hide every tool that is not read-only
    #[arg(long)]
    read_only: bool,
    /// Log to standard error (`BALEFIRE_LOG` takes directives such as `info,rmcp=debug`)
    #[arg(long, short)]
    verbose: bool,
}

impl Args {
    /// HTTP callers on loopback may be any user of this host: those who show no token get to look, not to
    /// touch.
    pub(super) fn offer(&self) -> Offer {
        match (self.read_only, self.http) {
            (true, _) => Offer::Reading,
            (false, Some(_)) => Offer::ByToken,
            (false, None) => Offer::All,
        }
    }

    /// Logs only where somebody asked for it.
    pub(super) fn start_logging(&self) {
        let filter = match (EnvFilter::try_from_env("BALEFIRE_LOG"), self.verbose) {
            (Ok(filter), _) => filter,
            (Err(_), true) => EnvFilter::new("debug"),
            (Err(_), false) => return,
        };
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    }
}

/// Which tools are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// All.
    All,
    /// Those that change nothing.
    Reading,
    /// All to who shows a token, which the daemon looks at; to others those that change nothing.
    ByToken,
}

/// An address that only this host can reach.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write an address and a port, such as 127.0.0.1:9495".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "{} is not a loopback address: beyond this host it would need TLS, which the shim does not \
         have; use 127.0.0.1:{} behind a proxy that has, whose callers come with tokens",
        address.ip(),
        address.port()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: &[&str]) -> Result<Args, String> {
        Args::try_parse_from([&["balefire-mcp"], args].concat()).map_err(|error| error.to_string())
    }

    #[test]
    fn http_is_loopback_only_and_by_token() {
        assert_eq!(check(&["--http", "127.0.0.1:0"]).unwrap().offer(), Offer::ByToken);
        let reading = check(&["--http", "[::1]:9495", "--read-only"]).unwrap();
        assert_eq!(reading.offer(), Offer::Reading);
        let refused = check(&["--http", "0.0.0.0:9495"]).unwrap_err();
        assert!(refused.contains("not a loopback address"), "{refused}");
        assert!(check(&["--http", "9495"]).is_err());
    }

    #[test]
    fn stdio_offers_all_tools_unless_told_otherwise() {
        assert_eq!(check(&[]).unwrap().offer(), Offer::All);
        assert_eq!(check(&["--read-only"]).unwrap().offer(), Offer::Reading);
    }
}
