//! Names and versions of the kernel and the distribution; read once, for they do not change below us.

use std::fs;

use super::{Buffer, Collect, CollectError, Files};

/// Where the distribution names itself (`os-release(5)`); the first that is there.
const RELEASE_FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Its fields, each a label in lower case.
const RELEASE_LABELS: [&str; 10] = [
    "build_id",
    "id",
    "id_like",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];

#[derive(Debug)]
struct Os {
    uname: [(&'static str, String); 6],
    release: [(&'static str, String); 10],
}

pub(super) fn construct(files: &mut Files) -> Box<dyn Collect> {
    let domain = files.proc("sys/kernel/domainname").map(|name| name.trim().to_owned());
    let text = RELEASE_FILES.iter().find_map(|file| fs::read_to_string(file).ok());
    let release = release(&text.unwrap_or_default());
    Box::new(Os { uname: uname(domain.unwrap_or_default()), release })
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

/// The labels of the distribution; an absent field is an empty label, which is none.
fn release(text: &str) -> [(&'static str, String); 10] {
    RELEASE_LABELS.map(|label| {
        let key = label.to_ascii_uppercase();
        let value = text.lines().find_map(|line| line.strip_prefix(&key)?.strip_prefix('='));
        let plain = value.unwrap_or_default().trim().trim_matches(['"', '\'']);
        (label, plain.to_owned())
    })
}

fn borrowed<'a, const N: usize>(pairs: &'a [(&'static str, String); N]) -> [(&'a str, &'a str); N] {
    pairs.each_ref().map(|(name, value)| (*name, value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct, release};

    #[test]
    fn names_the_kernel() {
        let found = Fixture::new().proc("sys/kernel/domainname", "(none)\n").collect(construct);
        let info = found.series("node_uname_info");
        assert_eq!(info.get("sysname"), Some("Linux"));
        assert_eq!(info.get("domainname"), Some("(none)"));
        assert!(info.get("release").is_some());
    }

    #[test]
    fn names_the_distribution() {
        let found =
            release("PRETTY_NAME=\"Debian 12\"\nVERSION_ID=12\nVERSION='12 (b)'\nID=debian\n");
        let label = |name: &str| found.iter().find(|(n, _)| *n == name).unwrap().1.as_str();
        assert_eq!(label("pretty_name"), "Debian 12");
        assert_eq!(label("version_id"), "12");
        assert_eq!(label("version"), "12 (b)");
        assert_eq!(label("id"), "debian");
        assert_eq!(label("variant"), "");
    }
}
