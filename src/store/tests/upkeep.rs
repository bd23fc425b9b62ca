//! Upkeep that fails, and what it tells of that.

use std::io;

use super::{
    super::{RoomFor, engine::EngineError},
    *,
};

/// What was logged.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<u8>>>);

impl io::Write for Journal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Journal {
    /// How many lines hold the text, of those that `run` adds.
    fn count(&self, text: &str, run: impl FnOnce()) -> usize {
        self.0.lock().clear();
        let writer = self.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, run);
        let lines = self.0.lock().clone();
        String::from_utf8(lines).unwrap().lines().filter(|line| line.contains(text)).count()
    }
}

#[test]
fn a_failed_sealing_is_told_once_until_one_goes_well() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    fill(&store, "a", START.minus(5 * HOUR), 300);
    let journal = Journal::default();
    let fail = |times: u32| {
        for _ in 0..times {
            breakage.engine.arm(1);
            store.seal().unwrap_err();
        }
    };
    assert_eq!(journal.count("upkeep of the store failed", || fail(3)), 1);
    assert_eq!(journal.count("upkeep of the store failed", || fail(3)), 0);
    breakage.engine.disarm();
    assert_eq!(journal.count("goes well again", || assert!(store.seal().unwrap() > 0)), 1);
    fill(&store, "b", START.minus(HOUR), 20);
    fixture.clock.set(START.plus(10 * HOUR));
    assert_eq!(journal.count("upkeep of the store failed", || fail(2)), 1);
}

#[test]
fn what_the_first_sealing_failed_to_write_is_there_after_a_checkpoint_and_a_restart() {
    let fixture = Fixture::new();
    let breakage = testing::Breakage::default();
    let store = fixture.open_breakable(&breakage);
    fill(&store, "a", START.minus(5 * HOUR), 300);
    let before = all(&store, Vec::new());
    breakage.engine.arm(1);
    store.seal().unwrap_err();
    breakage.engine.disarm();
    drop(store.begin_backup().unwrap());
    drop(store);
    assert_eq!(all(&fixture.open_breakable(&breakage), Vec::new()), before);
}

#[test]
fn each_reason_is_told_once_and_numbers_make_no_new_one() {
    let mut failing = inner::Failing::default();
    let no_space = |free| StoreError::NoRoom { work: RoomFor::Sealing, needed: 9, free };
    let poisoned = |reason: &str| StoreError::Poisoned(reason.to_owned());
    let mut told = |error: StoreError| failing.note("seal", error.gist());
    assert!(told(no_space(1)) && !told(no_space(2)));
    assert!(told(poisoned("a")) && told(poisoned("b")) && !told(poisoned("a")));
    let more = (0..100).filter(|n| told(poisoned(&n.to_string()))).count();
    assert!(more < 20, "{more}");
    assert!(failing.note("compact", no_space(1).gist()));
    assert!(failing.clear("seal") && !failing.clear("seal"));
    assert!(failing.note("seal", no_space(1).gist()));
}

#[test]
fn an_engine_that_panicked_while_it_wrote_is_given_back_by_a_restart() {
    let error = |source| StoreError::engine("write", "x")(source);
    assert!(error(EngineError::Panicked("oh".to_owned())).needs_restart());
    assert!(error(EngineError::Locked(io::ErrorKind::TimedOut.into())).needs_restart());
    assert!(!error(EngineError::Io(io::ErrorKind::TimedOut.into())).needs_restart());
}

#[test]
fn the_room_for_sealing_counts_labels_in() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let mut random = 1_u64;
    let mut letter = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from((random >> 40) % 90).unwrap())
    };
    let sample = |hour: u32, value: &str| {
        let labels = Labels::of("a", [("long", value)]);
        SeriesSample::new(labels, START.minus(HOUR * hour), 0.0)
    };
    let values: Vec<String> = (0..300).map(|_| (0..3000).map(|_| letter()).collect()).collect();
    let samples = values.iter().flat_map(|value| [7, 5].map(|hour| sample(hour, value))).collect();
    block(store.append(Batch { samples, ..Batch::default() })).unwrap();
    let floor = START.minus(2 * HOUR).stretch(2 * HOUR).start;
    let expected = seal::room_needed(&store.0.head, &store.0.state(), floor);
    assert_eq!(store.seal().unwrap(), 600);
    let written: u64 = store.0.state().tiers.all().map(|(_, p)| p.manifest().bytes).sum();
    assert!(written > 1_000_000, "{written}");
    assert!((written..4 * written).contains(&expected), "{expected} for {written}");
}

/// Damages the first chunk of the first partition of samples; returns it as it is then.
fn damage_a_chunk(store: &Store) -> Vec<u8> {
    let partition = Arc::clone(&store.0.state().tiers.of(Tier::Raw)[0]);
    store.0.handles.close_idle();
    let dir = partition.dir().join(keys::DATABASE);
    let fanout = engine::Fanout::of(partition.manifest().fanout).unwrap();
    let mut db = store.0.handles.engine().open(&dir, fanout).unwrap();
    let mut first = None;
    let visit = &mut |key: &[u8], value: &[u8]| {
        first = Some((key.to_vec(), value.to_vec()));
        false
    };
    db.range(keys::TREE_SAMPLES, &[], None, visit).unwrap();
    let (key, mut value) = first.unwrap();
    *value.last_mut().unwrap() ^= 1;
    db.apply(keys::TREE_SAMPLES, vec![(key, value.clone())]).unwrap();
    db.flush().unwrap();
    value
}

