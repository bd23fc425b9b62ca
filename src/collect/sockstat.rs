//! `/proc/net/sockstat` and `/proc/net/sockstat6`.

use super::{Buffer, Collect, CollectError, Files};

#[derive(Debug)]
struct SockStat;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(SockStat)
}

impl Collect for SockStat {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        // Both are absent where the kernel has no IPv4 or no IPv6.
        for file in ["self/net/sockstat", "self/net/sockstat6"] {
            for line in files.proc_optional(file)?.unwrap_or_default().lines() {
                protocol(line, out);
            }
        }
        Ok(())
    }
}

/// `TCP: inuse 4 orphan 0`: pairs after a colon.
fn protocol(line: &str, out: &mut Buffer) {
    let Some((protocol, pairs)) = line.split_once(':') else { return };
    let mut words = pairs.split_ascii_whitespace();
    while let (Some(state), Some(count)) = (words.next(), words.next()) {
        let Ok(count) = count.parse() else { continue };
        let name = format!("node_sockstat_{protocol}_{state}");
        out.gauge(&name, "A field of /proc/net/sockstat.", &[], count);
        if state == "mem" {
            let bytes = count * rustix::param::page_size() as f64;
            out.gauge(&format!("{name}_bytes"), "Memory of the sockets.", &[], bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_every_pair() {
        let text = "sockets: used 24\nTCP: inuse 4 orphan 0 tw 2 alloc 4 mem 3\n";
        let found = Fixture::new().proc("self/net/sockstat", text).collect(construct);
        found.has("node_sockstat_sockets_used", 24.0);
        found.has("node_sockstat_TCP_tw", 2.0);
        found.has("node_sockstat_TCP_mem_bytes", 3.0 * rustix::param::page_size() as f64);
    }
}
