//! Partitions: directories that are written once, verified, renamed into place and only read then.
//!
//! Each is a database of the engine with a manifest beside it, so that a start opens none. Open ones
//! are few and shared ([`Handles`]): each costs megabytes and eighty descriptors. Reading from one
//! that turns out to be damaged is an error that names it; the caller reports it and serves the rest.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use prost::Message as _;

use super::{
    StoreError, chunk,
    engine::{Database, Engine, EngineError, Entries},
    history::{Entry, Kind},
    keys,
    record::{self, BadRecord, LabelsRecord, ManifestRecord, SpanRecord},
};
use crate::{
    model::{Labels, METRIC_NAME, MatchOp, Matcher, Sample, matches_all},
    time::Timestamp,
};

/// Samples in a sealed chunk: with sixteen in a leaf, leaves stay below 64 KiB.
const CHUNK_SAMPLES: usize = 240;
/// Bytes that are handed to the engine at once.
const BATCH_BYTES: usize = 256 << 10;
/// Databases kept open for the next reader.
const OPEN_MAX: usize = 4;

/// A database that is open, for readers by turns.
#[derive(Debug)]
struct Opened {
    db: Mutex<Box<dyn Database>>,
    series: Mutex<Option<Arc<Vec<Labels>>>>,
}

/// The engine, and the databases that are open, the latest used last.
#[derive(Debug)]
pub(super) struct Handles {
    engine: Box<dyn Engine>,
    open: Mutex<Vec<(PathBuf, Arc<Opened>)>>,
}

impl Handles {
    pub(super) fn new(engine: Box<dyn Engine>) -> Self {
        Self { engine, open: Mutex::default() }
    }

    /// The database in `dir`, where it is the one that the manifest with this CRC-32 describes.
    fn open(&self, dir: &Path, crc: u32) -> Result<Arc<Opened>, EngineError> {
        let mut open = self.open.lock();
        if let Some(at) = open.iter().position(|(path, _)| path == dir) {
            let entry = open.remove(at);
            let opened = Arc::clone(&entry.1);
            open.push(entry);
            return Ok(opened);
        }
        close_idle(&mut open, OPEN_MAX - 1);
        let db = self.engine.open(&dir.join(keys::DATABASE))?;
        if db.get(keys::TREE_ABOUT, keys::ABOUT_CRC)? != Some(record::seal(&crc.to_le_bytes())) {
            let text = "the database is not the one that the manifest describes";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
        }
        let opened = Arc::new(Opened { db: Mutex::new(db), series: Mutex::default() });
        open.push((dir.to_owned(), Arc::clone(&opened)));
        Ok(opened)
    }

    /// Closes what nobody reads at the moment.
    pub(super) fn close_idle(&self) {
        close_idle(&mut self.open.lock(), 0);
    }

    fn forget(&self, dir: &Path) {
        self.open.lock().retain(|(path, _)| path != dir);
    }
}

/// Closes databases, oldest first, until `keep` are left or the others are being read: a database
/// must not be opened a second time while it is open.
fn close_idle(open: &mut Vec<(PathBuf, Arc<Opened>)>, keep: usize) {
    while open.len() > keep {
        let Some(at) = open.iter().position(|(_, opened)| Arc::strong_count(opened) == 1) else {
            return;
        };
        open.remove(at);
    }
}

/// A directory that was written once.
#[derive(Debug)]
pub(super) struct Partition {
    dir: PathBuf,
    manifest: ManifestRecord,
    handles: Arc<Handles>,
    damaged: AtomicBool,
    doomed: AtomicBool,
}

impl Drop for Partition {
    /// A doomed partition goes when its last reader has gone.
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            self.handles.forget(&self.dir);
            // What stays because of an error is found and doomed anew after the next start.
            let _ = remove(&self.dir);
        }
    }
}

/// What a reader does with the samples of a series.
pub(super) type TakeSamples<'a> = &'a mut dyn FnMut(&Labels, Vec<Sample>) -> Result<(), StoreError>;

/// Collects the entries of one tree for a reader; ends the walk at the first that is damaged.
type Walk<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, BadRecord> + 'a;

