//! Writing a partition: whole, verified and durable, or not at all.
//!
//! Keys come in ascending order, tree after tree: chunks while the series come by, then their labels,
//! then the index. The engine keeps what is written in memory until it is reopened: a long run is cut
//! into stretches of [`STRETCH_BYTES`].

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::Message as _;

use super::{
    super::{
        StoreError,
        chunk::{
            self,
            histograms::{self, Effort},
            rollups,
        },
        engine::{Database, Engine, Entries, Fanout},
        history::{Entry, Kind},
        keys,
        record::{self, ManifestRecord, SpanRecord},
        rollup::Tier,
    },
    Content, Handles, Partition, Values, series, terms,
};
use crate::{model::Labels, time::Timestamp};

/// Bytes that are handed to the engine at once.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes that are written before the database is closed and opened again.
const STRETCH_BYTES: usize = 16 << 20;
/// Samples or rollups in a chunk at most: a query for a part of them decodes all.
const CHUNK_MAX: usize = 4096;
/// Partitions of samples up to this length have small chunks.
const FRESH_MILLIS: i64 = 4 * 60 * 60 * 1000;

/// What is to be written, and where.
#[derive(Clone, Debug)]
pub(in crate::store) struct Plan {
    parent: PathBuf,
    name: String,
    fanout: Fanout,
    manifest: ManifestRecord,
}

impl Plan {
    /// Samples or rollups of [start, end) in a tier of the store in `store`.
    pub(in crate::store) fn of_tier(
        store: &Path,
        tier: Tier,
        (start, end): (Timestamp, Timestamp),
    ) -> Self {
        let (start_ms, end_ms) = (start.as_millis(), end.as_millis());
        let fresh = tier == Tier::Raw && end_ms.saturating_sub(start_ms) <= FRESH_MILLIS;
        Self {
            parent: store.join(keys::tier(tier)),
            name: keys::range_name(start, end),
            fanout: if fresh { Fanout::SixtyFour } else { Fanout::Sixteen },
            manifest: ManifestRecord {
                start: start_ms,
                end: end_ms,
                tier: number_of(tier),
                ..ManifestRecord::default()
            },
        }
    }

    /// The same under a name that none has in that range: for what takes the place of another, which
    /// stays for those who read it.
    pub(in crate::store) fn anew(mut self) -> Result<Self, StoreError> {
        let entries = fs::read_dir(&self.parent).map_err(StoreError::io("list", &self.parent))?;
        let known = |entry: fs::DirEntry| {
            keys::generation_of(&self.name, entry.file_name().to_str()?).map(|known| known + 1)
        };
        self.manifest.generation = entries.flatten().filter_map(known).max().unwrap_or(0);
        self.name = keys::generation_name(&self.name, self.manifest.generation);
        Ok(self)
    }

    /// History or a copy of the small state, below `parent`.
    pub(in crate::store) fn numbered(parent: &Path, number: u64) -> Self {
        Self {
            parent: parent.to_owned(),
            name: keys::numbered(number),
            fanout: Fanout::Sixteen,
            manifest: ManifestRecord::default(),
        }
    }
}

/// The number of a tier in manifests.
fn number_of(tier: Tier) -> u32 {
    match tier {
        Tier::Raw => 0,
        Tier::FiveMinutes => 1,
        Tier::Hour => 2,
    }
}

/// The tier of a manifest.
pub(super) fn tier_of(manifest: &ManifestRecord) -> Option<Tier> {
    Tier::ALL.into_iter().find(|tier| number_of(*tier) == manifest.tier)
}

/// The tree that holds a tier's chunks.
pub(super) fn tree_of(tier: Tier) -> &'static str {
    if tier == Tier::Raw { keys::TREE_SAMPLES } else { keys::TREE_ROLLUPS }
}

