//! What the head promises, one series at a time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{model::Sample, store::chunk::block};

const HOUR: Duration = Duration::from_hours(1);
const ALWAYS: Epoch = Epoch::MAX;
const OPEN: Bounds = Bounds {
    oldest: Timestamp::from_millis(i64::MIN),
    floor: Timestamp::from_millis(i64::MIN),
    latest: Timestamp::from_millis(i64::MAX),
    window: Duration::from_hours(2),
};

/// Puts a sample in as the committer does, and settles what every reader sees.
fn put_at(head: &Head, epoch: Epoch, seconds: i64, value: f64, bounds: &Bounds) -> Admission {
    let series = head.find_or_make(&Labels::of("up", [])).unwrap();
    let sample = Sample { timestamp: Timestamp::from_secs(seconds), value };
    let admission = series.lock().append_live(sample, epoch, bounds).unwrap();
    series.lock().settle(head.epochs.seen_by_all(epoch));
    admission
}

fn put(head: &Head, seconds: i64, value: f64) -> Admission {
    put_at(head, 1, seconds, value, &OPEN)
}

fn seconds_at(head: &Head, epoch: Epoch) -> Vec<i64> {
    let mut out = Vec::new();
    for series in head.all() {
        series.view(epoch, OPEN.floor, OPEN.latest).read(OPEN.floor, OPEN.latest, &mut out);
    }
    out.iter().map(|sample| sample.timestamp.as_millis() / 1000).collect()
}

fn seconds(head: &Head) -> Vec<i64> {
    seconds_at(head, ALWAYS)
}

#[test]
fn late_samples_find_their_place_and_later_ones_are_refused() {
    let head = Head::new(10);
    for second in (0..400).step_by(2) {
        assert_eq!(put(&head, second * 30, 1.0), Admission::Accepted);
    }
    for second in (201..399).step_by(2) {
        assert_eq!(put(&head, second * 30, 1.0), Admission::Accepted);
    }
    assert!(seconds(&head).is_sorted());
    assert_eq!(seconds(&head).len(), 200 + 99);
    let late = Refusal::Late(Timestamp::from_secs(101 * 30), 2 * HOUR);
    assert_eq!(put(&head, 101 * 30, 1.0), Admission::Refused(late));
}

#[test]
fn whether_there_is_anything_is_told_as_reading_tells_it() {
    let head = Head::new(10);
    // Two stretches with a gap between them and within each step.
    for second in (0..3000).step_by(10).chain((9000..9400).step_by(10)) {
        put(&head, second, 1.0);
    }
    let series = &head.all()[0];
    let mut told = [0, 0];
    for start in -15..9500 {
        for length in [0, 3, 9, 700] {
            let range = (Timestamp::from_secs(start), Timestamp::from_secs(start + length));
            let view = series.view(ALWAYS, range.0, range.1);
            let mut read = Vec::new();
            view.read(range.0, range.1, &mut read);
            assert_eq!(view.has_any(range.0, range.1), !read.is_empty(), "{range:?}");
            told[usize::from(read.is_empty())] += 1;
        }
    }
    assert!(told[0] > 1000 && told[1] > 1000, "{told:?}");
}

#[test]
fn repeated_times_are_duplicates_or_conflicts() {
    let head = Head::new(10);
    for second in 0..200 {
        put(&head, second, 7.0);
    }
    for second in [0, 100, 199] {
        assert_eq!(put(&head, second, 7.0), Admission::Duplicate);
        let conflict = Refusal::Conflict(Timestamp::from_secs(second));
        assert_eq!(put(&head, second, 8.0), Admission::Refused(conflict));
    }
    assert_eq!(seconds(&head).len(), 200);
}

#[test]
fn the_limit_of_series_holds_and_idle_series_make_room() {
    let head = Head::new(1);
    put(&head, 5, 1.0);
    let other = Labels::of("down", []);
    assert_eq!(head.find_or_make(&other).unwrap_err(), Refusal::TooManySeries(1));
    let idle = head.find(&Labels::of("up", [])).unwrap();
    head.cut(Timestamp::from_secs(6));
    assert_eq!(head.series_count(), 0);
    assert!(head.find_or_make(&other).is_ok());
    let sample = Sample { timestamp: Timestamp::from_secs(9), value: 0.0 };
    assert_eq!(idle.lock().append_live(sample, 1, &OPEN), None, "nobody would find it there");
}

#[test]
fn a_reader_sees_neither_what_comes_later_nor_what_is_taken_back() {
    let head = Head::new(10);
    let hold = head.epochs.hold(1);
    for second in 0..10 {
        put_at(&head, 1, second, 1.0, &OPEN);
    }
    for second in 10..500 {
        put_at(&head, 2, second, 1.0, &OPEN);
    }
    assert_eq!(seconds_at(&head, 1), (0..10).collect::<Vec<_>>());
    assert_eq!(head.all()[0].newest(1).unwrap().timestamp, Timestamp::from_secs(9));
    let series = head.all().remove(0);
    assert_eq!(series.lock().take_back(2), 490);
    assert_eq!(seconds(&head), (0..10).collect::<Vec<_>>());
    drop(hold);
}

