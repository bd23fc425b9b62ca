//! Chunks of rollups: a column for each number, so that a query reads the one it wants.

use super::{
    DamagedChunk, SAMPLES_MAX, all_or_nothing,
    bytes::{put_unsigned, take, take_byte, take_count},
    ints::{self, Effort},
    read_times, values,
};
use crate::{model::Sample, promql::RollupColumn, store::rollup::Rollup};

/// The first byte of a chunk of rollups.
const FORM: u8 = 4;

/// How a column of values is told: by itself,
const OWN: u8 = 0;
/// as that of the last values,
const LAST: u8 = 1;
/// or as the last value times the count.
const LAST_TIMES_COUNT: u8 = 2;

/// Encodes rollups in ascending order.
///
/// # Panics
/// Where there are more than [`SAMPLES_MAX`].
pub(in crate::store) fn encode(rollups: &[Rollup]) -> Vec<u8> {
    assert!(rollups.len() <= SAMPLES_MAX, "{} rollups are too many for a chunk", rollups.len());
    let mut out = Vec::with_capacity(64 + 4 * rollups.len());
    out.push(FORM);
    put_unsigned(rollups.len() as u64, &mut out);
    if rollups.is_empty() {
        return out;
    }
    let times: Vec<i64> = rollups.iter().map(|rollup| rollup.time.as_millis()).collect();
    ints::encode(&times, Effort::Thorough, &mut out);
    let counts: Vec<i64> = rollups.iter().map(|rollup| rollup.count.cast_signed()).collect();
    put_column(&mut out, |column| ints::encode(&counts, Effort::Thorough, column));
    let last = values_of(rollups, |rollup| rollup.last);
    put_column(&mut out, |column| values::encode(&last, Effort::Thorough, column));
    let product = values_of(rollups, last_times_count);
    let told = [(LAST, &last), (LAST_TIMES_COUNT, &product)];
    for own in [|r: &Rollup| r.min, |r: &Rollup| r.max, |r: &Rollup| r.sum] {
        put_values(&values_of(rollups, own), told, &mut out);
    }
    out
}

fn values_of(rollups: &[Rollup], value: impl Fn(&Rollup) -> f64) -> Vec<f64> {
    rollups.iter().map(value).collect()
}

fn last_times_count(rollup: &Rollup) -> f64 {
    rollup.last * rollup.count as f64
}

/// Appends a column with its length before it.
fn put_column(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut column = Vec::new();
    write(&mut column);
    put_unsigned(column.len() as u64, out);
    out.append(&mut column);
}

/// Appends a column of values by what they are told by, where other columns tell them.
fn put_values(values: &[f64], told: [(u8, &Vec<f64>); 2], out: &mut Vec<u8>) {
    let same = |other: &[f64]| values.iter().zip(other).all(|(a, b)| a.to_bits() == b.to_bits());
    put_column(out, |column| {
        if let Some((how, _)) = told.iter().find(|(_, other)| same(other)) {
            column.push(*how);
        } else {
            column.push(OWN);
            values::encode(values, Effort::Thorough, column);
        }
    });
}

/// A chunk's columns, not yet read.
struct Columns<'a> {
    count: usize,
    counts: &'a [u8],
    last: &'a [u8],
    /// Lowest, highest, sum.
    others: [&'a [u8]; 3],
}

impl<'a> Columns<'a> {
    /// Reads the times into `out` and finds the others.
    fn open(bytes: &'a [u8], out: &mut Vec<Sample>) -> Result<Option<Self>, DamagedChunk> {
        let bytes = &mut &*bytes;
        if take_byte(bytes)? != FORM {
            return Err(DamagedChunk);
        }
        let count = take_count(bytes, SAMPLES_MAX)?;
        if count == 0 {
            return if bytes.is_empty() { Ok(None) } else { Err(DamagedChunk) };
        }
        read_times(bytes, count, out)?;
        let mut column = || {
            let len = take_count(bytes, bytes.len())?;
            take(bytes, len)
        };
        let (counts, last) = (column()?, column()?);
        let others = [column()?, column()?, column()?];
        if bytes.is_empty() {
            Ok(Some(Self { count, counts, last, others }))
        } else {
            Err(DamagedChunk)
        }
    }

