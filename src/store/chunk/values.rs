//! A column of values, bit by bit as they were.
//!
//! Most values that are measured are whole multiples of a power of ten, even where they come as
//! floats: percentages, seconds to the hundredth, bytes. As whole numbers they take a fraction of the
//! room. What is not so, a few markers or NaNs say, is listed apart; where much is not so, the bits
//! themselves are the numbers.

use super::{
    DamagedChunk,
    bytes::{put_unsigned, take_array, take_byte, take_count},
    ints::{self, Effort},
};
use crate::model::{STALE_NAN_BITS, Sample};

/// The tag's low bits: how many digits stand after the point, up to this.
const DIGITS_MAX: u8 = 15;
/// Numbers are multiplied by a power of ten below one, instead of divided by one above it. The two
/// differ in the last bit, and programs do the one or the other.
const TIMES: u8 = 0b1_0000;
/// Numbers are the bits, in the order of the floats.
const BITS: u8 = 0b10_0000;
/// Numbers are divided by a power of ten, and a second column says how many floats further on the
/// values are: sums of decimals, which have lost their last bits.
const NEAR: u8 = 0b1000_0000;
/// A list of odd values precedes the column.
const ODD: u8 = 0b100_0000;

const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
const TENTHS: [f64; 16] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14,
    1e-15,
];
/// Whole numbers below this are found by rounding.
const WHOLE_MAX: f64 = 2_251_799_813_685_248.0;
/// A float this large has no room after the point: adding it and taking it away rounds.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// A value may be this many floats off, of numbers up to this, with digits up to this: what is left
/// then is much smaller than the bits.
const OFF_MAX: u64 = 512;
const NEAR_MAX: f64 = 1_099_511_627_776.0;
const NEAR_DIGITS_MAX: u8 = 9;

/// Values that have codes of their own in the list of odd ones; others follow their code in full.
const CODED: [u64; 5] = [
    STALE_NAN_BITS,
    // Go's NaN, and Rust's.
    0x7ff8_0000_0000_0001,
    0x7ff8_0000_0000_0000,
    f64::INFINITY.to_bits(),
    f64::NEG_INFINITY.to_bits(),
];
const IN_FULL: u8 = 255;

/// From whole numbers to values and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    digits: u8,
    times: bool,
}

impl Scale {
    fn tag(self) -> u8 {
        self.digits | if self.times { TIMES } else { 0 }
    }

    fn ten(self) -> f64 {
        TENS[usize::from(self.digits)]
    }

    /// The value that a number stands for.
    fn value(self, number: i64) -> f64 {
        let number = number as f64;
        if self.times { number * TENTHS[usize::from(self.digits)] } else { number / self.ten() }
    }

    /// The number that stands for a value, if one does, bit by bit.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is cut off does not come back as it was"
    )]
    fn number(self, value: f64) -> Option<i64> {
        let number = if self.digits == 0 {
            value as i64
        } else {
            let scaled = value * self.ten();
            if scaled.abs() >= WHOLE_MAX {
                return None;
            }
            ((scaled + ROUNDER) - ROUNDER) as i64
        };
        (self.value(number).to_bits() == value.to_bits()).then_some(number)
    }

    /// This scale, or the next with more digits, that has a number for `value`.
    fn raised_for(self, value: f64) -> Option<Self> {
        let mut scales = (self.digits..=DIGITS_MAX).map(|digits| Self { digits, ..self });
        scales.find(|scale| scale.number(value).is_some())
    }
}

/// A run of equal values that the scale has no number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Odd {
    first: usize,
    count: usize,
    bits: u64,
}

/// Values as whole numbers, save the odd ones.
struct Decimals {
    scale: Scale,
    numbers: Vec<i64>,
    odd: Vec<Odd>,
}

impl Decimals {
    fn find(values: &[f64]) -> Option<Self> {
        let divided = Scale { digits: 0, times: false };
        Self::with(divided, values).or_else(|| Self::with(Scale { times: true, ..divided }, values))
    }

