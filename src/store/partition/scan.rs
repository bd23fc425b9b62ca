//! Everything in a partition, series by series, in bounded memory: for compaction, erasing and verification.

use std::{collections::VecDeque, path::PathBuf};

use super::{
    super::{StoreError, keys, record::BadRecord},
    Content, Partition,
    matching::Reader,
    writer,
};
use crate::model::Labels;

/// Bytes of chunks that are read at once.
const BYTES_AT_ONCE: usize = 512 << 10;
/// Series whose labels are read at once.
const LABELS_AT_ONCE: u32 = 1024;

/// A damaged chunk, as it lies in a partition.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct BadChunk {
    /// The directory of the partition.
    pub(in crate::store) partition: PathBuf,
    /// The series whose samples it had.
    pub(in crate::store) labels: Labels,
    pub(in crate::store) key: Vec<u8>,
    pub(in crate::store) value: Vec<u8>,
    /// What to report, where that was not done before.
    pub(in crate::store) news: Option<String>,
}

/// A walk over all series of a partition, in the order of (metric name, labels).
#[derive(Debug)]
pub(in crate::store) struct Scan<'a> {
    reader: Reader<'a>,
    /// Chunks that were read ahead, with their ranks.
    chunks: VecDeque<(u32, Vec<u8>, Vec<u8>)>,
    /// Where the chunks go on that were not read yet; `None` at the end.
    from: Option<Vec<u8>>,
    labels: VecDeque<Labels>,
    /// Chunks that were left out, and that nobody has taken yet.
    bad: Vec<BadChunk>,
    /// The next series, and how many there are.
    rank: u32,
    count: u32,
}

impl Partition {
    /// A walk over everything.
    pub(in crate::store) fn scan(&self) -> Result<Scan<'_>, StoreError> {
        let reader = Reader::of(self)?;
        let count = reader.series_count()?;
        let (chunks, labels, bad) = (VecDeque::new(), VecDeque::new(), Vec::new());
        Ok(Scan { reader, chunks, from: Some(Vec::new()), labels, bad, rank: 0, count })
    }
}

impl Scan<'_> {
    /// The next series with all that can be read of it; `None` at the end. Chunks that are damaged are
    /// left out: see [`Scan::take_bad`]. An error comes again and again.
    pub(in crate::store) fn next(&mut self) -> Option<Result<(Labels, Content), StoreError>> {
        (self.rank < self.count).then(|| self.read())
    }

    /// The chunks that were left out since this was last asked.
    pub(in crate::store) fn take_bad(&mut self) -> Vec<BadChunk> {
        std::mem::take(&mut self.bad)
    }

    fn read(&mut self) -> Result<(Labels, Content), StoreError> {
        if self.labels.is_empty() {
            self.read_labels()?;
        }
        while self.from.is_some() && self.chunks.back().is_none_or(|(rank, ..)| *rank <= self.rank)
        {
            self.read_chunks()?;
        }
        let partition = self.reader.partition;
        let labels = self.labels.pop_front();
        let labels = labels.ok_or_else(|| partition.damage("labels of series are missing"))?;
        let mut chunks = Vec::new();
        while let Some((_, key, value)) = self.chunks.pop_front_if(|(rank, ..)| *rank == self.rank)
        {
            chunks.push((key, value));
        }
        if chunks.is_empty() || self.chunks.front().is_some_and(|(rank, ..)| *rank < self.rank) {
            self.labels.push_front(labels);
            return Err(partition.damage("chunks of series are missing"));
        }
        self.rank += 1;
        let content = self.decode(&labels, chunks)?;
        Ok((labels, content))
    }

    /// What chunks hold, but for those that are damaged. Too many of those damage the whole partition.
    fn decode(
        &mut self,
        labels: &Labels,
        chunks: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<Content, StoreError> {
        let partition = self.reader.partition;
        let mut content = Content::none_of(partition.tier);
        for (key, value) in chunks {
            if content.add(&key, &value).is_ok() {
                continue;
            }
            let news = partition.bad_chunk(&key, labels);
            if partition.is_damaged() {
                let known = || partition.damage("too many of its chunks are damaged");
                return Err(news.unwrap_or_else(known));
            }
            let (labels, news) = (labels.clone(), news.map(|news| news.to_string()));
            let partition = partition.dir.clone();
            self.bad.push(BadChunk { partition, labels, key, value, news });
        }
        Ok(content)
    }

    fn read_labels(&mut self) -> Result<(), StoreError> {
        let end = self.rank.saturating_add(LABELS_AT_ONCE).min(self.count);
        let ranks: Vec<u32> = (self.rank..end).collect();
        let found = self.reader.labels(&ranks, &[])?;
        self.labels.extend(found.into_iter().map(|(_, labels)| labels));
        Ok(())
    }

    fn read_chunks(&mut self) -> Result<(), StoreError> {
        let Some(from) = self.from.take() else { return Ok(()) };
        let tree = writer::tree_of(self.reader.partition.tier);
        let (chunks, next, mut bytes) = (&mut self.chunks, &mut self.from, 0);
        self.reader.partition.walk(&self.reader.lent, tree, (&from, None), &mut |key, value| {
            if bytes >= BYTES_AT_ONCE {
                *next = Some(key.to_vec());
                return Ok(false);
            }
            bytes += value.len();
            let rank = keys::ChunkKey::read(key).ok_or(BadRecord("key"))?.rank;
            chunks.push_back((rank, key.to_vec(), value.to_vec()));
            Ok(true)
        })
    }
}
