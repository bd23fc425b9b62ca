//! `/sys/class/hwmon`, temperatures (Documentation/hwmon/sysfs-interface.rst).

use std::{fs, path::Path};

use super::{Buffer, Collect, CollectError, Files};

/// Sensors tell thousandths of a degree.
const MILLIDEGREES: f64 = 1000.0;
/// Most sensors of one chip: `temp1` and so on.
const SENSORS_MAX: usize = 32;

/// Suffix of the sensor's file, metric, help.
const VALUES: [(&str, &str, &str); 3] = [
    ("input", "node_hwmon_temp_celsius", "Temperature."),
    ("max", "node_hwmon_temp_max_celsius", "Temperature that should not be passed."),
    ("crit", "node_hwmon_temp_crit_celsius", "Temperature that is critical."),
];

#[derive(Debug)]
struct HwMon;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(HwMon)
}

impl Collect for HwMon {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        for directory in files.sys_entries("class/hwmon") {
            let sensors = sensors(&directory);
            if sensors.is_empty() {
                continue;
            }
            let chip = chip_name(&directory, files);
            if let Some(name) = files.attribute(&directory, "name") {
                let labels = [("chip", chip.as_str()), ("chip_name", name)];
                out.gauge("node_hwmon_chip_names", "The chips' names; always 1.", &labels, 1.0);
            }
            for sensor in sensors {
                emit(&directory, &chip, &sensor, files, out);
            }
        }
        Ok(())
    }
}

fn emit(directory: &Path, chip: &str, sensor: &str, files: &mut Files, out: &mut Buffer) {
    let labels = [("chip", chip), ("sensor", sensor)];
    for (suffix, name, help) in VALUES {
        if let Some(value) = files.number(directory, &format!("{sensor}_{suffix}")) {
            out.gauge(name, help, &labels, value / MILLIDEGREES);
        }
    }
    if let Some(label) = files.attribute(directory, &format!("{sensor}_label")) {
        let labels = [("chip", chip), ("label", label), ("sensor", sensor)];
        out.gauge("node_hwmon_sensor_label", "The sensors' names; always 1.", &labels, 1.0);
    }
}

/// `temp1`, `temp2` …: those that have an input.
fn sensors(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sensors: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("temp"))
        .filter_map(|name| name.strip_suffix("_input").map(str::to_owned))
        .collect();
    sensors.sort();
    sensors.truncate(SENSORS_MAX);
    sensors
}

/// `node_exporter`'s name of a chip: the last two parts of its device's path, else its own name, else
/// that of its directory.
fn chip_name(directory: &Path, files: &mut Files) -> String {
    if let Ok(device) = directory.join("device").canonicalize() {
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| clean(&name.to_string_lossy()))
        };
        let parts = [part(device.parent()), part(Some(&device))];
        let parts: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        return parts.join("_");
    }
    let fallback = || clean(&directory.file_name().unwrap_or_default().to_string_lossy());
    files.attribute(directory, "name").map_or_else(fallback, clean)
}

/// Lower case, and `_` for what may not stand in a metric's name.
fn clean(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
    let name = name.to_lowercase();
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    name.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, clean, construct};

    #[test]
    fn gives_temperatures_in_degrees() {
        let found = Fixture::new()
            .sys("class/hwmon/hwmon0/name", "k10temp\n")
            .sys("class/hwmon/hwmon0/temp1_input", "42500\n")
            .sys("class/hwmon/hwmon0/temp1_crit", "95000\n")
            .sys("class/hwmon/hwmon0/temp1_label", "Tctl\n")
            .collect(construct);
        found.has(r#"node_hwmon_temp_celsius{chip="k10temp",sensor="temp1"}"#, 42.5);
        found.has(r#"node_hwmon_temp_crit_celsius{chip="k10temp",sensor="temp1"}"#, 95.0);
        found.has(r#"node_hwmon_sensor_label{chip="k10temp",label="Tctl",sensor="temp1"}"#, 1.0);
    }

    #[test]
    fn a_host_without_sensors_is_no_failure() {
        Fixture::new().collect(construct).has_not("node_hwmon_temp_celsius");
    }

    #[test]
    fn cleans_names_as_node_exporter_does() {
        assert_eq!(clean("0000:00:18.3"), "0000:00:18_3");
        assert_eq!(clean("-Core Temp-"), "core_temp");
    }
}
