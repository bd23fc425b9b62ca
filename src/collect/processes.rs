//! How many processes and threads there are, without reading each of them.

use std::{fs, io};

use super::{Buffer, Collect, CollectError, Files};

#[derive(Debug)]
struct Processes;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Processes)
}

impl Collect for Processes {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let count = pids(files)?.count() as f64;
        out.gauge("node_processes_pids", "Number of PIDs.", &[], count);
        // The second number of `2/107`: all tasks, which are the threads.
        let loadavg = files.proc("loadavg")?;
        let threads = loadavg
            .split_ascii_whitespace()
            .nth(3)
            .and_then(|tasks| tasks.split_once('/').and_then(|(_, all)| all.parse::<f64>().ok()));
        let threads = threads.ok_or_else(|| CollectError::missing("loadavg", "tasks"))?;
        out.gauge("node_processes_threads", "Allocated threads in system.", &[], threads);
        for (file, name, help) in [
            ("sys/kernel/pid_max", "node_processes_max_processes", "Number of PIDs limit."),
            ("sys/kernel/threads-max", "node_processes_max_threads", "Limit of threads."),
        ] {
            let limit = files.proc(file)?.trim().parse();
            let limit = limit.map_err(|_| CollectError::missing(file, "number"))?;
            out.gauge(name, help, &[], limit);
        }
        Ok(())
    }
}

/// The names of the processes' directories.
pub(super) fn pids(files: &Files) -> Result<impl Iterator<Item = String> + use<>, CollectError> {
    let path = files.proc_root().to_owned();
    let read = |source: io::Error| CollectError::Read { path, source };
    let entries = fs::read_dir(files.proc_root()).map_err(read)?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|c| c.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn counts_processes_and_threads() {
        let found = Fixture::new()
            .proc("loadavg", "0 0 0 2/107 99\n")
            .proc("sys/kernel/pid_max", "4194304\n")
            .proc("sys/kernel/threads-max", "1000\n")
            .proc("1/stat", "")
            .proc("77/stat", "")
            .collect(construct);
        found.has("node_processes_pids", 2.0);
        found.has("node_processes_threads", 107.0);
        found.has("node_processes_max_processes", 4_194_304.0);
        found.has("node_processes_max_threads", 1000.0);
    }
}
