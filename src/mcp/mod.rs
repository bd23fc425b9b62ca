//! The MCP shim: the eight tools, over standard input and output or streamable HTTP.
//!
//! It holds no state: each call is translated to the daemon's gRPC and its answer to JSON with a
//! schema, bounded in size. It must not know anything of the daemon but its client, and it never
//! waits for the daemon before it answers `initialize` or `server/discover`.
//!
//! Start reading at [`tools`], the table of tools; [`server`] is what the protocol sees.

mod answer;
mod args;
mod convert;
mod error;
mod http;
mod range;
mod schema;
mod server;
mod shutdown;
mod stdio;
mod tools;
mod translate;

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser};

use crate::{client::Connection, time::Clock};

use self::{args::Args, server::Shim, tools::Context};

/// Runs `balefire-mcp` until its input ends or a signal stops it.
///
/// Exit statuses: 0 for a clean end, 1 where it could not serve, 2 for wrong arguments.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// What can be typed; its man page is made of it, and its completions.
pub fn command() -> clap::Command {
    Args::command()
}

fn serve(args: &Args) -> anyhow::Result<()> {
    args.start_logging();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let context =
            Context { connection: Connection::open(args.socket.as_deref()), clock: Clock::System };
        let shim = Shim::new(context, args.offer());
        match args.http {
            Some(address) => http::serve(shim, address).await,
            None => stdio::serve(shim).await,
        }
    });
    // A read of standard input that is not a pipe cannot be cancelled: do not wait for it.
    runtime.shutdown_background();
    served
}

/// Standard output belongs to the protocol, so errors go to standard error.
fn report(error: &anyhow::Error) {
    use io::Write;
    // Where nobody reads it, there is nobody to tell.
    let _ = writeln!(io::stderr(), "balefire-mcp: {error:#}");
}
