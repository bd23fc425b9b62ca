//! `/proc/net/dev`.

use super::{Buffer, Collect, CollectError, Files};

/// The columns after the colon, in order.
const COLUMNS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

#[derive(Debug)]
struct NetDev;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(NetDev)
}

impl Collect for NetDev {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        // `self` is the network namespace of this process; two lines of heading.
        for line in files.proc("self/net/dev")?.lines().skip(2) {
            let Some((device, counts)) = line.rsplit_once(':') else { continue };
            for (name, count) in COLUMNS.iter().zip(counts.split_ascii_whitespace()) {
                let Ok(count) = count.parse() else { break };
                let help = "A column of /proc/net/dev.";
                out.counter(name, help, &[("device", device.trim())], count);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_both_directions() {
        let dev = "Inter-| Receive | Transmit\n face |bytes ...\n\
                   eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let found = Fixture::new().proc("self/net/dev", dev).collect(construct);
        found.has(r#"node_network_receive_bytes_total{device="eth0"}"#, 1.0);
        found.has(r#"node_network_receive_multicast_total{device="eth0"}"#, 8.0);
        found.has(r#"node_network_transmit_bytes_total{device="eth0"}"#, 9.0);
        found.has(r#"node_network_transmit_compressed_total{device="eth0"}"#, 16.0);
    }
}