    /// Looks for the digits that all values need, beginning with those of `scale`.
    fn with(mut scale: Scale, values: &[f64]) -> Option<Self> {
        // A value that needs more digits sends us back to the first, as many times as there are digits
        // at most; a few values looked at beforehand spare most of that.
        for value in values.iter().step_by(values.len() / 8 + 1) {
            scale = scale.raised_for(*value).unwrap_or(scale);
        }
        let mut tries = 0..DIGITS_MAX;
        loop {
            match Self::at(scale, values) {
                Ok(found) => return Some(found),
                Err(Some(raised)) if tries.next().is_some() => scale = raised,
                Err(_) => return None,
            }
        }
    }

    /// The numbers at one scale; the scale that is needed where this one has too few digits, nothing
    /// where too many values have no number at all.
    fn at(scale: Scale, values: &[f64]) -> Result<Self, Option<Scale>> {
        let mut found = Self { scale, numbers: Vec::with_capacity(values.len()), odd: Vec::new() };
        let odd_max = values.len() / 16 + 2;
        let (mut before, mut odd) = (None, 0);
        for (at, &value) in values.iter().enumerate() {
            if let Some(number) = scale.number(value) {
                found.numbers.push(number);
                before = Some(number);
                continue;
            }
            if value.is_finite() {
                if let Some(raised) = scale.raised_for(value) {
                    return Err(Some(raised));
                }
                odd += 1;
            }
            if odd > odd_max || found.odd.len() > odd_max {
                return Err(None);
            }
            found.push_odd(at, value.to_bits());
            found.numbers.push(before.unwrap_or_default());
        }
        found.fill_front();
        Ok(found)
    }

    fn push_odd(&mut self, at: usize, bits: u64) {
        match self.odd.last_mut() {
            Some(last) if last.bits == bits && last.first + last.count == at => last.count += 1,
            _ => self.odd.push(Odd { first: at, count: 1, bits }),
        }
    }

    /// Odd values repeat the number before them; those in front, the number behind them.
    fn fill_front(&mut self) {
        let front = self.odd.iter().scan(0, |end, odd| {
            let joins = odd.first == *end;
            *end += odd.count;
            joins.then_some(*end)
        });
        let front = front.last().unwrap_or_default();
        let first = self.numbers.get(front).copied().unwrap_or_default();
        self.numbers[..front].fill(first);
    }
}

/// Values that are almost whole multiples of a power of ten.
struct Near {
    scale: Scale,
    numbers: Vec<i64>,
    /// How many floats lie between the multiple and the value.
    off: Vec<i64>,
}

impl Near {
    /// The scale at which all values are near, if that is one which spares much.
    fn find(values: &[f64]) -> Option<Self> {
        let some = values.iter().step_by(values.len() / 8 + 1);
        let digits = some.map(|value| Self::digits(*value)).max()??;
        let scale = Scale { digits, times: false };
        let mut found = Self { scale, numbers: Vec::new(), off: Vec::new() };
        for &value in values {
            let (number, off) = Self::at(scale, value)?;
            found.numbers.push(number);
            found.off.push(off);
        }
        Some(found)
    }

    fn digits(value: f64) -> Option<u8> {
        (0..=NEAR_DIGITS_MAX)
            .find(|digits| Self::at(Scale { digits: *digits, times: false }, value).is_some())
    }

    #[expect(clippy::cast_possible_truncation, reason = "whole, and far below 2^63")]
    fn at(scale: Scale, value: f64) -> Option<(i64, i64)> {
        let scaled = value * scale.ten();
        if scaled.is_nan() || scaled.abs() > NEAR_MAX {
            return None;
        }
        let number = ((scaled + ROUNDER) - ROUNDER) as i64;
        let whole = ordered(scale.value(number).to_bits());
        let off = ordered(value.to_bits()).wrapping_sub(whole);
        (off.unsigned_abs() <= OFF_MAX).then_some((number, off))
    }

    fn encode(&self, effort: Effort, out: &mut Vec<u8>) {
        out.push(NEAR | self.scale.digits);
        ints::encode(&self.numbers, effort, out);
        ints::encode(&self.off, effort, out);
    }
}

/// Appends a column of at least one value.
pub(super) fn encode(values: &[f64], effort: Effort, out: &mut Vec<u8>) {
    let Some(found) = Decimals::find(values) else {
        if let Some(near) = Near::find(values) {
            return near.encode(effort, out);
        }
        out.push(BITS);
        let numbers: Vec<i64> = values.iter().map(|value| ordered(value.to_bits())).collect();
        return ints::encode(&numbers, effort, out);
    };
    out.push(found.scale.tag() | if found.odd.is_empty() { 0 } else { ODD });
    if !found.odd.is_empty() {
        put_odd(&found.odd, out);
    }
    ints::encode(&found.numbers, effort, out);
}