    fn counts(&self) -> Result<Vec<u64>, DamagedChunk> {
        let mut counts = Vec::with_capacity(self.count);
        let bytes = &mut &*self.counts;
        ints::decode(bytes, self.count, |numbers| {
            counts.extend(numbers.iter().map(|number| number.cast_unsigned()));
        })?;
        if bytes.is_empty() { Ok(counts) } else { Err(DamagedChunk) }
    }

    fn last(&self, samples: &mut [Sample]) -> Result<(), DamagedChunk> {
        read_values(self.last, samples)
    }

    /// Reads one of the other columns into samples.
    fn other(
        &self,
        which: usize,
        counts: &[u64],
        samples: &mut [Sample],
    ) -> Result<(), DamagedChunk> {
        let bytes = &mut &*self.others[which];
        let how = take_byte(bytes)?;
        match how {
            OWN => return read_values(bytes, samples),
            LAST | LAST_TIMES_COUNT if bytes.is_empty() => self.last(samples)?,
            _ => return Err(DamagedChunk),
        }
        if how == LAST_TIMES_COUNT {
            for (sample, count) in samples.iter_mut().zip(counts) {
                sample.value *= *count as f64;
            }
        }
        Ok(())
    }
}

fn read_values(mut bytes: &[u8], samples: &mut [Sample]) -> Result<(), DamagedChunk> {
    values::decode(&mut bytes, samples)?;
    if bytes.is_empty() { Ok(()) } else { Err(DamagedChunk) }
}

/// Decodes what [`encode`] wrote.
pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Vec<Rollup>, DamagedChunk> {
    let mut samples = Vec::new();
    let Some(columns) = Columns::open(bytes, &mut samples)? else { return Ok(Vec::new()) };
    let counts = columns.counts()?;
    columns.last(&mut samples)?;
    let rollup = |(sample, count): (&Sample, &u64)| Rollup {
        time: sample.timestamp,
        last: sample.value,
        min: 0.0,
        max: 0.0,
        sum: 0.0,
        count: *count,
    };
    let mut rollups: Vec<Rollup> = samples.iter().zip(&counts).map(rollup).collect();
    let put = [
        |rollup: &mut Rollup, value| rollup.min = value,
        |rollup: &mut Rollup, value| rollup.max = value,
        |rollup: &mut Rollup, value| rollup.sum = value,
    ];
    for (which, put) in put.into_iter().enumerate() {
        columns.other(which, &counts, &mut samples)?;
        for (rollup, sample) in rollups.iter_mut().zip(&samples) {
            put(rollup, sample.value);
        }
    }
    Ok(rollups)
}

/// Decodes the times and one column, and appends them as samples; none where the bytes are damaged.
/// Stretches without a value are left out, save under [`RollupColumn::Last`].
pub(in crate::store) fn decode_column(
    bytes: &[u8],
    column: RollupColumn,
    out: &mut Vec<Sample>,
) -> Result<(), DamagedChunk> {
    let start = out.len();
    all_or_nothing(out, |out| {
        let Some(columns) = Columns::open(bytes, out)? else { return Ok(()) };
        let samples = &mut out[start..];
        if column == RollupColumn::Last {
            return columns.last(samples);
        }
        let counts = columns.counts()?;
        match column {
            RollupColumn::Min => columns.other(0, &counts, samples)?,
            RollupColumn::Max => columns.other(1, &counts, samples)?,
            RollupColumn::Sum => columns.other(2, &counts, samples)?,
            RollupColumn::Count | RollupColumn::Last => {
                for (sample, count) in samples.iter_mut().zip(&counts) {
                    sample.value = *count as f64;
                }
            }
        }
        keep_counted(&counts, start, out);
        Ok(())
    })
}

/// Takes out the samples behind `start` whose count is zero.
fn keep_counted(counts: &[u64], start: usize, out: &mut Vec<Sample>) {
    let mut kept = start;
    for (at, _) in (start..).zip(counts).filter(|(_, count)| **count > 0) {
        out[kept] = out[at];
        kept += 1;
    }
    out.truncate(kept);
}
