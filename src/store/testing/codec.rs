//! The codecs of the store, for their benchmark.

use super::super::{
    chunk::{self, block, rollups},
    rollup::{self, Tier},
};
use crate::{model::Sample, promql::RollupColumn};

/// A chunk as partitions hold it.
pub fn chunk(samples: &[Sample]) -> Vec<u8> {
    chunk::encode(samples)
}

/// Appends the samples of a chunk; whether it was whole.
pub fn read_chunk(bytes: &[u8], out: &mut Vec<Sample>) -> bool {
    chunk::decode_into(bytes, out).is_ok()
}

/// Appends a block as the head holds it, of at most 128 samples.
pub fn block(samples: &[Sample], out: &mut Vec<u8>) {
    block::encode(samples, out);
}

/// Appends the samples of a block; whether it was whole.
pub fn read_block(mut bytes: &[u8], out: &mut Vec<Sample>) -> bool {
    block::decode(&mut bytes, out).is_ok()
}

/// How many samples a block says it holds, and how many bytes it says it takes.
pub fn block_head(bytes: &[u8]) -> Option<(usize, usize)> {
    block::peek(bytes).ok().map(|header| (header.count, header.len))
}

/// A chunk of the rollups of five minutes that stand for samples, and how many those are.
pub fn five_minutes(samples: &[Sample]) -> (Vec<u8>, usize) {
    let mut rolled = Vec::new();
    rollup::roll(samples, Tier::FiveMinutes.resolution(), &mut rolled);
    (rollups::encode(&rolled), rolled.len())
}

/// A chunk of the rollups of an hour that stand for a chunk of finer ones, and how many those are;
/// `None` where the chunk is damaged.
pub fn hours(five_minutes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (finer, mut rolled) = (rollups::decode(five_minutes).ok()?, Vec::new());
    rollup::roll_up(&finer, Tier::Hour.resolution(), &mut rolled);
    Some((rollups::encode(&rolled), rolled.len()))
}

/// Appends one column of a chunk of rollups; whether it was whole.
pub fn read_rollups(bytes: &[u8], column: RollupColumn, out: &mut Vec<Sample>) -> bool {
    rollups::decode_column(bytes, column, out).is_ok()
}