impl Partition {
    /// The partition in `dir`; its database is opened by the first reader.
    ///
    /// `Damaged` is for good; other errors may pass, and say nothing of the partition.
    pub(super) fn load(dir: &Path, handles: &Arc<Handles>) -> Result<Self, StoreError> {
        let path = dir.join(keys::MANIFEST);
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => damaged(error.to_string()),
            _ => StoreError::io("read", &path)(error),
        })?;
        let version = record::unseal_any(&bytes).map(|(version, _)| version);
        if let Some(found) = version.filter(|found| *found != record::VERSION) {
            return Err(StoreError::UnknownFormat { path, found, known: record::VERSION });
        }
        let manifest = record::unseal_message(&bytes).map_err(|bad| damaged(bad.to_string()))?;
        Ok(Self {
            dir: dir.to_owned(),
            manifest,
            handles: Arc::clone(handles),
            damaged: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
        })
    }

    pub(super) fn manifest(&self) -> &ManifestRecord {
        &self.manifest
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The end of its range, which does not belong to it.
    pub(super) fn end(&self) -> Timestamp {
        Timestamp::from_millis(self.manifest.end)
    }

    /// Whether reading has found damage.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// The directory is removed as soon as nobody reads it any more.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// Whether samples may lie in the range.
    pub(super) fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.manifest.samples > 0
            && self.manifest.oldest <= end.as_millis()
            && self.manifest.newest >= start.as_millis()
    }

    /// Whether all its samples lie in the range.
    fn lies_in(&self, start: Timestamp, end: Timestamp) -> bool {
        self.manifest.oldest >= start.as_millis() && self.manifest.newest <= end.as_millis()
    }

    /// The matching series with their samples in the range.
    pub(super) fn select(
        &self,
        matchers: &[Matcher],
        (start, end): (Timestamp, Timestamp),
        take: TakeSamples<'_>,
    ) -> Result<(), StoreError> {
        let opened = self.open()?;
        for (rank, labels) in self.matching(&opened, matchers)? {
            let mut samples = Vec::new();
            let (from, to) = (keys::rank(rank), rank.checked_add(1).map(keys::rank));
            self.walk(
                &opened,
                keys::TREE_SAMPLES,
                (&from, to.as_ref().map(|to| &to[..])),
                &mut |_, value| {
                    let decoded = chunk::decode(record::unseal(value)?);
                    samples.extend(decoded.map_err(|_| BadRecord("chunk"))?);
                    Ok(true)
                },
            )?;
            samples.retain(|s: &Sample| s.timestamp >= start && s.timestamp <= end);
            if !samples.is_empty() {
                take(&labels, samples)?;
            }
        }
        Ok(())
    }

    /// The matching series that have samples in the range.
    pub(super) fn series(
        &self,
        matchers: &[Matcher],
        (start, end): (Timestamp, Timestamp),
        take: &mut dyn FnMut(&Labels) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.lies_in(start, end) {
            let found = self.matching(&*self.open()?, matchers)?;
            return found.iter().try_for_each(|(_, labels)| take(labels));
        }
        self.select(matchers, (start, end), &mut |labels, _| take(labels))
    }

    /// The entries of one kind that `keep` wants, oldest first.
    pub(super) fn history(
        &self,
        kind: Kind,
        keep: &dyn Fn(&Entry) -> bool,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let opened = self.open()?;
        self.walk(&opened, kind.tree(), (&[], None), &mut |_, value| {
            let entry = Entry::of(&record::unseal_message(value)?).ok_or(BadRecord("entry"))?.1;
            if keep(&entry) {
                found.push(entry);
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// The records of the small state.
    pub(super) fn state(&self) -> Result<Vec<record::ChangeRecord>, StoreError> {
        let mut found = Vec::new();
        let opened = self.open()?;
        self.walk(&opened, keys::TREE_STATE, (&[], None), &mut |_, value| {
            found.push(record::unseal_message(value)?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn open(&self) -> Result<Arc<Opened>, StoreError> {
        self.handles.open(&self.dir, self.manifest.crc).map_err(|error| self.engine_error(error))
    }

    /// The ranks and labels of the series that match. Ranks are by metric name first.
    fn matching(
        &self,
        opened: &Opened,
        matchers: &[Matcher],
    ) -> Result<Vec<(u32, Labels)>, StoreError> {
        let series = self.all_series(opened)?;
        let name = matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        let (from, to) = name.map_or((0, series.len()), |name| {
            let from = series.partition_point(|labels| labels.metric() < name.value());
            let count = series[from..].partition_point(|labels| labels.metric() == name.value());
            (from, from + count)
        });
        let ranked = (0_u32..).zip(series.iter()).take(to).skip(from);
        let matching = ranked.filter(|(_, labels)| matches_all(matchers, labels));
        Ok(matching.map(|(rank, labels)| (rank, labels.clone())).collect())
    }

    fn all_series(&self, opened: &Opened) -> Result<Arc<Vec<Labels>>, StoreError> {
        let mut cached = opened.series.lock();
        if let Some(series) = &*cached {
            return Ok(Arc::clone(series));
        }
        let mut series = Vec::new();
        self.walk(opened, keys::TREE_SERIES, (&[], None), &mut |key, value| {
            // A missing series would shift all behind it.
            if keys::rank_of(key) != u32::try_from(series.len()).ok() {
                return Err(BadRecord("list of series"));
            }
            series.push(record::unseal_message::<LabelsRecord>(value)?.to_labels()?);
            Ok(true)
        })?;
        if series.len() as u64 != self.manifest.series {
            return Err(self.damage("series are missing"));
        }
        let series = Arc::new(series);
        *cached = Some(Arc::clone(&series));
        Ok(series)
    }

    fn walk(
        &self,
        opened: &Opened,
        tree: &str,
        (from, to): (&[u8], Option<&[u8]>),
        visit: &mut Walk<'_>,
    ) -> Result<(), StoreError> {
        let mut bad = None;
        let outcome = opened.db.lock().range(tree, from, to, &mut |key, value| {
            visit(key, value).unwrap_or_else(|error| {
                bad = Some(error);
                false
            })
        });
        outcome.map_err(|error| self.engine_error(error))?;
        bad.map_or(Ok(()), |error| Err(self.damage(&error.to_string())))
    }

    fn damage(&self, reason: &str) -> StoreError {
        self.damaged.store(true, Ordering::Release);
        StoreError::Damaged { path: self.dir.clone(), reason: reason.to_owned() }
    }

    /// Damage for good, or something like "too many open files" that passes.
    fn engine_error(&self, error: EngineError) -> StoreError {
        use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        self.handles.forget(&self.dir);
        let passes = match &error {
            EngineError::Io(error) => {
                !matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
            }
            EngineError::Locked(_) | EngineError::Panicked(_) => false,
        };
        if passes {
            StoreError::engine("read", &self.dir)(error)
        } else {
            self.damage(&error.to_string())
        }
    }
}

/// Writes one partition.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    db: Box<dyn Database>,
    pub(super) manifest: ManifestRecord,
    trees: Vec<&'static str>,
    batch: Entries,
    batch_bytes: usize,
    crc: crc32fast::Hasher,
    labels: Vec<Labels>,
    oldest: i64,
    newest: i64,
}

impl Writer {
    /// Stores an entry; keys of one tree come in ascending order, one tree after the other.
    pub(super) fn put(
        &mut self,
        tree: &'static str,
        key: &[u8],
        payload: &[u8],
    ) -> Result<(), StoreError> {
        if self.trees.last() != Some(&tree) {
            self.apply()?;
            self.trees.push(tree);
        }
        let value = record::seal(payload);
        self.manifest.entries += 1;
        self.crc.update(key);
        self.crc.update(&value);
        self.batch_bytes += key.len() + value.len();
        self.batch.push((key.to_vec(), value));
        if self.batch_bytes >= BATCH_BYTES { self.apply() } else { Ok(()) }
    }

    fn apply(&mut self) -> Result<(), StoreError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        match self.trees.last() {
            Some(tree) if !batch.is_empty() => {
                self.db.apply(tree, batch).map_err(StoreError::engine("write", &self.dir))
            }
            _ => Ok(()),
        }
    }

    /// Stores the samples of a series; series come in the order of (metric, labels).
    pub(super) fn put_samples(
        &mut self,
        labels: &Labels,
        samples: &[Sample],
    ) -> Result<(), StoreError> {
        let rank = u32::try_from(self.labels.len()).expect("series are limited to far fewer");
        for run in samples.chunks(CHUNK_SAMPLES) {
            let key = keys::chunk(rank, run[0].timestamp);
            self.put(keys::TREE_SAMPLES, &key, &chunk::encode(run))?;
        }
        self.labels.push(labels.clone());
        self.manifest.samples += samples.len() as u64;
        if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
            self.oldest = self.oldest.min(first.timestamp.as_millis());
            self.newest = self.newest.max(last.timestamp.as_millis());
        }
        Ok(())
    }

    fn put_labels(&mut self) -> Result<(), StoreError> {
        let all = std::mem::take(&mut self.labels);
        for (rank, labels) in (0..).zip(&all) {
            let labels = LabelsRecord::from(labels).encode_to_vec();
            self.put(keys::TREE_SERIES, &keys::rank(rank), &labels)?;
        }
        if !all.is_empty() {
            self.manifest.series = all.len() as u64;
            (self.manifest.oldest, self.manifest.newest) = (self.oldest, self.newest);
        }
        Ok(())
    }

    /// Stores entries of the history, oldest first; one kind after the other, in the order of
    /// [`Kind::ALL`].
    pub(super) fn put_history<'a>(
        &mut self,
        kind: Kind,
        entries: impl Iterator<Item = &'a Arc<Entry>>,
    ) -> Result<(), StoreError> {
        let mut span = SpanRecord { oldest: i64::MAX, newest: i64::MIN, ..SpanRecord::default() };
        for entry in entries {
            self.put(kind.tree(), &keys::sequence(entry.sequence), &entry.bytes)?;
            let time = entry.time.as_millis();
            span.first = if span.count == 0 { entry.sequence } else { span.first };
            span.count += 1;
            span.last = entry.sequence;
            span.oldest = span.oldest.min(time);
            span.newest = span.newest.max(time);
        }
        self.manifest.history.push(span);
        Ok(())
    }

    /// Makes it durable, reads it back, and writes the manifest.
    fn finish(mut self, engine: &dyn Engine) -> Result<(), StoreError> {
        self.put_labels()?;
        self.apply()?;
        self.manifest.crc = self.crc.finalize();
        let about = record::seal(&self.manifest.crc.to_le_bytes());
        let about = vec![(keys::ABOUT_CRC.to_vec(), about)];
        let written = self.db.apply(keys::TREE_ABOUT, about);
        written.map_err(StoreError::engine("write", &self.dir))?;
        self.db.flush().map_err(StoreError::engine("flush", &self.dir))?;
        let database = self.dir.join(keys::DATABASE);
        drop(self.db);
        let db = engine.open(&database).map_err(StoreError::engine("reopen", &database))?;
        verify(&*db, &self.trees, &self.manifest, &self.dir)?;
        drop(db);
        self.manifest.bytes = size_of(&self.dir);
        let path = self.dir.join(keys::MANIFEST);
        let bytes = record::seal(&self.manifest.encode_to_vec());
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()
        });
        written.map_err(StoreError::io("write", path))
    }
}

/// Whether everything that was written is there.
fn verify(
    db: &dyn Database,
    trees: &[&str],
    manifest: &ManifestRecord,
    dir: &Path,
) -> Result<(), StoreError> {
    let mut crc = crc32fast::Hasher::new();
    let mut entries = 0;
    for tree in trees {
        let outcome = db.range(tree, &[], None, &mut |key, value| {
            crc.update(key);
            crc.update(value);
            entries += 1;
            true
        });
        outcome.map_err(StoreError::engine("verify", dir))?;
    }
    if (entries, crc.finalize()) == (manifest.entries, manifest.crc) {
        return Ok(());
    }
    let reason = format!("it reads back {entries} of {} entries, or others", manifest.entries);
    Err(StoreError::Damaged { path: dir.to_owned(), reason })
}

/// Writes the partition `parent/name` with what `fill` puts in: whole, verified and durable, or not
/// at all.
pub(super) fn write(
    parent: &Path,
    name: &str,
    handles: &Arc<Handles>,
    fill: impl FnOnce(&mut Writer) -> Result<(), StoreError>,
) -> Result<Partition, StoreError> {
    let unfinished = parent.join(format!("{name}.{}", keys::UNFINISHED));
    let outcome = write_unfinished(&unfinished, &*handles.engine, fill);
    if let Err(error) = outcome {
        // Leftovers are removed at the next start, too.
        let _ = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    let dir = parent.join(name);
    handles.forget(&dir);
    let put = put_in_place(&unfinished, &dir).and_then(|()| File::open(parent)?.sync_all());
    put.map_err(StoreError::io("rename", &unfinished))?;
    // What was replaced, if anything was.
    let _ = fs::remove_dir_all(&unfinished);
    Partition::load(&dir, handles)
}

/// Gives a directory its name. One that has it already, which nobody knows of (publishing it failed),
/// changes places with it: at no time is there none.
fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if to.exists() {
        return Ok(renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)?);
    }
    fs::rename(from, to)
}

/// Removes a directory so that a crash leaves all of it, or what the next start removes as unfinished.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    let mut going = dir.as_os_str().to_owned();
    going.push(format!(".old.{}", keys::UNFINISHED));
    if Path::new(&going).exists() {
        fs::remove_dir_all(&going)?;
    }
    fs::rename(dir, &going)?;
    if let Some(parent) = dir.parent() {
        File::open(parent)?.sync_all()?;
    }
    fs::remove_dir_all(going)
}

fn write_unfinished(
    dir: &Path,
    engine: &dyn Engine,
    fill: impl FnOnce(&mut Writer) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(StoreError::io("remove", dir))?;
    }
    fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
    let database = dir.join(keys::DATABASE);
    let db = engine.create(&database).map_err(StoreError::engine("create", &database))?;
    let mut writer = Writer {
        dir: dir.to_owned(),
        db,
        manifest: ManifestRecord::default(),
        trees: Vec::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        crc: crc32fast::Hasher::new(),
        labels: Vec::new(),
        oldest: i64::MAX,
        newest: i64::MIN,
    };
    fill(&mut writer)?;
    writer.finish(engine)
}

/// Bytes of all files below a directory; what cannot be read counts nothing.
pub(super) fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
