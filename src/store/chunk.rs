//! Runs of samples as bytes: pure, bit-exact, no I/O.
//!
//! Times are written as varints of the change of their distance (one byte a sample on a regular
//! grid). Values take the first form that fits: all equal; whole multiples of a power of ten, as
//! varints of differences; or the bytes in which a value differs from the one before. The layout
//! stands in `docs/format/chunk.md`.

use prost::encoding::{decode_varint, encode_varint};

use crate::{model::Sample, time::Timestamp};

/// Bytes that are no chunk.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of samples is damaged")]
pub(super) struct DamagedChunk;

/// Value forms; decimal forms are `DECIMAL + digits after the point`.
const CONSTANT: u8 = 0;
const XOR: u8 = 1;
const DECIMAL: u8 = 16;
/// Powers of ten that are tried, by the digits after the point.
const POWERS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// Whole numbers up to here are exact.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Encodes samples in ascending order.
pub(super) fn encode(samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + samples.len() * 3);
    encode_varint(samples.len() as u64, &mut out);
    let (mut last, mut step) = (0_i64, 0_i64);
    for sample in samples {
        let time = sample.timestamp.as_millis();
        let distance = time.wrapping_sub(last);
        put_signed(distance.wrapping_sub(step), &mut out);
        (last, step) = (time, distance);
    }
    encode_values(samples, &mut out);
    out
}

fn encode_values(samples: &[Sample], out: &mut Vec<u8>) {
    let Some(first) = samples.first() else { return };
    let bits = first.value.to_bits();
    if samples.iter().all(|sample| sample.value.to_bits() == bits) {
        out.push(CONSTANT);
        out.extend(bits.to_le_bytes());
    } else if let Some((digits, wholes)) = decimals(samples) {
        out.push(DECIMAL + digits);
        let mut last = 0;
        for whole in wholes {
            put_signed(whole - last, out);
            last = whole;
        }
    } else {
        out.push(XOR);
        encode_xor(samples, out);
    }
}

/// The values as whole multiples of a power of ten, where each comes back bit by bit.
fn decimals(samples: &[Sample]) -> Option<(u8, Vec<i64>)> {
    (0_u8..).zip(POWERS).find_map(|(digits, power)| {
        let wholes: Option<Vec<i64>> = samples.iter().map(|s| whole(s.value, power)).collect();
        Some((digits, wholes?))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "checked against WHOLE_MAX")]
fn whole(value: f64, power: f64) -> Option<i64> {
    let scaled = (value * power).round();
    // By way of the integer, as decoding does it: that also sends -0 to the other form.
    let whole = scaled as i64;
    let fits = scaled.abs() <= WHOLE_MAX && (whole as f64 / power).to_bits() == value.to_bits();
    fits.then_some(whole)
}

/// For each value a byte (zero bytes in front, bytes that follow), then those bytes of the XOR with
/// the value before.
fn encode_xor(samples: &[Sample], out: &mut Vec<u8>) {
    let mut last = 0;
    for sample in samples {
        let bits = sample.value.to_bits();
        let change = (bits ^ last).to_be_bytes();
        last = bits;
        let front = change.iter().take_while(|b| **b == 0).count();
        let back = change.iter().rev().take_while(|b| **b == 0).count();
        let kept = change.get(front..8 - back).unwrap_or_default();
        out.push(u8::try_from(front << 4 | kept.len()).unwrap_or_default());
        out.extend(kept);
    }
}

/// Decodes what [`encode`] wrote.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<Sample>, DamagedChunk> {
    let bytes = &mut bytes;
    let count = usize::try_from(get(bytes)?).map_err(|_| DamagedChunk)?;
    // Each sample takes a byte for its time at least: no count can make us reserve more than there is.
    if count > bytes.len() {
        return Err(DamagedChunk);
    }
    let mut times = Vec::with_capacity(count);
    let (mut last, mut step) = (0_i64, 0_i64);
    for _ in 0..count {
        step = step.wrapping_add(get_signed(bytes)?);
        last = last.wrapping_add(step);
        times.push(last);
    }
    let values = decode_values(count, bytes)?;
    if !bytes.is_empty() {
        return Err(DamagedChunk);
    }
    let sample = |(time, value)| Sample { timestamp: Timestamp::from_millis(time), value };
    Ok(times.into_iter().zip(values).map(sample).collect())
}

