//! Rollups as bytes: a column for the last values, then one for each other number.
//!
//! ```text
//! chunk = 5 × (length as a varint, chunk of samples): last, min, max, sum, count
//! ```
//! All have the times of the rollups. Pure.

use prost::encoding::encode_varint;

use super::{
    super::{
        chunk::{self, DamagedChunk},
        rollup::Rollup,
    },
    bytes::Bytes,
};
use crate::{model::Sample, promql::RollupColumn};

/// The columns in their order.
const COLUMNS: [RollupColumn; 5] = [
    RollupColumn::Last,
    RollupColumn::Min,
    RollupColumn::Max,
    RollupColumn::Sum,
    RollupColumn::Count,
];

fn value(rollup: &Rollup, column: RollupColumn) -> f64 {
    match column {
        RollupColumn::Last => rollup.last,
        RollupColumn::Min => rollup.min,
        RollupColumn::Max => rollup.max,
        RollupColumn::Sum => rollup.sum,
        RollupColumn::Count => rollup.count as f64,
    }
}

/// Encodes rollups in ascending order.
pub(super) fn encode(rollups: &[Rollup]) -> Vec<u8> {
    let mut out = Vec::new();
    for column in COLUMNS {
        let sample = |r: &Rollup| Sample { timestamp: r.time, value: value(r, column) };
        let samples: Vec<Sample> = rollups.iter().map(sample).collect();
        let bytes = chunk::encode(&samples);
        encode_varint(bytes.len() as u64, &mut out);
        out.extend(bytes);
    }
    out
}

fn column(bytes: &mut Bytes<'_>) -> Result<Vec<Sample>, DamagedChunk> {
    chunk::decode(bytes.run().map_err(|_| DamagedChunk)?.0)
}

/// Decodes what [`encode`] wrote.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, as written")]
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Rollup>, DamagedChunk> {
    let mut bytes = Bytes(bytes);
    let mut columns = [const { Vec::new() }; COLUMNS.len()];
    for place in &mut columns {
        *place = column(&mut bytes)?;
    }
    let [last, min, max, sum, count] = &columns;
    if !bytes.is_empty() || columns.iter().any(|column| column.len() != last.len()) {
        return Err(DamagedChunk);
    }
    let rollup = |at: usize| Rollup {
        time: last[at].timestamp,
        last: last[at].value,
        min: min[at].value,
        max: max[at].value,
        sum: sum[at].value,
        count: count[at].value as u64,
    };
    Ok((0..last.len()).map(rollup).collect())
}

/// One column as samples; rollups of markers alone have none but the last value.
pub(super) fn decode_column(
    bytes: &[u8],
    wanted: RollupColumn,
) -> Result<Vec<Sample>, DamagedChunk> {
    let mut bytes = Bytes(bytes);
    let (mut found, mut counts) = (Vec::new(), Vec::new());
    for place in COLUMNS {
        if place == wanted {
            found = column(&mut bytes)?;
        } else if place == RollupColumn::Count && wanted != RollupColumn::Last {
            counts = column(&mut bytes)?;
        } else {
            bytes.run().map_err(|_| DamagedChunk)?;
        }
    }
    match wanted {
        RollupColumn::Last => {}
        RollupColumn::Count => found.retain(|count| count.value > 0.0),
        _ if counts.len() != found.len() => return Err(DamagedChunk),
        _ => {
            let mut counts = counts.iter();
            found.retain(|_| counts.next().is_some_and(|count| count.value > 0.0));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::stale_nan, time::Timestamp};

    fn rollup(time: i64, count: u64) -> Rollup {
        let time = Timestamp::from_millis(time);
        let last = if count == 0 { stale_nan() } else { 3.0 };
        Rollup { time, last, min: -1.5, max: 7.0, sum: 12.25, count }
    }

    #[test]
    fn rollups_come_back_whole_and_by_column() {
        let all: Vec<Rollup> = (0..50).map(|n| rollup(n * 300_000, n.cast_unsigned())).collect();
        let bytes = encode(&all);
        assert_eq!(decode(&bytes).unwrap()[1..], all[1..]);
        for column in COLUMNS {
            let samples = decode_column(&bytes, column).unwrap();
            let skipped = usize::from(column != RollupColumn::Last);
            assert_eq!(samples.len(), 50 - skipped, "{column:?}");
            let found = samples[7 - skipped];
            assert_eq!((found.timestamp, found.value), (all[7].time, value(&all[7], column)));
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = encode(&[rollup(0, 1), rollup(300_000, 2)]);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(DamagedChunk));
        }
    }
}
