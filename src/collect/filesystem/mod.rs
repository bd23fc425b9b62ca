//! File systems: what is mounted (`/proc/self/mountinfo`, `proc_pid_mountinfo(5)`), and how full it is.

mod mounts;
mod slow;

use super::{Buffer, Collect, CollectError, DiskSummary, Files};
use mounts::Mount;
use slow::SlowMounts;

/// What statvfs(3) tells of a file system, in bytes and inodes.
#[derive(Clone, Copy, Debug)]
struct Space {
    size: u64,
    free: u64,
    avail: u64,
    files: u64,
    files_free: u64,
}

impl Space {
    /// Asks the kernel; hangs where a server behind the mount point hangs.
    fn of(mount_point: &str) -> rustix::io::Result<Self> {
        let stat = rustix::fs::statvfs(mount_point)?;
        Ok(Self {
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bfree.saturating_mul(stat.f_frsize),
            avail: stat.f_bavail.saturating_mul(stat.f_frsize),
            files: stat.f_files,
            files_free: stat.f_ffree,
        })
    }

    /// As `df` counts it: what is reserved for root belongs to neither side.
    fn used_percent(&self) -> f64 {
        let used = self.size.saturating_sub(self.free) as f64;
        let usable = used + self.avail as f64;
        if usable > 0.0 { 100.0 * used / usable } else { 0.0 }
    }
}

#[derive(Debug, Default)]
struct FileSystems {
    slow: SlowMounts,
}

pub(super) fn construct(_files: &mut Files) -> Box<dyn Collect> {
    Box::new(FileSystems::default())
}

impl Collect for FileSystems {
    fn collect(&mut self, files: &mut Files, out: &mut Buffer) -> Result<(), CollectError> {
        let mounts = mounts::wanted(files.proc("self/mountinfo")?);
        self.slow.keep(&mounts);
        out.summary.disks.clear();
        for mount in &mounts {
            let space = if mount.may_hang() {
                self.slow.space(&mount.place)
            } else {
                Space::of(&mount.place).ok()
            };
            emit(mount, space, out);
        }
        Ok(())
    }
}

fn emit(mount: &Mount, space: Option<Space>, out: &mut Buffer) {
    let labels = mount.labels();
    let flag = |set: bool| if set { 1.0 } else { 0.0 };
    let help = "Whether an error occurred while getting statistics for the given device.";
    out.gauge("node_filesystem_device_error", help, &labels, flag(space.is_none()));
    let help = "Filesystem read-only status.";
    out.gauge("node_filesystem_readonly", help, &labels, flag(mount.read_only));
    let Some(space) = space else { return };
    for (name, help, value) in [
        ("node_filesystem_size_bytes", "Filesystem size in bytes.", space.size),
        ("node_filesystem_free_bytes", "Filesystem free space in bytes.", space.free),
        (
            "node_filesystem_avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            space.avail,
        ),
        ("node_filesystem_files", "Filesystem total file nodes.", space.files),
        ("node_filesystem_files_free", "Filesystem total free file nodes.", space.files_free),
    ] {
        out.gauge(name, help, &labels, value as f64);
    }
    usage(mount, &space, out);
}

/// The use of what fills up and stays: neither memory nor images that are full by nature.
fn usage(mount: &Mount, space: &Space, out: &mut Buffer) {
    if mount.fs_type == "tmpfs" || mount.fs_type == "ramfs" || mount.read_only || space.size == 0 {
        return;
    }
    let used_percent = space.used_percent();
    let help = "Used of what ordinary users may use, in percent.";
    out.gauge("system_disk_usage", help, &[("disk", &mount.place)], used_percent);
    out.summary.disks.push(DiskSummary {
        mount_point: mount.place.clone(),
        device: mount.device.clone(),
        total: space.size,
        used: space.size.saturating_sub(space.free),
        used_percent,
    });
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Fixture, Space, construct};

    #[test]
    fn gives_size_and_use_of_the_root() {
        let info = "1 0 254:0 / / rw,relatime - ext4 /dev/root rw\n";
        let found = Fixture::new().proc("self/mountinfo", info).collect(construct);
        let labels = r#"{device="/dev/root",fstype="ext4",mountpoint="/"}"#;
        let size = found.value(&format!("node_filesystem_size_bytes{labels}"));
        assert!(size > 0.0);
        assert!(found.value(&format!("node_filesystem_avail_bytes{labels}")) <= size);
        let used = found.value(r#"system_disk_usage{disk="/"}"#);
        assert!((0.0..=100.0).contains(&used), "{used}");
        assert_eq!(found.summary.disks.len(), 1);
    }

    #[test]
    fn a_mount_point_that_is_gone_is_an_error_of_its_device() {
        let info = "1 0 8:1 / /no/such/place rw - ext4 /dev/sda1 rw\n";
        let found = Fixture::new().proc("self/mountinfo", info).collect(construct);
        let labels = r#"{device="/dev/sda1",fstype="ext4",mountpoint="/no/such/place"}"#;
        found.has(&format!("node_filesystem_device_error{labels}"), 1.0);
        found.has_not(&format!("node_filesystem_size_bytes{labels}"));
    }

    #[test]
    fn counts_the_use_as_df_does() {
        let space = Space { size: 100, free: 40, avail: 20, files: 0, files_free: 0 };
        assert!((space.used_percent() - 75.0).abs() < 1e-9);
    }
}
