//! Verification: everything on disk is read and judged, nothing is changed.
//!
//! sled writes to a database when it opens one. So each is looked at through a shadow in the directory
//! for temporary files: its small files copied, its slabs linked to by name, which are not written to.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Store, StoreError,
    engine::{sled::SledEngine, still::holding_still},
    keys,
    layout::{self, Holds, Place},
    lock::Quiet,
    partition::{self, Handles, PartitionReport, verify_partition},
    record::{BadRecord, ChangeRecord, CheckpointRecord},
    wal::{
        self,
        checkpoint::{self, Restore},
        group::{self, Replay},
    },
};
use crate::model::{HistogramSample, Labels, Sample};

/// Problems that are told one by one.
const PROBLEMS_MAX: usize = 1000;
/// Files that are larger are no small files of a database.
const SMALL_BYTES: u64 = 64 << 20;

/// Something that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or directory, below the store.
    pub path: String,
    /// Where in it, or what of it.
    pub region: String,
    /// What cannot be read because of it.
    pub loss: String,
    /// What to do.
    pub advice: String,
}

/// What a verification came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files, or directories that were written once.
    pub checked: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Partitions of samples.
    pub partitions: u64,
    /// Series, counted once in each partition.
    pub series: u64,
    /// Samples and rollups in partitions.
    pub samples: u64,
    /// What is damaged; at most a thousand.
    pub problems: Vec<Problem>,
    /// Problems beyond those.
    pub more_problems: u64,
}

