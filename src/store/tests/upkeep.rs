//! Upkeep that fails, and what it tells of that.

use std::io;

use super::{super::engine::EngineError, *};

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
    assert_eq!(journal.count("goes well again", || drop(store.seal().unwrap())), 1);
    fill(&store, "b", START.minus(HOUR), 20);
    fixture.clock.set(START.plus(10 * HOUR));
    assert_eq!(journal.count("upkeep of the store failed", || fail(2)), 1);
}

#[test]
fn each_reason_is_told_once_and_numbers_make_no_new_one() {
    let mut failing = inner::Failing::default();
    let no_space = |free| StoreError::NoSpace { needed: 9, free };
    let poisoned = |reason: &str| StoreError::Poisoned(reason.to_owned());
    let mut told = |error| failing.is_news("seal", &error);
    assert!(told(no_space(1)) && !told(no_space(2)));
    assert!(told(poisoned("a")) && told(poisoned("b")) && !told(poisoned("a")));
    let more = (0..100).filter(|n| told(poisoned(&n.to_string()))).count();
    assert!(more < 20, "{more}");
    assert!(failing.is_news("compact", &no_space(1)));
    assert!(failing.is_over("seal") && !failing.is_over("seal"));
    assert!(failing.is_news("seal", &no_space(1)));
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
    block(store.append(Batch { samples, metadata: Vec::new() })).unwrap();
    let floor = START.minus(2 * HOUR).aligned(2 * HOUR);
    let expected = seal::room_needed(&store.0.head, &store.0.state(), floor);
    assert_eq!(store.seal().unwrap(), 600);
    let written: u64 = store.0.state().tiers.all().map(|(_, p)| p.manifest().bytes).sum();
    assert!(written > 1_000_000, "{written}");
    assert!((written..4 * written).contains(&expected), "{expected} for {written}");
}
