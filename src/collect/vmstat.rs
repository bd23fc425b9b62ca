//! `/proc/vmstat`, the fields that `node_exporter` gives where nothing is said.

use super::{Buffer, Collect, CollectError, Files};

/// Field names that are taken whole; those that begin with `pgp`, `pswp` and `pg…fault` are, too.
const OOM_KILL: &str = "oom_kill";
const PREFIXES: [&str; 2] = ["pgpg", "pswp"];
const FAULTS: [&str; 2] = ["pgfault", "pgmajfault"];

#[derive(Debug)]
struct VmStat;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(VmStat)
}

impl Collect for VmStat {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        for line in files.proc("vmstat")?.lines() {
            let Some((name, value)) = line.split_once(' ') else { continue };
            if is_wanted(name)
                && let Ok(value) = value.trim().parse()
            {
                out.untyped(&format!("node_vmstat_{name}"), "A field of /proc/vmstat.", value);
            }
        }
        Ok(())
    }
}

fn is_wanted(name: &str) -> bool {
    name == OOM_KILL
        || FAULTS.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_paging_and_faults_only() {
        let vmstat = "nr_free_pages 5\npgpgin 7\npswpout 8\npgmajfault 9\noom_kill 1\n";
        let found = Fixture::new().proc("vmstat", vmstat).collect(construct);
        found.has("node_vmstat_pgpgin", 7.0);
        found.has("node_vmstat_pgmajfault", 9.0);
        found.has("node_vmstat_oom_kill", 1.0);
        found.has_not("node_vmstat_nr_free_pages");
    }
}
