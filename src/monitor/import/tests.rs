//! Against a store that seals under a clock that is moved by hand.

use std::{fmt::Write as _, time::Duration};

use super::*;
use crate::{store::Options, telemetry::Telemetry, time::Clock};

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const MINUTES: u32 = 300;

/// One sample a minute of two series.
fn text(offset: u32) -> String {
    let mut text = String::new();
    for n in 0..MINUTES {
        let at = START.plus(Duration::from_mins(u64::from(n))).as_millis();
        writeln!(text, "a {} {at}\nb {n} {at}", n + offset).unwrap();
    }
    text
}

async fn import(store: &Store, text: &str) -> ImportProgress {
    let mut import = Import {
        store: store.clone(),
        reader: Some(ImportReader::new(ImportFormat::Text, START)),
        progress: ImportProgress::default(),
        told: 0,
    };
    let mut problems = Vec::new();
    for piece in text.as_bytes().chunks(1000) {
        let progress = import.feed(Bytes::copy_from_slice(piece)).await.unwrap();
        problems.extend(progress.problems);
    }
    let last = import.finish().await.unwrap();
    problems.extend(last.problems.clone());
    ImportProgress { problems, ..last }
}

#[tokio::test]
async fn what_is_sealed_already_is_a_duplicate_and_what_differs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START.plus(Duration::from_mins(u64::from(MINUTES))));
    let telemetry = Telemetry::new();
    let (store, _) = Store::open(dir.path(), Options::default(), clock, &telemetry).unwrap();
    let all = u64::from(2 * MINUTES);

    let first = import(&store, &text(0)).await;
    assert_eq!((first.accepted, first.lines, first.bytes), (all, all, text(0).len() as u64));
    let sealing = store.clone();
    assert!(spawn_blocking(move || sealing.seal()).await.unwrap().unwrap() > 0);

    let again = import(&store, &text(0)).await;
    assert_eq!((again.accepted, again.duplicates, again.rejected), (0, all, 0));
    assert_eq!(again.problems, []);

    let other = import(&store, &text(1)).await;
    assert_eq!((other.accepted, other.duplicates, other.rejected), (0, all / 2, all / 2));
    let problem = &other.problems[0];
    assert_eq!((problem.series.metric(), problem.samples), ("a", all / 2));
    assert_eq!((problem.first_line, problem.last_line), (1, all));
    assert!(problem.reason.contains("sealed") || problem.reason.contains("another value"));
}

#[test]
fn a_line_that_holds_more_than_a_batch_is_stored_in_order() {
    let sample = |n| crate::model::SeriesSample::new(Labels::empty(), Timestamp::from_secs(n), 0.0);
    let count = i64::try_from(2 * SAMPLES_AT_ONCE + 7).unwrap();
    let batch = Batch { samples: (0..count).map(sample).collect(), ..Batch::default() };
    let parts = parts(batch);
    assert!(parts.iter().all(|part| part.samples.len() <= SAMPLES_AT_ONCE));
    let times: Vec<i64> = parts
        .iter()
        .flat_map(|p| &p.samples)
        .map(|s| s.sample.timestamp.as_millis() / 1000)
        .collect();
    assert_eq!(times, (0..count).collect::<Vec<_>>());
}
