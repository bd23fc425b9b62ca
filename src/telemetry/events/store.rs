//! What the store reports.

use std::{path::Path, time::Duration};

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::Telemetry;

/// Upper bounds of the time a commit takes, in seconds.
const COMMIT_SECONDS: [f64; 8] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0];

/// The events of `store`; cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreEvents {
    samples: IntCounterVec,
    commits: Histogram,
    commit_failures: IntCounter,
    upkeep_failures: IntCounterVec,
    quarantined: IntCounter,
    torn_bytes: IntCounter,
    sealed: IntCounter,
    freed: IntCounterVec,
    freed_bytes: IntCounterVec,
    compactions: IntCounterVec,
    compacted_bytes: IntCounterVec,
    series: IntGauge,
    written_bytes: IntCounterVec,
    metadata_dropped: IntCounter,
}

/// An entry of the audit, for the log.
#[derive(Clone, Copy, Debug)]
pub struct Audited<'a> {
    /// Its place.
    pub sequence: u64,
    /// What ties it to those before, in hexadecimal.
    pub hash: &'a str,
    /// Who.
    pub actor: &'a str,
    /// The user's name, or nothing.
    pub user: &'a str,
    /// The process, or 0.
    pub pid: u32,
    /// The call, or nothing.
    pub call: &'a str,
    /// What was done.
    pub action: &'a str,
    /// To what.
    pub subject: &'a str,
    /// What came of it.
    pub outcome: &'a str,
}

impl StoreEvents {
    /// Registers the store's metrics.
    pub fn new(telemetry: &Telemetry) -> Self {
        let counter = |name, help| telemetry.counter(name, help);
        Self {
            samples: telemetry.counter_vec(
                "balefire_store_samples_total",
                "Samples offered to the store, by what became of them.",
                &["outcome"],
            ),
            commits: telemetry.histogram(
                "balefire_store_commit_duration_seconds",
                "From taking a group of commits up to its being durable.",
                &COMMIT_SECONDS,
            ),
            commit_failures: counter(
                "balefire_store_commit_failures_total",
                "Groups of commits that could not be made durable.",
            ),
            upkeep_failures: telemetry.counter_vec(
                "balefire_store_upkeep_failures_total",
                "Failed attempts to seal, to compact or to clean up.",
                &["work"],
            ),
            quarantined: counter(
                "balefire_store_quarantined_total",
                "Damaged files and stretches of files that were put aside.",
            ),
            torn_bytes: counter(
                "balefire_store_torn_bytes_total",
                "Bytes of unfinished records cut off the log at start.",
            ),
            sealed: counter(
                "balefire_store_sealed_samples_total",
                "Samples moved into partitions.",
            ),
            freed: telemetry.counter_vec(
                "balefire_store_freed_total",
                "Samples, rollups, entries of the history, accumulators and damaged files removed by \
                 retention.",
                &["kind"],
            ),
            freed_bytes: telemetry.counter_vec(
                "balefire_store_freed_bytes_total",
                "Bytes removed by retention.",
                &["kind"],
            ),
            compactions: telemetry.counter_vec(
                "balefire_store_compactions_total",
                "Partitions made out of others.",
                &["tier"],
            ),
            compacted_bytes: telemetry.counter_vec(
                "balefire_store_compacted_bytes_total",
                "Bytes of partitions made out of others.",
                &["tier"],
            ),
            metadata_dropped: counter(
                "balefire_store_metadata_dropped_total",
                "Descriptions of metrics that were not kept, since too many names are known.",
            ),
            written_bytes: telemetry.counter_vec(
                "balefire_store_written_bytes_total",
                "Bytes written, by what for: log, checkpoint, seal, compaction, catalog.",
                &["kind"],
            ),
            series: telemetry.int_gauge("balefire_store_head_series", "Series in the open window."),
        }
    }

    /// A group of commits is durable.
    pub fn committed(&self, (accepted, duplicates, rejected): (u64, u64, u64), took: Duration) {
        let counts = [("accepted", accepted), ("duplicate", duplicates), ("rejected", rejected)];
        for (outcome, count) in counts {
            self.samples.with_label_values(&[outcome]).inc_by(count);
        }
        self.commits.observe(took.as_secs_f64());
    }

