//! Partitions that are damaged, in the way, or not to be read for now.

use super::*;

/// The manifest of some partition of samples.
fn a_manifest(fixture: &Fixture) -> PathBuf {
    let mut partitions = fs::read_dir(fixture.dir().join(keys::PARTITIONS)).unwrap();
    partitions.next().unwrap().unwrap().path().join(keys::MANIFEST)
}

#[test]
fn a_damaged_partition_is_told_and_the_rest_is_served() {
    let (fixture, store) = sealed();
    let head = store.0.head.samples();
    drop(store);
    for partition in fs::read_dir(fixture.dir().join(keys::PARTITIONS)).unwrap() {
        let slabs = partition.unwrap().path().join(keys::DATABASE).join("slabs");
        for slab in fs::read_dir(slabs).unwrap() {
            let path = slab.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            for byte in &mut bytes {
                *byte ^= 0x55;
            }
            fs::write(path, bytes).unwrap();
        }
    }
    let store = fixture.open();
    assert_eq!(all(&store, Vec::new())[0].1.len() as u64, head);
}

#[test]
fn a_directory_that_is_in_the_way_of_a_partition_is_replaced() {
    let fixture = Fixture::new();
    let store = fixture.open();
    fill(&store, "a", START.minus(5 * HOUR), 300);
    let range = START.minus(5 * HOUR).stretch(2 * HOUR);
    let name = keys::range_name(range.start, range.end);
    let in_the_way = fixture.dir().join(keys::PARTITIONS).join(name);
    fs::create_dir(&in_the_way).unwrap();
    fs::write(in_the_way.join("x"), "left over").unwrap();
    let before = all(&store, Vec::new());
    assert!(store.seal().unwrap() > 0);
    drop(store);
    assert_eq!(all(&fixture.open(), Vec::new()), before);
    assert!(!in_the_way.join("x").exists());
}

#[test]
fn a_partition_that_cannot_be_read_now_fails_the_start_and_stays() {
    let (fixture, store) = sealed();
    let before = all(&store, Vec::new());
    drop(store);
    let manifest = a_manifest(&fixture);
    let elsewhere = fixture.dir().join("elsewhere");
    fs::rename(&manifest, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&manifest, &manifest).unwrap();
    let error = fixture.try_open().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    fs::rename(elsewhere, manifest).unwrap();
    assert_eq!(all(&fixture.open(), Vec::new()), before);
}

#[test]
fn a_flipped_version_is_damage_and_no_later_version() {
    let (fixture, store) = sealed();
    drop(store);
    let manifest = a_manifest(&fixture);
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[0] ^= 4;
    fs::write(manifest, bytes).unwrap();
    let (_, recovery) = fixture.try_open().unwrap();
    assert!(recovery.quarantined[0].contains("is damaged"), "{recovery:?}");
}

#[test]
fn a_partition_of_a_later_version_is_refused_and_left_alone() {
    let (fixture, store) = sealed();
    drop(store);
    let manifest = a_manifest(&fixture);
    fs::write(&manifest, record::seal_as(record::VERSION + 1, b"who knows")).unwrap();
    let error = fixture.try_open().unwrap_err();
    assert!(matches!(error, StoreError::UnknownFormat { found: 2, .. }), "{error}");
    assert!(manifest.exists());
}

#[test]
fn removing_a_directory_minds_no_earlier_attempt() {
    let fixture = Fixture::new();
    let dir = fixture.dir().join("p");
    for path in [dir.clone(), fixture.dir().join("p.old.tmp")] {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
    }
    partition::remove(&dir).unwrap();
    assert_eq!(fs::read_dir(fixture.dir()).unwrap().count(), 0);
}

#[test]
fn a_partition_whose_database_failed_is_not_tried_again() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    fill(&store, "a", START.minus(5 * HOUR), 300);
    store.seal().unwrap();
    let whole = all(&store, Vec::new());
    let opened = || breakage.engine_opened.load(Ordering::SeqCst);
    store.seal().unwrap();
    breakage.engine_reads.arm(1);
    let first = all(&store, Vec::new());
    assert!(first[0].1.len() < whole[0].1.len(), "the rest is served");
    let before = opened();
    assert_eq!(all(&store, Vec::new()), first);
    assert_eq!(opened(), before);
    drop(store);
    assert_eq!(all(&fixture.open_breakable(&breakage), Vec::new()), whole);
}
