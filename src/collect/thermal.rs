//! `/sys/class/thermal` (Documentation/driver-api/thermal/sysfs-api.rst).

use super::{Buffer, Collect, CollectError, Files};

const MILLIDEGREES: f64 = 1000.0;
const ZONE: &str = "thermal_zone";

#[derive(Debug)]
struct Thermal;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(Thermal)
}

impl Collect for Thermal {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        for directory in files.sys_entries("class/thermal") {
            let name = directory.file_name().and_then(|name| name.to_str());
            let Some(zone) = name.and_then(|name| name.strip_prefix(ZONE)) else { continue };
            // A zone that is switched off has no temperature to read.
            let Some(value) = files.number(&directory, "temp") else { continue };
            let Some(kind) = files.attribute(&directory, "type") else { continue };
            let labels = [("type", kind), ("zone", zone)];
            let help = "Zone temperature in Celsius.";
            out.gauge("node_thermal_zone_temp", help, &labels, value / MILLIDEGREES);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct};

    #[test]
    fn gives_zones_and_no_cooling_devices() {
        let found = Fixture::new()
            .sys("class/thermal/thermal_zone0/temp", "51000\n")
            .sys("class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
            .sys("class/thermal/cooling_device0/type", "Fan\n")
            .collect(construct);
        found.has(r#"node_thermal_zone_temp{type="x86_pkg_temp",zone="0"}"#, 51.0);
    }
}
