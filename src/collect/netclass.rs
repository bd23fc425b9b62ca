//! `/sys/class/net` (Documentation/ABI/testing/sysfs-class-net).

use super::{Buffer, Collect, CollectError, Files};

/// Speeds are in megabits a second.
const BYTES_PER_MEGABIT: f64 = 125_000.0;

#[derive(Debug)]
struct NetClass;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(NetClass)
}

impl Collect for NetClass {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        for directory in files.sys_entries("class/net") {
            let Some(device) = directory.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let labels = [("device", device)];
            if let Some(state) = files.attribute(&directory, "operstate") {
                let up = if state == "up" { 1.0 } else { 0.0 };
                let help = "Value is 1 if operstate is 'up', 0 otherwise.";
                out.gauge("node_network_up", help, &labels, up);
            }
            if let Some(mtu) = files.number(&directory, "mtu") {
                out.gauge("node_network_mtu_bytes", "The largest packet.", &labels, mtu);
            }
            // -1 where the driver does not know; `node_exporter` gives it as it is.
            if let Some(speed) = files.number(&directory, "speed") {
                let speed = speed * BYTES_PER_MEGABIT;
                out.gauge("node_network_speed_bytes", "Bytes a second.", &labels, speed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn tells_state_and_speed() {
        let found = Fixture::new()
            .sys("class/net/eth0/operstate", "up\n")
            .sys("class/net/eth0/speed", "1000\n")
            .sys("class/net/eth0/mtu", "1500\n")
            .sys("class/net/lo/operstate", "unknown\n")
            .collect(construct);
        found.has(r#"node_network_up{device="eth0"}"#, 1.0);
        found.has(r#"node_network_speed_bytes{device="eth0"}"#, 125_000_000.0);
        found.has(r#"node_network_mtu_bytes{device="eth0"}"#, 1500.0);
        found.has(r#"node_network_up{device="lo"}"#, 0.0);
    }
}