/// Writes one partition.
#[derive(Debug)]
pub(in crate::store) struct Writer<'a> {
    engine: &'a dyn Engine,
    dir: PathBuf,
    fanout: Fanout,
    /// `None` only where reopening failed, which ends the writing.
    db: Option<Box<dyn Database>>,
    pub(in crate::store) manifest: ManifestRecord,
    trees: Vec<&'static str>,
    batch: Entries,
    batch_bytes: usize,
    stretch_bytes: usize,
    crc: crc32fast::Hasher,
    /// The series so far, by rank.
    series: Vec<Labels>,
}

impl Writer<'_> {
    /// Stores a series with what it has, which is in order. Series come in the order of (metric name,
    /// labels); one that has nothing is left out.
    pub(in crate::store) fn put_series(
        &mut self,
        labels: &Labels,
        content: &Content,
    ) -> Result<(), StoreError> {
        let Some((first, last)) = content.ends() else { return Ok(()) };
        let rank = self.next_rank(labels)?;
        let tree = match &content.values {
            Values::Samples(_) => keys::TREE_SAMPLES,
            Values::Rollups(_) => keys::TREE_ROLLUPS,
        };
        for (key, bytes) in chunks_of(content, rank, self.fanout.entry_bytes()) {
            self.put(tree, &key, &bytes)?;
        }
        let manifest = &mut self.manifest;
        let is_first = manifest.series == 0;
        let (first, last) = (first.as_millis(), last.as_millis());
        manifest.oldest = if is_first { first } else { manifest.oldest.min(first) };
        manifest.newest = if is_first { last } else { manifest.newest.max(last) };
        manifest.series += 1;
        manifest.samples += content.len() as u64;
        self.series.push(labels.clone());
        Ok(())
    }

    fn next_rank(&self, labels: &Labels) -> Result<u32, StoreError> {
        let in_order = self.series.last().is_none_or(|last| last.cmp_by_metric(labels).is_lt());
        let rank = u32::try_from(self.series.len()).ok().filter(|_| in_order);
        rank.ok_or_else(|| self.failed("series come out of order, or are too many"))
    }

    fn failed(&self, reason: &str) -> StoreError {
        StoreError::Damaged { path: self.dir.clone(), reason: reason.to_owned() }
    }

    /// Stores an entry; keys of one tree come in ascending order, one tree after the other.
    pub(in crate::store) fn put(
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
        self.stretch_bytes += std::mem::take(&mut self.batch_bytes);
        let batch = std::mem::take(&mut self.batch);
        let dir = &self.dir;
        if let Some((tree, db)) = self.trees.last().zip(self.db.as_mut())
            && !batch.is_empty()
        {
            db.apply(tree, batch).map_err(StoreError::engine("write", dir))?;
        }
        if self.stretch_bytes >= STRETCH_BYTES {
            self.close()?;
            let db = self.engine.open(&self.dir.join(keys::DATABASE), self.fanout);
            self.db = Some(db.map_err(StoreError::engine("reopen", &self.dir))?);
            self.stretch_bytes = 0;
        }
        Ok(())
    }

    /// Makes durable what was applied, and lets go of the memory that it takes.
    fn close(&mut self) -> Result<(), StoreError> {
        let Some(mut db) = self.db.take() else { return Ok(()) };
        db.flush().map_err(StoreError::engine("flush", &self.dir))
    }

    /// Stores entries of the history, oldest first; one kind after the other, in the order of
    /// [`Kind::ALL`].
    pub(in crate::store) fn put_history<'a>(
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

    /// Stores the labels and the index.
    fn put_index(&mut self) -> Result<(), StoreError> {
        if self.series.is_empty() {
            return Ok(());
        }
        let all = std::mem::take(&mut self.series);
        let bytes_max = self.fanout.entry_bytes();
        let mut block = series::BlockWriter::default();
        for (rank, labels) in (0..).zip(&all) {
            block.push(labels);
            if block.is_full(bytes_max) || rank + 1 == all.len() {
                let last =
                    u32::try_from(rank).map_err(|_| self.failed("there are too many series"))?;
                self.put(keys::TREE_SERIES, &keys::rank(last), &block.take())?;
            }
        }
        self.put_terms(&all)
    }

    fn put_terms(&mut self, all: &[Labels]) -> Result<(), StoreError> {
        let mut names = terms::Names::new();
        for name in terms::names_of(all) {
            let values = terms::ranks_of(all, &name);
            let series = values.iter().map(|(_, ranks)| ranks.len() as u64).sum();
            let size = terms::Size { values: values.len() as u64, series };
            self.put_values(&name, values)?;
            names.push((name, size));
        }
        self.put(keys::TREE_TERMS, keys::TERMS_NAMES, &terms::encode_names(&names))
    }

    fn put_values(&mut self, name: &str, values: Vec<(&str, Vec<u32>)>) -> Result<(), StoreError> {
        let mut block = Vec::new();
        let mut values = values.into_iter().peekable();
        while let Some((value, ranks)) = values.next() {
            terms::put_value(value, &ranks, &mut block);
            if block.len() >= self.fanout.entry_bytes() || values.peek().is_none() {
                self.put(keys::TREE_TERMS, &keys::term(name, value), &block)?;
                block.clear();
            }
        }
        Ok(())
    }

    /// Makes it durable, reads it back, and writes the manifest.
    fn finish(mut self) -> Result<(), StoreError> {
        self.put_index()?;
        self.apply()?;
        self.manifest.crc = self.crc.clone().finalize();
        self.manifest.fanout = self.fanout.entries();
        let about = record::seal(&self.manifest.crc.to_le_bytes());
        let about = vec![(keys::ABOUT_CRC.to_vec(), about)];
        if let Some(db) = &mut self.db {
            let written = db.apply(keys::TREE_ABOUT, about);
            written.map_err(StoreError::engine("write", &self.dir))?;
        }
        self.close()?;
        let database = self.dir.join(keys::DATABASE);
        let db = self.engine.open(&database, self.fanout);
        let db = db.map_err(StoreError::engine("reopen", &database))?;
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

/// The chunks of a series by their keys, in the order of these.
fn chunks_of(content: &Content, rank: u32, bytes_max: usize) -> Entries {
    let values = match &content.values {
        Values::Samples(all) => {
            Run { all, time: |s| s.timestamp, encode: chunk::encode, max: CHUNK_MAX }
                .chunks(bytes_max)
        }
        Values::Rollups(all) => {
            Run { all, time: |r| r.time, encode: rollups::encode, max: CHUNK_MAX }.chunks(bytes_max)
        }
    };
    let alone = values.len() == 1;
    let key = |last| if alone { keys::rank(rank).to_vec() } else { keys::chunk(rank, last) };
    let run = Run {
        all: &content.histograms,
        time: |sample| sample.timestamp,
        encode: |all| histograms::encode(all, Effort::Thorough),
        max: histograms::HISTOGRAMS_MAX,
    };
    let histograms = run.chunks(bytes_max).into_iter();
    let histograms = histograms.map(|(last, bytes)| (keys::histograms(rank, last), bytes));
    let values = values.into_iter().map(|(last, bytes)| (key(last), bytes));
    let mut all: Entries = values.chain(histograms).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Samples, rollups or histograms in order, the time of one, and how as many as `max` become a chunk.
struct Run<'a, T> {
    all: &'a [T],
    time: fn(&T) -> Timestamp,
    encode: fn(&[T]) -> Vec<u8>,
    max: usize,
}

impl<T> Run<'_, T> {
    /// As chunks of about `bytes_max` at most, each with its last time: one where that is enough, for
    /// long chunks are short in bytes.
    fn chunks(&self, bytes_max: usize) -> Vec<(Timestamp, Vec<u8>)> {
        let Self { all, time, encode, max } = self;
        let last = |run: &[T]| run.last().map_or_else(Timestamp::default, time);
        let mut found = Vec::new();
        for run in all.chunks(*max) {
            let whole = encode(run);
            let parts = whole.len().div_ceil(bytes_max).clamp(1, run.len());
            if parts == 1 {
                found.push((last(run), whole));
                continue;
            }
            let parts = run.chunks(run.len().div_ceil(parts));
            found.extend(parts.map(|part| (last(part), encode(part))));
        }
        found
    }
}

