//! Pressure stall information, `/proc/pressure` (Documentation/accounting/psi.rst).

use super::{Buffer, Collect, CollectError, Files};

/// File, its line, metric, help. The kernel's line `full` of `cpu` means nothing for a whole host.
const LINES: [(&str, &str, &str, &str); 5] = [
    (
        "pressure/cpu",
        "some",
        "node_pressure_cpu_waiting_seconds_total",
        "Seconds that processes have waited for CPU time.",
    ),
    (
        "pressure/io",
        "some",
        "node_pressure_io_waiting_seconds_total",
        "Seconds that processes have waited due to I/O congestion.",
    ),
    (
        "pressure/io",
        "full",
        "node_pressure_io_stalled_seconds_total",
        "Seconds no process could make progress due to I/O congestion.",
    ),
    (
        "pressure/memory",
        "some",
        "node_pressure_memory_waiting_seconds_total",
        "Seconds that processes have waited for memory.",
    ),
    (
        "pressure/memory",
        "full",
        "node_pressure_memory_stalled_seconds_total",
        "Seconds no process could make progress due to memory congestion.",
    ),
];
const MICROSECONDS: f64 = 1e6;

#[derive(Debug)]
struct Pressure;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Pressure)
}

impl Collect for Pressure {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        for (file, line, name, help) in LINES {
            // Kernels without PSI have no pressure to tell, which is no failure.
            let Some(text) = files.proc_optional(file)? else { continue };
            let total = total(text, line).ok_or_else(|| CollectError::missing(file, line))?;
            out.counter(name, help, &[], total / MICROSECONDS);
        }
        Ok(())
    }
}

fn total(text: &str, line: &str) -> Option<f64> {
    let line = text.lines().find(|l| l.split(' ').next() == Some(line))?;
    line.rsplit_once("total=")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_seconds_of_waiting_and_of_standstill() {
        let io = "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n\
                  full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n";
        let found = Fixture::new().proc("pressure/io", io).collect(construct);
        found.has("node_pressure_io_waiting_seconds_total", 2.5);
        found.has("node_pressure_io_stalled_seconds_total", 1.0);
        found.has_not("node_pressure_cpu_waiting_seconds_total");
    }

    #[test]
    fn a_kernel_without_psi_is_no_failure() {
        Fixture::new().collect(construct).has_not("node_pressure_io_waiting_seconds_total");
    }
}
