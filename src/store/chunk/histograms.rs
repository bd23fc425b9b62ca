//! Chunks of native histograms: a column for each bucket.
//!
//! Histograms that follow each other with the same bounds share their columns; a bucket that one of
//! them has not counts zero there. Buckets of counters rise alike, so that columns stay small.

use std::{collections::BTreeSet, sync::Arc};

pub(in crate::store) use super::ints::Effort;
use super::{
    DamagedChunk,
    bytes::{get_signed, put_signed, put_unsigned, take_array, take_byte, take_count},
    ints, values,
};
use crate::{
    limits,
    model::{Bounds, Bucket, Histogram, HistogramParts, HistogramSample, ResetHint, Sample},
    time::Timestamp,
};

/// The first byte of a chunk of histograms.
const FORM: u8 = 5;
/// The most histograms that a chunk holds: buckets take memory when they are read.
pub(in crate::store) const HISTOGRAMS_MAX: usize = 1024;
/// Columns of buckets that histograms share at most.
const COLUMNS_MAX: usize = 2 * limits::HISTOGRAM_BUCKETS_MAX;

/// Encodes histograms in ascending order of time.
///
/// # Panics
/// Where there are more than [`HISTOGRAMS_MAX`].
pub(in crate::store) fn encode(all: &[HistogramSample], effort: Effort) -> Vec<u8> {
    assert!(all.len() <= HISTOGRAMS_MAX, "{} histograms are too many for a chunk", all.len());
    let mut out = vec![FORM];
    put_unsigned(all.len() as u64, &mut out);
    if all.is_empty() {
        return out;
    }
    let times: Vec<i64> = all.iter().map(|sample| sample.timestamp.as_millis()).collect();
    ints::encode(&times, effort, &mut out);
    let mut rest = all;
    while !rest.is_empty() {
        let columns = Columns::of(rest);
        let (run, after) = rest.split_at(columns.len);
        columns.encode(run, effort, &mut out);
        rest = after;
    }
    out
}

/// The buckets of a run of histograms with the same bounds.
#[derive(Default)]
struct Columns {
    len: usize,
    positive: BTreeSet<i32>,
    negative: BTreeSet<i32>,
}

impl Columns {
    /// Those of the longest run at the beginning.
    fn of(all: &[HistogramSample]) -> Self {
        let mut columns = Self::default();
        for HistogramSample { histogram, .. } in all {
            if !same_bounds(&all[0].histogram, histogram) {
                break;
            }
            let indexes = |buckets: &[Bucket]| buckets.iter().map(|b| b.index).collect::<Vec<_>>();
            let new = |known: &BTreeSet<i32>, buckets: &[Bucket]| {
                buckets.iter().filter(|bucket| !known.contains(&bucket.index)).count()
            };
            let more = new(&columns.positive, &histogram.positive)
                + new(&columns.negative, &histogram.negative);
            if columns.positive.len() + columns.negative.len() + more > COLUMNS_MAX {
                break;
            }
            columns.positive.extend(indexes(&histogram.positive));
            columns.negative.extend(indexes(&histogram.negative));
            columns.len += 1;
        }
        columns
    }

    fn encode(&self, run: &[HistogramSample], effort: Effort, out: &mut Vec<u8>) {
        put_unsigned(run.len() as u64, out);
        put_bounds(&run[0].histogram, out);
        put_indexes(&self.positive, out);
        put_indexes(&self.negative, out);
        let mut column = |value: &dyn Fn(&Histogram) -> f64| {
            let all: Vec<f64> = run.iter().map(|sample| value(&sample.histogram)).collect();
            values::encode(&all, effort, out);
        };
        column(&|histogram| histogram.count);
        column(&|histogram| histogram.sum);
        column(&|histogram| histogram.zero_count);
        self.positive.iter().for_each(|index| column(&|h| count_of(&h.positive, *index)));
        self.negative.iter().for_each(|index| column(&|h| count_of(&h.negative, *index)));
    }
}

fn same_bounds(one: &Histogram, other: &Histogram) -> bool {
    one.bounds == other.bounds
        && one.reset == other.reset
        && one.zero_threshold.to_bits() == other.zero_threshold.to_bits()
}

fn count_of(buckets: &[Bucket], index: i32) -> f64 {
    let found = buckets.binary_search_by_key(&index, |bucket| bucket.index);
    found.map_or(0.0, |at| buckets[at].count)
}

fn put_bounds(histogram: &Histogram, out: &mut Vec<u8>) {
    out.push(match histogram.reset {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::Gauge => 2,
    });
    put_signed(histogram.bounds.schema().into(), out);
    out.extend(histogram.zero_threshold.to_le_bytes());
    let custom = histogram.bounds.custom();
    put_unsigned(custom.len() as u64, out);
    for bound in custom {
        out.extend(bound.to_le_bytes());
    }
}

