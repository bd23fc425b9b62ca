use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    model::{STALE_NAN_BITS, stale_nan},
    promql::RollupColumn,
    store::{
        rollup::{Rollup, roll},
        testing::mix,
    },
};

const START: Timestamp = Timestamp::from_secs(1_790_000_000);
const STEP: Duration = Duration::from_secs(30);

fn samples(pairs: impl IntoIterator<Item = (i64, f64)>) -> Vec<Sample> {
    let sample = |(time, value)| Sample { timestamp: Timestamp::from_millis(time), value };
    pairs.into_iter().map(sample).collect()
}

fn grid(count: i32, value: impl Fn(i32) -> f64) -> Vec<Sample> {
    mix::on_grid((0..count).map(value), START, STEP, usize::MAX)
}

/// Samples as numbers, so that NaNs compare.
fn bits(samples: &[Sample]) -> Vec<(Timestamp, u64)> {
    samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect()
}

fn rollup_bits(rollups: &[Rollup]) -> Vec<(Timestamp, [u64; 5])> {
    let numbers =
        |r: &Rollup| [r.last.to_bits(), r.min.to_bits(), r.max.to_bits(), r.sum.to_bits(), r.count];
    rollups.iter().map(|rollup| (rollup.time, numbers(rollup))).collect()
}

/// Through a chunk, and block by block; gives the length of the chunk.
#[track_caller]
fn check(samples: &[Sample]) -> usize {
    let bytes = encode(samples);
    assert_eq!(bits(&decode(&bytes).unwrap()), bits(samples));
    check_blocks(samples);
    bytes.len()
}

/// Gives the length of all blocks together.
#[track_caller]
fn check_blocks(samples: &[Sample]) -> usize {
    let mut bytes = Vec::new();
    for run in samples.chunks(block::SAMPLES_MAX) {
        let start = bytes.len();
        block::encode(run, &mut bytes);
        let header = block::peek(&bytes[start..]).unwrap();
        let (first, last) = (run[0].timestamp, run[run.len() - 1].timestamp);
        let len = bytes.len() - start;
        assert_eq!(header, block::Header { count: run.len(), first, last, len });
    }
    let (mut rest, mut read) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        block::decode(&mut rest, &mut read).unwrap();
    }
    assert_eq!(bits(&read), bits(samples));
    bytes.len()
}

#[test]
fn every_kind_of_value_comes_back_bit_by_bit() {
    check(&[]);
    check(&samples([(5, 1.5)]));
    check(&grid(300, |i| f64::from(i * 17)));
    check(&grid(300, |i| f64::from(i) / 100.0));
    check(&grid(300, |i| f64::from(i) * 0.001));
    check(&grid(300, |i| f64::from(i).sqrt()));
    check(&grid(300, |i| -f64::from(i).exp()));
    check(&grid(300, |i| f64::from_bits(u64::try_from(i).unwrap())));
    check(&grid(300, |i| if i % 2 == 0 { 0.0 } else { -0.0 }));
    check(&grid(300, |i| if i % 3 == 0 { f64::NAN } else { f64::INFINITY }));
    check(&samples([(i64::MIN, -0.0), (0, f64::NEG_INFINITY), (i64::MAX, f64::NAN)]));
    check(&samples([(1, f64::MAX), (2, f64::MIN), (3, f64::MIN_POSITIVE), (4, 1e300)]));
    check(&samples([(1, 9.3e18), (2, -9.3e18), (3, 9_007_199_254_740_993.0), (4, 0.1)]));
}

#[test]
fn a_constant_costs_next_to_nothing() {
    assert!(check(&grid(2880, |_| 42.5)) < 24);
    assert!(check(&grid(2880, f64::from)) < 24);
    assert!(check(&grid(2880, |_| 1.0 / 3.0)) < 32);
    assert!(check_blocks(&grid(128, |_| 42.5)) < 24);
}

