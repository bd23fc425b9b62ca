//! Processes by state. Reads one file for each process, so it is off where nothing is said.

use std::collections::BTreeMap;

use super::{Buffer, Collect, CollectError, Files, processes::pids};

#[derive(Debug)]
struct ProcessStates;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(ProcessStates)
}

impl Collect for ProcessStates {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let mut states: BTreeMap<char, u32> = BTreeMap::new();
        for pid in pids(files)? {
            // A process that has gone in the meantime is in no state.
            let Ok(stat) = files.proc(&format!("{pid}/stat")) else { continue };
            if let Some(state) = state(stat) {
                *states.entry(state).or_default() += 1;
            }
        }
        for (state, count) in states {
            let mut letter = [0; 4];
            let labels = [("state", &*state.encode_utf8(&mut letter))];
            let help = "Number of processes in each state.";
            out.gauge("node_processes_state", help, &labels, f64::from(count));
        }
        Ok(())
    }
}

/// The letter after the command, which stands in brackets and may hold brackets itself.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn counts_by_state() {
        let found = Fixture::new()
            .proc("1/stat", "1 (init) S 0 1")
            .proc("2/stat", "2 (a) R (b) S 0 1")
            .proc("3/stat", "3 (gone) Z 0 1")
            .collect(construct);
        found.has(r#"node_processes_state{state="S"}"#, 2.0);
        found.has(r#"node_processes_state{state="Z"}"#, 1.0);
    }
}
