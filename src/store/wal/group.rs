//! What a frame of a segment holds: one group of commits.
//!
//! Series that the segment has not named before, then samples, then changes of the small state. A
//! sample is about five bytes: the distance of its series' number and of its time from those of the
//! sample before, and its value as a varint where it is a whole number or a number of hundredths. The
//! layout stands in `docs/format/wal.md`.

use prost::encoding::{decode_varint, encode_varint};

use crate::{
    limits,
    model::{HistogramSample, Labels, Sample},
    store::{
        chunk::histograms::{self, Effort},
        record::{BadRecord, ChangeRecord},
    },
    time::Timestamp,
};

/// Forms of a value, in the lowest two bits of its varint.
const WHOLE: u64 = 0;
const HUNDREDTHS: u64 = 1;
const BITS: u64 = 2;
const HISTOGRAM: u64 = 3;
/// Whole numbers up to here are exact.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A group in the making.
#[derive(Debug, Default)]
pub(in crate::store) struct Group {
    series: Section,
    samples: Section,
    changes: Section,
    last_id: u32,
    last_time: i64,
}

#[derive(Debug, Default)]
struct Section {
    count: u64,
    bytes: Vec<u8>,
}

impl Section {
    fn write(&self, out: &mut Vec<u8>) {
        encode_varint(self.count, out);
        out.extend(&self.bytes);
    }
}

impl Group {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.samples.count + self.series.count + self.changes.count == 0
    }

    /// Names a series for the rest of the segment.
    pub(in crate::store) fn name(&mut self, id: u32, labels: &Labels) {
        self.series.count += 1;
        encode_varint(id.into(), &mut self.series.bytes);
        put_labels(labels, &mut self.series.bytes);
    }

    pub(in crate::store) fn sample(&mut self, id: u32, sample: Sample) {
        self.place(id, sample.timestamp);
        put_value(sample.value, &mut self.samples.bytes);
    }

    pub(in crate::store) fn histogram(&mut self, id: u32, sample: &HistogramSample) {
        self.place(id, sample.timestamp);
        let out = &mut self.samples.bytes;
        encode_varint(HISTOGRAM, out);
        let chunk = histograms::encode(std::slice::from_ref(sample), Effort::Quick);
        encode_varint(chunk.len() as u64, out);
        out.extend(chunk);
    }

    /// Says of which series a sample is, and when.
    fn place(&mut self, id: u32, time: Timestamp) {
        let out = &mut self.samples.bytes;
        self.samples.count += 1;
        let time = time.as_millis();
        let step = zigzag(i64::from(id) - i64::from(self.last_id));
        let same_time = time == self.last_time;
        encode_varint(step << 1 | u64::from(!same_time), out);
        if !same_time {
            encode_varint(zigzag(time.wrapping_sub(self.last_time)), out);
        }
        (self.last_id, self.last_time) = (id, time);
    }

    pub(in crate::store) fn change(&mut self, change: &ChangeRecord) {
        self.changes.count += 1;
        put_message(change, &mut self.changes.bytes);
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.series.bytes.len() + self.samples.bytes.len() + self.changes.bytes.len());
        for part in [&self.series, &self.samples, &self.changes] {
            part.write(out);
        }
    }
}

/// What becomes of a group that is read again.
pub(in crate::store) trait Replay {
    fn series(&mut self, id: u32, labels: Labels) -> Result<(), BadRecord>;
    fn sample(&mut self, id: u32, sample: Sample);
    fn histogram(&mut self, id: u32, sample: HistogramSample);
    fn change(&mut self, change: &ChangeRecord) -> Result<(), BadRecord>;
}

/// Hands the parts of a group on in order.
pub(in crate::store) fn read<R: Replay>(mut bytes: &[u8], replay: &mut R) -> Result<(), BadRecord> {
    let bytes = &mut bytes;
    for _ in 0..varint(bytes)? {
        let id = u32::try_from(varint(bytes)?).map_err(|_| BadRecord("number of a series"))?;
        replay.series(id, get_labels(bytes)?)?;
    }
    read_samples(bytes, replay)?;
    for _ in 0..varint(bytes)? {
        replay.change(&get_message(bytes)?)?;
    }
    if bytes.is_empty() { Ok(()) } else { Err(BadRecord("group of commits")) }
}

