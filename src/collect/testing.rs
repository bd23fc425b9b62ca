//! Hand-written `/proc` and `/sys` for the collectors' tests.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{Buffer, Collect, Constructor, Files, HostSummary, NODE};
use crate::{
    model::{Labels, SeriesSample},
    time::Timestamp,
};

/// A host made of files.
pub(super) struct Fixture(TempDir);

/// What a pass found there.
pub(super) struct Found {
    pub(super) samples: Vec<SeriesSample>,
    pub(super) summary: HostSummary,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fs::create_dir(fixture.0.path().join("proc")).unwrap();
        fixture
    }

    pub(super) fn proc(self, name: &str, text: &str) -> Self {
        self.write(&Path::new("proc").join(name), text)
    }

    pub(super) fn sys(self, name: &str, text: &str) -> Self {
        self.write(&Path::new("sys").join(name), text)
    }

    fn write(self, name: &Path, text: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(super) fn files(&self) -> Files {
        Files::below(self.0.path().join("proc"), self.0.path().join("sys"))
    }

    pub(super) fn construct(&self, construct: Constructor) -> Box<dyn Collect> {
        construct(&mut self.files())
    }

    pub(super) fn collect(&self, construct: Constructor) -> Found {
        self.pass(&mut *self.construct(construct))
    }

    pub(super) fn pass(&self, collector: &mut dyn Collect) -> Found {
        let mut out = buffer();
        collector.collect(&mut self.files(), &mut out).unwrap();
        Found { samples: out.take(), summary: out.summary.clone() }
    }

    pub(super) fn fails(&self, construct: Constructor) -> String {
        let mut collector = self.construct(construct);
        collector.collect(&mut self.files(), &mut buffer()).unwrap_err().to_string()
    }
}

fn buffer() -> Buffer {
    let mut out = Buffer::new("host");
    out.start(Timestamp::from_secs(1_700_000_000));
    out.begin(NODE);
    out
}

impl Found {
    /// A series by its name and its own labels, written as Prometheus writes them.
    fn find(&self, series: &str) -> Option<&SeriesSample> {
        let plain = |labels: &Labels| {
            let own = labels.without(|name| name == "job" || name == "instance");
            own.to_string().replace("\", ", "\",")
        };
        self.samples.iter().find(|found| plain(&found.labels) == series)
    }

    #[track_caller]
    pub(super) fn value(&self, series: &str) -> f64 {
        let found = self.find(series);
        let all: Vec<_> = self.samples.iter().map(|s| s.labels.to_string()).collect();
        found.unwrap_or_else(|| panic!("no {series} in {all:#?}")).sample.value
    }

    /// The labels of the first series of a metric.
    #[track_caller]
    pub(super) fn series(&self, metric: &str) -> &Labels {
        &self.samples.iter().find(|s| s.labels.metric() == metric).unwrap().labels
    }

    #[track_caller]
    pub(super) fn has(&self, series: &str, value: f64) {
        let found = self.value(series);
        assert!((found - value).abs() < 1e-9, "{series} is {found}, not {value}");
    }

    #[track_caller]
    pub(super) fn has_not(&self, series: &str) {
        assert!(self.find(series).is_none(), "{series}");
    }
}
