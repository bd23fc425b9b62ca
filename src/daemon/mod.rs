//! The process: builds everything, and takes it down again in order.
//!
//! A life is a chain of types, so that a wrong order does not compile: [`Prepared`]
//! (configuration checked, nothing opened) → `Recovered` (store open, rules there)
//! → [`Running`](running::Running) (listeners bound, loops spawned, systemd told) → stopped.

mod agent;
mod arguments;
mod banner;
mod clock_watch;
mod life;
mod reload;
mod running;
mod spawn;
mod stop;
mod systemd;

use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{CommandFactory, Parser};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Overrides};

use self::{arguments::Arguments, life::Prepared};

/// Two threads serve a host of any size: what is heavy runs on the blocking pool.
const WORKERS: usize = 2;
/// Queries, collecting, the store's blocking calls.
const BLOCKING_MAX: usize = 16;
/// Descriptors that are asked for, as in the unit: each partition that is read takes eighty.
const DESCRIPTORS: u64 = 16_384;
/// Descriptors below which it does not start: those of an idle daemon, some for clients, and for a
/// partition that is written beside one that is read.
const DESCRIPTORS_MIN: u64 = 16 + 16 + 2 * 96;

/// Runs the daemon; the result is the process' exit status.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let overrides = arguments.overrides();
    let done = if arguments.check {
        check(&overrides)
    } else if arguments.print_config {
        print_config(&overrides)
    } else if arguments.spawn {
        spawn::run(&overrides)
    } else {
        run(overrides, arguments.agent)
    };
    done.unwrap_or_else(|error| {
        say_error(&format!("balefired: {error:#}"));
        ExitCode::FAILURE
    })
}

/// What can be typed; its man page is made of it, and its completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

#[expect(clippy::print_stdout, reason = "what `--check` is for")]
fn check(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let config = load(overrides)?;
    let file = config
        .file
        .map_or_else(|| "no configuration file".to_owned(), |file| file.display().to_string());
    println!("{file}: fine");
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "what `--print-config` is for")]
fn print_config(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    print!("{}", crate::config::print_config(&load(overrides)?));
    Ok(ExitCode::SUCCESS)
}

fn load(overrides: &Overrides) -> anyhow::Result<Config> {
    Config::load(overrides)
        .map_err(|problems| anyhow::anyhow!("the configuration is wrong\n{problems}"))
}

fn run(overrides: Overrides, as_agent: bool) -> anyhow::Result<ExitCode> {
    let config = load(&overrides)?;
    raise_descriptors()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_name("balefired")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        if as_agent {
            return agent::Running::start(overrides, config).await?.until_stopped().await;
        }
        let recovered = Prepared::new(overrides, config)?.recover().await?;
        let running = recovered.start().await?;
        anyhow::Ok(running.until_stopped().await)
    });
    // Whatever still runs on the blocking pool was asked to end and is not waited for.
    runtime.shutdown_background();
    code
}

/// Takes as many descriptors as it may have, up to what it has use for. Where there are few, fewer
/// partitions stay open; with fewer than [`DESCRIPTORS_MIN`] the store could not be read.
fn raise_descriptors() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    let mut granted = limit.current.unwrap_or(DESCRIPTORS);
    if granted < wanted
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok()
    {
        granted = wanted;
    }
    ensure!(
        granted >= DESCRIPTORS_MIN,
        "{granted} file descriptors are too few: at least {DESCRIPTORS_MIN} are needed; set \
         LimitNOFILE={DESCRIPTORS_MIN} or more in the unit, or run `ulimit -n {DESCRIPTORS_MIN}` first"
    );
    Ok(())
}

#[expect(clippy::print_stderr, reason = "before logging is set up there is no other place")]
fn say_error(message: &str) {
    eprintln!("{message}");
}
