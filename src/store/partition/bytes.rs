//! Reading numbers and texts from bytes that may be damaged. Pure.

use prost::encoding::decode_varint;

/// Bytes that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// What is left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// A varint.
    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        // Most numbers are small.
        if let Some((first, rest)) = self.0.split_first().filter(|(first, _)| **first < 0x80) {
            self.0 = rest;
            return Ok(u64::from(*first));
        }
        decode_varint(&mut self.0).map_err(|_| Damaged)
    }

    /// How many things of a byte at least follow: never more than there are bytes.
    pub(super) fn count(&mut self) -> Result<usize, Damaged> {
        let count = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        if count <= self.0.len() { Ok(count) } else { Err(Damaged) }
    }

    /// So many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A text behind its length.
    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        let count = self.count()?;
        std::str::from_utf8(self.take(count)?).map_err(|_| Damaged)
    }

    /// A text or bytes behind their length.
    pub(super) fn run(&mut self) -> Result<Bytes<'a>, Damaged> {
        let count = self.count()?;
        Ok(Bytes(self.take(count)?))
    }
}
