//! MCP over standard input and output.

use rmcp::{ServiceExt, service::ServerInitializeError, transport::stdio_pipes};

use super::{server::Shim, shutdown::Shutdown};

/// Serves the one client at the other end until it closes its end, or a signal arrives.
pub(super) async fn serve(shim: Shim) -> anyhow::Result<()> {
    let mut shutdown = Shutdown::listen()?;
    let opened = tokio::select! {
        opened = shim.serve(stdio_pipes()) => opened,
        () = shutdown.signalled() => return Ok(()),
    };
    let running = match opened {
        Ok(running) => running,
        // A client that goes before it said anything is no failure of ours.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    tokio::select! {
        quit = running.waiting() => drop(quit?),
        () = shutdown.signalled() => {}
    }
    Ok(())
}
