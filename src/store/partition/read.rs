//! Queries on one partition: matchers and a range to series, samples, label names and values.

use super::{
    super::{
        StoreError,
        chunk::{self, rollups},
        keys::{self, ChunkKey},
        record::{self, BadRecord},
        rollup::Tier,
    },
    Losses, Partition, SampleSet, TakeSamples,
    content::decode_histograms,
    matching::Reader,
    writer,
};
use crate::{
    model::{Labels, Matcher, Sample, is_stale},
    promql::RollupColumn,
    time::Timestamp,
};

/// Series whose labels are held at once.
const SERIES_AT_ONCE: usize = 4096;
/// Series that do not match are walked over where they are so few: that costs less than to look anew.
const GAP_MAX: u32 = 4;

/// Takes a label name or value; an error ends it.
pub(in crate::store) type TakeText<'a> = &'a mut dyn FnMut(&str) -> Result<(), StoreError>;

/// What is asked of labels.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Asked<'a> {
    /// Their names.
    Names,
    /// The values of the one with this name.
    ValuesOf(&'a str),
}

impl Asked<'_> {
    /// What is asked of one series.
    pub(in crate::store) fn texts_of(self, labels: &Labels) -> impl Iterator<Item = &str> {
        let pick = move |(name, value)| match self {
            Self::Names => Some(name),
            Self::ValuesOf(wanted) => (name == wanted).then_some(value),
        };
        labels.iter().filter_map(pick)
    }
}

impl Partition {
    /// The matching series with their samples in the range (both ends belong to it), in the order of
    /// (metric name, labels). Of rollups, `column` is taken; a sample as it came is a rollup of itself.
    ///
    /// Returns the chunks that turned out to be damaged and that nobody was told of yet; what can be
    /// read is served. An error of `take` ends it.
    pub(in crate::store) fn select(
        &self,
        matchers: &[Matcher],
        range: (Timestamp, Timestamp),
        column: RollupColumn,
        take: TakeSamples<'_>,
    ) -> Result<Losses, StoreError> {
        self.select_of(&self.candidates(matchers)?, matchers, (range, column), take)
    }

    /// The ranks of all series that match, and of a few others, in order.
    pub(in crate::store) fn candidates(
        &self,
        matchers: &[Matcher],
    ) -> Result<Vec<u32>, StoreError> {
        Ok(Reader::of(self)?.candidates(matchers)?.into_iter().collect())
    }

    /// As [`select`](Self::select), of some candidates.
    pub(in crate::store) fn select_of(
        &self,
        candidates: &[u32],
        matchers: &[Matcher],
        (range, column): ((Timestamp, Timestamp), RollupColumn),
        take: TakeSamples<'_>,
    ) -> Result<Losses, StoreError> {
        let (reader, mut losses) = (Reader::of(self)?, Losses::new());
        for ranks in candidates.chunks(SERIES_AT_ONCE) {
            let series = reader.labels(ranks, matchers)?;
            for run in series.chunk_by(|a, b| b.0 - a.0 <= GAP_MAX) {
                let (from, to) = (run[0].0, run[run.len() - 1].0);
                let wanted = Wanted { partition: self, series: run, range, column };
                let mut run = Run::new(wanted, take, &mut losses);
                let to = to.checked_add(1).map(keys::rank);
                let stretch = (&keys::rank(from)[..], to.as_ref().map(|to| &to[..]));
                self.walk(&reader.lent, writer::tree_of(self.tier), stretch, &mut |key, value| {
                    run.entry(key, value)
                })?;
                run.finish()?;
            }
        }
        Ok(losses)
    }

    /// The matching series that have samples in the range.
    pub(in crate::store) fn series(
        &self,
        matchers: &[Matcher],
        (start, end): (Timestamp, Timestamp),
        take: &mut dyn FnMut(&Labels) -> Result<(), StoreError>,
    ) -> Result<Losses, StoreError> {
        if !self.lies_in(start, end) {
            let column = RollupColumn::Last;
            return self.select(matchers, (start, end), column, &mut |labels, _| take(labels));
        }
        self.for_each_series(matchers, take)?;
        Ok(Losses::new())
    }

    /// The matching series, whatever they have.
    pub(in crate::store) fn for_each_series(
        &self,
        matchers: &[Matcher],
        take: &mut dyn FnMut(&Labels) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let reader = Reader::of(self)?;
        let ranks: Vec<u32> = reader.candidates(matchers)?.into_iter().collect();
        for ranks in ranks.chunks(SERIES_AT_ONCE) {
            let series = reader.labels(ranks, matchers)?;
            series.iter().try_for_each(|(_, labels)| take(labels))?;
        }
        Ok(())
    }

    /// Bytes of a tree's keys and values.
    #[cfg(any(test, feature = "testing"))]
    pub(in crate::store) fn bytes_of(&self, tree: &str) -> Result<u64, StoreError> {
        let (reader, mut bytes) = (Reader::of(self)?, 0);
        self.walk(&reader.lent, tree, (&[], None), &mut |key, value| {
            bytes += (key.len() + value.len()) as u64;
            Ok(true)
        })?;
        Ok(bytes)
    }

