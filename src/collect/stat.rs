//! `/proc/stat` below the CPUs, and `/proc/uptime`.

use std::time::Duration;

use super::{Buffer, Collect, CollectError, Files, files::next_number};

#[derive(Debug)]
struct Stat;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Stat)
}

impl Collect for Stat {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        for line in files.proc("stat")?.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(key), Some(value)) = (words.next(), next_number(&mut words)) else {
                continue;
            };
            field(key, value, out);
        }
        if let Some(uptime) = files.proc("uptime")?.split_ascii_whitespace().next() {
            let uptime = uptime.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
            out.summary.uptime = uptime.unwrap_or_default();
        }
        Ok(())
    }
}

fn field(key: &str, value: f64, out: &mut Buffer) {
    match key {
        "intr" => {
            out.counter("node_intr_total", "Total number of interrupts serviced.", &[], value);
        }
        "ctxt" => {
            let help = "Total number of context switches.";
            out.counter("node_context_switches_total", help, &[], value);
        }
        "processes" => out.counter("node_forks_total", "Total number of forks.", &[], value),
        "btime" => {
            out.gauge("node_boot_time_seconds", "Node boot time, in unixtime.", &[], value);
        }
        "procs_running" => {
            let help = "Number of processes in runnable state.";
            out.gauge("node_procs_running", help, &[], value);
        }
        "procs_blocked" => {
            let help = "Number of processes blocked waiting for I/O to complete.";
            out.gauge("node_procs_blocked", help, &[], value);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_what_follows_the_cpus() {
        let stat = "cpu 1 2 3 4\nintr 12 0 0 3\nctxt 34\nbtime 1700000000\nprocesses 56\n\
                    procs_running 2\nprocs_blocked 1\n";
        let found = Fixture::new().proc("stat", stat).proc("uptime", "12.5 3\n").collect(construct);
        found.has("node_intr_total", 12.0);
        found.has("node_context_switches_total", 34.0);
        found.has("node_boot_time_seconds", 1_700_000_000.0);
        found.has("node_forks_total", 56.0);
        found.has("node_procs_running", 2.0);
        found.has("node_procs_blocked", 1.0);
        assert_eq!(found.summary.uptime.as_millis(), 12_500);
    }
}