fn read_samples<R: Replay>(bytes: &mut &[u8], replay: &mut R) -> Result<(), BadRecord> {
    let (mut id, mut time) = (0_i64, 0_i64);
    for _ in 0..varint(bytes)? {
        let head = varint(bytes)?;
        id = id.wrapping_add(unzigzag(head >> 1));
        if head & 1 == 1 {
            time = time.wrapping_add(unzigzag(varint(bytes)?));
        }
        let id = u32::try_from(id).map_err(|_| BadRecord("number of a series"))?;
        let timestamp = Timestamp::from_millis(time);
        match get_value(bytes)? {
            Value::Float(value) => replay.sample(id, Sample { timestamp, value }),
            Value::Histogram(sample) if sample.timestamp == timestamp => {
                replay.histogram(id, sample);
            }
            Value::Histogram(_) => return Err(BadRecord("time of a histogram")),
        }
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "checked against WHOLE_MAX")]
fn whole(value: f64, scale: f64) -> Option<i64> {
    let scaled = (value * scale).round();
    // By way of the integer, as reading does it: that also sends -0 to the other form.
    let whole = scaled as i64;
    let fits = scaled.abs() <= WHOLE_MAX && (whole as f64 / scale).to_bits() == value.to_bits();
    fits.then_some(whole)
}

fn put_value(value: f64, out: &mut Vec<u8>) {
    if let Some(whole) = whole(value, 1.0) {
        encode_varint(zigzag(whole) << 2 | WHOLE, out);
    } else if let Some(hundredths) = whole(value, 100.0) {
        encode_varint(zigzag(hundredths) << 2 | HUNDREDTHS, out);
    } else {
        encode_varint(BITS, out);
        out.extend(value.to_bits().to_le_bytes());
    }
}

/// A value that is read again.
enum Value {
    Float(f64),
    Histogram(HistogramSample),
}

#[inline]
fn get_value(bytes: &mut &[u8]) -> Result<Value, BadRecord> {
    let head = varint(bytes)?;
    match head & 3 {
        WHOLE => Ok(Value::Float(unzigzag(head >> 2) as f64)),
        HUNDREDTHS => Ok(Value::Float(unzigzag(head >> 2) as f64 / 100.0)),
        BITS => {
            let (bits, rest) = bytes.split_first_chunk().ok_or(BadRecord("value"))?;
            *bytes = rest;
            Ok(Value::Float(f64::from_bits(u64::from_le_bytes(*bits))))
        }
        _ => get_histogram(bytes).map(Value::Histogram),
    }
}

fn get_histogram(bytes: &mut &[u8]) -> Result<HistogramSample, BadRecord> {
    let mut samples = get_histograms(bytes)?.into_iter();
    let one = samples.next().filter(|_| samples.next().is_none());
    one.ok_or(BadRecord("histogram"))
}

/// How many bytes, then a chunk of histograms.
pub(super) fn get_histograms(bytes: &mut &[u8]) -> Result<Vec<HistogramSample>, BadRecord> {
    histograms::decode(get_bytes(bytes)?).map_err(|_| BadRecord("histogram"))
}

/// How many labels, then their names and values.
pub(super) fn put_labels(labels: &Labels, out: &mut Vec<u8>) {
    encode_varint(labels.len() as u64, out);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        encode_varint(text.len() as u64, out);
        out.extend(text.as_bytes());
    }
}

pub(super) fn get_labels(bytes: &mut &[u8]) -> Result<Labels, BadRecord> {
    let count = varint(bytes)?;
    if count > limits::LABELS_MAX as u64 {
        return Err(BadRecord("label set"));
    }
    let pairs: Result<Vec<(&str, &str)>, BadRecord> =
        (0..count).map(|_| Ok((text(bytes)?, text(bytes)?))).collect();
    let pairs = pairs?;
    let sorted = pairs.windows(2).all(|two| two[0].0 < two[1].0);
    if sorted { Ok(Labels::from_sorted(&pairs)) } else { Err(BadRecord("label set")) }
}

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, BadRecord> {
    std::str::from_utf8(get_bytes(bytes)?).map_err(|_| BadRecord("label"))
}

/// How many bytes, then those.
pub(super) fn get_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], BadRecord> {
    let len = usize::try_from(varint(bytes)?).map_err(|_| BadRecord("length"))?;
    let (found, rest) = bytes.split_at_checked(len).ok_or(BadRecord("length"))?;
    *bytes = rest;
    Ok(found)
}

pub(super) fn put_message(message: &impl prost::Message, out: &mut Vec<u8>) {
    encode_varint(message.encoded_len() as u64, out);
    message.encode(out).expect("a vector grows");
}

pub(super) fn get_message<M: prost::Message + Default>(bytes: &mut &[u8]) -> Result<M, BadRecord> {
    M::decode(get_bytes(bytes)?).map_err(|_| BadRecord("record"))
}

pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, BadRecord> {
    // Most are distances, of one byte.
    if let [byte @ ..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok((*byte).into());
    }
    if let Some((value, len)) = bytes.first_chunk().and_then(|word| short_varint(*word)) {
        *bytes = &bytes[len..];
        return Ok(value);
    }
    decode_varint(bytes).map_err(|_| BadRecord("number"))
}

