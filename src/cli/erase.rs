//! `balefire erase`.

use std::io::{self, IsTerminal as _};

use serde::Serialize;

use crate::{
    client::take,
    wire::{to_wire, v1},
};

use super::{
    args::Erase,
    error::{CliError, Verdict},
    human, output,
    session::Session,
};

pub(super) async fn run(session: &Session, args: Erase) -> Result<Verdict, CliError> {
    if !args.yes && io::stdin().is_terminal() && !output::confirm(&question(&args))? {
        output::note("nothing was erased");
        return Ok(Verdict::No);
    }
    let request = v1::EraseRequest {
        matchers: args.selectors,
        start: args.span.start.map(to_wire::time),
        end: args.span.end.map(to_wire::time),
    };
    let answer = take(session.patient().metrics().erase(request).await)?;
    let v1::EraseResponse { series, samples, rollups, partitions } = answer;
    let erased = Erased { series, samples, rollups, partitions };
    session.show(&erased, |erased, _| erased.render())?;
    Ok(Verdict::Fine)
}

fn question(args: &Erase) -> String {
    let when = match (args.span.start, args.span.end) {
        (None, None) => "of all times".to_owned(),
        (Some(start), None) => format!("from {start} on"),
        (None, Some(end)) => format!("up to {end}"),
        (Some(start), Some(end)) => format!("from {start} to {end}"),
    };
    format!("Erase the samples of {} {when} for good? [y/N] ", args.selectors.join(", "))
}

#[derive(Debug, Serialize)]
struct Erased {
    series: u64,
    samples: u64,
    rollups: u64,
    partitions: u64,
}

impl Erased {
    fn render(&self) -> String {
        if self.series == 0 {
            return "nothing matches: nothing was erased".to_owned();
        }
        format!(
            "{} samples and {} rollups of {} series are gone; {} partitions were written anew\n\
             backups that were made before still hold them, and the audit tells the selector",
            human::count(self.samples),
            human::count(self.rollups),
            human::count(self.series),
            human::count(self.partitions)
        )
    }
}
