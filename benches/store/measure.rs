//! What the operating system tells of a process and of files.

use std::{fs, path::Path, time::Duration, time::Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

/// From when on no further go is begun.
const GOES_MAX: Duration = Duration::from_secs(5);

/// Figures by name, printed as one line of JSON.
#[derive(Default)]
pub(crate) struct Report(Map<String, Value>);

impl Report {
    pub(crate) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub(crate) fn put_latencies(&mut self, name: &str, mut micros: Vec<u32>) {
        micros.sort_unstable();
        let at = |share: f64| quantile(&micros, share);
        self.put(name, json!({"p50": at(0.5), "p99": at(0.99), "max": micros.last()}));
    }

    /// Resident bytes now and at their peak.
    pub(crate) fn put_memory(&mut self, name: &str) {
        self.put(name, json!({"rss": status_bytes("VmRSS"), "peak": status_bytes("VmHWM")}));
    }

    #[expect(clippy::print_stdout, reason = "a measurement's result is what it prints")]
    pub(crate) fn print(self) {
        println!("{}", Value::Object(self.0));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the length"
)]
fn quantile(sorted: &[u32], share: f64) -> Option<u32> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(((sorted.len() as f64 * share) as usize).min(last)).copied()
}

#[expect(clippy::disallowed_methods, reason = "a measurement is about real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long a call takes, in seconds, and what it gives.
pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (f64, T) {
    let began = now();
    let result = call();
    (began.elapsed().as_secs_f64(), result)
}

/// The median of several goes, in seconds, after one that does not count; of fewer where they take
/// long.
pub(crate) fn median<T>(goes: usize, mut call: impl FnMut() -> T) -> f64 {
    let (began, mut seconds) = (now(), Vec::new());
    call();
    while seconds.is_empty() || (seconds.len() < goes && began.elapsed() < GOES_MAX) {
        seconds.push(timed(&mut call).0);
    }
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// User and system time of this process.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).map_or(0.0, |time| time.as_secs_f64())
}

/// A line of `/proc/self/status`, in bytes.
pub(crate) fn status_bytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0) * 1024
}

/// Has the peak begin anew at what is resident now (proc(5), `clear_refs`).
pub(crate) fn forget_peak() {
    // Where the kernel does not let us, the peak is that of the whole life: higher, never lower.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Bytes that this process had the disk write.
pub(crate) fn write_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// What a folder takes on the disk: blocks, not lengths, so that preallocated room counts.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(data) = fs::symlink_metadata(path) else { return 0 };
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    data.blocks() * 512 + below.map(|entry| disk_bytes(&entry.path())).sum::<u64>()
}

/// Has the kernel forget what it keeps of the files below `path`, so that the next reads are cold.
pub(crate) fn forget_pages(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        forget_pages(&entry.path());
    }
    if let Ok(file) = fs::File::open(path)
        && path.is_file()
    {
        // Dirty pages stay whatever is advised.
        let _ = file.sync_all();
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}