/// What a verification tells on its way; the answer `false` ends it.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// This file or directory is next; so many bytes of so many are done.
    Next {
        /// Below the store.
        path: &'a str,
        /// Bytes that were looked at.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something is damaged.
    Found(&'a Problem),
}

/// Verifies a store that nobody holds. Blocking.
pub fn verify(
    store: &Path,
    tell: &mut dyn FnMut(Step<'_>) -> bool,
) -> Result<Verification, StoreError> {
    let _quiet = Quiet::take(store)?;
    walk(store, tell)
}

impl Store {
    /// Reads everything on disk and reports what is damaged, while the store is in use. Blocking.
    pub fn verify(
        &self,
        tell: &mut dyn FnMut(Step<'_>) -> bool,
    ) -> Result<Verification, StoreError> {
        walk(&self.0.dir, tell)
    }
}

/// Verifies what is there; what vanishes meanwhile was superfluous.
fn walk(store: &Path, tell: &mut dyn FnMut(Step<'_>) -> bool) -> Result<Verification, StoreError> {
    let units = units(store)?;
    let total = units.iter().map(|(_, bytes)| bytes).sum();
    let mut walk = Walk { store, tell, result: Verification::default() };
    for (unit, bytes) in units {
        let path = walk.name(unit.path());
        let step = Step::Next { path: &path, done: walk.result.bytes, total };
        if !(walk.tell)(step) {
            break;
        }
        walk.unit(&unit);
        walk.result.checked += 1;
        walk.result.bytes += bytes;
    }
    Ok(walk.result)
}

/// What is looked at as one.
enum Unit {
    Format(PathBuf),
    /// A file of the log, and the segment after it.
    Log(PathBuf, Next),
    Place(Place),
}

/// The segment after a file of the log.
enum Next {
    /// There is none: it is the last.
    None,
    /// This one.
    Follows(PathBuf),
    /// One that does not follow it at once.
    Other,
}

impl Unit {
    fn path(&self) -> &Path {
        match self {
            Self::Format(path) | Self::Log(path, _) => path,
            Self::Place(place) => &place.dir,
        }
    }
}

fn units(store: &Path) -> Result<Vec<(Unit, u64)>, StoreError> {
    let mut units = Vec::new();
    let format = store.join(layout::FORMAT);
    if format.exists() {
        units.push(Unit::Format(format));
    }
    let log = layout::files(&store.join(keys::WAL))?;
    units.extend(log.iter().map(|path| Unit::Log(path.clone(), next(path, &log))));
    units.extend(layout::places(store)?.into_iter().map(Unit::Place));
    let size = |unit: &Unit| match fs::metadata(unit.path()) {
        Ok(data) if data.is_dir() => partition::size_of(unit.path()),
        data => data.map_or(0, |data| data.len()),
    };
    Ok(units
        .into_iter()
        .map(|unit| {
            let bytes = size(&unit);
            (unit, bytes)
        })
        .collect())
}

fn next(path: &Path, log: &[PathBuf]) -> Next {
    let number = keys::segment_number(path).unwrap_or(u64::MAX);
    let later = |(path, other): (&PathBuf, u64)| (other > number).then(|| (other, path.clone()));
    let segments = log.iter().filter_map(|path| Some((path, keys::segment_number(path)?)));
    match segments.filter_map(later).min() {
        None => Next::None,
        Some((next, path)) if next - number == 1 => Next::Follows(path),
        Some(_) => Next::Other,
    }
}

struct Walk<'a> {
    store: &'a Path,
    tell: &'a mut dyn FnMut(Step<'_>) -> bool,
    result: Verification,
}

impl Walk<'_> {
    fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.store).unwrap_or(path).display().to_string()
    }

    fn unit(&mut self, unit: &Unit) {
        match unit {
            Unit::Format(path) => self.format(path),
            Unit::Log(path, next) => self.log(path, next),
            Unit::Place(place) => self.place(place),
        }
    }

    /// Reports damage, unless what is damaged has gone meanwhile.
    fn problem(&mut self, path: &Path, region: String, loss: &str, advice: &str) {
        if !path.exists() {
            return;
        }
        let problem = Problem {
            path: self.name(path),
            region,
            loss: loss.to_owned(),
            advice: advice.to_owned(),
        };
        if self.result.problems.len() >= PROBLEMS_MAX {
            self.result.more_problems += 1;
            return;
        }
        // Whoever wants no more is asked again before the next file.
        let _ = (self.tell)(Step::Found(&problem));
        self.result.problems.push(problem);
    }

    fn format(&mut self, path: &Path) {
        match layout::format_of(&fs::read(path).unwrap_or_default()) {
            layout::Format::Ours => {}
            layout::Format::Other(line) => {
                let advice = "use the version of Balefire that wrote it";
                self.problem(path, format!("it says {line:?}"), "nothing", advice);
            }
            layout::Format::Damaged => {
                let advice = "start the daemon: it writes the file anew";
                self.problem(path, "it is damaged".to_owned(), "nothing", advice);
            }
        }
    }

    fn log(&mut self, path: &Path, next: &Next) {
        let loss = "samples and changes that were acknowledged and not sealed yet";
        let advice = "start the daemon: it uses what can be read and puts the file aside; or restore \
                      a backup";
        let problems = if keys::checkpoint_number(path).is_some() {
            checkpoint_problems(path)
        } else {
            segment_problems(path, next)
        };
        for problem in problems.unwrap_or_else(|error| vec![error.to_string()]) {
            self.problem(path, problem, loss, advice);
        }
    }

    fn place(&mut self, place: &Place) {
        let (loss, advice) = consequences(place.holds);
        let report = match read_place(&place.dir) {
            Ok(report) => report,
            Err(error) => return self.problem(&place.dir, error.to_string(), loss, advice),
        };
        self.result.partitions += u64::from(matches!(place.holds, Holds::Samples(_)));
        self.result.series += report.series;
        self.result.samples += report.samples;
        for problem in report.problems {
            self.problem(&place.dir, problem, loss, advice);
        }
    }
}

fn checkpoint_problems(path: &Path) -> Result<Vec<String>, StoreError> {
    let read = checkpoint::read(path, &mut Nothing)?;
    let parts = || "parts of it".to_owned();
    let bad = read.bad.map_or_else(parts, |bad| bad.to_string());
    Ok(if read.whole { Vec::new() } else { vec![bad] })
}

