//! Starts from a log whose samples came in any order.

use super::*;

/// So many that time with their square would be told from time with their number: minutes.
const MANY: u32 = 100_000;

#[test]
fn very_many_samples_that_are_sent_newest_first_are_taken_and_replayed() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let time = |n: u32| START.minus(Duration::from_millis(1) * n);
    let newest_first = |name, numbers: std::ops::Range<u32>| {
        batch(numbers.map(move |n| (name, time(n), f64::from(n % 7))))
    };
    let summary = block(store.append(newest_first("a", 0..MANY))).unwrap();
    assert_eq!(summary.accepted, u64::from(MANY));
    for first in (0..MANY).step_by(5000) {
        block(store.append(newest_first("b", first..first + 5000))).unwrap();
    }
    let again = block(store.append(newest_first("a", 0..1000))).unwrap();
    assert_eq!((again.accepted, again.duplicates), (0, 1000));
    let before = all(&store, Vec::new());
    let oldest_first = |n: u32| Sample { timestamp: time(n), value: f64::from(n % 7) };
    let expected: Vec<Sample> = (0..MANY).rev().map(oldest_first).collect();
    assert!(before.iter().all(|(_, samples)| *samples == expected));
    drop(store);
    let (store, recovery) = fixture.try_open().unwrap();
    assert_eq!((recovery.samples_replayed, before.len()), (2 * u64::from(MANY), 2));
    assert_eq!(all(&store, Vec::new()), before);
}

#[test]
fn a_series_goes_on_from_segment_to_segment() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    // Of another number in each segment, and some of its samples late.
    for minute in 0..300_u32 {
        let names = if minute % 2 == 0 { ["a", "b", "c"] } else { ["c", "a", "b"] };
        let time = START.minus(Duration::from_mins(1) * (300 - (minute ^ 3)));
        block(store.append(batch(names.map(|name| (name, time, f64::from(minute)))))).unwrap();
    }
    let before = all(&store, Vec::new());
    assert!(before.iter().all(|(_, samples)| samples.len() == 300));
    drop(store);
    let segments = wal::segments(&fixture.dir().join(keys::WAL)).unwrap();
    assert!(segments.len() > 3, "{segments:?}");
    let store = fixture.open_breakable(&breakage);
    assert_eq!(all(&store, Vec::new()), before);
    append(&store, "a", START, 1.0);
    assert_eq!(all(&store, Vec::new())[0].1.len(), 301);
}