/// The varint that these bytes begin with, if it ends among them, and how many it takes. All at once:
/// values are of any length, and byte by byte the processor would guess wrong at each.
fn short_varint(bytes: [u8; 8]) -> Option<(u64, usize)> {
    let word = u64::from_le_bytes(bytes);
    // The high bit of each byte that none follows; the lowest is the one that counts.
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return None;
    }
    let sevens = word & (ends ^ (ends - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
    let close = |word: u64, mask: u64, by: u32| word & mask | (word & !mask) >> by;
    let fourteens = close(sevens, 0x007f_007f_007f_007f, 1);
    let twenty_eights = close(fourteens, 0x0000_3fff_0000_3fff, 2);
    let value = close(twenty_eights, 0x0fff_ffff, 4);
    Some((value, ends.trailing_zeros() as usize / 8 + 1))
}

/// Small numbers of both signs as small numbers.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::testing::histograms::of_all_sorts;

    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        series: Vec<(u32, Labels)>,
        samples: Vec<(u32, i64, u64)>,
        histograms: Vec<(u32, HistogramSample)>,
        changes: Vec<ChangeRecord>,
    }

    impl Replay for Seen {
        fn series(&mut self, id: u32, labels: Labels) -> Result<(), BadRecord> {
            self.series.push((id, labels));
            Ok(())
        }

        fn sample(&mut self, id: u32, sample: Sample) {
            self.samples.push((id, sample.timestamp.as_millis(), sample.value.to_bits()));
        }

        fn histogram(&mut self, id: u32, sample: HistogramSample) {
            self.histograms.push((id, sample));
        }

        fn change(&mut self, change: &ChangeRecord) -> Result<(), BadRecord> {
            self.changes.push(change.clone());
            Ok(())
        }
    }

    fn bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (-1_000_000_000_i64..1_000_000_000).prop_map(|n| (n as f64).to_bits()),
            (-1_000_000_i64..1_000_000).prop_map(|n| (n as f64 / 100.0).to_bits()),
            prop::sample::select(vec![
                (-0.0_f64).to_bits(),
                crate::model::STALE_NAN_BITS,
                f64::INFINITY.to_bits(),
                WHOLE_MAX.to_bits(),
                1,
            ]),
        ]
    }

    fn seen() -> impl Strategy<Value = Seen> {
        let name = |n: u32| (n, Labels::of("m", [("n", &n.to_string())]));
        let series = prop::collection::vec(any::<u32>().prop_map(name), 0..5);
        let samples = prop::collection::vec((any::<u32>(), any::<i64>(), bits()), 0..50);
        let change = |sequence| ChangeRecord { sequence, kind: None };
        let changes = prop::collection::vec(any::<u64>().prop_map(change), 0..5);
        let histograms = any::<u64>()
            .prop_map(|seed| of_all_sorts(seed, 5).into_iter().map(|sample| (3, sample)).collect());
        (series, samples, histograms, changes).prop_map(|(series, samples, histograms, changes)| {
            Seen { series, samples, histograms, changes }
        })
    }

    fn written(seen: &Seen) -> Vec<u8> {
        let mut group = Group::default();
        seen.series.iter().for_each(|(id, labels)| group.name(*id, labels));
        for (id, time, bits) in &seen.samples {
            let timestamp = Timestamp::from_millis(*time);
            group.sample(*id, Sample { timestamp, value: f64::from_bits(*bits) });
        }
        seen.histograms.iter().for_each(|(id, sample)| group.histogram(*id, sample));
        seen.changes.iter().for_each(|change| group.change(change));
        let mut out = Vec::new();
        group.write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(expected in seen()) {
            let mut seen = Seen::default();
            read(&written(&expected), &mut seen).unwrap();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn what_is_cut_short_is_an_error(expected in seen(), cut in any::<prop::sample::Index>()) {
            let bytes = written(&expected);
            let cut = cut.index(bytes.len());
            prop_assert!(read(&bytes[..cut], &mut Seen::default()).is_err());
        }

        #[test]
        fn varints_are_read_as_protobuf_reads_them(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80_u8..], 0..14),
        ) {
            let (mut ours, mut theirs) = (&bytes[..], &bytes[..]);
            let (value, expected) = (varint(&mut ours).ok(), decode_varint(&mut theirs).ok());
            prop_assert_eq!(value, expected);
            prop_assert!(value.is_none() || ours == theirs);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, &mut Seen::default());
        }
    }

    #[test]
    fn samples_of_one_pass_take_few_bytes() {
        let mut group = Group::default();
        for id in 0..1000 {
            let timestamp = Timestamp::from_secs(1_700_000_000);
            group.sample(id, Sample { timestamp, value: f64::from(id * 1000) });
        }
        assert!(group.samples.bytes.len() < 5000, "{}", group.samples.bytes.len());
    }
}
