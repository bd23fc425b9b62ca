//! Names and versions of the kernel and the distribution; read once, for they do not change below us.

use sysinfo::System;

use super::{Buffer, Collect, CollectError, Files};

#[derive(Debug)]
struct Os {
    uname: [(&'static str, String); 6],
    release: [(&'static str, String); 4],
}

pub(super) fn construct(files: &mut Files) -> Box<dyn Collect> {
    let domain = files.proc("sys/kernel/domainname").map(|name| name.trim().to_owned());
    Box::new(Os { uname: uname(domain.unwrap_or_default()), release: release() })
}

impl Collect for Os {
    fn collect(&mut self, _files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let help = "What the uname system call tells; always 1.";
        out.gauge("node_uname_info", help, &borrowed(&self.uname), 1.0);
        let help = "What the distribution's os-release file tells; always 1.";
        out.gauge("node_os_info", help, &borrowed(&self.release), 1.0);
        Ok(())
    }
}

fn uname(domain: String) -> [(&'static str, String); 6] {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    [
        ("domainname", domain),
        ("machine", text(uname.machine())),
        ("nodename", text(uname.nodename())),
        ("release", text(uname.release())),
        ("sysname", text(uname.sysname())),
        ("version", text(uname.version())),
    ]
}

fn release() -> [(&'static str, String); 4] {
    [
        ("id", System::distribution_id()),
        ("name", System::name().unwrap_or_default()),
        ("pretty_name", System::long_os_version().unwrap_or_default()),
        ("version_id", System::os_version().unwrap_or_default()),
    ]
}

fn borrowed<'a, const N: usize>(pairs: &'a [(&'static str, String); N]) -> [(&'a str, &'a str); N] {
    pairs.each_ref().map(|(name, value)| (*name, value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn names_the_kernel() {
        let found = Fixture::new().proc("sys/kernel/domainname", "(none)\n").collect(construct);
        let info = found.series("node_uname_info");
        assert_eq!(info.get("sysname"), Some("Linux"));
        assert_eq!(info.get("domainname"), Some("(none)"));
        assert!(info.get("release").is_some());
    }
}
