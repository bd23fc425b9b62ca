//! `/proc/loadavg`.

use super::{Buffer, Collect, CollectError, Files, files::next_number};

#[derive(Debug)]
struct Load;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Load)
}

impl Collect for Load {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let mut words = files.proc("loadavg")?.split_ascii_whitespace();
        let mut load = || {
            next_number(&mut words).ok_or_else(|| CollectError::missing("loadavg", "load average"))
        };
        out.summary.load1 = load()?;
        out.gauge("node_load1", "1m load average.", &[], out.summary.load1);
        out.gauge("node_load5", "5m load average.", &[], load()?);
        out.gauge("node_load15", "15m load average.", &[], load()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_the_three_averages() {
        let found = Fixture::new().proc("loadavg", "0.61 1.5 2 3/107 99\n").collect(construct);
        found.has("node_load1", 0.61);
        found.has("node_load5", 1.5);
        found.has("node_load15", 2.0);
    }

    #[test]
    fn a_short_file_is_an_error() {
        assert!(Fixture::new().proc("loadavg", "0.61\n").fails(construct).contains("loadavg"));
    }
}
