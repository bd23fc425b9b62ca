//! The index of a partition: which ranks have which value of a label. Pure.
//!
//! ```text
//! names    = names (length, UTF-8; count of values; count of series)
//! block    = values in order (length, UTF-8; length, ranks)
//! ranks    = 0, then the first rank and the distance of each from the one before, less one; or
//!            1, then runs: the distance from the end of the one before, the length less one
//! ```
//! Numbers are varints. Distances repeat where labels do, which is what the engine's compression likes.
//! A block's key has its label name and its last value.

use std::collections::HashMap;

use prost::encoding::encode_varint;
use roaring::RoaringBitmap;

use super::{
    bytes::{Bytes, Damaged},
    series::put_text,
};
use crate::model::Labels;

const DISTANCES: u8 = 0;
const RUNS: u8 = 1;

/// The label names of a partition, sorted: how many values each has, and how many series.
pub(super) type Names = Vec<(String, Size)>;

/// How much there is of a label name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) values: u64,
    pub(super) series: u64,
}

/// The label names of all series, sorted.
pub(super) fn names_of(all: &[Labels]) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for labels in all {
        for (name, _) in labels.iter() {
            // Names are few, and come in the same order again and again.
            if let Err(at) = names.binary_search(&name) {
                names.insert(at, name);
            }
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

/// The ranks of each value of a label, sorted by value; the rank of a series is its place.
pub(super) fn ranks_of<'a>(all: &'a [Labels], name: &str) -> Vec<(&'a str, Vec<u32>)> {
    let mut found: HashMap<&str, Vec<u32>> = HashMap::new();
    for (rank, labels) in (0..).zip(all) {
        if let Some(value) = labels.get(name) {
            found.entry(value).or_default().push(rank);
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable_by_key(|(value, _)| *value);
    found
}

/// The list of label names.
pub(super) fn encode_names(names: &[(String, Size)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, size) in names {
        put_text(name, &mut out);
        encode_varint(size.values, &mut out);
        encode_varint(size.series, &mut out);
    }
    out
}

/// What [`encode_names`] wrote.
pub(super) fn decode_names(bytes: &[u8]) -> Result<Names, Damaged> {
    let mut bytes = Bytes(bytes);
    let mut names = Names::new();
    while !bytes.is_empty() {
        let name = bytes.text()?.to_owned();
        names.push((name, Size { values: bytes.number()?, series: bytes.number()? }));
    }
    if names.is_sorted_by(|a, b| a.0 < b.0) { Ok(names) } else { Err(Damaged) }
}

/// Appends a value with its ranks, which ascend, to a block.
pub(super) fn put_value(value: &str, ranks: &[u32], block: &mut Vec<u8>) {
    put_text(value, block);
    let (distances, runs) = (encode_distances(ranks), encode_runs(ranks));
    let shorter = if runs.len() < distances.len() { runs } else { distances };
    encode_varint(shorter.len() as u64, block);
    block.extend(shorter);
}

fn encode_distances(ranks: &[u32]) -> Vec<u8> {
    let mut out = vec![DISTANCES];
    let mut next = 0;
    for rank in ranks {
        encode_varint(u64::from(rank - next), &mut out);
        next = rank + 1;
    }
    out
}

fn encode_runs(ranks: &[u32]) -> Vec<u8> {
    let mut out = vec![RUNS];
    let mut next = 0;
    for run in ranks.chunk_by(|a, b| a + 1 == *b) {
        encode_varint(u64::from(run[0] - next), &mut out);
        encode_varint(run.len() as u64 - 1, &mut out);
        next = run[0] + u32::try_from(run.len()).unwrap_or(u32::MAX);
    }
    out
}

/// Adds ranks, all of which are below `end`, to a set.
fn add_ranks(mut bytes: Bytes<'_>, end: u32, set: &mut RoaringBitmap) -> Result<(), Damaged> {
    let form = bytes.take(1)?[0];
    let mut next = 0_u64;
    while !bytes.is_empty() {
        let first = next.checked_add(bytes.number()?).ok_or(Damaged)?;
        let more = if form == RUNS { bytes.number()? } else { 0 };
        let last = first.checked_add(more).filter(|last| *last < u64::from(end)).ok_or(Damaged)?;
        let rank = |rank: u64| u32::try_from(rank).map_err(|_| Damaged);
        set.insert_range(rank(first)?..=rank(last)?);
        next = last + 1;
    }
    if form <= RUNS { Ok(()) } else { Err(Damaged) }
}

/// Which values of a block to look at, and where to put their ranks.
pub(super) struct Gather<'a> {
    /// Whether the ranks of a value are wanted.
    pub(super) wanted: &'a dyn Fn(&str) -> bool,
    /// Ranks are below it.
    pub(super) end: u32,
    /// The ranks of all values that are wanted.
    pub(super) ranks: RoaringBitmap,
}

impl Gather<'_> {
    /// Takes what is wanted from a block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<(), Damaged> {
        for_each_value(block, &mut |value, ranks| {
            let wanted = (self.wanted)(value);
            if wanted { ranks.add_to(self.end, &mut self.ranks) } else { Ok(()) }
        })
    }
}

