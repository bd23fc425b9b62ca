//! Logs that are damaged or not all there.

use super::*;

#[test]
fn damage_in_the_middle_of_the_log_is_told_and_later_records_are_kept() {
    let fixture = Fixture::new();
    let store = fixture.open();
    for second in 0..10 {
        append(&store, "a", START.plus(Duration::from_secs(second)), 1.0);
    }
    drop(store);
    let segment = keys::segment(&fixture.dir().join(keys::WAL), 1);
    let mut bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let middle = used / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (store, recovery) = fixture.try_open().unwrap();
    assert_eq!(recovery.samples_replayed, 9);
    assert!(recovery.quarantined[0].contains("records follow"), "{recovery:?}");
    drop(store);
    assert_eq!(fs::read_dir(fixture.dir().join(keys::QUARANTINE)).unwrap().count(), 1);
    let store = fixture.open();
    assert_eq!(all(&store, Vec::new())[0].1.len(), 9);
}

#[test]
fn a_segment_that_lost_its_last_frame_whole_is_told_where_another_follows() {
    let fixture = Fixture::new();
    let wal = fixture.dir().join(keys::WAL);
    let store = fixture.open();
    append(&store, "a", START, 1.0);
    let first = wal::read_segment(&keys::segment(&wal, 1), |_| {}).unwrap().good;
    append(&store, "a", START.plus(Duration::from_secs(1)), 2.0);
    drop(store);
    let store = fixture.open();
    append(&store, "a", START.plus(Duration::from_secs(2)), 3.0);
    drop(store);
    let segment = fs::OpenOptions::new().write(true).open(keys::segment(&wal, 1)).unwrap();
    segment.set_len(first).unwrap();
    let problems = verify(fixture.dir(), &mut |_| true).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].region.contains("missing"), "{problems:?}");
    let (store, recovery) = fixture.try_open().unwrap();
    assert!(recovery.quarantined[0].contains("are missing"), "{recovery:?}");
    assert_eq!(all(&store, Vec::new())[0].1.len(), 2);
    drop(store);
    assert_eq!(all(&fixture.open(), Vec::new())[0].1.len(), 2, "it is told once");
    assert_eq!(fs::read_dir(fixture.dir().join(keys::QUARANTINE)).unwrap().count(), 1);
}

#[test]
fn a_log_whose_segments_are_missing_goes_on_durably() {
    let fixture = Fixture::new();
    let store = fixture.open();
    append(&store, "a", START, 1.0);
    (0..4).for_each(|_| store.0.checkpoint(|_| {}).unwrap());
    drop(store);
    for number in wal::segments(&fixture.dir().join(keys::WAL)).unwrap() {
        fs::remove_file(keys::segment(&fixture.dir().join(keys::WAL), number)).unwrap();
    }
    let (store, recovery) = fixture.try_open().unwrap();
    assert_eq!(recovery.quarantined.len(), 1, "{:?}", recovery.quarantined);
    append(&store, "b", START, 2.0);
    drop(store);
    assert_eq!(all(&fixture.open(), Vec::new()).len(), 2);
}

#[test]
fn a_store_of_another_format_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let format = fixture.dir().join("format");
    let other = "balefire store 2\nbalefire store 2\n";
    fs::write(&format, other).unwrap();
    let error = fixture.try_open().unwrap_err();
    assert!(error.to_string().contains("balefire store 2"), "{error}");
    assert_eq!(fs::read_to_string(&format).unwrap(), other);
    fs::write(&format, "balefire stare 1\nbalefire store 1\n").unwrap();
    assert_eq!(fixture.try_open().unwrap().1.quarantined.len(), 1, "damage is told, and mended");
    fixture.open();
}
