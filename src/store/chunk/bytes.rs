//! Varints and slices of bytes, as chunks write them.

use super::DamagedChunk;

/// Appends seven bits a byte, the lowest first; the high bit says that more follow.
pub(super) fn put_unsigned(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Takes a varint; what lies beyond 64 bits is damage.
pub(super) fn get_unsigned(bytes: &mut &[u8]) -> Result<u64, DamagedChunk> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(DamagedChunk)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return Err(DamagedChunk);
        }
        value |= part << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DamagedChunk)
}

pub(super) fn put_signed(value: i64, out: &mut Vec<u8>) {
    put_unsigned(zigzag(value), out);
}

pub(super) fn get_signed(bytes: &mut &[u8]) -> Result<i64, DamagedChunk> {
    get_unsigned(bytes).map(unzigzag)
}

/// Numbers near zero as small numbers, whatever their sign.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// How many bits `value` has without the zeros in front.
pub(super) fn bits(value: u64) -> u32 {
    64 - value.leading_zeros()
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is wanted")]
pub(super) fn low_byte(value: u64) -> u8 {
    value as u8
}

/// Takes `count` bytes.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], DamagedChunk> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(DamagedChunk)?;
    *bytes = rest;
    Ok(taken)
}

pub(super) fn take_byte(bytes: &mut &[u8]) -> Result<u8, DamagedChunk> {
    take(bytes, 1).map(|taken| taken[0])
}

pub(super) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], DamagedChunk> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(DamagedChunk)?;
    *bytes = rest;
    Ok(*taken)
}

/// Takes a count that may not lie above `max`.
pub(super) fn take_count(bytes: &mut &[u8], max: usize) -> Result<usize, DamagedChunk> {
    let count = usize::try_from(get_unsigned(bytes)?).map_err(|_| DamagedChunk)?;
    if count <= max { Ok(count) } else { Err(DamagedChunk) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_varint_holds_64_bits_and_no_more() {
        let mut most = vec![0xff; 9];
        most.push(1);
        assert_eq!(get_unsigned(&mut &most[..]), Ok(u64::MAX));
        most[9] = 2;
        assert_eq!(get_unsigned(&mut &most[..]), Err(DamagedChunk));
        assert_eq!(get_unsigned(&mut &[0x80; 12][..]), Err(DamagedChunk));
        assert_eq!(get_unsigned(&mut &[0x80][..]), Err(DamagedChunk));
    }

    proptest! {
        #[test]
        fn varints_come_back(value: i64, shift in 0..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_signed(value, &mut out);
            prop_assert_eq!(get_signed(&mut &out[..]), Ok(value));
        }
    }
}
