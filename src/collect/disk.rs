//! `/proc/diskstats` (Documentation/admin-guide/iostats.rst).

use super::{Buffer, Collect, CollectError, Files};

/// `/proc/diskstats` counts in these whatever the device's own sector is.
const SECTOR_BYTES: f64 = 512.0;
const MILLISECOND: f64 = 0.001;

/// What a column means: metric, help, what one of it is, and whether it goes down, too.
struct Column {
    name: &'static str,
    help: &'static str,
    factor: f64,
    is_gauge: bool,
}

const fn total(name: &'static str, help: &'static str, factor: f64) -> Column {
    Column { name, help, factor, is_gauge: false }
}

/// The columns after major, minor and name, in order; older kernels end earlier.
const COLUMNS: [Column; 17] = [
    total("node_disk_reads_completed_total", "Reads completed.", 1.0),
    total("node_disk_reads_merged_total", "Reads merged.", 1.0),
    total("node_disk_read_bytes_total", "Bytes read.", SECTOR_BYTES),
    total("node_disk_read_time_seconds_total", "Seconds spent by all reads.", MILLISECOND),
    total("node_disk_writes_completed_total", "Writes completed.", 1.0),
    total("node_disk_writes_merged_total", "Writes merged.", 1.0),
    total("node_disk_written_bytes_total", "Bytes written.", SECTOR_BYTES),
    total("node_disk_write_time_seconds_total", "Seconds spent by all writes.", MILLISECOND),
    Column { is_gauge: true, ..total("node_disk_io_now", "I/Os in progress.", 1.0) },
    total("node_disk_io_time_seconds_total", "Seconds spent doing I/Os.", MILLISECOND),
    total(
        "node_disk_io_time_weighted_seconds_total",
        "Seconds spent doing I/Os, each I/O counted.",
        MILLISECOND,
    ),
    total("node_disk_discards_completed_total", "Discards completed.", 1.0),
    total("node_disk_discards_merged_total", "Discards merged.", 1.0),
    total("node_disk_discarded_sectors_total", "Sectors discarded.", 1.0),
    total("node_disk_discard_time_seconds_total", "Seconds spent by all discards.", MILLISECOND),
    total("node_disk_flush_requests_total", "Flush requests completed.", 1.0),
    total(
        "node_disk_flush_requests_time_seconds_total",
        "Seconds spent by all flush requests.",
        MILLISECOND,
    ),
];

#[derive(Debug)]
struct DiskStats;

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(DiskStats)
}

impl Collect for DiskStats {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        for line in files.proc("diskstats")?.lines() {
            let mut words = line.split_ascii_whitespace().skip(2);
            let Some(device) = words.next().filter(|device| !is_left_out(device)) else { continue };
            for (column, word) in COLUMNS.iter().zip(words) {
                let Ok(count) = word.parse::<f64>() else { break };
                emit(column, device, count * column.factor, out);
            }
        }
        Ok(())
    }
}

fn emit(column: &Column, device: &str, value: f64, out: &mut Buffer) {
    let labels = [("device", device)];
    if column.is_gauge {
        out.gauge(column.name, column.help, &labels, value);
    } else {
        out.counter(column.name, column.help, &labels, value);
    }
}

/// What `node_exporter` leaves out: RAM disks, loop devices, floppies, and partitions, whose traffic is
/// their disk's.
fn is_left_out(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = stem.len() < device.len();
    match stem {
        "ram" | "loop" | "fd" => number,
        _ => number && is_partition_stem(stem),
    }
}

/// `sda`, `hda`, `vda`, `xvda` before a number, and `nvme0n1p`.
fn is_partition_stem(stem: &str) -> bool {
    if let Some(rest) = stem.strip_prefix("nvme") {
        return rest.ends_with('p');
    }
    ["sd", "hd", "vd", "xvd"].iter().any(|kind| {
        stem.strip_prefix(kind)
            .is_some_and(|rest| rest.len() <= 3 && rest.bytes().all(|c| c.is_ascii_lowercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, construct, is_left_out};

    #[test]
    fn gives_bytes_and_seconds() {
        let line = " 254 0 vda 10 1 8 2500 20 2 16 3500 3 4000 5000 6 7 9 800 11 1200\n";
        let found = Fixture::new().proc("diskstats", line).collect(construct);
        found.has(r#"node_disk_reads_completed_total{device="vda"}"#, 10.0);
        found.has(r#"node_disk_read_bytes_total{device="vda"}"#, 4096.0);
        found.has(r#"node_disk_write_time_seconds_total{device="vda"}"#, 3.5);
        found.has(r#"node_disk_io_now{device="vda"}"#, 3.0);
        found.has(r#"node_disk_discarded_sectors_total{device="vda"}"#, 9.0);
        found.has(r#"node_disk_flush_requests_time_seconds_total{device="vda"}"#, 1.2);
    }

    #[test]
    fn leaves_out_partitions_and_memory_disks() {
        for device in ["loop0", "ram3", "sda1", "vdb12", "xvda1", "nvme0n1p2", "fd0"] {
            assert!(is_left_out(device), "{device}");
        }
        for device in ["sda", "vda", "nvme0n1", "md0", "dm-0", "zram0", "sr0", "mmcblk0"] {
            assert!(!is_left_out(device), "{device}");
        }
    }
}
