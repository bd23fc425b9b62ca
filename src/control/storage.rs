//! What `SystemService` says of the store, as messages.

use crate::{
    monitor::VerifyStep,
    store::{BackupPart, Erased, Inventory, KindSize, Problem, TierSize, Verification},
    wire::{to_wire, v1},
};

pub(super) fn backup_part(part: BackupPart) -> v1::BackupResponse {
    use v1::backup_response::Part;
    let part = match part {
        BackupPart::Begin { files, bytes } => Part::Begin(v1::BackupTotals { files, bytes }),
        BackupPart::File { path, bytes } => Part::File(v1::BackupFile { path, bytes }),
        BackupPart::Piece(bytes) => Part::Chunk(bytes.into()),
        BackupPart::Hash(sum) => Part::Sha256(sum.to_vec()),
        BackupPart::End { files, bytes } => Part::End(v1::BackupTotals { files, bytes }),
    };
    v1::BackupResponse { part: Some(part) }
}

pub(super) fn stats(stats: &Inventory) -> v1::GetStoreStatsResponse {
    let head = stats.head.unwrap_or_default();
    v1::GetStoreStatsResponse {
        tiers: stats.tiers.iter().map(tier).collect(),
        head_series: head.series,
        head_samples: head.samples,
        wal: Some(kind(stats.wal)),
        checkpoint: stats.checkpoint.map(to_wire::time),
        history: Some(kind(stats.history)),
        catalog: Some(kind(stats.catalog)),
        quarantine: Some(kind(stats.quarantine)),
        unreadable: stats.unreadable,
    }
}

fn tier(size: &TierSize) -> v1::StoreTier {
    v1::StoreTier {
        name: size.tier.name().to_owned(),
        partitions: size.partitions,
        series: size.series,
        samples: size.samples,
        bytes: size.bytes,
        oldest: size.oldest.map(to_wire::time),
        newest: size.newest.map(to_wire::time),
    }
}

fn kind(size: KindSize) -> v1::StoreKind {
    v1::StoreKind { count: size.count, bytes: size.bytes }
}

pub(super) fn verify_step(step: VerifyStep) -> v1::VerifyStoreResponse {
    use v1::verify_store_response::Step;
    let step = match step {
        VerifyStep::Next { path, done, total } => {
            Step::Progress(v1::VerifyProgress { path, bytes_done: done, bytes_total: total })
        }
        VerifyStep::Found(problem) => Step::Problem(store_problem(problem)),
        VerifyStep::Done(done) => Step::Summary(summary(&done)),
    };
    v1::VerifyStoreResponse { step: Some(step) }
}

fn store_problem(problem: Problem) -> v1::StoreProblem {
    let Problem { path, region, loss, advice } = problem;
    v1::StoreProblem { path, region, loss, advice }
}

fn summary(done: &Verification) -> v1::VerifySummary {
    v1::VerifySummary {
        checked: done.checked,
        bytes: done.bytes,
        partitions: done.partitions,
        series: done.series,
        samples: done.samples,
        problems: done.problems.len() as u64 + done.more_problems,
    }
}

pub(super) fn erased(erased: Erased) -> v1::EraseResponse {
    let Erased { series, samples, rollups, partitions } = erased;
    v1::EraseResponse { series, samples, rollups, partitions }
}
