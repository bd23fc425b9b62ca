//! `/proc/sys/fs/file-nr`.

use super::{Buffer, Collect, CollectError, Files, files::next_number};

const FILE: &str = "sys/fs/file-nr";

#[derive(Debug)]
struct FileFd;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(FileFd)
}

impl Collect for FileFd {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let mut words = files.proc(FILE)?.split_ascii_whitespace();
        let mut next =
            || next_number(&mut words).ok_or_else(|| CollectError::missing(FILE, "count"));
        let (allocated, _free, maximum) = (next()?, next()?, next()?);
        out.gauge("node_filefd_allocated", "File descriptors in use.", &[], allocated);
        out.gauge("node_filefd_maximum", "File descriptors there may be.", &[], maximum);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_use_and_limit() {
        let found = Fixture::new().proc("sys/fs/file-nr", "1024\t0\t8192\n").collect(construct);
        found.has("node_filefd_allocated", 1024.0);
        found.has("node_filefd_maximum", 8192.0);
    }
}
