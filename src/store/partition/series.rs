//! Label sets by rank, in blocks with symbols of their own. Pure.
//!
//! ```text
//! block  = count of symbols, symbols (length, UTF-8), label sets, one for each rank
//! set    = count of pairs, pairs (symbol of the name, symbol of the value)
//! ```
//! Numbers are varints. A block's key has the rank of its last set; how many sets there are shows when
//! all bytes are read.

use std::collections::HashMap;

use prost::encoding::encode_varint;

use super::bytes::{Bytes, Damaged};
use crate::{limits, model::Labels};

/// Label sets in a block at most.
const SETS_MAX: usize = 64;

/// Gathers label sets until a block is full.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    symbols: HashMap<String, u64>,
    symbol_bytes: Vec<u8>,
    sets: Vec<u8>,
    count: usize,
}

impl BlockWriter {
    pub(super) fn push(&mut self, labels: &Labels) {
        encode_varint(labels.len() as u64, &mut self.sets);
        for (name, value) in labels.iter() {
            for part in [name, value] {
                let symbol = self.symbol(part);
                encode_varint(symbol, &mut self.sets);
            }
        }
        self.count += 1;
    }

    fn symbol(&mut self, text: &str) -> u64 {
        if let Some(symbol) = self.symbols.get(text) {
            return *symbol;
        }
        let symbol = self.symbols.len() as u64;
        self.symbols.insert(text.to_owned(), symbol);
        put_text(text, &mut self.symbol_bytes);
        symbol
    }

    /// Whether the block has as much as it should have.
    pub(super) fn is_full(&self, bytes_max: usize) -> bool {
        self.count >= SETS_MAX || self.symbol_bytes.len() + self.sets.len() >= bytes_max
    }

    /// The block; what follows begins a new one.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.symbol_bytes.len() + self.sets.len() + 4);
        encode_varint(self.symbols.len() as u64, &mut out);
        out.append(&mut self.symbol_bytes);
        out.append(&mut self.sets);
        self.symbols.clear();
        self.count = 0;
        out
    }
}

/// Appends a text with its length.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    encode_varint(text.len() as u64, out);
    out.extend(text.as_bytes());
}

/// A block, read: where each label set begins.
#[derive(Debug)]
pub(super) struct Block<'a> {
    symbols: Vec<&'a str>,
    sets: Vec<Bytes<'a>>,
    last: u32,
}

impl<'a> Block<'a> {
    /// The block whose last label set has the rank `last`.
    pub(super) fn read(bytes: &'a [u8], last: u32) -> Result<Self, Damaged> {
        let mut bytes = Bytes(bytes);
        let count = bytes.count()?;
        let symbols = (0..count).map(|_| bytes.text()).collect::<Result<_, _>>()?;
        let mut sets = Vec::new();
        while !bytes.is_empty() {
            if sets.len() == SETS_MAX {
                return Err(Damaged);
            }
            sets.push(bytes);
            for _ in 0..2 * bytes.count()? {
                bytes.number()?;
            }
        }
        // The first rank must not be below zero, and no block is empty.
        let before = u32::try_from(sets.len()).ok().filter(|sets| *sets > 0).ok_or(Damaged)? - 1;
        last.checked_sub(before).ok_or(Damaged)?;
        Ok(Self { symbols, sets, last })
    }

    /// The rank of the first label set.
    pub(super) fn first(&self) -> u32 {
        self.last + 1 - u32::try_from(self.sets.len()).unwrap_or(u32::MAX)
    }

    /// The label set of a rank in this block.
    pub(super) fn labels(&self, rank: u32) -> Result<Labels, Damaged> {
        let at = rank.checked_sub(self.first()).ok_or(Damaged)?;
        let mut bytes = *self.sets.get(at as usize).ok_or(Damaged)?;
        let count = bytes.count()?;
        if count > limits::LABELS_MAX {
            return Err(Damaged);
        }
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((self.symbol(&mut bytes)?, self.symbol(&mut bytes)?));
        }
        let sorted = pairs.windows(2).all(|two| two[0].0 < two[1].0);
        if sorted { Ok(Labels::from_sorted(&pairs)) } else { Err(Damaged) }
    }

    fn symbol(&self, bytes: &mut Bytes<'a>) -> Result<&'a str, Damaged> {
        let symbol = usize::try_from(bytes.number()?).map_err(|_| Damaged)?;
        self.symbols.get(symbol).copied().ok_or(Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label_sets() -> impl Strategy<Value = Vec<Labels>> {
        let pair = ("[a-d]{1,2}", "[x-z0]{0,3}");
        let pairs = prop::collection::btree_map(pair.0, pair.1, 0..5);
        prop::collection::vec(pairs.prop_map(|pairs| Labels::new(pairs).unwrap()), 1..SETS_MAX)
    }

    fn block(sets: &[Labels]) -> Vec<u8> {
        let mut writer = BlockWriter::default();
        for labels in sets {
            writer.push(labels);
        }
        writer.take()
    }

    proptest! {
        #[test]
        fn label_sets_come_back(sets in label_sets(), first in 0_u32..1000) {
            let bytes = block(&sets);
            let last = first + u32::try_from(sets.len()).unwrap() - 1;
            let block = Block::read(&bytes, last).unwrap();
            prop_assert_eq!(block.first(), first);
            let read: Vec<_> = (first..=last).map(|rank| block.labels(rank).unwrap()).collect();
            prop_assert_eq!(read, sets);
            prop_assert_eq!(block.labels(last + 1), Err(Damaged));
        }

        #[test]
        fn damaged_blocks_are_refused_or_read(
            sets in label_sets(), at: prop::sample::Index, bit in 0_u8..8, cut: prop::sample::Index,
        ) {
            let mut bytes = block(&sets);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(block) = Block::read(&bytes, 100) {
                for rank in block.first()..=100 {
                    let _ = block.labels(rank);
                }
            }
        }
    }

    #[test]
    fn a_block_that_would_begin_below_zero_is_damaged() {
        let bytes = block(&[Labels::of("a", []), Labels::of("b", [])]);
        assert!(Block::read(&bytes, 1).is_ok());
        assert_eq!(Block::read(&bytes, 0).map(drop), Err(Damaged));
        assert_eq!(Block::read(&[0], 5).map(drop), Err(Damaged));
    }
}
