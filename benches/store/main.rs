//! Measures the store, and carries the same data to others: the working half of `benches/storage`,
//! which says what to run and prints the tables.
//!
//! `cargo bench --bench store` shows what there is; each part prints one line of JSON and asserts
//! nothing.

mod core;
mod drive;
mod measure;
mod parts;
mod reads;
mod remote;
mod stream;
mod workload;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};

use crate::{
    drive::{Fleet, Sink},
    measure::{Report, cpu_seconds},
    parts::Place,
    remote::Remote,
    stream::WriteStream,
    workload::{Data, Workload},
};

/// Measures the store, or brings data to a server.
#[derive(Parser)]
#[command(name = "store", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// What generating the data takes by itself.
    Dry(Data),
    /// As fast as it goes; then on while it is sealed.
    Ingest(Place),
    /// A day, sealed as it comes; sizes and reads.
    Day(Place),
    /// Fills a store and waits to be killed.
    Fill {
        #[command(flatten)]
        place: Place,
        /// Seal on the way.
        #[arg(long)]
        upkeep: bool,
        /// End in order, with a checkpoint, in place of waiting.
        #[arg(long)]
        close: bool,
    },
    /// Opens a store, once.
    Open {
        #[arg(long)]
        dir: PathBuf,
        /// The time it is opened at, in milliseconds.
        #[arg(long)]
        at: i64,
        /// Forget the files' pages before.
        #[arg(long)]
        cold: bool,
    },
    /// Creates very many series.
    Many(Place),
    /// Fills years, most of which end as rollups.
    Years(Place),
    /// Queries what `years` left, before it has read anything.
    Cold {
        #[command(flatten)]
        place: Place,
        /// The time after the last sample, in milliseconds.
        #[arg(long)]
        end: i64,
    },
    /// Sends the data to a remote-write receiver.
    Push {
        #[arg(long)]
        url: String,
        #[command(flatten)]
        data: Data,
    },
    /// Sends the data to a daemon by `WriteStream`.
    Stream {
        #[arg(long)]
        socket: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// The text of the query that peers are asked.
    Query,
}

#[expect(clippy::print_stderr, reason = "a program of its own")]
fn main() -> ExitCode {
    // Cargo says what it is doing.
    let words = std::env::args().filter(|word| word != "--bench");
    match run(Arguments::parse_from(words).part) {
        Ok(report) => {
            report.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("store: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(part: Part) -> Result<Report, String> {
    match part {
        Part::Dry(data) => parts::dry(&data),
        Part::Ingest(place) => parts::ingest(&place),
        Part::Day(place) => parts::day(&place),
        Part::Fill { place, upkeep, close } => parts::fill(&place, upkeep, close),
        Part::Open { dir, at, cold } => parts::open(&dir, at, cold),
        Part::Many(place) => parts::many(&place),
        Part::Years(place) => parts::years(&place),
        Part::Cold { place, end } => parts::cold(&place, end),
        Part::Push { url, data } => push(&url, &data),
        Part::Stream { socket, data } => {
            let workload = Workload::new(&data)?;
            let labels = Arc::clone(&workload.labels);
            let connect = || WriteStream::connect(&socket, &labels);
            send(&data, workload, || Ok(Box::new(connect()?) as Box<dyn Sink>))
        }
        Part::Query => {
            let mut report = Report::default();
            report.put("query", reads::query_text());
            Ok(report)
        }
    }
}

fn push(url: &str, data: &Data) -> Result<Report, String> {
    let workload = Workload::new(data)?;
    let labels = remote::encode_labels(&workload.labels);
    send(data, workload, || Ok(Box::new(Remote::connect(url, &labels)?) as Box<dyn Sink>))
}

/// Sends everything as fast as it is taken.
fn send(
    data: &Data,
    workload: Workload,
    sink: impl FnMut() -> Result<Box<dyn Sink>, String>,
) -> Result<Report, String> {
    let mut report = Report::default();
    let steps = workload.steps;
    let mut fleet = Fleet::new(data, workload, sink)?;
    let cpu = cpu_seconds();
    let outcome = fleet.run(steps, |_| true)?;
    report.put("samples", outcome.samples);
    report.put("seconds", outcome.seconds);
    report.put("rate", outcome.rate());
    report.put("cpu_seconds", cpu_seconds() - cpu);
    report.put("start", data.start);
    report.put("end", fleet.time().as_millis());
    report.put_latencies("latency_us", outcome.latencies);
    Ok(report)
}
