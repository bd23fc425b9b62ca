//! What a pass collects.

use std::collections::HashMap;

use crate::{
    limits,
    model::{Labels, METRIC_NAME, Metadata, MetricKind, SeriesSample},
    time::Timestamp,
};

use super::HostSummary;

/// What a pass collected, and what the metrics mean.
#[derive(Debug, Default)]
pub struct Buffer {
    instance: String,
    job: &'static str,
    now: Timestamp,
    samples: Vec<SeriesSample>,
    /// How many samples the pass before had: the next one will have as many.
    expected: usize,
    /// Where the present collector's samples begin.
    begin: usize,
    dropped: u64,
    metadata: HashMap<String, Metadata>,
    pub(super) summary: HostSummary,
}

impl Buffer {
    pub(super) fn new(hostname: &str) -> Self {
        let summary = HostSummary { hostname: hostname.to_owned(), ..HostSummary::default() };
        Self { instance: hostname.to_owned(), summary, ..Self::default() }
    }

    /// A pass begins.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.now = now;
        self.samples = Vec::with_capacity(self.expected);
    }

    /// A collector begins; its series get `job`.
    pub(super) fn begin(&mut self, job: &'static str) {
        self.job = job;
        self.begin = self.samples.len();
        self.dropped = 0;
    }

    /// The pass is over.
    pub(super) fn take(&mut self) -> Vec<SeriesSample> {
        self.expected = self.samples.len();
        std::mem::take(&mut self.samples)
    }

    /// Samples of the present collector that were too many.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The collector itself left this many series or groups out.
    pub(super) fn drop_more(&mut self, count: u64) {
        self.dropped += count;
    }

    /// The time of the pass.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// What the metrics emitted so far mean, sorted by name.
    pub(super) fn metadata(&self) -> Vec<Metadata> {
        let mut all: Vec<_> = self.metadata.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// How many metrics have been emitted so far.
    pub(super) fn metadata_len(&self) -> usize {
        self.metadata.len()
    }

    /// A value that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.describe(name, MetricKind::Gauge, help);
        self.push(name, labels, value);
    }

    /// A cumulative total.
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.describe(name, MetricKind::Counter, help);
        self.push(name, labels, value);
    }

    /// A value that `node_exporter` calls untyped, without labels of its own.
    pub(super) fn untyped(&mut self, name: &str, help: &str, value: f64) {
        self.describe(name, MetricKind::Unknown, help);
        self.push(name, &[], value);
    }

    fn describe(&mut self, name: &str, kind: MetricKind, help: &str) {
        if !self.metadata.contains_key(name) {
            let (name, help) = (name.to_owned(), help.to_owned());
            let unit = unit_of(&name).to_owned();
            self.metadata.insert(name.clone(), Metadata { name, kind, help, unit });
        }
    }

    fn push(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if self.samples.len() - self.begin >= limits::COLLECTOR_SERIES_MAX {
            self.dropped += 1;
            return;
        }
        let own = [(METRIC_NAME, name), ("job", self.job), ("instance", self.instance.as_str())];
        // Labels that the kernel names too long for a series are dropped with it, and counted.
        match Labels::new(own.into_iter().chain(labels.iter().copied())) {
            Ok(labels) => self.samples.push(SeriesSample::new(labels, self.now, value)),
            Err(_) => self.dropped += 1,
        }
    }
}

/// The base unit in a metric's name, where it has one.
fn unit_of(name: &str) -> &str {
    let stem = name.strip_suffix("_total").unwrap_or(name);
    let last = stem.rsplit('_').next().unwrap_or_default();
    if matches!(last, "seconds" | "bytes" | "celsius") { last } else { "" }
}
