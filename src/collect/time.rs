//! The host's clock.

use super::{Buffer, Collect, CollectError, Files};

#[derive(Debug)]
struct Time;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Time)
}

impl Collect for Time {
    fn collect(&mut self, _files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let now = out.now().as_secs_f64();
        out.gauge("node_time_seconds", "System time in seconds since epoch (1970).", &[], now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn is_the_time_of_the_pass() {
        Fixture::new().collect(construct).has("node_time_seconds", 1_700_000_000.0);
    }
}