/// The ranks of one value, not decoded yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranks<'a>(Bytes<'a>);

impl Ranks<'_> {
    /// Adds them to a set; all have to be below `end`.
    pub(super) fn add_to(self, end: u32, set: &mut RoaringBitmap) -> Result<(), Damaged> {
        add_ranks(self.0, end, set)
    }

    /// All of them, in order; all have to be below `end`.
    pub(super) fn to_vec(self, end: u32) -> Result<Vec<u32>, Damaged> {
        let mut set = RoaringBitmap::new();
        self.add_to(end, &mut set)?;
        Ok(set.into_iter().collect())
    }
}

/// Walks the values of a block, which have to be in order.
pub(super) fn for_each_value(
    block: &[u8],
    visit: &mut dyn FnMut(&str, Ranks<'_>) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let mut bytes = Bytes(block);
    let mut last: Option<&str> = None;
    while !bytes.is_empty() {
        let value = bytes.text()?;
        if last.is_some_and(|last| last >= value) {
            return Err(Damaged);
        }
        visit(value, Ranks(bytes.run()?))?;
        last = Some(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(values: &[(&str, Vec<u32>)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (value, ranks) in values {
            put_value(value, ranks, &mut block);
        }
        block
    }

    fn gathered(
        block: &[u8],
        end: u32,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<u32>, Damaged> {
        let mut gather = Gather { wanted, end, ranks: RoaringBitmap::new() };
        gather.read(block)?;
        Ok(gather.ranks.into_iter().collect())
    }

    #[test]
    fn wanted_values_are_joined() {
        let block = block(&[("a", vec![0, 5]), ("b", (100..200).collect()), ("c", vec![5, 7])]);
        assert_eq!(gathered(&block, 200, &|v| v != "b").unwrap(), [0, 5, 7]);
        assert_eq!(gathered(&block, 200, &|v| v == "b").unwrap().len(), 100);
        assert_eq!(gathered(&block, 199, &|v| v == "b"), Err(Damaged), "a rank that is not there");
        assert!(block.len() < 30, "runs are short: {}", block.len());
    }

    #[test]
    fn names_and_ranks_of_label_sets() {
        let all =
            [Labels::of("a", [("x", "1")]), Labels::of("a", [("b", "2")]), Labels::of("c", [])];
        assert_eq!(names_of(&all), ["__name__", "b", "x"]);
        assert_eq!(ranks_of(&all, "__name__"), [("a", vec![0, 1]), ("c", vec![2])]);
        assert_eq!(ranks_of(&all, "b"), [("2", vec![1])]);
        let names = vec![("a".to_owned(), Size { values: 3, series: 4 })];
        assert_eq!(decode_names(&encode_names(&names)), Ok(names));
    }

    #[test]
    fn values_out_of_order_are_damage() {
        assert_eq!(gathered(&block(&[("b", vec![1]), ("a", vec![2])]), 9, &|_| true), Err(Damaged));
    }

    proptest! {
        #[test]
        fn any_ranks_come_back(ranks: std::collections::BTreeSet<u16>, runs: Vec<(u16, u8)>) {
            let mut all: std::collections::BTreeSet<u32> = ranks.into_iter().map(u32::from).collect();
            for (start, count) in runs {
                all.extend((u32::from(start)..).take(usize::from(count)));
            }
            let all: Vec<u32> = all.into_iter().collect();
            prop_assert_eq!(gathered(&block(&[("v", all.clone())]), 1 << 17, &|_| true).unwrap(), all);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let _ = gathered(&bytes, 1000, &|_| true);
            let _ = decode_names(&bytes);
        }
    }
}