/// Whether everything that was written is there.
fn verify(
    db: &dyn Database,
    trees: &[&str],
    manifest: &ManifestRecord,
    dir: &Path,
) -> Result<(), StoreError> {
    let (entries, crc) = checksum(db, trees).map_err(StoreError::engine("verify", dir))?;
    if (entries, crc) == (manifest.entries, manifest.crc) {
        return Ok(());
    }
    let reason = format!("it reads back {entries} of {} entries, or others", manifest.entries);
    Err(StoreError::Damaged { path: dir.to_owned(), reason })
}

/// How many entries there are in trees, and the CRC-32 over all of them.
pub(super) fn checksum(
    db: &dyn Database,
    trees: &[&str],
) -> Result<(u64, u32), super::EngineError> {
    let mut crc = crc32fast::Hasher::new();
    let mut entries = 0;
    for tree in trees {
        db.range(tree, &[], None, &mut |key, value| {
            crc.update(key);
            crc.update(value);
            entries += 1;
            true
        })?;
    }
    Ok((entries, crc.finalize()))
}

/// Writes the partition that `plan` names with what `fill` puts in: whole, verified and durable, or
/// not at all.
pub(in crate::store) fn write(
    plan: &Plan,
    handles: &Arc<Handles>,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), StoreError>,
) -> Result<Partition, StoreError> {
    let unfinished = plan.parent.join(format!("{}.{}", plan.name, keys::UNFINISHED));
    let outcome = write_unfinished(plan, &unfinished, handles.engine(), fill);
    if let Err(error) = outcome {
        // Leftovers are removed at the next start, too.
        let _ = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    let dir = plan.parent.join(&plan.name);
    handles.forget(&dir);
    let put = put_in_place(&unfinished, &dir).and_then(|()| File::open(&plan.parent)?.sync_all());
    // Somebody may have opened the one that was there before, between the two.
    handles.forget(&dir);
    // What was replaced, if anything was.
    let _ = fs::remove_dir_all(&unfinished);
    let loaded = put.map_err(StoreError::io("rename", &unfinished));
    let loaded = loaded.and_then(|()| Partition::load(&dir, handles));
    // A start would take one that nobody was told of for what it was made of.
    loaded.inspect_err(|_| drop(remove(&dir)))
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

/// The name that a directory has while it is being removed.
fn going(dir: &Path) -> PathBuf {
    let mut going = dir.as_os_str().to_owned();
    going.push(format!(".old.{}", keys::UNFINISHED));
    going.into()
}

/// Whether nothing is left of a directory that was removed.
pub(in crate::store) fn is_gone(dir: &Path) -> bool {
    !dir.exists() && !going(dir).exists()
}

/// Removes a directory so that a crash leaves all of it, or what the next start removes as unfinished.
pub(in crate::store) fn remove(dir: &Path) -> io::Result<()> {
    let going = going(dir);
    if going.exists() {
        fs::remove_dir_all(&going)?;
    }
    fs::rename(dir, &going)?;
    if let Some(parent) = dir.parent() {
        File::open(parent)?.sync_all()?;
    }
    fs::remove_dir_all(going)
}

fn write_unfinished(
    plan: &Plan,
    dir: &Path,
    engine: &dyn Engine,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(StoreError::io("remove", dir))?;
    }
    fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
    let database = dir.join(keys::DATABASE);
    let db = engine.create(&database, plan.fanout);
    let mut writer = Writer {
        engine,
        dir: dir.to_owned(),
        fanout: plan.fanout,
        db: Some(db.map_err(StoreError::engine("create", &database))?),
        manifest: plan.manifest.clone(),
        trees: Vec::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        stretch_bytes: 0,
        crc: crc32fast::Hasher::new(),
        series: Vec::new(),
    };
    fill(&mut writer)?;
    writer.finish()
}

/// Bytes of all files below a directory; what cannot be read counts nothing.
pub(in crate::store) fn size_of(dir: &Path) -> u64 {
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