/// A float's bits as a number that grows with the float.
fn ordered(bits: u64) -> i64 {
    let bits = bits.cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

fn unordered(number: i64) -> u64 {
    ordered(number.cast_unsigned()).cast_unsigned()
}

fn put_odd(odd: &[Odd], out: &mut Vec<u8>) {
    put_unsigned(odd.len() as u64, out);
    let mut next = 0;
    for &Odd { first, count, bits } in odd {
        put_unsigned((first - next) as u64, out);
        put_unsigned(count as u64, out);
        next = first + count;
        let code = (0..).zip(CODED).find(|(_, coded)| *coded == bits);
        out.push(code.map_or(IN_FULL, |(code, _)| code));
        if code.is_none() {
            out.extend(bits.to_le_bytes());
        }
    }
}

/// Takes a column of as many values as there are samples, at least one.
pub(super) fn decode(bytes: &mut &[u8], samples: &mut [Sample]) -> Result<(), DamagedChunk> {
    let tag = take_byte(bytes)?;
    if tag == BITS {
        return decode_with(bytes, samples, |number| f64::from_bits(unordered(number)));
    }
    if tag & NEAR != 0 {
        return decode_near(bytes, tag & !NEAR, samples);
    }
    if tag & BITS != 0 {
        return Err(DamagedChunk);
    }
    let scale = Scale { digits: tag & DIGITS_MAX, times: tag & TIMES != 0 };
    let list = *bytes;
    if tag & ODD != 0 {
        each_odd(bytes, samples.len(), |_| {})?;
    }
    if scale.digits == 0 {
        decode_with(bytes, samples, |number| number as f64)?;
    } else if scale.times {
        decode_with(bytes, samples, |number| scale.value(number))?;
    } else {
        let ten = scale.ten();
        decode_with(bytes, samples, |number| number as f64 / ten)?;
    }
    if tag & ODD != 0 {
        each_odd(&mut &*list, samples.len(), |odd| {
            for sample in &mut samples[odd.first..odd.first + odd.count] {
                sample.value = f64::from_bits(odd.bits);
            }
        })?;
    }
    Ok(())
}

fn decode_near(bytes: &mut &[u8], digits: u8, samples: &mut [Sample]) -> Result<(), DamagedChunk> {
    let ten = *TENS.get(usize::from(digits)).ok_or(DamagedChunk)?;
    decode_with(bytes, samples, |number| number as f64 / ten)?;
    let count = samples.len();
    let mut places = samples.iter_mut();
    ints::decode(bytes, count, |numbers| {
        for (off, place) in numbers.iter().zip(&mut places) {
            let whole = ordered(place.value.to_bits());
            place.value = f64::from_bits(unordered(whole.wrapping_add(*off)));
        }
    })
}

fn decode_with(
    bytes: &mut &[u8],
    samples: &mut [Sample],
    value: impl Fn(i64) -> f64,
) -> Result<(), DamagedChunk> {
    let count = samples.len();
    let mut places = samples.iter_mut();
    ints::decode(bytes, count, |numbers| {
        // The numbers first: a place taken is a place lost.
        for (number, place) in numbers.iter().zip(&mut places) {
            place.value = value(*number);
        }
    })
}

/// Takes the list of odd values; each lies among the `count` values, after the one before.
fn each_odd(
    bytes: &mut &[u8],
    count: usize,
    mut then: impl FnMut(Odd),
) -> Result<(), DamagedChunk> {
    let mut end = 0;
    for _ in 0..take_count(bytes, count)? {
        let first = end + take_count(bytes, count - end)?;
        let long = take_count(bytes, count - first)?;
        end = first + long;
        let code = take_byte(bytes)?;
        let bits = match CODED.get(usize::from(code)) {
            Some(bits) => *bits,
            None if code == IN_FULL => u64::from_le_bytes(take_array(bytes)?),
            None => return Err(DamagedChunk),
        };
        then(Odd { first, count: long, bits });
    }
    Ok(())
}
