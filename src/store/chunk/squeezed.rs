//! Numbers squeezed by pco: the one place that names it.
//!
//! pco sees numbers from zero on, already foretold and divided, at the narrowest width that holds
//! them; so only its plain mode is of use here, and only that is read back. pco promises an error for
//! any damage; should it panic all the same, that is an error too.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use pco::{
    ChunkConfig, DecompressorScratch, DeltaSpec, ModeSpec,
    data_types::Number,
    wrapped::{FileCompressor, FileDecompressor},
};

use super::DamagedChunk;

/// pco decodes this many numbers at a time.
pub(super) const BATCH: usize = pco::FULL_BATCH_N;
/// pco's effort: what more brings is less than a hundredth (see docs/benchmarks.md).
const LEVEL: usize = 7;
/// pco's file header, which is the same for all columns and not stored: its format 4.1.
const HEADER: [u8; 2] = [4, 1];
/// What the bytes of a column begin with: pco's plain mode, without its differences.
const PLAIN: u8 = 0;

thread_local! {
    static SCRATCH: RefCell<DecompressorScratch> = RefCell::default();
}

/// Appends the numbers, and gives the width class that they were written in; `None` where pco would
/// not have them (what is appended then is to be cut off).
pub(super) fn encode(numbers: &[u64], out: &mut Vec<u8>) -> Option<u8> {
    let highest = numbers.iter().copied().max().unwrap_or_default();
    if let Ok(highest) = u16::try_from(highest) {
        return if highest < 256 {
            squeeze(&narrowed::<u8>(numbers)?, out).map(|()| 0)
        } else {
            squeeze(&narrowed::<u16>(numbers)?, out).map(|()| 1)
        };
    }
    if u32::try_from(highest).is_ok() {
        return squeeze(&narrowed::<u32>(numbers)?, out).map(|()| 2);
    }
    squeeze(numbers, out).map(|()| 3)
}

fn narrowed<T: TryFrom<u64>>(numbers: &[u64]) -> Option<Vec<T>> {
    numbers.iter().map(|number| T::try_from(*number).ok()).collect()
}

fn squeeze<T: Number>(numbers: &[T], out: &mut Vec<u8>) -> Option<()> {
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp)
        .with_enable_8_bit(true);
    let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config).ok()?;
    let start = out.len();
    chunk.write_meta(&mut *out).ok()?;
    chunk.write_page(0, &mut *out).ok()?;
    (out.get(start) == Some(&PLAIN)).then_some(())
}

/// Takes `count` numbers of a width class and hands them on in order, batch by batch.
pub(super) fn decode(
    bytes: &mut &[u8],
    width: u8,
    count: usize,
    batch: impl FnMut(&mut [i64]),
) -> Result<(), DamagedChunk> {
    if bytes.first() != Some(&PLAIN) {
        return Err(DamagedChunk);
    }
    let unguarded = AssertUnwindSafe(|| match width {
        0 => expand::<u8>(bytes, count, batch),
        1 => expand::<u16>(bytes, count, batch),
        2 => expand::<u32>(bytes, count, batch),
        3 => expand::<u64>(bytes, count, batch),
        _ => None,
    });
    let expanded = catch_unwind(unguarded).unwrap_or_else(|_| {
        // Nobody knows what state it was left in.
        SCRATCH.take();
        None
    });
    expanded.ok_or(DamagedChunk)
}

fn expand<T: Number + Into<u64>>(
    bytes: &mut &[u8],
    count: usize,
    mut batch: impl FnMut(&mut [i64]),
) -> Option<()> {
    let (file, _) = FileDecompressor::new(&HEADER[..]).ok()?;
    let (chunk, rest) = file.chunk_decompressor::<T, _>(*bytes).ok()?;
    SCRATCH.with_borrow_mut(|scratch| {
        let mut page = chunk.page_decompressor_with_scratch(rest, count, scratch).ok()?;
        let (mut narrow, mut wide) = ([T::default(); BATCH], [0; BATCH]);
        let mut left = count;
        while left > 0 {
            let now = page.read(&mut narrow).ok()?.n_processed.min(left);
            if now == 0 {
                return None;
            }
            for (place, number) in wide.iter_mut().zip(&narrow[..now]) {
                *place = (*number).into().cast_signed();
            }
            batch(&mut wide[..now]);
            left -= now;
        }
        *bytes = page.into_src();
        Some(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pco_writes_the_format_that_we_leave_out() {
        let header = FileCompressor::default().write_header(Vec::new()).unwrap();
        assert_eq!(header, HEADER);
    }

    #[test]
    fn each_width_comes_back_and_leaves_what_follows() {
        for (class, most) in [(0, 0xff), (1, 0xffff), (2, 0xffff_ffff), (3, u64::MAX)] {
            let numbers: Vec<u64> = (0..700).map(|i| (i * i * 7919) & most | most & !0xf).collect();
            let mut bytes = Vec::new();
            assert_eq!(encode(&numbers, &mut bytes), Some(class));
            let whole = bytes.len();
            bytes.extend([1, 2, 3]);
            let (mut rest, mut read) = (&bytes[..], Vec::new());
            decode(&mut rest, class, numbers.len(), |batch| read.extend_from_slice(batch)).unwrap();
            assert_eq!(rest, [1, 2, 3]);
            assert!(read.iter().zip(&numbers).all(|(a, b)| a.cast_unsigned() == *b));
            for cut in 0..whole {
                let rest = &mut &bytes[..cut];
                assert_eq!(decode(rest, class, numbers.len(), |_| {}), Err(DamagedChunk));
            }
        }
    }
}
