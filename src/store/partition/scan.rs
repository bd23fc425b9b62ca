//! Everything in a partition, series by series, in bounded memory: for compaction and backups.

use std::collections::VecDeque;

use super::{
    super::{
        StoreError,
        chunk::{self, histograms, rollups},
        keys::{self, ChunkKey},
        record::{self, BadRecord},
        rollup::Tier,
    },
    Content, Partition, Values,
    matching::Reader,
    writer,
};
use crate::model::Labels;

/// Bytes of chunks that are read at once.
const BYTES_AT_ONCE: usize = 512 << 10;
/// Series whose labels are read at once.
const LABELS_AT_ONCE: u32 = 1024;

/// A walk over all series of a partition, in the order of (metric name, labels).
#[derive(Debug)]
pub(in crate::store) struct Scan<'a> {
    reader: Reader<'a>,
    /// Chunks that were read ahead, with their ranks.
    chunks: VecDeque<(u32, Vec<u8>, Vec<u8>)>,
    /// Where the chunks go on that were not read yet; `None` at the end.
    from: Option<Vec<u8>>,
    labels: VecDeque<Labels>,
    /// The next series, and how many there are.
    rank: u32,
    count: u32,
}

impl Partition {
    /// A walk over everything.
    pub(in crate::store) fn scan(&self) -> Result<Scan<'_>, StoreError> {
        let reader = Reader::of(self)?;
        let count = reader.series_count()?;
        let (chunks, labels) = (VecDeque::new(), VecDeque::new());
        Ok(Scan { reader, chunks, from: Some(Vec::new()), labels, rank: 0, count })
    }
}

impl Scan<'_> {
    /// The next series with all that it has; `None` at the end. A damaged chunk is an error, after
    /// which the walk goes on with the next series; any other error comes again and again.
    pub(in crate::store) fn next(&mut self) -> Option<Result<(Labels, Content), StoreError>> {
        (self.rank < self.count).then(|| self.read())
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
        let content = decode(partition.tier, &chunks);
        content.map(|content| (labels.clone(), content)).map_err(|key| {
            let told = partition.bad_chunk(&key, &labels);
            told.unwrap_or_else(|| StoreError::Damaged {
                path: partition.dir.clone(),
                reason: format!("samples of {labels} are lost"),
            })
        })
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

/// The content of chunks; fails with the key of one that is damaged.
fn decode(tier: Tier, chunks: &[(Vec<u8>, Vec<u8>)]) -> Result<Content, Vec<u8>> {
    let mut values =
        if tier == Tier::Raw { Values::Samples(Vec::new()) } else { Values::Rollups(Vec::new()) };
    let mut found = Vec::new();
    for (key, value) in chunks {
        let bad = || key.clone();
        let bytes = record::unseal(value).map_err(|_| bad())?;
        if ChunkKey::read(key).is_some_and(|key| key.histograms) {
            found.append(&mut histograms::decode(bytes).map_err(|_| bad())?);
            continue;
        }
        match &mut values {
            Values::Samples(all) => chunk::decode_into(bytes, all).map_err(|_| bad())?,
            Values::Rollups(all) => {
                all.append(&mut rollups::decode(bytes).map_err(|_| bad())?);
            }
        }
    }
    Ok(Content { values, histograms: found })
}
