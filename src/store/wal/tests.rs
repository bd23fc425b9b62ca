//! Segments that are whole, torn, damaged, too new.

use std::fs;

use super::*;
use crate::{
    model::Sample,
    store::{
        engine::fault::Faults,
        record::{BadRecord, ChangeRecord},
    },
    time::Timestamp,
};

/// A group that is known by its number.
fn group(number: u32) -> Group {
    let mut group = Group::default();
    for second in 0..10 {
        let timestamp = Timestamp::from_secs(second);
        group.sample(number, Sample { timestamp, value: 0.5 });
    }
    group
}

struct Number(u32);

impl group::Replay for Number {
    fn series(&mut self, _: u32, _: crate::model::Labels) -> Result<(), BadRecord> {
        Ok(())
    }

    fn sample(&mut self, id: u32, _: Sample) {
        self.0 = id;
    }

    fn histogram(&mut self, id: u32, _: crate::model::HistogramSample) {
        self.0 = id;
    }

    fn change(&mut self, _: &ChangeRecord) -> Result<(), BadRecord> {
        Ok(())
    }
}

fn read(path: &Path) -> (Vec<u32>, End) {
    let mut numbers = Vec::new();
    let end = read_segment(path, |payload| {
        let mut number = Number(u32::MAX);
        group::read(payload, &mut number).unwrap();
        numbers.push(number.0);
    });
    (numbers, end.unwrap())
}

/// A segment with groups 0, 1, 2, without the room behind them, and the ends of its frames.
fn written(dir: &Path) -> (PathBuf, Vec<u64>) {
    let mut wal = Wal::begin(WalOptions::new(dir.to_owned()), 1, 0).unwrap();
    let ends: Vec<u64> = (0..3)
        .map(|number| {
            wal.append(&group(number)).unwrap();
            wal.len()
        })
        .collect();
    let path = keys::segment(dir, 1);
    assert!(fs::metadata(&path).unwrap().len() > ends[2], "room is taken ahead");
    wal.rotate().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), ends[2], "and given back");
    (path, ends)
}

#[test]
fn a_torn_tail_is_told_from_the_good_part_at_every_length() {
    let temp = tempfile::tempdir().unwrap();
    let (path, ends) = written(temp.path());
    let bytes = fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let (numbers, end) = read(&path);
        let whole = ends.iter().filter(|end| **end <= len as u64).count();
        assert_eq!(numbers.len(), whole, "cut at {len}");
        assert_eq!(end.gaps, []);
        let used = bytes[..len].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1) as u64;
        assert_eq!(end.torn, used.saturating_sub(end.good), "cut at {len}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_a_gap_or_a_torn_tail_and_never_a_wrong_record() {
    let temp = tempfile::tempdir().unwrap();
    let (path, ends) = written(temp.path());
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, damaged).unwrap();
        let hit = ends.iter().filter(|end| **end <= at as u64).count();
        let hit = (at >= SEGMENT_HEAD).then(|| u32::try_from(hit).unwrap());
        let (numbers, end) = read(&path);
        let expected: Vec<u32> = (0..3).filter(|number| Some(*number) != hit).collect();
        assert_eq!(numbers, expected, "bit flipped at {at}");
        let last = hit == Some(2);
        assert_eq!((end.gaps.len(), end.torn > 0), (usize::from(!last), last));
    }
}

#[test]
fn a_segment_tells_how_long_the_one_before_was() {
    let temp = tempfile::tempdir().unwrap();
    let (_, ends) = written(temp.path());
    let second = keys::segment(temp.path(), 2);
    assert_eq!(previous_len_of(&keys::segment(temp.path(), 1)).unwrap(), Some(0));
    assert_eq!(previous_len_of(&second).unwrap(), Some(ends[2]));
    assert_eq!(read(&second).1.previous_len, Some(ends[2]));
    let bytes = fs::read(&second).unwrap();
    for at in 0..SEGMENT_HEAD {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        fs::write(&second, damaged).unwrap();
        assert_eq!((previous_len_of(&second).unwrap(), read(&second).1.previous_len), (None, None));
        fs::write(&second, &bytes[..at]).unwrap();
        assert_eq!((previous_len_of(&second).unwrap(), read(&second).1.previous_len), (None, None));
    }
}

#[test]
fn zeros_behind_the_end_are_room_and_what_follows_them_is_torn() {
    let temp = tempfile::tempdir().unwrap();
    let (path, ends) = written(temp.path());
    OpenOptions::new().write(true).open(&path).unwrap().set_len(ends[2] + 5000).unwrap();
    assert_eq!((read(&path).0.len(), read(&path).1.torn), (3, 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(7);
    fs::write(&path, bytes).unwrap();
    let (numbers, end) = read(&path);
    assert_eq!((numbers.len(), end.torn), (3, 5001));
    let options = WalOptions::new(temp.path().to_owned());
    let mut wal = Wal::resume(options, 1, end.good).unwrap();
    wal.append(&group(3)).unwrap();
    assert_eq!(read(&path).0, [0, 1, 2, 3]);
}

#[test]
fn a_later_version_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("x");
    let bytes = [&frame::file_head(NAME, 7)[..], b"rest"].concat();
    fs::write(&path, &bytes).unwrap();
    let outcome = read_segment(&path, |_| {});
    assert!(matches!(outcome, Err(StoreError::UnknownFormat { found: 7, .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_full_disk_fails_the_commit_and_leaves_a_good_log() {
    let temp = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let options = WalOptions::with_faults(temp.path().to_owned(), faults.clone());
    let mut wal = Wal::begin(options, 1, 0).unwrap();
    wal.append(&group(0)).unwrap();
    for failing_call in [1, 2] {
        faults.arm(failing_call);
        let outcome = wal.append(&group(9));
        assert!(matches!(outcome, Err(StoreError::NotDurable(_))), "{outcome:?}");
    }
    wal.append(&group(1)).unwrap();
    let (numbers, end) = read(&keys::segment(temp.path(), 1));
    assert_eq!((numbers, end.torn, end.gaps), (vec![0, 1], 0, vec![]));
}
