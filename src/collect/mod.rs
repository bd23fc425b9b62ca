//! Host metrics, one file per collector, with `node_exporter`'s names, labels and units.
//!
//! A pass reads `/proc` and `/sys` into buffers that are used again, and gives one batch of samples;
//! what costs more than a few file reads is off where nothing is said. This module knows no
//! schedule and no storage. Start with [`COLLECTORS`], then any one collector; what each is given
//! stands in [`Files`] (to read from) and [`Buffer`] (to write to).

mod buffer;
mod cgroup;
mod cpu;
mod disk;
mod error;
mod filefd;
mod files;
mod filesystem;
mod hwmon;
mod load;
mod memory;
mod netclass;
mod netdev;
mod os;
mod own_process;
mod pressure;
mod process_states;
mod processes;
mod sockstat;
mod stat;
mod thermal;
mod time;
mod vmstat;

use std::fmt;

use crate::{
    model::{Metadata, SeriesSample},
    telemetry::events::CollectEvents,
    time::Timestamp,
};

pub use crate::model::{DiskSummary, HostSummary};
pub use buffer::Buffer;
pub use error::CollectError;
pub use files::Files;

/// One source of host metrics, with what it keeps from pass to pass.
trait Collect: Send + fmt::Debug {
    /// Reads its files and emits its samples.
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError>;
}

/// Makes a collector; it may read a baseline.
type Constructor = fn(&mut Files) -> Box<dyn Collect>;

/// A collector's row in [`COLLECTORS`].
#[derive(Debug)]
pub struct CollectorRow {
    /// Its name in the configuration and in `node_scrape_collector_success{collector}`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Whether it runs where nothing is said.
    pub default_on: bool,
    /// The label `job` of its series.
    job: &'static str,
    construct: Constructor,
}

/// The job of series about the host, as dashboards made for `node_exporter` expect it.
const NODE: &str = "node";
/// The job of series about the daemon itself.
const OWN: &str = "balefire";

const fn row(name: &'static str, help: &'static str, construct: Constructor) -> CollectorRow {
    CollectorRow { name, help, default_on: true, job: NODE, construct }
}

/// Every collector.
pub const COLLECTORS: &[CollectorRow] = &[
    row("cgroup", "CPU, memory and tasks of containers and services", cgroup::construct),
    row("cpu", "seconds of each CPU in each mode, and the use of all", cpu::construct),
    row("diskstats", "reads, writes and time of block devices", disk::construct),
    row("filefd", "file descriptors of the whole host", filefd::construct),
    row("filesystem", "size, free space and inodes of file systems", filesystem::construct),
    row("hwmon", "temperatures of the hardware's sensors", hwmon::construct),
    row("loadavg", "the load of 1, 5 and 15 minutes", load::construct),
    row("meminfo", "memory and swap in bytes", memory::construct),
    row("netclass", "state, speed and MTU of network devices", netclass::construct),
    row("netdev", "bytes, packets and errors of network devices", netdev::construct),
    row("os", "names and versions of kernel and distribution", os::construct),
    row("pressure", "time lost to a lack of CPU, memory and I/O (PSI)", pressure::construct),
    CollectorRow {
        job: OWN,
        ..row("process", "CPU, memory and descriptors of balefired itself", own_process::construct)
    },
    CollectorRow {
        default_on: false,
        ..row("process_states", "processes by state; reads them all", process_states::construct)
    },
    row("processes", "how many processes and threads there are, and may be", processes::construct),
    row("sockstat", "sockets in use by protocol", sockstat::construct),
    row("stat", "boot time, forks, interrupts, context switches", stat::construct),
    row("thermal_zone", "temperatures of the thermal zones", thermal::construct),
    row("time", "the host's clock", time::construct),
    row("vmstat", "paging and faults", vmstat::construct),
];

/// A running collector.
#[derive(Debug)]
struct Running {
    row: &'static CollectorRow,
    collector: Box<dyn Collect>,
    /// How its last pass went; told when it changes.
    succeeded: bool,
}

/// The collectors that run, with what they keep from pass to pass.
#[derive(Debug)]
pub struct Collectors {
    running: Vec<Running>,
    files: Files,
    buffer: Buffer,
    events: CollectEvents,
}

impl Collectors {
    /// The named collectors of the table, reading this host; `hostname` becomes `instance`. Names
    /// that are not in the table are left out: the configuration is checked before.
    pub fn new(names: &[&'static str], hostname: &str, events: CollectEvents) -> Self {
        Self::reading(Files::host(), names, hostname, events)
    }

    /// The same, reading `files`: another root than the host's, such as a test's.
    pub fn reading(
        files: Files,
        names: &[&'static str],
        hostname: &str,
        events: CollectEvents,
    ) -> Self {
        let mut collectors =
            Self { running: Vec::new(), files, buffer: Buffer::new(hostname), events };
        collectors.select(names);
        collectors
    }

    /// The names of the collectors that run where nothing is said.
    pub fn default_names() -> Vec<&'static str> {
        COLLECTORS.iter().filter(|row| row.default_on).map(|row| row.name).collect()
    }

    /// Runs these collectors from now on; one that goes on keeps what it knows.
    pub fn select(&mut self, names: &[&'static str]) {
        self.running.retain(|running| names.contains(&running.row.name));
        for row in COLLECTORS.iter().filter(|row| names.contains(&row.name)) {
            if !self.running.iter().any(|running| running.row.name == row.name) {
                let collector = (row.construct)(&mut self.files);
                self.running.push(Running { row, collector, succeeded: true });
            }
        }
    }

    /// One pass over all collectors, stamped `now`. Blocking (it reads `/proc`), a few milliseconds. A
    /// collector that fails is counted and logged, and the rest goes on.
    pub fn collect(&mut self, now: Timestamp) -> Vec<SeriesSample> {
        self.buffer.start(now);
        for running in &mut self.running {
            running.pass(&mut self.files, &mut self.buffer, &self.events);
        }
        self.buffer.take()
    }

    /// What the metrics collected so far mean.
    pub fn metadata(&self) -> Vec<Metadata> {
        self.buffer.metadata()
    }

    /// How many metrics have a meaning so far: more where a device has come up since.
    pub fn metadata_len(&self) -> usize {
        self.buffer.metadata_len()
    }

    /// The host in short, as the last pass found it.
    pub fn summary(&self) -> &HostSummary {
        &self.buffer.summary
    }
}

impl Running {
    fn pass(&mut self, files: &mut Files, out: &mut Buffer, events: &CollectEvents) {
        let name = self.row.name;
        out.begin(self.row.job);
        let result = self.collector.collect(files, out);
        let dropped = out.dropped();
        if dropped > 0 {
            events.series_dropped(name, dropped);
        }
        out.begin(NODE);
        let success = if result.is_ok() { 1.0 } else { 0.0 };
        out.gauge(
            "node_scrape_collector_success",
            "Whether a collector succeeded.",
            &[("collector", name)],
            success,
        );
        self.tell(result, events);
    }

    fn tell(&mut self, result: Result<(), CollectError>, events: &CollectEvents) {
        let name = self.row.name;
        let changed = self.succeeded != result.is_ok();
        self.succeeded = result.is_ok();
        match result {
            Err(error) => events.failed(name, &error.to_string(), changed),
            Ok(()) if changed => events.recovered(name),
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