fn segment_problems(path: &Path, next: &Next) -> Result<Vec<String>, StoreError> {
    let mut problems = Vec::new();
    let end = wal::read_segment(path, |payload| {
        problems.extend(group::read(payload, &mut Nothing).err().map(|bad| bad.to_string()));
    })?;
    if end.previous_len.is_none() {
        problems.push("the header".to_owned());
    }
    problems.extend(end.gaps.iter().map(|(from, to)| format!("bytes {from} to {to}")));
    // What follows the last whole frame of the last segment was never acknowledged.
    if end.torn > 0 && !matches!(next, Next::None) {
        problems.push(format!("bytes {} to {}", end.good, end.good + end.torn));
    }
    // The next one may vanish meanwhile; it is looked at for itself, too.
    let left = match next {
        Next::Follows(next) => wal::previous_len_of(next).ok().flatten(),
        Next::None | Next::Other => None,
    };
    if let Some(left) = left.filter(|left| end.missing(*left) > 0) {
        problems.push(format!("bytes {} to {left}, which are missing", left - end.missing(left)));
    }
    Ok(problems)
}

/// Takes in what the log says, and keeps nothing.
struct Nothing;

impl Replay for Nothing {
    fn series(&mut self, _id: u32, _labels: Labels) -> Result<(), BadRecord> {
        Ok(())
    }

    fn sample(&mut self, _id: u32, _sample: Sample) {}

    fn histogram(&mut self, _id: u32, _sample: HistogramSample) {}

    fn change(&mut self, _change: &ChangeRecord) -> Result<(), BadRecord> {
        Ok(())
    }
}

impl Restore for Nothing {
    fn about(&mut self, _about: &CheckpointRecord) -> Result<(), BadRecord> {
        Ok(())
    }

    fn change(&mut self, _change: &ChangeRecord) -> Result<(), BadRecord> {
        Ok(())
    }

    fn series(
        &mut self,
        _labels: Labels,
        _blocks: Vec<u8>,
        _histograms: Vec<HistogramSample>,
    ) -> Result<(), BadRecord> {
        Ok(())
    }
}

fn consequences(holds: Holds) -> (&'static str, &'static str) {
    let restore = "restore it from a backup, or leave it: the rest is served";
    match holds {
        Holds::Samples(_) => ("samples of its range", restore),
        Holds::History => ("probes, transitions and audit entries", restore),
        Holds::Catalog => (
            "nothing, as long as the log is whole: it is a spare copy of the small state",
            "nothing: the next sealing writes a new one",
        ),
    }
}

/// Reads everything in a write-once directory.
fn read_place(dir: &Path) -> io::Result<PartitionReport> {
    let shadow = Shadow::of(dir)?;
    let handles = Arc::new(Handles::new(Box::new(SledEngine)));
    let mut report = verify_partition(&shadow.0, &handles);
    handles.close_idle();
    // The shadow's path says nothing to anybody.
    let path = shadow.0.display().to_string();
    for problem in &mut report.problems {
        let rest = problem.replace(&path, "");
        rest.trim_start_matches(['/', ':', ' ']).clone_into(problem);
    }
    Ok(report)
}

/// A write-once directory once more, for reading; goes when dropped.
struct Shadow(PathBuf);

impl Drop for Shadow {
    fn drop(&mut self) {
        // What stays is in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Shadow {
    fn of(dir: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("balefire-verify-{}-{number}", std::process::id());
        let shadow = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&shadow)?;
        let shadow = Self(shadow);
        let _still = holding_still();
        copy_small(&std::path::absolute(dir)?, &shadow.0)?;
        Ok(shadow)
    }
}

/// Slabs are linked to, everything else is copied.
fn copy_small(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy, data) = (entry.path(), to.join(entry.file_name()), entry.metadata()?);
        if data.is_dir() {
            fs::create_dir(&copy)?;
            copy_small(&path, &copy)?;
        } else if from.ends_with("slabs") || data.len() > SMALL_BYTES {
            symlink(&path, &copy)?;
        } else if data.is_file() {
            fs::copy(&path, &copy)?;
        }
    }
    Ok(())
}