fn put_indexes(indexes: &BTreeSet<i32>, out: &mut Vec<u8>) {
    put_unsigned(indexes.len() as u64, out);
    let mut before = 0;
    for index in indexes {
        put_signed(i64::from(*index) - before, out);
        before = i64::from(*index);
    }
}

/// Decodes what [`encode`] wrote.
pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Vec<HistogramSample>, DamagedChunk> {
    let bytes = &mut &*bytes;
    if take_byte(bytes)? != FORM {
        return Err(DamagedChunk);
    }
    let count = take_count(bytes, HISTOGRAMS_MAX)?;
    let mut times = Vec::with_capacity(count);
    if count > 0 {
        ints::decode(bytes, count, |some| times.extend_from_slice(some))?;
    }
    let mut histograms = Vec::with_capacity(count);
    while histograms.len() < count {
        decode_run(bytes, count - histograms.len(), &mut histograms)?;
    }
    if !bytes.is_empty() {
        return Err(DamagedChunk);
    }
    let sample = |(time, histogram)| HistogramSample {
        timestamp: Timestamp::from_millis(time),
        histogram: Arc::new(histogram),
    };
    Ok(times.into_iter().zip(histograms).map(sample).collect())
}

fn decode_run(
    bytes: &mut &[u8],
    count_max: usize,
    out: &mut Vec<Histogram>,
) -> Result<(), DamagedChunk> {
    let count = take_count(bytes, count_max)?;
    if count == 0 {
        return Err(DamagedChunk);
    }
    let mut all = vec![take_bounds(bytes)?; count];
    let positive = take_indexes(bytes)?;
    let negative = take_indexes(bytes)?;
    let mut column = vec![Sample { timestamp: Timestamp::default(), value: 0.0 }; count];
    let mut read = |put: &mut dyn FnMut(&mut HistogramParts, f64)| {
        values::decode(bytes, &mut column)?;
        all.iter_mut().zip(&column).for_each(|(parts, sample)| put(parts, sample.value));
        Ok(())
    };
    read(&mut |parts, value| parts.count = value)?;
    read(&mut |parts, value| parts.sum = value)?;
    read(&mut |parts, value| parts.zero_count = value)?;
    for index in positive {
        read(&mut |parts, count| put_bucket(&mut parts.positive, Bucket { index, count }))?;
    }
    for index in negative {
        read(&mut |parts, count| put_bucket(&mut parts.negative, Bucket { index, count }))?;
    }
    for parts in all {
        out.push(Histogram::new(parts).map_err(|_| DamagedChunk)?);
    }
    Ok(())
}

fn put_bucket(buckets: &mut Vec<Bucket>, bucket: Bucket) {
    // Whoever has no such bucket counts zero there; anything else is for the histogram to judge.
    if bucket.count != 0.0 {
        buckets.push(bucket);
    }
}

fn take_bounds(bytes: &mut &[u8]) -> Result<HistogramParts, DamagedChunk> {
    let reset = match take_byte(bytes)? {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::Gauge,
        _ => return Err(DamagedChunk),
    };
    let schema = i32::try_from(get_signed(bytes)?).map_err(|_| DamagedChunk)?;
    let zero_threshold = f64::from_le_bytes(take_array(bytes)?);
    let count = take_count(bytes, limits::HISTOGRAM_BUCKETS_MAX)?;
    let custom = (0..count).map(|_| take_array(bytes).map(f64::from_le_bytes));
    let bounds = Bounds::of(schema, &custom.collect::<Result<Vec<f64>, _>>()?);
    let bounds = bounds.map_err(|_| DamagedChunk)?;
    Ok(HistogramParts { zero_threshold, bounds, reset, ..HistogramParts::default() })
}

fn take_indexes(bytes: &mut &[u8]) -> Result<Vec<i32>, DamagedChunk> {
    let count = take_count(bytes, COLUMNS_MAX)?;
    let mut before = 0_i64;
    let next = |_| {
        before = before.wrapping_add(get_signed(bytes)?);
        i32::try_from(before).map_err(|_| DamagedChunk)
    };
    (0..count).map(next).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;
    use crate::store::testing::histograms::{latencies, of_all_sorts};

    #[test]
    fn buckets_of_a_counter_take_about_a_byte_each() {
        let all = latencies(480);
        let columns = all.last().unwrap().histogram.positive.len() + 3;
        let len = encode(&all, Effort::Thorough).len();
        assert!(columns > 20 && len < 480 * columns, "{len} bytes, {columns} columns");
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(seed: u64, quick: bool) {
            let effort = if quick { Effort::Quick } else { Effort::Thorough };
            let all = of_all_sorts(seed, 40);
            prop_assert_eq!(decode(&encode(&all, effort)), Ok(all));
        }

        #[test]
        fn damaged_chunks_are_refused_or_read(
            seed: u64, at: prop::sample::Index, bit in 0_u8..8, cut: prop::sample::Index,
        ) {
            let mut bytes = encode(&of_all_sorts(seed, 20), Effort::Thorough);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = decode(&bytes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(rest in collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&[&[FORM][..], &rest].concat());
        }
    }
}