#[test]
fn a_few_markers_do_not_spoil_a_column() {
    let marked = |i: i32, value: f64| if i % 700 == 10 { stale_nan() } else { value };
    assert!(check(&grid(2880, |i| marked(i, 42.5))) < 48);
    assert!(check(&grid(2880, |i| marked(i, f64::from(i) / 100.0))) < 80);
    // Gone for half the time, and not there at first.
    assert!(check(&grid(2880, |i| if i % 1440 < 720 { f64::NAN } else { 7.0 })) < 48);
    // Some values that are no decimals.
    assert!(check(&grid(2880, |i| if i % 700 == 3 { 1.0 / 3.0 } else { 7.0 })) < 100);
}

#[test]
fn one_reset_does_not_widen_a_block() {
    let counter = |i: i32| f64::from(i * 40 + i % 3) - if i >= 77 { 3000.0 } else { 0.0 };
    assert!(check_blocks(&grid(128, counter)) < 80);
    let spike = |i: i32| if i == 50 { 1e9 } else { f64::from(i * i * 31 % 127 % 4) };
    assert!(check_blocks(&grid(128, spike)) < 80);
}

#[test]
fn a_missed_tick_costs_a_few_bytes() {
    let all = grid(240, |_| 1.0);
    let missed: Vec<Sample> =
        all.iter().enumerate().filter(|(at, _)| at % 70 != 69).map(|(_, sample)| *sample).collect();
    assert!(check(&missed) < check(&all) + 20);
}

#[test]
fn late_ticks_cost_what_they_vary() {
    // Up to 8 ms late, each for itself: three bits, and a little for the tables.
    let late = |i: i64| START.as_millis() + i * 30_000 + i * 40_503 % 65_537 % 8;
    let bytes = check(&samples((0..2880).map(|i| (late(i), 1.0))));
    assert!(bytes < 2880 * 7 / 16, "{bytes}");
}

#[test]
fn the_mix_takes_less_than_a_byte_a_sample() {
    let of = |count: usize| {
        let lens = (0..100).map(|series| check(&mix::samples(series, START, STEP, count)));
        lens.sum::<usize>() as f64 / (100 * count) as f64
    };
    let (fresh, daily) = (of(240), of(2880));
    assert!(fresh < 1.08 && daily < 0.96, "{fresh} and {daily} bytes a sample");
}

/// A value as hosts and their worst enemies have them.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-1000..1000_i32).prop_map(f64::from),
        4 => (-100_000..100_000_i32).prop_map(|n| f64::from(n) / 100.0),
        1 => (-100_000..100_000_i32).prop_map(|n| f64::from(n) * 0.001),
        1 => (0..100_000_i32).prop_map(|n| f64::from(n) / 100.0 + 0.1 + 0.2),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => any::<f64>(),
        1 => Just(stale_nan()),
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324,
            f64::from_bits(STALE_NAN_BITS + 1), 1e15, 1e-15, 9_007_199_254_740_993.0, 1e19,
        ]),
    ]
}

/// Columns of one kind of value, of two, or of all.
fn column(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    let rare = (value(), value(), vec(0..40_u8, count.into()))
        .prop_map(|(often, seldom, all)| (often, seldom, all));
    rare.prop_flat_map(|(often, seldom, all)| {
        let two: Vec<f64> =
            all.iter().map(|roll| if *roll == 0 { seldom } else { often }).collect();
        let count = all.len();
        prop_oneof![
            Just(two),
            vec(value(), count),
            vec((0..500_i32).prop_map(|n| f64::from(n) / 10.0), count),
            vec(any::<f64>(), count),
        ]
    })
}

fn times(count: usize) -> impl Strategy<Value = Vec<i64>> {
    let count = i64::try_from(count).unwrap();
    prop_oneof![
        (any::<i32>(), 0..100_000_i64)
            .prop_map(move |(at, step)| (0..count).map(|i| i64::from(at) + i * step).collect()),
        vec(0..20_i64, usize::try_from(count).unwrap())
            .prop_map(|late| (0..).zip(late).map(|(i, late)| i * 15_000 + late).collect()),
        vec(any::<i64>(), usize::try_from(count).unwrap()),
    ]
}

fn any_samples(most: usize) -> impl Strategy<Value = Vec<Sample>> {
    column(0..most).prop_flat_map(|values| {
        times(values.len()).prop_map(move |times| samples(times.into_iter().zip(values.clone())))
    })
}

