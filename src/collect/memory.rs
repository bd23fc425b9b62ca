//! `/proc/meminfo` (`proc_meminfo(5)`).

use super::{Buffer, Collect, CollectError, Files};

#[derive(Debug)]
struct Memory {
    /// `node_memory_MemTotal_bytes`, built anew for each line.
    name: String,
}

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Memory { name: String::new() })
}

impl Collect for Memory {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let meminfo = files.proc("meminfo")?;
        let (mut total, mut available) = (None, None);
        for line in meminfo.lines() {
            let Some((key, value)) = self.field(line) else { continue };
            match key {
                "MemTotal" => total = Some(value),
                "MemAvailable" => available = Some(value),
                _ => {}
            }
            out.gauge(&self.name, "A field of /proc/meminfo.", &[], value);
        }
        let total = total.ok_or_else(|| CollectError::missing("meminfo", "MemTotal"))?;
        let available =
            available.ok_or_else(|| CollectError::missing("meminfo", "MemAvailable"))?;
        usage(total, available, out);
        Ok(())
    }
}

impl Memory {
    /// The key of a line and its value in bytes; leaves the metric's name in `name`.
    fn field<'a>(&mut self, line: &'a str) -> Option<(&'a str, f64)> {
        let (key, rest) = line.split_once(':')?;
        let mut words = rest.split_ascii_whitespace();
        let value: f64 = words.next()?.parse().ok()?;
        let in_kib = words.next() == Some("kB");
        self.name.clear();
        self.name.push_str("node_memory_");
        // `Active(anon)` is `Active_anon`.
        self.name.extend(key.chars().filter(|c| *c != ')').map(|c| if c == '(' { '_' } else { c }));
        if in_kib {
            self.name.push_str("_bytes");
        }
        Some((key, if in_kib { value * 1024.0 } else { value }))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes of memory are far below 2^53 and not negative"
)]
fn usage(total: f64, available: f64, out: &mut Buffer) {
    let used = (total - available).max(0.0);
    let percent = if total > 0.0 { (100.0 * used / total).clamp(0.0, 100.0) } else { 0.0 };
    out.summary.memory_total = total as u64;
    out.summary.memory_used = used as u64;
    out.summary.memory_percent = percent;
    let help = "Memory that is not available to new work, in percent.";
    out.gauge("system_memory_usage", help, &[], percent);
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_every_field_in_bytes_and_the_use() {
        let meminfo = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  250 kB\n\
                       Active(anon):  3 kB\nHugePages_Total:  7\nSwapTotal:  8 kB\n";
        let found = Fixture::new().proc("meminfo", meminfo).collect(construct);
        found.has("node_memory_MemTotal_bytes", 1_024_000.0);
        found.has("node_memory_Active_anon_bytes", 3072.0);
        found.has("node_memory_HugePages_Total", 7.0);
        found.has("node_memory_SwapTotal_bytes", 8192.0);
        found.has("system_memory_usage", 75.0);
    }

    #[test]
    fn a_file_without_a_total_is_an_error() {
        let error = Fixture::new().proc("meminfo", "MemFree: 1 kB\n").fails(construct);
        assert!(error.contains("MemTotal"), "{error}");
    }
}
