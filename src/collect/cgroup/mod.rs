//! Containers and services by their control groups, with cAdvisor's names; `id` is the group's path.
//!
//! Both hierarchies are read: the unified one (Documentation/admin-guide/cgroup-v2.rst) where it has
//! controllers, else the old ones (cgroup-v1).

mod find;
mod v1;
mod v2;

use std::path::PathBuf;

use super::{Buffer, Collect, CollectError, Files};

/// Groups that are read in one pass; a pass has to stay short.
const GROUPS_MAX: usize = 128;

/// How a host's control groups are laid out.
#[derive(Debug, PartialEq)]
enum Layout {
    Unified { root: PathBuf },
    Old { cpu: PathBuf, memory: PathBuf, pids: PathBuf },
}

impl Layout {
    fn of(files: &Files) -> Self {
        let root = files.sys_root().join("fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            return Self::Unified { root };
        }
        Self::Old {
            cpu: root.join("cpuacct"),
            memory: root.join("memory"),
            pids: root.join("pids"),
        }
    }

    fn roots(&self) -> Vec<&PathBuf> {
        match self {
            Self::Unified { root } => vec![root],
            Self::Old { cpu, memory, pids } => vec![cpu, memory, pids],
        }
    }
}

/// What a group uses; what the kernel does not tell is absent. Times in seconds, sizes in bytes.
#[derive(Debug, Default, PartialEq)]
struct Use {
    cpu: Option<f64>,
    cpu_user: Option<f64>,
    cpu_system: Option<f64>,
    cpu_throttled: Option<f64>,
    memory: Option<f64>,
    memory_inactive_file: Option<f64>,
    memory_rss: Option<f64>,
    memory_cache: Option<f64>,
    memory_limit: Option<f64>,
    threads: Option<f64>,
    threads_max: Option<f64>,
}

#[derive(Debug)]
struct Cgroups;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Cgroups)
}

impl Collect for Cgroups {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        // Looked for each time: a service manager may change the layout only at boot, but it may be
        // mounted after us.
        let layout = Layout::of(files);
        let (groups, left_out) = find::groups(&layout.roots(), GROUPS_MAX);
        out.drop_more(left_out);
        for id in groups {
            let used = match &layout {
                Layout::Unified { root } => v2::read(files, root, &id),
                Layout::Old { cpu, memory, pids } => v1::read(files, [cpu, memory, pids], &id),
            };
            emit(&id, &used, out);
        }
        Ok(())
    }
}

fn emit(id: &str, used: &Use, out: &mut Buffer) {
    let labels = [("id", id)];
    for (name, help, value) in [
        ("container_cpu_usage_seconds_total", "CPU time consumed.", used.cpu),
        ("container_cpu_user_seconds_total", "CPU time in user mode.", used.cpu_user),
        ("container_cpu_system_seconds_total", "CPU time in the kernel.", used.cpu_system),
        (
            "container_cpu_cfs_throttled_seconds_total",
            "Time the group was throttled.",
            used.cpu_throttled,
        ),
    ] {
        if let Some(value) = value {
            out.counter(name, help, &labels, value);
        }
    }
    // The kernel gives inactive files back first, so cAdvisor does not count them as needed.
    let working_set =
        used.memory.map(|memory| (memory - used.memory_inactive_file.unwrap_or(0.0)).max(0.0));
    for (name, help, value) in [
        ("container_memory_usage_bytes", "Memory in use, caches too.", used.memory),
        ("container_memory_working_set_bytes", "Memory that is needed.", working_set),
        ("container_memory_rss", "Anonymous memory in bytes.", used.memory_rss),
        ("container_memory_cache", "Memory of file caches in bytes.", used.memory_cache),
        ("container_spec_memory_limit_bytes", "Memory it may use; 0 is all.", used.memory_limit),
        ("container_threads", "Threads that run.", used.threads),
        ("container_threads_max", "Threads it may have; 0 is any number.", used.threads_max),
    ] {
        if let Some(value) = value {
            out.gauge(name, help, &labels, value);
        }
    }
}

/// The number after a key in a file of `key value` lines.
fn keyed(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn reads_the_unified_hierarchy() {
        let found = Fixture::new()
            .sys("fs/cgroup/cgroup.controllers", "cpu memory pids\n")
            .sys(
                "fs/cgroup/system.slice/ssh.service/cpu.stat",
                "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nthrottled_usec 0\n",
            )
            .sys("fs/cgroup/system.slice/ssh.service/memory.current", "1000\n")
            .sys("fs/cgroup/system.slice/ssh.service/memory.max", "max\n")
            .sys(
                "fs/cgroup/system.slice/ssh.service/memory.stat",
                "anon 100\nfile 700\ninactive_file 300\n",
            )
            .sys("fs/cgroup/system.slice/ssh.service/pids.current", "3\n")
            .collect(construct);
        let id = r#"{id="/system.slice/ssh.service"}"#;
        found.has(&format!("container_cpu_usage_seconds_total{id}"), 2.5);
        found.has(&format!("container_memory_usage_bytes{id}"), 1000.0);
        found.has(&format!("container_memory_working_set_bytes{id}"), 700.0);
        found.has(&format!("container_spec_memory_limit_bytes{id}"), 0.0);
        found.has(&format!("container_threads{id}"), 3.0);
        found.has_not(&format!("container_threads_max{id}"));
    }

    #[test]
    fn reads_the_old_hierarchies() {
        let container = "docker/4f5e6d7c8b9a0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796";
        let found = Fixture::new()
            .sys(&format!("fs/cgroup/cpuacct/{container}/cpuacct.usage"), "1500000000\n")
            .sys(&format!("fs/cgroup/memory/{container}/memory.usage_in_bytes"), "4096\n")
            .sys(&format!("fs/cgroup/memory/{container}/memory.stat"), "total_rss 1024\n")
            .sys(
                &format!("fs/cgroup/memory/{container}/memory.limit_in_bytes"),
                "9223372036854771712\n",
            )
            .sys(&format!("fs/cgroup/pids/{container}/pids.current"), "2\n")
            .collect(construct);
        let id = format!(r#"{{id="/{container}"}}"#);
        found.has(&format!("container_cpu_usage_seconds_total{id}"), 1.5);
        found.has(&format!("container_memory_usage_bytes{id}"), 4096.0);
        found.has(&format!("container_memory_rss{id}"), 1024.0);
        found.has(&format!("container_spec_memory_limit_bytes{id}"), 0.0);
        found.has(&format!("container_threads{id}"), 2.0);
    }

    #[test]
    fn a_host_without_control_groups_is_no_failure() {
        Fixture::new().collect(construct).has_not("container_cpu_usage_seconds_total");
    }
}