fn any_rollups() -> impl Strategy<Value = Vec<Rollup>> {
    let rollup = (any::<i64>(), vec(value(), 4), prop_oneof![Just(20), Just(0), any::<u64>()]);
    let wild = vec(rollup, 0..40).prop_map(|all| {
        let rollup = |(time, v, count): (i64, Vec<f64>, u64)| {
            let time = Timestamp::from_millis(time);
            Rollup { time, last: v[0], min: v[1], max: v[2], sum: v[3], count }
        };
        all.into_iter().map(rollup).collect()
    });
    let rolled = any_samples(400).prop_map(|mut samples| {
        samples.sort_by_key(|sample| sample.timestamp);
        let mut rolled = Vec::new();
        roll(&samples, Duration::from_mins(5), &mut rolled);
        rolled
    });
    prop_oneof![wild, rolled]
}

proptest! {
    #[test]
    fn any_samples_come_back(samples in any_samples(600)) {
        check(&samples);
    }

    #[test]
    fn any_rollups_come_back_whole_and_by_column(rollups in any_rollups()) {
        let bytes = rollups::encode(&rollups);
        prop_assert_eq!(rollup_bits(&rollups::decode(&bytes).unwrap()), rollup_bits(&rollups));
        let column = |column: RollupColumn| {
            let mut read = Vec::new();
            rollups::decode_column(&bytes, column, &mut read).unwrap();
            bits(&read)
        };
        let expect = |all: bool, value: fn(&Rollup) -> f64| -> Vec<(Timestamp, u64)> {
            let there = rollups.iter().filter(|rollup| all || rollup.count > 0);
            there.map(|rollup| (rollup.time, value(rollup).to_bits())).collect()
        };
        prop_assert_eq!(column(RollupColumn::Last), expect(true, |r| r.last));
        prop_assert_eq!(column(RollupColumn::Min), expect(false, |r| r.min));
        prop_assert_eq!(column(RollupColumn::Max), expect(false, |r| r.max));
        prop_assert_eq!(column(RollupColumn::Sum), expect(false, |r| r.sum));
        prop_assert_eq!(column(RollupColumn::Count), expect(false, |r| r.count as f64));
    }

    #[test]
    fn any_bytes_are_refused_or_read(form in 0..6_u8, rest in vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![form];
        bytes.extend(rest);
        read_all(&bytes);
    }

    #[test]
    fn what_does_not_decode_leaves_nothing(samples in any_samples(60), at: prop::sample::Index) {
        let bytes = encode(&samples);
        let mut read = vec![Sample { timestamp: START, value: 1.0 }];
        // A chunk that ends too early always shows it.
        prop_assert_eq!(decode_into(&bytes[..at.index(bytes.len())], &mut read), Err(DamagedChunk));
        prop_assert_eq!(read.len(), 1);
    }
}

/// Reads bytes as each form; what comes out is bounded, and nobody panics.
fn read_all(bytes: &[u8]) {
    if let Ok(read) = decode(bytes) {
        assert!(read.len() <= SAMPLES_MAX);
    }
    let mut read = Vec::new();
    let mut rest = bytes;
    let whole = block::decode(&mut rest, &mut read).is_ok();
    assert!(read.len() <= block::SAMPLES_MAX && whole != read.is_empty());
    if let Ok(header) = block::peek(bytes) {
        assert!(header.len <= bytes.len() && (1..=block::SAMPLES_MAX).contains(&header.count));
    }
    if let Ok(rollups) = rollups::decode(bytes) {
        assert!(rollups.len() <= SAMPLES_MAX);
    }
    let _ = rollups::decode_column(bytes, RollupColumn::Sum, &mut read);
}

