//! Commits that nobody waits for.

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn leave(store: &Store, name: &'static str, time: Timestamp, within: Duration) {
    block(store.defer(batch([(name, time, 1.0)]), Vec::new(), within)).unwrap();
}

fn names(store: &Store) -> Vec<String> {
    all(store, Vec::new()).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_is_left_goes_with_the_next_commit_in_one_group() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let before = store.0.state().epoch;
    for name in ["a", "b", "c"] {
        leave(&store, name, START, MINUTE);
    }
    assert_eq!(names(&store), [""; 0], "not durable, so not seen");
    append(&store, "d", START, 1.0);
    assert_eq!(names(&store), ["a", "b", "c", "d"]);
    assert_eq!(store.0.state().epoch, before + 1);
}

/// What is seen once anything is; ten seconds are far more than that takes, and far less than a minute.
fn seen_soon(store: &Store) -> Vec<String> {
    for _ in 0..1000 {
        if !names(store).is_empty() {
            return names(store);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it is still waiting");
}

#[test]
fn what_is_left_waits_no_longer_than_it_may() {
    let fixture = Fixture::new();
    let store = fixture.open();
    leave(&store, "a", START, MINUTE);
    leave(&store, "b", START, Duration::from_millis(20));
    assert_eq!(seen_soon(&store), ["a", "b"], "all go with the first that is due");
}

#[test]
fn many_that_are_left_wait_for_nothing_else() {
    let fixture = Fixture::new();
    let store = fixture.open();
    for from in [0, 2048] {
        let times = (from..from + 2048).map(|n| START.plus(Duration::from_millis(n)));
        let many = batch(times.map(|time| ("a", time, 1.0)));
        block(store.defer(many, Vec::new(), MINUTE)).unwrap();
    }
    assert_eq!(seen_soon(&store), ["a"]);
    assert_eq!(store.0.head.samples(), 4096);
}

#[test]
fn what_is_left_survives_an_orderly_end() {
    let fixture = Fixture::new();
    let store = fixture.open();
    leave(&store, "a", START, MINUTE);
    store.close().unwrap();
    let gone = block(store.defer(batch([]), Vec::new(), MINUTE));
    assert!(matches!(gone, Err(StoreError::Closed)), "{gone:?}");
    drop(store);
    let store = fixture.open();
    assert_eq!(names(&store), ["a"]);
    leave(&store, "b", START, MINUTE);
    drop(store);
    assert_eq!(names(&fixture.open()), ["a", "b"]);
}

#[test]
fn what_is_left_keeps_its_place_before_what_comes_after_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let changes = vec![probe("x", START), Change::PutAdoption("x".into())];
    block(store.defer(Batch::default(), changes, MINUTE)).unwrap();
    block(store.commit(vec![Change::DeleteAdoption("x".into())])).unwrap();
    assert_eq!(store.adoptions(), [""; 0]);
    assert_eq!(store.last_probe("x").map(|probe| probe.started_at), Some(START));
    leave(&store, "a", START, MINUTE);
    store.0.edit(|state| state.floor = START.plus(HOUR)).unwrap();
    assert_eq!(names(&store), ["a"], "it came before the floor was raised");
}

#[test]
fn what_is_left_goes_down_with_a_group_that_fails_and_with_no_other() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    append(&store, "a", START, 1.0);
    leave(&store, "b", START, MINUTE);
    breakage.log.arm(1);
    assert!(block(store.append(batch([("c", START, 1.0)]))).is_err());
    assert_eq!(names(&store), ["a"]);
    leave(&store, "d", START, MINUTE);
    append(&store, "e", START, 1.0);
    assert_eq!(names(&store), ["a", "d", "e"]);
}
