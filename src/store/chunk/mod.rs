//! Runs of samples as bytes: pure, bit-exact, no I/O.
//!
//! Four forms, each told by its first byte: chunks of samples as small as they get, for partitions
//! ([`encode`], [`decode`]); blocks of samples that are cheap to write and to read, for memory
//! ([`block`]); chunks of rollups ([`rollups`]); and chunks of native histograms ([`histograms`]). All are made of columns: times are whole numbers
//! (`ints`), values become whole numbers where they can (`values`). Whole numbers are foretold from
//! those before, and what is left over is packed (`packed`) or squeezed by pco (`squeezed`). The
//! layout stands in `docs/format/chunk.md`.
//!
//! Reading takes nothing on trust: damaged bytes give an error or other samples, never a panic, and
//! never more memory than the largest chunk takes. Whether samples are the ones that were written is
//! for the container's CRC to say.

pub(in crate::store) mod block;
mod bytes;
pub(in crate::store) mod histograms;
mod ints;
mod packed;
pub(in crate::store) mod rollups;
mod squeezed;
#[cfg(test)]
mod tests;
mod values;

use self::{
    bytes::{put_unsigned, take_byte, take_count},
    ints::Effort,
};
use crate::{model::Sample, time::Timestamp};

/// The most samples, or rollups, that a chunk may hold.
pub(super) const SAMPLES_MAX: usize = 65_536;

/// The first byte of a chunk of samples.
const FORM: u8 = 1;

/// Bytes that are no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of samples is damaged")]
pub(super) struct DamagedChunk;

/// Encodes samples in ascending order.
///
/// # Panics
/// Where there are more than [`SAMPLES_MAX`].
pub(super) fn encode(samples: &[Sample]) -> Vec<u8> {
    assert!(samples.len() <= SAMPLES_MAX, "{} samples are too many for a chunk", samples.len());
    let mut out = Vec::with_capacity(64 + samples.len());
    out.push(FORM);
    put_unsigned(samples.len() as u64, &mut out);
    if !samples.is_empty() {
        let times: Vec<i64> = samples.iter().map(|s| s.timestamp.as_millis()).collect();
        ints::encode(&times, Effort::Thorough, &mut out);
        let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        values::encode(&values, Effort::Thorough, &mut out);
    }
    out
}

/// Decodes what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Sample>, DamagedChunk> {
    let mut samples = Vec::new();
    decode_into(bytes, &mut samples)?;
    Ok(samples)
}

/// Decodes what [`encode`] wrote and appends it; nothing where the bytes are damaged.
pub(super) fn decode_into(bytes: &[u8], out: &mut Vec<Sample>) -> Result<(), DamagedChunk> {
    let bytes = &mut &*bytes;
    if take_byte(bytes)? != FORM {
        return Err(DamagedChunk);
    }
    let count = take_count(bytes, SAMPLES_MAX)?;
    all_or_nothing(out, |out| {
        if count > 0 {
            read_times(bytes, count, out)?;
            let start = out.len() - count;
            values::decode(bytes, &mut out[start..])?;
        }
        if bytes.is_empty() { Ok(()) } else { Err(DamagedChunk) }
    })
}

/// Appends `count` samples, whose values are still to come.
fn read_times(bytes: &mut &[u8], count: usize, out: &mut Vec<Sample>) -> Result<(), DamagedChunk> {
    out.reserve(count);
    ints::decode(bytes, count, |times| {
        let sample = |time: &i64| Sample { timestamp: Timestamp::from_millis(*time), value: 0.0 };
        out.extend(times.iter().map(sample));
    })
}

/// Takes back what was appended where reading fails.
fn all_or_nothing(
    out: &mut Vec<Sample>,
    read: impl FnOnce(&mut Vec<Sample>) -> Result<(), DamagedChunk>,
) -> Result<(), DamagedChunk> {
    let start = out.len();
    let result = read(out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}
