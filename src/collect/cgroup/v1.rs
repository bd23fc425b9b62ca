//! A group of the old hierarchies, one for each controller.

use std::path::Path;

use super::{
    super::{Files, cpu::TICKS_PER_SECOND},
    Use, keyed,
};

const NANOSECONDS: f64 = 1e9;
/// The kernel's "no limit" is the largest number of pages that fits; no host has an exbibyte.
const LIMIT_MAX: f64 = (1_u64 << 60) as f64;

pub(super) fn read<P: AsRef<Path>>(files: &mut Files, roots: [P; 3], id: &str) -> Use {
    let [cpu, memory, pids] = roots.map(|root| root.as_ref().join(id.trim_start_matches('/')));
    let mut used = Use { cpu: files.number(&cpu, "cpuacct.usage"), ..Use::default() };
    used.cpu = used.cpu.map(|nanoseconds| nanoseconds / NANOSECONDS);
    if let Some(stat) = files.attribute(&cpu, "cpuacct.stat") {
        used.cpu_user = keyed(stat, "user").map(|ticks| ticks / TICKS_PER_SECOND);
        used.cpu_system = keyed(stat, "system").map(|ticks| ticks / TICKS_PER_SECOND);
    }
    used.memory = files.number(&memory, "memory.usage_in_bytes");
    if let Some(stat) = files.attribute(&memory, "memory.stat") {
        used.memory_rss = keyed(stat, "total_rss");
        used.memory_cache = keyed(stat, "total_cache");
        used.memory_inactive_file = keyed(stat, "total_inactive_file");
    }
    let limit = files.number(&memory, "memory.limit_in_bytes");
    used.memory_limit = limit.map(|bytes| if bytes >= LIMIT_MAX { 0.0 } else { bytes });
    used.threads = files.number(&pids, "pids.current");
    used.threads_max = match files.attribute(&pids, "pids.max") {
        Some("max") => Some(0.0),
        number => number.and_then(|number| number.parse().ok()),
    };
    used
}