#[test]
fn a_batch_in_any_order_is_taken_without_moving_it_for_each_sample() {
    let head = Head::new(10);
    // 7919 is prime, so that each second comes once; 100,000 times moving half of them took minutes.
    let orders: [fn(i64) -> i64; 2] = [|n| 100_000 - n, |n| n * 7919 % 100_000 + 1];
    let bounds = Bounds { window: Duration::from_hours(48), ..OPEN };
    for ((epoch, first), order) in [(1, 0), (2, 100_000)].into_iter().zip(orders) {
        for n in 0..100_000 {
            let admission = put_at(&head, epoch, first + order(n), 1.0, &bounds);
            assert_eq!(admission, Admission::Accepted);
        }
    }
    put_at(&head, 3, 200_001, 1.0, &bounds);
    assert_eq!(seconds(&head), (1..=200_001).collect::<Vec<_>>());
}

#[test]
fn bounds_are_kept() {
    let bounds = Bounds {
        oldest: Timestamp::from_secs(50),
        floor: Timestamp::from_secs(100),
        latest: Timestamp::from_secs(200),
        ..OPEN
    };
    let head = Head::new(10);
    let at = |second| put_at(&head, 1, second, 1.0, &bounds);
    assert!(matches!(at(49), Admission::Refused(Refusal::Expired(..))));
    assert!(matches!(at(99), Admission::Refused(Refusal::Sealed(..))));
    assert!(matches!(at(201), Admission::Refused(Refusal::Future(_))));
    assert_eq!((at(100), at(200)), (Admission::Accepted, Admission::Accepted));
}

proptest! {
    #[test]
    fn any_order_gives_the_same_series(
        times in prop::collection::vec(0_i64..7000, 1..600),
        cut in 0_i64..7000,
    ) {
        let head = Head::new(10);
        for time in &times {
            put(&head, *time, 1.0);
        }
        let mut expected = times.clone();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(seconds(&head), expected.clone());
        let restored = Head::new(10);
        let view = head.all()[0].view(ALWAYS, OPEN.floor, OPEN.latest);
        restored.restore(&Labels::of("up", []), view.into_blocks(OPEN.floor), Vec::new()).unwrap();
        prop_assert_eq!(seconds(&restored), expected.clone());
        for head in [&head, &restored] {
            head.cut(Timestamp::from_secs(cut));
            put(head, 7000, 1.0);
            expected.retain(|time| *time >= cut);
            let with_new = [&expected[..], &[7000]].concat();
            prop_assert_eq!(seconds(head), with_new);
        }
    }

    #[test]
    fn readers_of_any_epoch_see_what_came_up_to_theirs(
        commits in prop::collection::vec((0_i64..3000, 1_usize..40), 1..40),
        held in 0_usize..40,
    ) {
        let head = Head::new(10);
        let mut holds = Vec::new();
        let mut known = std::collections::BTreeSet::new();
        for (epoch, (start, count)) in (1..).zip(&commits) {
            for second in *start..*start + i64::try_from(*count).unwrap() {
                put_at(&head, epoch, second, 1.0, &OPEN);
                known.insert(second);
            }
            if epoch > held as u64 {
                holds.push((head.epochs.hold(epoch), known.clone()));
            }
        }
        for (hold, expected) in &holds {
            prop_assert_eq!(seconds_at(&head, hold.epoch()), expected.iter().copied().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_block_that_makes_no_sense_is_left_out_and_counted() {
    let head = Head::new(10);
    for second in 0..300 {
        put(&head, second * 30, (second as f64).sqrt());
    }
    let view = head.all()[0].view(ALWAYS, OPEN.floor, OPEN.latest);
    let mut blocks = view.into_blocks(OPEN.floor);
    let first = block::peek(&blocks).unwrap();
    let makes_no_sense = (0..first.len).find(|at| {
        blocks[*at] ^= 0xff;
        let bad = block::decode(&mut &blocks[..], &mut Vec::new()).is_err();
        let hidden = block::peek(&blocks) == Ok(first);
        blocks[*at] ^= 0xff;
        bad && hidden
    });
    blocks[makes_no_sense.unwrap()] ^= 0xff;
    let head = Head::new(10);
    head.restore(&Labels::of("up", []), blocks, Vec::new()).unwrap();
    let left = 300 - first.count;
    assert_eq!(take_unreadable(), 0);
    assert_eq!(seconds(&head).len(), left);
    assert_eq!(take_unreadable(), 1);
    let from = first.first.plus(Duration::from_secs(1));
    assert_eq!(head.oldest(from), Some(first.last.plus(Duration::from_secs(30))));
    // Late ones have everything decoded and encoded anew.
    for second in 280..299 {
        assert_eq!(put(&head, second * 30 + 7, 1.0), Admission::Accepted);
    }
    head.cut(first.last.plus(Duration::from_secs(100)));
    assert_eq!(seconds(&head).len(), left + 19 - 3);
    assert!(take_unreadable() > 0);
}
