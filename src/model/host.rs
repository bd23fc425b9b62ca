//! The host at a glance.

use std::time::Duration;

/// The host in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSummary {
    /// Its name.
    pub hostname: String,
    /// 0 to 100, since the pass before.
    pub cpu_percent: f64,
    /// 0 to 100.
    pub memory_percent: f64,
    /// In bytes.
    pub memory_total: u64,
    /// What is not available to new work, in bytes.
    pub memory_used: u64,
    /// The file systems, sorted by mount point.
    pub disks: Vec<DiskSummary>,
    /// The load of the last minute.
    pub load1: f64,
    /// Since the host started.
    pub uptime: Duration,
}

/// A file system's use.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskSummary {
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted.
    pub device: String,
    /// In bytes.
    pub total: u64,
    /// In bytes.
    pub used: u64,
    /// 0 to 100.
    pub used_percent: f64,
}