    /// What `asked` finds in matching series that have samples in the range; may say one thing often.
    pub(in crate::store) fn texts(
        &self,
        asked: Asked<'_>,
        matchers: &[Matcher],
        (start, end): (Timestamp, Timestamp),
        take: TakeText<'_>,
    ) -> Result<Losses, StoreError> {
        if matchers.is_empty() && self.lies_in(start, end) {
            self.all_texts(asked, take)?;
            return Ok(Losses::new());
        }
        self.series(matchers, (start, end), &mut |labels| {
            asked.texts_of(labels).try_for_each(&mut *take)
        })
    }

    /// The same of all series: the index has it, and no labels are read.
    fn all_texts(&self, asked: Asked<'_>, take: TakeText<'_>) -> Result<(), StoreError> {
        let reader = Reader::of(self)?;
        let Asked::ValuesOf(name) = asked else {
            return reader.names()?.iter().try_for_each(|(name, _)| take(name));
        };
        let mut outcome = Ok(());
        reader.for_each_value(name, &mut |value, _| {
            if outcome.is_ok() {
                outcome = take(value);
            }
            Ok(())
        })?;
        outcome
    }
}

/// Makes of samples, as they came, what stands under a column of rollups.
pub(in crate::store) fn as_column(samples: &mut Vec<Sample>, column: RollupColumn) {
    if column != RollupColumn::Last {
        samples.retain(|sample| !is_stale(sample.value));
    }
    if column == RollupColumn::Count {
        for sample in samples {
            sample.value = 1.0;
        }
    }
}

/// What a walk over chunks is for.
struct Wanted<'a> {
    partition: &'a Partition,
    /// Series by rank, in order.
    series: &'a [(u32, Labels)],
    range: (Timestamp, Timestamp),
    column: RollupColumn,
}

/// A walk over the chunks of series that lie close to each other.
struct Run<'a, 'b> {
    wanted: Wanted<'a>,
    take: TakeSamples<'b>,
    losses: &'b mut Losses,
    /// What `take` said, where it wants no more.
    outcome: Result<(), StoreError>,
    /// Whether a chunk of the first series in `wanted` was seen.
    seen: bool,
    /// The last time of its chunk before, where that is known: of samples, of histograms.
    last: [Option<Timestamp>; 2],
    found: SampleSet,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(wanted: Wanted<'a>, take: TakeSamples<'b>, losses: &'b mut Losses) -> Self {
        let (seen, last, found) = (false, [None; 2], SampleSet::default());
        Self { wanted, take, losses, outcome: Ok(()), seen, last, found }
    }

    /// A chunk; tells whether to go on.
    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<bool, BadRecord> {
        let key_says = ChunkKey::read(key).ok_or(BadRecord("key"))?;
        let ChunkKey { rank, last, histograms } = key_says;
        while self.wanted.series.first().is_some_and(|(wanted, _)| *wanted < rank) {
            self.end_series()?;
        }
        if self.outcome.is_err() {
            return Ok(false);
        }
        let Some((wanted, labels)) = self.wanted.series.first() else { return Ok(false) };
        if *wanted != rank {
            return Ok(true);
        }
        let (start, end) = self.wanted.range;
        let before = &mut self.last[usize::from(histograms)];
        let begins_after = before.is_some_and(|before| before >= end);
        let ends_before = last.is_some_and(|last| last < start);
        (self.seen, *before) = (true, last);
        if begins_after || ends_before {
            return Ok(true);
        }
        let partition = self.wanted.partition;
        let decoded = if histograms { self.decode_histograms(value) } else { self.decode(value) };
        if decoded.is_err() {
            self.losses.extend(partition.bad_chunk(key, labels));
        }
        Ok(true)
    }

    /// Appends what a chunk holds.
    fn decode(&mut self, value: &[u8]) -> Result<(), BadRecord> {
        let (bytes, column) = (record::unseal(value)?, self.wanted.column);
        let bad = |_| BadRecord("chunk");
        if self.wanted.partition.tier != Tier::Raw {
            return rollups::decode_column(bytes, column, &mut self.found.samples).map_err(bad);
        }
        if column == RollupColumn::Last {
            return chunk::decode_into(bytes, &mut self.found.samples).map_err(bad);
        }
        let mut samples = chunk::decode(bytes).map_err(bad)?;
        as_column(&mut samples, column);
        self.found.samples.append(&mut samples);
        Ok(())
    }

    fn decode_histograms(&mut self, value: &[u8]) -> Result<(), BadRecord> {
        self.found.histograms.append(&mut decode_histograms(value)?);
        Ok(())
    }

    /// Hands out the first series.
    fn end_series(&mut self) -> Result<(), BadRecord> {
        let Some(((_, labels), rest)) = self.wanted.series.split_first() else { return Ok(()) };
        if !self.seen && self.outcome.is_ok() {
            return Err(BadRecord("list of chunks"));
        }
        // The next series may well have as many.
        let next = SampleSet::with_room(self.found.samples.len());
        let mut found = std::mem::replace(&mut self.found, next);
        found.clip(self.wanted.range);
        if !found.is_empty() && self.outcome.is_ok() {
            self.outcome = (self.take)(labels, found);
        }
        (self.wanted.series, self.seen, self.last) = (rest, false, [None; 2]);
        Ok(())
    }

    fn finish(mut self) -> Result<(), StoreError> {
        while !self.wanted.series.is_empty() {
            let ended = self.end_series();
            ended.map_err(|bad| self.wanted.partition.damage(&bad.to_string()))?;
        }
        self.outcome
    }
}
