//! A group of the unified hierarchy.

use std::path::Path;

use super::{super::Files, Use, keyed};

const MICROSECONDS: f64 = 1e6;

pub(super) fn read(files: &mut Files, root: &Path, id: &str) -> Use {
    let group = root.join(id.trim_start_matches('/'));
    let mut used = Use::default();
    if let Some(stat) = files.attribute(&group, "cpu.stat") {
        let seconds = |key| keyed(stat, key).map(|value| value / MICROSECONDS);
        used.cpu = seconds("usage_usec");
        used.cpu_user = seconds("user_usec");
        used.cpu_system = seconds("system_usec");
        used.cpu_throttled = seconds("throttled_usec");
    }
    used.memory = files.number(&group, "memory.current");
    if used.memory.is_some()
        && let Some(stat) = files.attribute(&group, "memory.stat")
    {
        used.memory_rss = keyed(stat, "anon");
        used.memory_cache = keyed(stat, "file");
        used.memory_inactive_file = keyed(stat, "inactive_file");
    }
    used.memory_limit = limit(files, &group, "memory.max");
    used.threads = files.number(&group, "pids.current");
    used.threads_max = limit(files, &group, "pids.max");
    used
}

/// `max` is no limit, which cAdvisor writes as 0.
fn limit(files: &mut Files, group: &Path, name: &str) -> Option<f64> {
    match files.attribute(group, name)? {
        "max" => Some(0.0),
        number => number.parse().ok(),
    }
}
