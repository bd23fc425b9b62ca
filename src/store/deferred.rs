//! Commits that nobody waits for: they go along with the next group that somebody does wait for, or
//! make one when the first of them has waited as long as it may.
//!
//! A group costs the disk a page of the log and the page of the file's inode, whatever it holds, and a
//! daemon at rest writes little but often: the host's metrics twice a minute, between them a probe that
//! says what the last one said, and the samples of alerts that go on. As groups of their own those would
//! write as much again as everything else.
//!
//! What is deferred is not acknowledged before it is durable, for it is not acknowledged at all: a
//! crash may take what came within the last minute. What somebody waits for is never held up.

use std::time::Duration;

use tokio::time::Instant;

use super::commit::Commit;
use crate::limits;

/// Commits, and samples in them, that may wait at once: then they are a group that is worth its pages.
const WEIGHT_MAX: usize = 4096;

/// Commits that wait for company, in the order in which they came.
#[derive(Default)]
pub(super) struct Deferred {
    commits: Vec<Commit>,
    weight: usize,
    until: Option<Instant>,
}

impl Deferred {
    /// Takes a commit in that may wait for so long.
    pub(super) fn add(&mut self, commit: Commit, within: Duration) {
        let until = Instant::now() + within.min(limits::COMMIT_DEFERRED_MAX);
        self.until = Some(self.until.map_or(until, |before| before.min(until)));
        self.weight += 1 + commit.weight();
        self.commits.push(commit);
    }

    /// When one of them has waited long enough.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether one has waited long enough, or they have become many.
    pub(super) fn is_due(&self) -> bool {
        self.weight >= WEIGHT_MAX || self.until.is_some_and(|until| until <= Instant::now())
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<Commit> {
        std::mem::take(self).commits
    }
}
