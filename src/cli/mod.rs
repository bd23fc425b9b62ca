//! The command line: arguments, calls, tables and JSON, exit statuses.
//!
//! One file for each family of commands; each asks the daemon through `client`, then renders with
//! pure functions (`table`, `human`, `views`), so that what a person sees can be tested without a
//! daemon. Printing happens in [`output`] alone. The module knows nothing of the daemon's insides.
//! Start reading at [`run`].

mod alerts;
mod args;
mod audit;
mod backup;
mod daemon;
mod erase;
mod error;
mod events;
mod export;
mod guess;
mod human;
mod import;
mod output;
mod overview;
mod progress;
mod query;
mod rules;
mod series;
mod session;
mod state_dir;
mod status;
mod store;
mod table;
mod targets;
mod token;
mod views;
mod write;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use error::{CliError, Verdict};
use session::Session;

/// Runs one command with the arguments of this process.
pub fn run() -> ExitCode {
    let args = Args::parse();
    match start(args) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            output::complain(&error);
            error.exit_code()
        }
    }
}

/// What can be typed; man pages are made of it, and completions.
pub fn command() -> clap::Command {
    Args::command()
}

fn start(args: Args) -> Result<Verdict, CliError> {
    if let Command::Completions { shell } = args.command {
        return completions(shell);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Io("start the runtime".to_owned(), error))?;
    runtime.block_on(async {
        let session = Session::open(&args.shared);
        tokio::select! {
            verdict = dispatch(&session, args.command) => verdict,
            never = session.tell_of_silence() => match never {},
        }
    })
}

async fn dispatch(session: &Session, command: Command) -> Result<Verdict, CliError> {
    match command {
        Command::Status => status::run(session).await,
        Command::Overview { range } => overview::run(session, range).await,
        Command::Targets(command) => targets::run(session, command).await,
        Command::Query(query) => query::run(session, query).await,
        Command::Series(series) => series::series(session, series).await,
        Command::Labels(labels) => series::labels(session, labels).await,
        Command::Write => write::run(session).await,
        Command::Alerts(command) => alerts::run(session, command).await,
        Command::Rules(command) => rules::run(session, command).await,
        Command::Export(export) => export::run(session, export).await,
        Command::Import(import) => import::run(session, import).await,
        Command::Events { follow, limit } => events::run(session, follow, limit).await,
        Command::Audit(args) => audit::run(session, args).await,
        Command::Token(command) => token::run(session, command).await,
        Command::Store(command) => store::run(session, command).await,
        Command::Backup { dir } => backup::run(session, dir).await,
        Command::Erase(args) => erase::run(session, args).await,
        Command::Restore(args) => backup::restore(session, args).await,
        Command::Reload { wait } => daemon::reload(session, wait).await,
        Command::LogLevel { filter } => daemon::log_level(session, filter).await,
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Verdict, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "balefire", &mut script);
    output::write(&script)?;
    Ok(Verdict::Fine)
}
