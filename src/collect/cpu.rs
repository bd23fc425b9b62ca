//! `/proc/stat`, the lines of the CPUs (`proc_stat(5)`).

use std::collections::HashMap;

use super::{Buffer, Collect, CollectError, Files};

/// The columns of a `cpu` line in order; two more, the guests', are counted in `user` and `nice` too.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const IDLE: usize = 3;
const IOWAIT: usize = 4;
/// The kernel gives times to user space in this unit on every architecture that Linux still has.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;
/// A column that falls by less than this many ticks has been corrected by the kernel, and would look like
/// a reset; one that falls by more is a CPU that was taken out and put in again.
const CORRECTION_TICKS_MAX: u64 = 300;
/// Fewer ticks between two passes say nothing about the use: 50 ms on one CPU.
const DELTA_TICKS_MIN: u64 = 5;

/// Ticks by mode, and the two of the guests.
type Ticks = [u64; 10];

#[derive(Debug, Default)]
struct Cpu {
    /// The last ticks of each CPU, by its number in the file.
    last: HashMap<String, Ticks>,
    baseline: Option<Usage>,
    percent: Option<f64>,
}

/// What all CPUs have done since the host started.
#[derive(Clone, Copy, Debug)]
struct Usage {
    busy: u64,
    total: u64,
}

pub(super) fn construct(files: &mut Files) -> Box<dyn Collect> {
    // So that the first pass can tell the use since the start; a file that cannot be read now is
    // reported by the first pass.
    let baseline = files.proc("stat").ok().and_then(|stat| usage(stat.lines().next()?));
    Box::new(Cpu { baseline, ..Cpu::default() })
}

impl Collect for Cpu {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let stat = files.proc("stat")?;
        let mut lines = stat.lines();
        let now =
            lines.next().and_then(usage).ok_or_else(|| CollectError::missing("stat", "cpu"))?;
        for line in lines.take_while(|line| line.starts_with("cpu")) {
            self.one(line, out);
        }
        self.usage_since(now);
        if let Some(percent) = self.percent {
            out.summary.cpu_percent = percent;
            let help = "Time all CPUs were busy since the pass before, in percent.";
            out.gauge("system_cpu_usage", help, &[], percent);
        }
        Ok(())
    }
}

impl Cpu {
    fn one(&mut self, line: &str, out: &mut Buffer) {
        let Some((name, ticks)) = ticks(line) else { return };
        let Some(cpu) = name.strip_prefix("cpu") else { return };
        let last = self.last.entry(cpu.to_owned()).or_default();
        for (last, now) in last.iter_mut().zip(ticks) {
            let corrected = now < *last && *last - now < CORRECTION_TICKS_MAX;
            *last = if corrected { *last } else { now };
        }
        for (mode, ticks) in MODES.iter().zip(*last) {
            let help = "Seconds the CPUs spent in each mode.";
            let seconds = ticks as f64 / TICKS_PER_SECOND;
            out.counter("node_cpu_seconds_total", help, &[("cpu", cpu), ("mode", mode)], seconds);
        }
        for (mode, ticks) in GUEST_MODES.iter().zip(&last[MODES.len()..]) {
            let help = "Seconds the CPUs spent in guests, by mode; part of the mode's seconds.";
            let labels = [("cpu", cpu), ("mode", *mode)];
            let seconds = *ticks as f64 / TICKS_PER_SECOND;
            out.counter("node_cpu_guest_seconds_total", help, &labels, seconds);
        }
    }

    /// The use since the baseline; a pass right after another one keeps the last answer.
    fn usage_since(&mut self, now: Usage) {
        let Some(before) = self.baseline else {
            self.baseline = Some(now);
            return;
        };
        let total = now.total.saturating_sub(before.total);
        if now.total < before.total {
            self.baseline = Some(now);
        } else if total >= DELTA_TICKS_MIN {
            let busy = now.busy.saturating_sub(before.busy);
            self.percent = Some((100.0 * busy as f64 / total as f64).clamp(0.0, 100.0));
            self.baseline = Some(now);
        }
    }
}

fn usage(line: &str) -> Option<Usage> {
    let (_, ticks) = ticks(line)?;
    let total = ticks[..MODES.len()].iter().sum();
    let idle = ticks[IDLE] + ticks[IOWAIT];
    Some(Usage { busy: total - idle, total })
}

/// The name and the columns of a `cpu` line; columns that an old kernel lacks are zero.
fn ticks(line: &str) -> Option<(&str, Ticks)> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().filter(|name| name.starts_with("cpu"))?;
    let mut ticks = Ticks::default();
    for (slot, word) in ticks.iter_mut().zip(words) {
        *slot = word.parse().ok()?;
    }
    Some((name, ticks))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    const BEFORE: &str = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 100 0 50 800 50 0 0 0 0 0\nintr 5\n";

    #[test]
    fn counts_seconds_by_mode() {
        let fixture = Fixture::new().proc("stat", BEFORE);
        let found = fixture.collect(construct);
        found.has(r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#, 8.0);
        found.has(r#"node_cpu_seconds_total{cpu="0",mode="user"}"#, 1.0);
        found.has(r#"node_cpu_guest_seconds_total{cpu="0",mode="nice"}"#, 0.0);
        found.has_not("system_cpu_usage");
    }

    #[test]
    fn usage_is_what_was_not_idle_since_the_baseline() {
        let fixture = Fixture::new().proc("stat", BEFORE);
        let mut collector = fixture.construct(construct);
        let fixture = fixture
            .proc("stat", "cpu  160 0 65 810 65 0 0 0 0 0\ncpu0 160 0 65 810 65 0 0 0 0 0\n");
        let found = fixture.pass(&mut *collector);
        found.has("system_cpu_usage", 75.0);
    }

    #[test]
    fn a_small_step_back_is_no_reset() {
        let fixture = Fixture::new().proc("stat", BEFORE);
        let mut collector = fixture.construct(construct);
        fixture.pass(&mut *collector);
        let fixture = fixture.proc("stat", &BEFORE.replace("800 50", "800 40"));
        fixture.pass(&mut *collector).has(r#"node_cpu_seconds_total{cpu="0",mode="iowait"}"#, 0.5);
    }

    #[test]
    fn a_file_without_cpus_is_an_error_that_says_so() {
        let error = Fixture::new().proc("stat", "garbage\n").fails(construct);
        assert!(error.contains("stat: no \"cpu\""), "{error}");
    }
}
