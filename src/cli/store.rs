//! `balefire store stats` and `balefire store verify`: of the daemon where one answers, else from the
//! directory.

use std::{io, path::Path};

use comfy_table::Cell;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::{
    client::{ClientError, take},
    store::{self, Inventory, KindSize, Step, Verification},
    time::Timestamp,
    wire::{InvalidField, v1, v1::verify_store_response::Step as WireStep},
};

use super::{
    args::{Place, StoreCommand},
    error::{CliError, Verdict},
    human::{self, instant},
    progress::Progress,
    session::Session,
    state_dir,
    table::{Style, number},
};

pub(super) async fn run(session: &Session, command: StoreCommand) -> Result<Verdict, CliError> {
    match command {
        StoreCommand::Stats { place } => stats(session, &place).await,
        StoreCommand::Verify { place } => verify(session, &place).await,
    }
}

/// What the daemon says; `None` where there is none, or where a directory was named.
async fn asked<T>(
    place: &Place,
    ask: impl Future<Output = Result<T, CliError>>,
) -> Result<Option<T>, CliError> {
    if place.state_dir.is_some() || place.config.is_some() {
        return Ok(None);
    }
    match ask.await {
        Err(CliError::Client(ClientError::NotRunning { .. })) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Runs what reads a directory, off the async thread.
async fn offline<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, store::StoreError> + Send + 'static,
) -> Result<T, CliError> {
    let done = spawn_blocking(work).await;
    let done = done.map_err(|error| CliError::Io("read".to_owned(), io::Error::other(error)))?;
    Ok(done?)
}

#[derive(Debug, Default, Serialize)]
struct Stats {
    tiers: Vec<Tier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Head>,
    wal: Kind,
    checkpoint: Option<String>,
    #[serde(skip)]
    checkpoint_at: Option<Timestamp>,
    history: Kind,
    catalog: Kind,
    quarantine: Kind,
    unreadable: u64,
    total_bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct Tier {
    name: String,
    partitions: u64,
    series: u64,
    samples: u64,
    bytes: u64,
    bytes_per_sample: Option<f64>,
    oldest: Option<String>,
    newest: Option<String>,
}

#[derive(Debug, Serialize)]
struct Head {
    series: u64,
    samples: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Kind {
    count: u64,
    bytes: u64,
}

impl From<KindSize> for Kind {
    fn from(size: KindSize) -> Self {
        Self { count: size.count, bytes: size.bytes }
    }
}

impl From<Option<v1::StoreKind>> for Kind {
    fn from(wire: Option<v1::StoreKind>) -> Self {
        let wire = wire.unwrap_or_default();
        Self { count: wire.count, bytes: wire.bytes }
    }
}

impl Tier {
    /// With what follows from the rest.
    fn finished(mut self) -> Self {
        let each = self.bytes as f64 / self.samples as f64;
        self.bytes_per_sample = (self.samples > 0).then_some((each * 1000.0).round() / 1000.0);
        self
    }
}

impl Stats {
    fn finished(mut self) -> Self {
        let kinds = [self.wal, self.history, self.catalog, self.quarantine];
        let tiers: u64 = self.tiers.iter().map(|tier| tier.bytes).sum();
        self.total_bytes = tiers + kinds.iter().map(|kind| kind.bytes).sum::<u64>();
        self.checkpoint = self.checkpoint_at.map(|time| time.to_string());
        self
    }
}

impl From<v1::GetStoreStatsResponse> for Stats {
    fn from(wire: v1::GetStoreStatsResponse) -> Self {
        let tier = |wire: v1::StoreTier| {
            let tier = Tier {
                oldest: instant(wire.oldest).map(|time| time.to_string()),
                newest: instant(wire.newest).map(|time| time.to_string()),
                name: wire.name,
                partitions: wire.partitions,
                series: wire.series,
                samples: wire.samples,
                bytes: wire.bytes,
                bytes_per_sample: None,
            };
            tier.finished()
        };
        let stats = Self {
            tiers: wire.tiers.into_iter().map(tier).collect(),
            head: Some(Head { series: wire.head_series, samples: wire.head_samples }),
            wal: wire.wal.into(),
            checkpoint_at: instant(wire.checkpoint),
            history: wire.history.into(),
            catalog: wire.catalog.into(),
            quarantine: wire.quarantine.into(),
            unreadable: wire.unreadable,
            ..Self::default()
        };
        stats.finished()
    }
}

impl From<Inventory> for Stats {
    fn from(stats: Inventory) -> Self {
        let tier = |size: store::TierSize| {
            let tier = Tier {
                name: size.tier.name().to_owned(),
                partitions: size.partitions,
                series: size.series,
                samples: size.samples,
                bytes: size.bytes,
                bytes_per_sample: None,
                oldest: size.oldest.map(|time| time.to_string()),
                newest: size.newest.map(|time| time.to_string()),
            };
            tier.finished()
        };
        let stats = Self {
            tiers: stats.tiers.into_iter().map(tier).collect(),
            wal: stats.wal.into(),
            checkpoint_at: stats.checkpoint,
            history: stats.history.into(),
            catalog: stats.catalog.into(),
            quarantine: stats.quarantine.into(),
            unreadable: stats.unreadable,
            ..Self::default()
        };
        stats.finished()
    }
}

async fn stats(session: &Session, place: &Place) -> Result<Verdict, CliError> {
    let mut system = session.connection.system();
    let ask = async { Ok(take(system.get_store_stats(v1::GetStoreStatsRequest {}).await)?) };
    let stats = if let Some(answer) = asked(place, ask).await? {
        Stats::from(answer)
    } else {
        let dir = state_dir::find(place)?.join("store");
        Stats::from(offline(move || Inventory::offline(&dir)).await?)
    };
    session.show(&stats, render_stats)?;
    Ok(Verdict::Fine)
}

fn render_stats(stats: &Stats, style: &Style) -> String {
    let mut tiers = style.table([
        "TIER",
        "PARTITIONS",
        "SERIES",
        "SAMPLES",
        "SIZE",
        "BYTES/SAMPLE",
        "OLDEST",
        "NEWEST",
    ]);
    for tier in &stats.tiers {
        let text = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or("-"));
        let each =
            tier.bytes_per_sample.map_or_else(|| "-".to_owned(), |each| format!("{each:.2}"));
        tiers.add_row(vec![
            Cell::new(&tier.name),
            number(tier.partitions),
            number(tier.series),
            number(tier.samples),
            Cell::new(human::bytes(tier.bytes)),
            Cell::new(each),
            text(&tier.oldest),
            text(&tier.newest),
        ]);
    }
    let kind = |kind: Kind| {
        Cell::new(match kind.count {
            0 => "none".to_owned(),
            count => format!("{} in {count}", human::bytes(kind.bytes)),
        })
    };
    let head = stats.head.as_ref().map_or_else(String::new, |head| {
        format!("{} series, {} samples", human::count(head.series), human::count(head.samples))
    });
    let unreadable = match stats.unreadable {
        0 => String::new(),
        count => format!("{count} directories: see `balefire store verify`"),
    };
    let rest = style.fields([
        ("memory", Cell::new(head)),
        ("log", kind(stats.wal)),
        ("checkpoint", style.age(stats.checkpoint_at)),
        ("history", kind(stats.history)),
        ("catalog", kind(stats.catalog)),
        ("quarantine", kind(stats.quarantine)),
        ("unreadable", Cell::new(unreadable)),
        ("in all", Cell::new(human::bytes(stats.total_bytes))),
    ]);
    format!("{}\n\n{rest}", style.finish(&tiers, ""))
}

#[derive(Debug, Default, Serialize)]
struct Verified {
    checked: u64,
    bytes: u64,
    partitions: u64,
    series: u64,
    samples: u64,
    problems: Vec<Problem>,
    /// Problems beyond those that are listed.
    more_problems: u64,
}

#[derive(Debug, Serialize)]
struct Problem {
    path: String,
    region: String,
    loss: String,
    advice: String,
}

impl Problem {
    fn render(&self) -> String {
        let Self { path, region, loss, advice } = self;
        format!("{path}: {region}\n  lost: {loss}\n  do:   {advice}")
    }
}

impl From<Verification> for Verified {
    fn from(done: Verification) -> Self {
        let problem = |problem: store::Problem| {
            let store::Problem { path, region, loss, advice } = problem;
            Problem { path, region, loss, advice }
        };
        Self {
            checked: done.checked,
            bytes: done.bytes,
            partitions: done.partitions,
            series: done.series,
            samples: done.samples,
            problems: done.problems.into_iter().map(problem).collect(),
            more_problems: done.more_problems,
        }
    }
}

async fn verify(session: &Session, place: &Place) -> Result<Verdict, CliError> {
    let progress = Progress::new(session, "verify");
    let verified = match asked(place, verify_online(session, &progress)).await? {
        Some(verified) => verified,
        None => verify_offline(&state_dir::find(place)?.join("store"), &progress).await?,
    };
    progress.clear();
    session.show(&verified, render_verified)?;
    Ok(Verdict::fine_if(verified.problems.is_empty() && verified.more_problems == 0))
}

async fn verify_offline(dir: &Path, progress: &Progress) -> Result<Verified, CliError> {
    let (dir, progress) = (dir.to_owned(), progress.clone());
    let work = move || {
        store::verify(&dir, &mut |step| {
            if let Step::Next { done, total, .. } = step {
                progress.set_total(total);
                progress.set_done(done);
            }
            true
        })
    };
    Ok(offline(work).await?.into())
}

async fn verify_online(session: &Session, progress: &Progress) -> Result<Verified, CliError> {
    let mut system = session.connection.system();
    let mut steps = take(system.verify_store(v1::VerifyStoreRequest {}).await)?;
    let mut problems = Vec::new();
    while let Some(step) = steps.message().await.map_err(ClientError::from)? {
        match step.step {
            Some(WireStep::Progress(at)) => {
                progress.set_total(at.bytes_total);
                progress.set_done(at.bytes_done);
            }
            Some(WireStep::Problem(problem)) => {
                let v1::StoreProblem { path, region, loss, advice } = problem;
                problems.push(Problem { path, region, loss, advice });
            }
            Some(WireStep::Summary(sum)) => return Ok(summed(&sum, problems)),
            None => {}
        }
    }
    let early = InvalidField::new("summary", "the verification ended too early");
    Err(CliError::Answer(early))
}

fn summed(sum: &v1::VerifySummary, problems: Vec<Problem>) -> Verified {
    let told = u64::try_from(problems.len()).unwrap_or(u64::MAX);
    Verified {
        checked: sum.checked,
        bytes: sum.bytes,
        partitions: sum.partitions,
        series: sum.series,
        samples: sum.samples,
        problems,
        more_problems: sum.problems.saturating_sub(told),
    }
}

fn render_verified(verified: &Verified, _style: &Style) -> String {
    let looked_at = format!(
        "{} files and directories, {}, {} partitions, {} samples",
        verified.checked,
        human::bytes(verified.bytes),
        verified.partitions,
        human::count(verified.samples)
    );
    if verified.problems.is_empty() && verified.more_problems == 0 {
        return format!("no damage in {looked_at}");
    }
    let mut lines: Vec<String> = verified.problems.iter().map(Problem::render).collect();
    if verified.more_problems > 0 {
        lines.push(format!("and {} more", verified.more_problems));
    }
    lines.push(format!("damage in {looked_at}"));
    lines.join("\n")
}
