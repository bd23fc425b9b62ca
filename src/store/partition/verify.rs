//! Checking everything in a partition: that all of it can be read, is what was written, and that the
//! index says what the labels say.

use std::{path::Path, sync::Arc};

use super::{
    super::{StoreError, history::Kind, keys},
    Content, Handles, Partition,
    matching::Reader,
    size_of, terms, writer,
};
use crate::model::Labels;

/// Problems of one partition that are told in words.
const PROBLEMS_MAX: usize = 20;

/// What was found in a partition, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct PartitionReport {
    /// Series that could be read.
    pub(in crate::store) series: u64,
    /// Their samples or rollups.
    pub(in crate::store) samples: u64,
    /// Bytes of all files.
    pub(in crate::store) bytes: u64,
    /// What is wrong, in words, with the directory; at most twenty, and how many more there are.
    pub(in crate::store) problems: Vec<String>,
}

/// Reads everything in the partition in `dir` and compares it with its manifest and with itself.
///
/// Uses the handles, because a database is never open twice: where a daemon runs, these are its own.
pub(in crate::store) fn verify_partition(dir: &Path, handles: &Arc<Handles>) -> PartitionReport {
    let mut check = Check::default();
    match Partition::load(dir, handles) {
        Err(error) => check.problem(error.to_string()),
        Ok(partition) => {
            let outcome = check.everything(&partition);
            outcome.unwrap_or_else(|error| check.problem(error.to_string()));
        }
    }
    check.report.bytes = size_of(dir);
    check.finish()
}

/// A check under way.
#[derive(Default)]
struct Check {
    report: PartitionReport,
    more: usize,
}

impl Check {
    fn problem(&mut self, text: String) {
        if self.report.problems.contains(&text) {
            return;
        }
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(text);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> PartitionReport {
        if self.more > 0 {
            self.report.problems.push(format!("and {} more problems", self.more));
        }
        self.report
    }

    /// A problem unless two numbers are the same.
    fn same(&mut self, partition: &Partition, what: &str, found: u64, expected: u64) {
        if found != expected {
            let dir = partition.dir.display();
            self.problem(format!("{dir}: {found} {what}, and the manifest says {expected}"));
        }
    }

    fn wrong(&mut self, partition: &Partition, what: &str) {
        self.problem(format!("{}: {what}", partition.dir.display()));
    }

    fn everything(&mut self, partition: &Partition) -> Result<(), StoreError> {
        self.entries(partition)?;
        self.history(partition)?;
        if partition.manifest.series > 0 || partition.manifest.samples > 0 {
            let all = self.series(partition)?;
            self.index(partition, &all)?;
        }
        Ok(())
    }

    /// All bytes are those that were written.
    fn entries(&mut self, partition: &Partition) -> Result<(), StoreError> {
        let mut trees = vec![writer::tree_of(partition.tier), keys::TREE_SERIES, keys::TREE_TERMS];
        trees.extend(Kind::ALL.map(Kind::tree));
        trees.push(keys::TREE_STATE);
        let lent = partition.open()?;
        let (entries, crc) =
            writer::checksum(lent.db(), &trees).map_err(|error| partition.engine_error(error))?;
        self.same(partition, "entries", entries, partition.manifest.entries);
        if crc != partition.manifest.crc {
            self.wrong(partition, "it does not hold what was written");
        }
        Ok(())
    }

    fn history(&mut self, partition: &Partition) -> Result<(), StoreError> {
        partition.state()?;
        for (kind, span) in Kind::ALL.into_iter().zip(&partition.manifest.history) {
            let found = partition.history(kind, &|_| true)?.len();
            self.same(partition, kind.tree(), found as u64, span.count);
        }
        Ok(())
    }

    /// All series can be read, and are in order; returns their labels.
    fn series(&mut self, partition: &Partition) -> Result<Vec<Labels>, StoreError> {
        let manifest = &partition.manifest;
        let (mut all, mut losses): (Vec<Labels>, u64) = (Vec::new(), 0);
        let mut scan = partition.scan()?;
        while let Some(next) = scan.next() {
            let (labels, content) = next?;
            if all.last().is_some_and(|last| last.cmp_by_metric(&labels).is_ge()) {
                self.wrong(partition, "its series are not in order");
            }
            let (before, lost) = (self.report.samples, losses);
            self.content(partition, &content);
            for chunk in scan.take_bad() {
                losses += 1;
                let known = || format!("samples of {} are lost", chunk.labels);
                self.problem(chunk.news.clone().unwrap_or_else(known));
            }
            if lost == losses || self.report.samples > before {
                all.push(labels);
            }
        }
        self.report.series = all.len() as u64;
        if losses == 0 {
            self.same(partition, "series", self.report.series, manifest.series);
            self.same(partition, "samples", self.report.samples, manifest.samples);
        }
        Ok(if losses == 0 { all } else { Vec::new() })
    }

    fn content(&mut self, partition: &Partition, content: &Content) {
        let manifest = &partition.manifest;
        for times in content.times() {
            self.report.samples += times.len() as u64;
            let (oldest, newest) = (times.first(), times.last());
            let inside = oldest.is_none_or(|time| time.as_millis() >= manifest.oldest)
                && newest.is_none_or(|time| time.as_millis() <= manifest.newest);
            if !times.is_sorted_by(|a, b| a < b) || !inside {
                self.wrong(partition, "samples are not in order, or lie outside of the range");
            }
        }
    }

    /// The index is the one that the labels, in the order of their ranks, make.
    fn index(&mut self, partition: &Partition, all: &[Labels]) -> Result<(), StoreError> {
        if all.is_empty() {
            return Ok(());
        }
        let reader = Reader::of(partition)?;
        let names = terms::names_of(all);
        let known = reader.names()?;
        if !names.iter().eq(known.iter().map(|(name, _)| name)) {
            self.wrong(partition, "its label names are not those of its series");
        }
        for name in names {
            let mut expected = terms::ranks_of(all, &name).into_iter();
            let mut same = true;
            reader.for_each_value(&name, &mut |value, ranks| {
                let ranks = ranks.to_vec(reader.series_count().unwrap_or_default())?;
                same &= expected.next().is_some_and(|(v, r)| v == value && r == ranks);
                Ok(())
            })?;
            if !same || expected.next().is_some() {
                self.wrong(partition, &format!("its index of label {name} is wrong"));
            }
        }
        Ok(())
    }
}