fn decode_values(count: usize, bytes: &mut &[u8]) -> Result<Vec<f64>, DamagedChunk> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let form = take(bytes, 1)?[0];
    if form == CONSTANT {
        let bits = take(bytes, 8)?.try_into().map_err(|_| DamagedChunk)?;
        return Ok(vec![f64::from_bits(u64::from_le_bytes(bits)); count]);
    }
    if form == XOR {
        return decode_xor(count, bytes);
    }
    let digits = form.checked_sub(DECIMAL).ok_or(DamagedChunk)?;
    let power = POWERS.get(usize::from(digits)).ok_or(DamagedChunk)?;
    let mut last = 0_i64;
    (0..count)
        .map(|_| {
            last = last.wrapping_add(get_signed(bytes)?);
            Ok(last as f64 / power)
        })
        .collect()
}

fn decode_xor(count: usize, bytes: &mut &[u8]) -> Result<Vec<f64>, DamagedChunk> {
    let mut last = 0_u64;
    (0..count)
        .map(|_| {
            let shape = take(bytes, 1)?[0];
            let (front, kept) = (usize::from(shape >> 4), usize::from(shape & 15));
            let mut change = [0; 8];
            let place = change.get_mut(front..front + kept).ok_or(DamagedChunk)?;
            place.copy_from_slice(take(bytes, kept)?);
            last ^= u64::from_be_bytes(change);
            Ok(f64::from_bits(last))
        })
        .collect()
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], DamagedChunk> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(DamagedChunk)?;
    *bytes = rest;
    Ok(taken)
}

fn get(bytes: &mut &[u8]) -> Result<u64, DamagedChunk> {
    decode_varint(bytes).map_err(|_| DamagedChunk)
}

fn put_signed(value: i64, out: &mut Vec<u8>) {
    encode_varint(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}

fn get_signed(bytes: &mut &[u8]) -> Result<i64, DamagedChunk> {
    let zigzag = get(bytes)?;
    Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::stale_nan;

    fn samples(pairs: impl IntoIterator<Item = (i64, f64)>) -> Vec<Sample> {
        pairs
            .into_iter()
            .map(|(time, value)| Sample { timestamp: Timestamp::from_millis(time), value })
            .collect()
    }

    #[track_caller]
    fn check(samples: &[Sample]) -> usize {
        let bytes = encode(samples);
        let bits = |samples: &[Sample]| -> Vec<(Timestamp, u64)> {
            samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect()
        };
        assert_eq!(bits(&decode(&bytes).unwrap()), bits(samples));
        bytes.len()
    }

    fn grid(values: impl Fn(i32) -> f64) -> Vec<Sample> {
        samples((0..240).map(|i| (1_700_000_000_000 + i64::from(i) * 30_000, values(i))))
    }

    #[test]
    fn every_kind_of_value_comes_back_bit_by_bit() {
        check(&[]);
        check(&grid(|_| 1.0));
        check(&grid(|i| f64::from(i * 17)));
        check(&grid(|i| f64::from(i) / 100.0));
        check(&grid(|i| f64::from(i).sqrt()));
        check(&grid(|i| if i == 100 { stale_nan() } else { 5.0 }));
        check(&samples([(i64::MIN, -0.0), (0, f64::INFINITY), (i64::MAX, f64::NAN)]));
    }

    #[test]
    fn ordinary_series_are_small() {
        assert!(check(&grid(|_| 42.5)) < 270);
        assert!(check(&grid(|i| f64::from(i * 40))) < 520);
        assert!(check(&grid(|i| f64::from(i % 50) / 100.0)) < 520);
    }

    proptest! {
        #[test]
        fn any_samples_come_back(pairs: Vec<(i64, u64)>) {
            check(&samples(pairs.into_iter().map(|(t, bits)| (t, f64::from_bits(bits)))));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