/// Chunks, blocks and rollups that between them use every way of storing a column.
fn specimens() -> Vec<Vec<u8>> {
    let all = [
        grid(3, f64::from),
        grid(60, |i| f64::from(i * i % 97) / 100.0),
        grid(240, |i| f64::from(i * 7919 % 65_537 % 977 * (i % 13))),
        grid(60, |i| if i == 9 { 1e9 } else { f64::from(i * 7 % 5) }),
        grid(60, |i| f64::from(i * i * i) * 4096e3),
        grid(60, |i| f64::from(i).sin()),
        grid(60, |i| f64::from(i % 7) * 0.1 + 0.2),
        grid(60, |i| if i % 20 == 7 { stale_nan() } else { f64::from(i % 2) }),
        grid(60, |i| if i == 7 { 1.0 / 3.0 } else { 5.0 }),
        samples((0..60).map(|i| (i * 15_000 + i * 7919 % 11, 1.0))),
    ];
    let mut specimens = Vec::new();
    for samples in &all {
        specimens.push(encode(samples));
        specimens.push(Vec::new());
        let some = &samples[..samples.len().min(block::SAMPLES_MAX)];
        block::encode(some, specimens.last_mut().unwrap());
        let mut rolled = Vec::new();
        roll(samples, Duration::from_secs(90), &mut rolled);
        specimens.push(rollups::encode(&rolled));
    }
    specimens
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused_or_read() {
    for specimen in specimens() {
        for cut in 0..specimen.len() {
            read_all(&specimen[..cut]);
        }
        for bit in 0..specimen.len() * 8 {
            let mut flipped = specimen.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read_all(&flipped);
        }
    }
}

#[test]
fn specimens_use_every_storage() {
    let all = specimens();
    let chunks = all.iter().filter(|bytes| bytes[0] == FORM);
    let mut storages: Vec<u8> = chunks.flat_map(|bytes| storages_of(bytes)).collect();
    storages.sort_unstable();
    storages.dedup();
    assert_eq!(storages, [0, 1, 2, 3], "equal, packed, patched, squeezed");
}

/// The storages of a chunk's two columns of whole numbers.
fn storages_of(bytes: &[u8]) -> Vec<u8> {
    let storage = |bytes: &[u8]| bytes[0] >> 2 & 3;
    let mut bytes = &bytes[1..];
    let count = take_count(&mut bytes, SAMPLES_MAX).unwrap();
    let times = storage(bytes);
    read_times(&mut bytes, count, &mut Vec::new()).unwrap();
    let plain = bytes[0] & 0b100_0000 == 0;
    [times].into_iter().chain(plain.then(|| storage(&bytes[1..]))).collect()
}

#[test]
fn no_count_makes_a_chunk_larger_than_the_largest() {
    let mut bytes = vec![FORM];
    put_unsigned(SAMPLES_MAX as u64 + 1, &mut bytes);
    // Times and values that are all alike: nothing in them limits the count.
    bytes.extend([0, 0, 0, 0, 0]);
    assert_eq!(decode(&bytes), Err(DamagedChunk));
    bytes[0] = 4;
    assert_eq!(rollups::decode(&bytes), Err(DamagedChunk));
    let most = encode(&samples((0..65_536).map(|time| (time, 1.0))));
    assert_eq!(decode(&most).unwrap().len(), SAMPLES_MAX);
}

#[test]
fn other_forms_are_refused() {
    let bytes = encode(&grid(3, f64::from));
    for form in (0..=255).filter(|form| *form != FORM) {
        let mut other = bytes.clone();
        other[0] = form;
        assert_eq!(decode(&other), Err(DamagedChunk));
    }
}

/// What the bytes in `testdata` hold.
fn written() -> Vec<Sample> {
    let skewed = |i: i32| f64::from((i * 7919 % 1009).leading_zeros()) / 100.0;
    grid(300, |i| if i == 20 { stale_nan() } else { skewed(i) })
}

#[test]
fn what_was_written_once_is_read_for_good() {
    let unhex = |text: &str| -> Vec<u8> {
        let digits = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    };
    let chunk = unhex(include_str!("testdata/chunk.hex").trim_end());
    assert_eq!(bits(&decode(&chunk).unwrap()), bits(&written()));
    let (mut read, block) = (Vec::new(), unhex(include_str!("testdata/block.hex").trim_end()));
    block::decode(&mut &block[..], &mut read).unwrap();
    assert_eq!(bits(&read), bits(&written()[..128]));
    let mut rolled = Vec::new();
    roll(&written(), Duration::from_mins(5), &mut rolled);
    let rollups = unhex(include_str!("testdata/rollups.hex").trim_end());
    assert_eq!(rollup_bits(&rollups::decode(&rollups).unwrap()), rollup_bits(&rolled));
}
