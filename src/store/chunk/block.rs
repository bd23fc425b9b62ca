//! Blocks of samples: bit-packed, cheap to write and to read, for what stays in memory.
//!
//! A block tells its own length, so that blocks can stand one behind another, and what it holds
//! without being read.

use super::{
    DamagedChunk, all_or_nothing,
    bytes::{get_signed, get_unsigned, put_signed, put_unsigned, take, take_array, take_byte},
    ints::{self, Effort},
    values,
};
use crate::{model::Sample, time::Timestamp};

/// The most samples that a block holds.
pub(in crate::store) const SAMPLES_MAX: usize = 128;

/// The first byte of a block whose times are equally far apart, so that the first and the last tell
/// the others.
const REGULAR: u8 = 2;
/// The first byte of a block with a column of times.
const IRREGULAR: u8 = 3;

/// What a block tells without being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Header {
    /// How many samples it holds; at least one.
    pub(in crate::store) count: usize,
    /// The time of the first.
    pub(in crate::store) first: Timestamp,
    /// The time of the last.
    pub(in crate::store) last: Timestamp,
    /// How many bytes the block takes, header included.
    pub(in crate::store) len: usize,
}

/// Appends one block of 1 to [`SAMPLES_MAX`] samples in ascending order.
///
/// # Panics
/// Where there are none, or too many.
pub(in crate::store) fn encode(samples: &[Sample], out: &mut Vec<u8>) {
    let count = samples.len();
    assert!((1..=SAMPLES_MAX).contains(&count), "{count} samples are no block");
    let time = |at: usize| samples[at].timestamp.as_millis();
    let (first, span) = (time(0), time(count - 1).wrapping_sub(time(0)));
    let step = step(span, count);
    let regular = step.is_some_and(|step| {
        let mut due = first;
        samples.iter().all(|sample| {
            let fits = sample.timestamp.as_millis() == due;
            due = due.wrapping_add(step);
            fits
        })
    });
    out.push(if regular { REGULAR } else { IRREGULAR });
    out.push(u8::try_from(count).unwrap_or_default());
    let len_at = out.len();
    out.extend([0; 2]);
    put_signed(first, out);
    put_unsigned(span.cast_unsigned(), out);
    if !regular {
        let times: Vec<i64> = (0..count).map(|at| time(at).wrapping_sub(first)).collect();
        ints::encode(&times, Effort::Quick, out);
    }
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    values::encode(&values, Effort::Quick, out);
    let len = u16::try_from(out.len() - len_at - 2).expect("128 samples take a few thousand bytes");
    out[len_at..len_at + 2].copy_from_slice(&len.to_le_bytes());
}

/// How far apart regular times are; `None` where they cannot be.
fn step(span: i64, count: usize) -> Option<i64> {
    let steps = i64::try_from(count).ok()? - 1;
    match steps {
        0 => Some(0),
        _ => (span % steps == 0).then_some(span / steps),
    }
}

/// Reads what a block tells of itself.
pub(in crate::store) fn peek(bytes: &[u8]) -> Result<Header, DamagedChunk> {
    let bytes = &mut &*bytes;
    let whole = *bytes;
    let (_, count, mut body) = open(bytes)?;
    let (first, span) = (get_signed(&mut body)?, get_unsigned(&mut body)?);
    Ok(Header {
        count,
        first: Timestamp::from_millis(first),
        last: Timestamp::from_millis(first.wrapping_add(span.cast_signed())),
        len: whole.len() - bytes.len(),
    })
}

/// Takes a block: its form, how many samples it holds, and the rest of it.
fn open<'a>(bytes: &mut &'a [u8]) -> Result<(u8, usize, &'a [u8]), DamagedChunk> {
    let form = take_byte(bytes)?;
    let count = usize::from(take_byte(bytes)?);
    let len = u16::from_le_bytes(take_array(bytes)?);
    let body = take(bytes, usize::from(len))?;
    let known = matches!(form, REGULAR | IRREGULAR) && (1..=SAMPLES_MAX).contains(&count);
    if known { Ok((form, count, body)) } else { Err(DamagedChunk) }
}

/// Takes one block and appends its samples; none where it is damaged.
pub(in crate::store) fn decode(
    bytes: &mut &[u8],
    out: &mut Vec<Sample>,
) -> Result<(), DamagedChunk> {
    let (form, count, mut body) = open(bytes)?;
    let body = &mut body;
    let (first, span) = (get_signed(body)?, get_unsigned(body)?.cast_signed());
    all_or_nothing(out, |out| {
        out.reserve(count);
        let sample = |time: i64| Sample { timestamp: Timestamp::from_millis(time), value: 0.0 };
        if form == REGULAR {
            let step = step(span, count).ok_or(DamagedChunk)?;
            let mut time = first.wrapping_sub(step);
            out.extend((0..count).map(|_| {
                time = time.wrapping_add(step);
                sample(time)
            }));
        } else {
            ints::decode(body, count, |times| {
                out.extend(times.iter().map(|time| sample(first.wrapping_add(*time))));
            })?;
        }
        let start = out.len() - count;
        values::decode(body, &mut out[start..])?;
        if body.is_empty() { Ok(()) } else { Err(DamagedChunk) }
    })
}