fn quarantined(fixture: &Fixture) -> Vec<PathBuf> {
    layout::list(&fixture.dir().join(keys::QUARANTINE)).unwrap()
}

fn erase(store: &Store, name: &str) {
    let everything = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    store.erase(vec![vec![Matcher::equal("__name__", name)]], everything).unwrap();
}

#[test]
fn a_damaged_chunk_is_kept_when_its_partition_goes_until_its_time_is_over() {
    use prost::Message as _;
    let fixture = Fixture::new();
    let store = fixture.open_breakable(&testing::Breakage::default());
    for name in ["a", "b", "c"] {
        fill(&store, name, START.minus(5 * HOUR), 300);
    }
    store.seal().unwrap();
    let damaged = damage_a_chunk(&store);
    erase(&store, "b");
    let kept = quarantined(&fixture);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let bytes = fs::read(&kept[0]).unwrap();
    let record = record::BadChunkRecord::decode_length_delimited(&bytes[..]).unwrap();
    assert_eq!(record.value, damaged);
    assert_eq!(record::labels(record.labels.as_ref()).unwrap(), Labels::of("a", []));
    assert!(all(&store, vec![Matcher::equal("__name__", "c")])[0].1.len() == 300);

    fixture.clock.set(START.plus(89 * 24 * HOUR));
    store.clean_up().unwrap();
    assert_eq!(quarantined(&fixture), kept);
    fixture.clock.set(START.plus(91 * 24 * HOUR));
    let freed = store.clean_up().unwrap().kinds[&DataKind::Quarantine];
    assert_eq!((freed.count, freed.bytes), (1, bytes.len() as u64));
    assert_eq!(quarantined(&fixture), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_chunk_is_kept_when_compaction_leaves_it_out() {
    let fixture = Fixture::new();
    let store = fixture.open_breakable(&testing::Breakage::default());
    fill(&store, "a", START.minus(5 * HOUR), 300);
    fixture.clock.set(START.plus(12 * HOUR));
    store.seal().unwrap();
    let damaged = damage_a_chunk(&store);
    assert!(store.compact().unwrap() > 0);
    let kept = quarantined(&fixture);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let bytes = fs::read(&kept[0]).unwrap();
    assert!(bytes.windows(damaged.len()).any(|window| window == damaged));
    let left = all(&store, Vec::new())[0].1.len();
    assert!(left > 0 && left < 300, "{left}");
}

#[test]
fn a_damaged_chunk_of_what_is_erased_is_not_kept() {
    let fixture = Fixture::new();
    let store = fixture.open_breakable(&testing::Breakage::default());
    fill(&store, "a", START.minus(5 * HOUR), 300);
    fill(&store, "b", START.minus(5 * HOUR), 300);
    store.seal().unwrap();
    damage_a_chunk(&store);
    erase(&store, "a");
    assert_eq!(quarantined(&fixture), Vec::<PathBuf>::new());
    assert_eq!(all(&store, Vec::new()).len(), 1);
}

#[test]
fn a_series_is_erased_also_where_its_chunk_in_that_range_is_damaged() {
    let fixture = Fixture::new();
    let store = fixture.open_breakable(&testing::Breakage::default());
    for name in ["a", "b"] {
        fill(&store, name, START.minus(5 * HOUR), 300);
    }
    store.seal().unwrap();
    damage_a_chunk(&store);
    let oldest = || Arc::clone(&store.0.state().tiers.of(Tier::Raw)[0]);
    let range = (oldest().start().plus(HOUR / 2), oldest().end().minus(HOUR / 2));
    store.erase(vec![vec![Matcher::equal("__name__", "a")]], range).unwrap();
    assert_eq!(oldest().manifest().generation, 1, "it was written anew");
    let report = partition::verify_partition(oldest().dir(), &store.0.handles);
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(quarantined(&fixture), Vec::<PathBuf>::new());
}

#[test]
fn quarantine_is_bounded_and_the_last_entry_stays() {
    let fixture = Fixture::new();
    let dir = fixture.dir().join(keys::QUARANTINE);
    fs::create_dir(&dir).unwrap();
    for name in ["x.1", "x.2", "x.3", "somebody's own"] {
        fs::write(dir.join(name), [0; 100]).unwrap();
    }
    let clean = |oldest, store_bytes_max| {
        let limits = quarantine::Limits { oldest: Timestamp::from_millis(oldest), store_bytes_max };
        let gone = quarantine::clean(fixture.dir(), limits, &StoreEvents::new(&Telemetry::new()));
        let names = quarantined(&fixture).into_iter();
        let names = names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        (gone.unwrap(), names.collect::<Vec<_>>())
    };
    assert_eq!(clean(0, None).0, (0, 0));
    assert_eq!(clean(0, Some(2000)).1, ["somebody's own", "x.2", "x.3"]);
    assert_eq!(clean(0, Some(10)).1, ["somebody's own", "x.3"]);
    assert_eq!(clean(4, None), ((1, 100), vec!["somebody's own".to_owned()]));
}