    /// Bytes were written: for the `log`, a `checkpoint`, in a `seal` or a `compaction`, for the `catalog`.
    pub fn written(&self, kind: &str, bytes: u64) {
        self.written_bytes.with_label_values(&[kind]).inc_by(bytes);
    }

    /// So many descriptions of metrics were not taken.
    pub fn metadata_dropped(&self, count: u64) {
        self.metadata_dropped.inc_by(count);
    }

    /// The open window holds so many series.
    pub fn head(&self, series: usize) {
        self.series.set(i64::try_from(series).unwrap_or(i64::MAX));
    }

    /// A group of commits could not be made durable; whoever sent them was told.
    pub fn commit_failed(&self, error: &dyn std::error::Error) {
        self.commit_failures.inc();
        tracing::error!(%error, "a commit could not be made durable");
    }

    /// An attempt to seal, to compact or to clean up failed; `news` is why, where that was not told yet.
    pub fn upkeep_failed(&self, work: &str, news: Option<&dyn std::error::Error>) {
        self.upkeep_failures.with_label_values(&[work]).inc();
        if let Some(error) = news {
            tracing::error!(work, %error, "upkeep of the store failed; it is tried again");
        }
    }

    /// … and went well again.
    pub fn upkeep_resumed(&self, work: &str) {
        tracing::info!(work, "upkeep of the store goes well again");
    }

    /// The log was replayed.
    pub fn recovered(&self, samples: u64, torn_bytes: u64) {
        self.torn_bytes.inc_by(torn_bytes);
        tracing::info!(samples, torn_bytes, "store recovered");
    }

    /// Something damaged was put aside.
    pub fn quarantined(&self, what: &str) {
        self.quarantined.inc();
        tracing::error!(what, "damaged data was put aside; the rest is served");
    }

    /// Samples were moved into partitions.
    pub fn sealed(&self, samples: u64, partitions: usize) {
        self.sealed.inc_by(samples);
        tracing::debug!(samples, partitions, "samples sealed");
    }

    /// A partition was made out of others.
    pub fn compacted(&self, tier: &str, partitions: usize, bytes: u64) {
        self.written("compaction", bytes);
        self.compactions.with_label_values(&[tier]).inc();
        self.compacted_bytes.with_label_values(&[tier]).inc_by(bytes);
        tracing::debug!(tier, partitions, bytes, "partitions compacted");
    }

    /// Old data of one kind was removed.
    pub fn cleaned(&self, kind: &str, count: u64, bytes: u64) {
        self.freed.with_label_values(&[kind]).inc_by(count);
        self.freed_bytes.with_label_values(&[kind]).inc_by(bytes);
        tracing::info!(kind, count, bytes, "old data removed");
    }

    /// Partitions were removed before their time, because the store had grown too large.
    pub fn cleaned_for_size(&self, partitions: u64, size_max: u64) {
        tracing::warn!(
            partitions,
            size_max,
            "the store was larger than [storage] size_max: its oldest samples were removed before \
             their time"
        );
    }

    /// The store stays too large, although everything was removed that may be.
    pub fn too_large(&self, size: u64, size_max: u64) {
        tracing::warn!(
            size,
            size_max,
            "the store is larger than [storage] size_max, and what is left is its log, small state, \
             history and newest samples: set size_max higher, or keep fewer series"
        );
    }

    /// An entry of the audit is durable.
    pub fn audited(&self, entry: &Audited<'_>) {
        let Audited { sequence, hash, actor, user, pid, call, action, subject, outcome } = *entry;
        tracing::info!(
            sequence,
            hash,
            actor,
            user,
            pid,
            call,
            action,
            subject,
            outcome,
            "audit: {action} {outcome}"
        );
    }

    /// A file of no further use could not be removed.
    pub fn left_over(&self, path: &Path, error: &dyn std::error::Error) {
        tracing::warn!(path = %path.display(), %error, "cannot remove a file of no further use");
    }
}
