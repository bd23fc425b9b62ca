//! Stand-in until the block codec is there.

use super::chunk::{self, DamagedChunk};
use crate::{model::Sample, time::Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) count: usize,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) len: usize,
}

const HEAD: usize = 22;

pub(super) fn encode(samples: &[Sample], out: &mut Vec<u8>) {
    let bytes = chunk::encode(samples);
    out.extend((samples.len() as u16).to_le_bytes());
    out.extend(samples[0].timestamp.as_millis().to_le_bytes());
    out.extend(samples[samples.len() - 1].timestamp.as_millis().to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

pub(super) fn peek(bytes: &[u8]) -> Result<Header, DamagedChunk> {
    let head: &[u8; HEAD] = bytes.first_chunk().ok_or(DamagedChunk)?;
    let time = |at: usize| {
        Timestamp::from_millis(i64::from_le_bytes(head[at..at + 8].try_into().unwrap()))
    };
    Ok(Header {
        count: usize::from(u16::from_le_bytes([head[0], head[1]])),
        first: time(2),
        last: time(10),
        len: HEAD + u32::from_le_bytes(head[18..22].try_into().unwrap()) as usize,
    })
}

pub(super) fn decode(bytes: &mut &[u8], out: &mut Vec<Sample>) -> Result<(), DamagedChunk> {
    let header = peek(bytes)?;
    let block = bytes.get(..header.len).ok_or(DamagedChunk)?;
    out.extend(chunk::decode(&block[HEAD..])?);
    *bytes = &bytes[header.len..];
    Ok(())
}
