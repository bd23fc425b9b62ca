//! The tail of a series: plain samples, each with the epoch that it came with.
//!
//! Nearly all of them come in the order of time and stand in a vector. In it, each late sample would
//! move all that are newer: a batch that is sent newest first would take time with its square. So
//! those stand in a tree.

use std::collections::BTreeMap;

use super::Epoch;
use crate::{model::Sample, time::Timestamp};

/// A sample that not every reader sees yet, or not for long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    pub(super) sample: Sample,
    pub(super) epoch: Epoch,
}

/// Recent samples of one series, no two of the same time.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Each newer than the one before.
    ordered: Vec<Recent>,
    /// Those that came when there was a newer one.
    late: BTreeMap<Timestamp, Recent>,
}

impl Tail {
    pub(super) fn len(&self) -> usize {
        self.ordered.len() + self.late.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.late.is_empty()
    }

    /// Whether samples came late.
    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Takes a sample that is newer than all others.
    pub(super) fn push(&mut self, recent: Recent) {
        self.ordered.push(recent);
    }

    /// Takes a sample that is not, and whose time is free.
    pub(super) fn insert(&mut self, recent: Recent) {
        self.late.insert(recent.sample.timestamp, recent);
    }

    /// All of them, in the order of time.
    pub(super) fn iter(&self) -> impl Iterator<Item = Recent> {
        let mut ordered = self.ordered.iter().peekable();
        let mut late = self.late.values().peekable();
        std::iter::from_fn(move || {
            let late_first = match (ordered.peek(), late.peek()) {
                (Some(a), Some(b)) => b.sample.timestamp < a.sample.timestamp,
                (a, _) => a.is_none(),
            };
            if late_first { late.next() } else { ordered.next() }.copied()
        })
    }

    /// The time of the oldest.
    pub(super) fn first_time(&self) -> Option<Timestamp> {
        let late = self.late.first_key_value().map(|(time, _)| *time);
        self.ordered.first().map(|recent| recent.sample.timestamp).into_iter().chain(late).min()
    }

    /// The time of the newest.
    pub(super) fn last_time(&self) -> Option<Timestamp> {
        let late = self.late.last_key_value().map(|(time, _)| *time);
        self.ordered.last().map(|recent| recent.sample.timestamp).max(late)
    }

    /// The newest that a reader of `epoch` sees.
    pub(super) fn newest(&self, epoch: Epoch) -> Option<Sample> {
        let seen = |recent: &&Recent| recent.epoch <= epoch;
        let ordered = self.ordered.iter().rev().find(seen);
        let late = self.late.values().rev().find(seen);
        let both = ordered.into_iter().chain(late).map(|recent| recent.sample);
        both.max_by_key(|sample| sample.timestamp)
    }

    pub(super) fn value_at(&self, time: Timestamp) -> Option<f64> {
        let found = self.ordered.binary_search_by_key(&time, |recent| recent.sample.timestamp);
        let found = found.ok().map(|at| &self.ordered[at]).or_else(|| self.late.get(&time));
        found.map(|recent| recent.sample.value)
    }

    /// Keeps those that `keep` says, asked in no order.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Recent) -> bool) {
        self.ordered.retain(&mut keep);
        self.late.retain(|_, recent| keep(recent));
    }

    /// Moves those that every reader sees to `out`, in the order of time; keeps room for `room`.
    pub(super) fn take_seen(&mut self, seen_by_all: Epoch, room: usize, out: &mut Vec<Sample>) {
        let seen = self.iter().filter(|recent| recent.epoch <= seen_by_all);
        out.extend(seen.map(|recent| recent.sample));
        self.retain(|recent| recent.epoch > seen_by_all);
        // One large batch must not leave its room behind.
        self.ordered.shrink_to(room);
    }
}
