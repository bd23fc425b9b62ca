//! The daemon itself, by the names that every Prometheus client library gives its process.

use std::{fmt, fs};

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Buffer, Collect, CollectError, Files};

struct OwnProcess {
    pid: Pid,
    /// Made by the first pass: where it cannot be made, that pass tells.
    system: Option<System>,
}

impl fmt::Debug for OwnProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnProcess").field("pid", &self.pid).finish_non_exhaustive()
    }
}

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(OwnProcess { pid: Pid::from_u32(std::process::id()), system: None })
}

const MILLISECONDS: f64 = 1e3;
const FILE: &str = "self/stat";
/// A directory for each thread; sysinfo would read them all.
const TASKS: &str = "/proc/self/task";

impl Collect for OwnProcess {
    fn collect(&mut self, _files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let process = self.refresh()?;
        let seconds = process.accumulated_cpu_time() as f64 / MILLISECONDS;
        let help = "Total user and system CPU time spent in seconds.";
        out.counter("process_cpu_seconds_total", help, &[], seconds);
        let count = |count: Option<usize>| count.map(|count| count as f64);
        for (name, help, value) in [
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                Some(process.start_time() as f64),
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                Some(process.memory() as f64),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
                Some(process.virtual_memory() as f64),
            ),
            ("process_open_fds", "Number of open file descriptors.", count(process.open_files())),
            (
                "process_max_fds",
                "Maximum number of open file descriptors.",
                count(process.open_files_limit()),
            ),
            (
                "process_threads",
                "Number of threads.",
                count(fs::read_dir(TASKS).ok().map(Iterator::count)),
            ),
        ] {
            if let Some(value) = value {
                out.gauge(name, help, &[], value);
            }
        }
        Ok(())
    }
}

impl OwnProcess {
    fn refresh(&mut self) -> Result<&Process, CollectError> {
        let system =
            match &mut self.system {
                Some(system) => system,
                none => none.insert(System::new().map_err(|error| CollectError::Format {
                    file: FILE,
                    reason: error.to_string(),
                })?),
            };
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), true, kind);
        system.process(self.pid).ok_or_else(|| CollectError::missing(FILE, "own process"))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn is_this_process() {
        let found = Fixture::new().collect(construct);
        assert!(found.value("process_resident_memory_bytes") > 1e6);
        assert!(found.value("process_open_fds") >= 3.0);
        assert!(found.value("process_threads") >= 1.0);
        assert!(found.value("process_max_fds") >= found.value("process_open_fds"));
        assert!(found.value("process_start_time_seconds") > 1.6e9);
    }
}
