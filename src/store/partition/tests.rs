//! Partitions on sled and in memory: what goes in comes out, and damage is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    super::{
        engine::{Engine, Fanout, memory::MemoryEngine, sled::SledEngine},
        rollup::Rollup,
    },
    *,
};
use crate::{
    model::{MatchOp, Matcher, Sample, matches_all, stale_nan},
    promql::RollupColumn,
    store::testing::histograms::latencies,
    time::Timestamp,
};

const START: i64 = 1_700_006_400_000;
const DAY: Duration = Duration::from_hours(24);
const ALL: (Timestamp, Timestamp) =
    (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));

/// Labels in the order in which partitions have them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked(String, Labels);

type Model = BTreeMap<Ranked, Vec<Sample>>;

struct Fixture {
    temp: tempfile::TempDir,
    handles: Arc<Handles>,
}

impl Fixture {
    fn on(engine: Box<dyn Engine>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        for tier in Tier::ALL {
            fs::create_dir_all(temp.path().join(keys::tier(tier))).unwrap();
        }
        Self { temp, handles: Arc::new(Handles::new(engine)) }
    }

    fn on_sled() -> Self {
        Self::on(Box::new(SledEngine))
    }

    fn plan(&self, tier: Tier, length: Duration) -> Plan {
        let start = Timestamp::from_millis(START);
        Plan::of_tier(self.temp.path(), tier, (start, start.plus(length)))
    }

    fn write(&self, model: &Model, length: Duration) -> Partition {
        let plan = self.plan(Tier::Raw, length);
        let all = model.iter();
        write(&plan, &self.handles, |writer| {
            all.clone().try_for_each(|(labels, samples)| {
                writer.put_series(&labels.1, &Content::of_samples(samples))
            })
        })
        .unwrap()
    }
}

fn put(model: &mut Model, labels: Labels, samples: Vec<Sample>) {
    model.insert(Ranked(labels.metric().to_owned(), labels), samples);
}

fn samples(count: u32, value: impl Fn(u32) -> f64) -> Vec<Sample> {
    let time = |n: u32| Timestamp::from_millis(START + i64::from(n) * 30_000);
    (0..count).map(|n| Sample { timestamp: time(n), value: value(n) }).collect()
}

/// So many series of several metrics, each with `count` samples of a kind of its own.
fn model_of(series: u32, count: u32) -> Model {
    let mut model = Model::new();
    for n in 0..series {
        let (id, job) = (n.to_string(), format!("job{}", n % 3));
        let labels = Labels::of(&format!("metric_{}", n % 7), [("id", &id), ("job", &job)]);
        let samples = samples(count, |at| match n % 4 {
            0 => f64::from(n),
            1 => f64::from(at * n),
            2 => (f64::from(at) + f64::from(n)).sqrt(),
            _ => f64::from(at % 10) / 100.0,
        });
        put(&mut model, labels, samples);
    }
    model
}

fn selected(
    partition: &Partition,
    matchers: &[Matcher],
    range: (Timestamp, Timestamp),
) -> Vec<(Labels, Vec<Sample>)> {
    let mut found = Vec::new();
    let losses = partition.select(matchers, range, RollupColumn::Last, &mut |labels, points| {
        found.push((labels.clone(), points.samples));
        Ok(())
    });
    assert_eq!(losses.unwrap().len(), 0);
    found
}

/// What a model answers.
fn expected(
    model: &Model,
    matchers: &[Matcher],
    range: (Timestamp, Timestamp),
) -> Vec<(Labels, Vec<Sample>)> {
    let inside = |s: &&Sample| s.timestamp >= range.0 && s.timestamp <= range.1;
    let matching = model.iter().filter(|(labels, _)| matches_all(matchers, &labels.1));
    let cut = |samples: &Vec<Sample>| samples.iter().filter(inside).copied().collect::<Vec<_>>();
    let found = matching.map(|(labels, samples)| (labels.1.clone(), cut(samples)));
    found.filter(|(_, samples)| !samples.is_empty()).collect()
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

fn texts(partition: &Partition, asked: Asked<'_>, matchers: &[Matcher]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let take = &mut |text: &str| {
        found.insert(text.to_owned());
        Ok(())
    };
    assert!(partition.texts(asked, matchers, ALL, take).unwrap().is_empty());
    found
}

#[test]
fn what_goes_in_comes_out_of_both_shapes() {
    let model = model_of(500, 500);
    for length in [Duration::from_hours(2), DAY] {
        let fixture = Fixture::on_sled();
        let partition = fixture.write(&model, length);
        assert_eq!(selected(&partition, &[], ALL), expected(&model, &[], ALL));
        let at = |n: i64| Timestamp::from_millis(START + n * 30_000);
        for range in [(at(100), at(100)), (at(130), at(131)), (at(499), ALL.1), (ALL.0, at(-1))] {
            let matchers = [matcher("job", MatchOp::Equal, "job1")];
            assert_eq!(selected(&partition, &matchers, range), expected(&model, &matchers, range));
        }
        let manifest = partition.manifest();
        assert_eq!((manifest.series, manifest.samples), (500, 250_000));
        assert_eq!((manifest.oldest, manifest.newest), (START, START + 499 * 30_000));
        assert_eq!(verify_partition(partition.dir(), &fixture.handles).problems, [""; 0]);
    }
}

#[test]
fn the_index_agrees_with_the_labels() {
    let fixture = Fixture::on_sled();
    // More series than are checked by their labels.
    let mut model = model_of(6000, 1);
    put(&mut model, Labels::new([("lonely", "x")]).unwrap(), samples(1, f64::from));
    let partition = fixture.write(&model, DAY);
    let cases: [&[(&str, MatchOp, &str)]; 10] = [
        &[("__name__", MatchOp::Equal, "metric_3")],
        &[("__name__", MatchOp::Equal, "metric_3"), ("job", MatchOp::NotEqual, "job1")],
        &[("id", MatchOp::Regex, "1.*7")],
        &[("id", MatchOp::NotRegex, "1.*")],
        &[("lonely", MatchOp::Equal, "")],
        &[("lonely", MatchOp::NotEqual, "")],
        &[("job", MatchOp::NotEqual, "job2")],
        &[("job", MatchOp::NotEqual, "none")],
        &[("job", MatchOp::Regex, "|job0")],
        &[("absent", MatchOp::Equal, "x")],
    ];
    for case in cases {
        let matchers: Vec<_> = case.iter().map(|(n, op, v)| matcher(n, *op, v)).collect();
        let (found, wanted) =
            (selected(&partition, &matchers, ALL), expected(&model, &matchers, ALL));
        assert!(found == wanted, "{case:?}: {} of {}", found.len(), wanted.len());
    }
    let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let one = matcher("id", MatchOp::Equal, "4");
    let one = std::slice::from_ref(&one);
    let all: BTreeSet<String> = set(&["__name__", "id", "job", "lonely"]);
    assert_eq!(texts(&partition, Asked::Names, &[]), all);
    assert_eq!(texts(&partition, Asked::Names, one), set(&["__name__", "id", "job"]));
    let jobs = Asked::ValuesOf("job");
    assert_eq!(texts(&partition, jobs, &[]), set(&["job0", "job1", "job2"]));
    assert_eq!(texts(&partition, jobs, one), set(&["job1"]));
    assert_eq!(texts(&partition, Asked::ValuesOf("id"), &[]).len(), 6000);
}

#[test]
fn raw_samples_stand_under_each_column() {
    let fixture = Fixture::on_sled();
    let mut model = Model::new();
    let ended = samples(3, |n| if n == 2 { stale_nan() } else { 5.0 });
    put(&mut model, Labels::of("a", []), ended);
    let partition = fixture.write(&model, DAY);
    let read = |column| {
        let mut found = Vec::new();
        let take = &mut |_: &Labels, points: SampleSet| {
            found = points.samples.iter().map(|s| s.value).collect();
            Ok(())
        };
        partition.select(&[], ALL, column, take).unwrap();
        found
    };
    assert_eq!(read(RollupColumn::Last).len(), 3);
    assert_eq!(read(RollupColumn::Sum), [5.0, 5.0]);
    assert_eq!(read(RollupColumn::Count), [1.0, 1.0]);
}

#[test]
fn rollups_are_read_by_column() {
    let fixture = Fixture::on_sled();
    let rollup = |n: u32| Rollup {
        time: Timestamp::from_millis(START + i64::from(n) * 300_000),
        last: f64::from(n),
        min: -f64::from(n).sqrt(),
        max: f64::from(n) * 2.5,
        sum: f64::from(n).exp(),
        count: u64::from(n) + 1,
    };
    let all: Vec<Rollup> = (0..2000).map(rollup).collect();
    let plan = fixture.plan(Tier::FiveMinutes, 14 * DAY);
    let labels = Labels::of("a", []);
    let content = Content { values: Values::Rollups(all.clone()), histograms: Vec::new() };
    let partition = write(&plan, &fixture.handles, |writer| writer.put_series(&labels, &content));
    let partition = partition.unwrap();
    assert_eq!(partition.tier, Tier::FiveMinutes);
    let range = (all[700].time, all[1300].time);
    let mut found = Vec::new();
    let take = &mut |_: &Labels, points: SampleSet| {
        found = points.samples;
        Ok(())
    };
    partition.select(&[], range, RollupColumn::Min, take).unwrap();
    assert!(found.iter().map(|s| s.value).eq(all[700..=1300].iter().map(|r| r.min)));
    let next = partition.scan().unwrap().next().unwrap().unwrap();
    assert_eq!(next, (labels, content));
    assert_eq!(verify_partition(partition.dir(), &fixture.handles).problems, [""; 0]);
}

#[test]
fn histograms_are_read_beside_samples() {
    let fixture = Fixture::on_sled();
    let histograms = latencies(2500);
    let samples: Vec<Sample> =
        (0..2500).map(|n| Sample { timestamp: histograms[n].timestamp, value: 1.5 }).collect();
    let values = Values::Samples(samples.clone());
    let both = Content { values, histograms: histograms.clone() };
    let alone = Content { values: Values::Samples(Vec::new()), histograms: histograms.clone() };
    let (first, second) = (Labels::of("both", []), Labels::of("histograms", []));
    let partition = write(&fixture.plan(Tier::Raw, DAY), &fixture.handles, |writer| {
        writer.put_series(&first, &both)?;
        writer.put_series(&second, &alone)
    });
    let partition = partition.unwrap();
    let range = (histograms[1100].timestamp, histograms[1400].timestamp);
    let mut found = Vec::new();
    let take = &mut |labels: &Labels, points: SampleSet| {
        found.push((labels.clone(), points));
        Ok(())
    };
    assert!(partition.select(&[], range, RollupColumn::Last, take).unwrap().is_empty());
    let inside = |sample: &&Sample| (range.0..=range.1).contains(&sample.timestamp);
    let expected = [
        (first.clone(), samples.iter().filter(inside).copied().collect()),
        (second.clone(), Vec::new()),
    ];
    let expected = expected.map(|(labels, samples)| {
        (labels, SampleSet { samples, histograms: histograms[1100..=1400].to_vec() })
    });
    assert!(found == expected);
    let mut scan = partition.scan().unwrap();
    assert!(scan.next().unwrap().unwrap() == (first, both));
    assert!(scan.next().unwrap().unwrap() == (second, alone));
    assert_eq!(verify_partition(partition.dir(), &fixture.handles).problems, [""; 0]);
}

#[test]
fn a_scan_passes_by_everything_in_order() {
    let fixture = Fixture::on_sled();
    let model = model_of(3000, 120);
    let partition = fixture.write(&model, DAY);
    let mut scan = partition.scan().unwrap();
    let mut found = Vec::new();
    while let Some(next) = scan.next() {
        match next.unwrap() {
            (labels, Content { values: Values::Samples(samples), .. }) => {
                found.push((labels, samples));
            }
            (labels, other) => panic!("{labels} has {other:?}"),
        }
    }
    assert!(found == expected(&model, &[], ALL));
}

#[test]
fn series_out_of_order_are_refused_and_nothing_is_left_behind() {
    let fixture = Fixture::on(Box::new(MemoryEngine));
    let plan = fixture.plan(Tier::Raw, DAY);
    let one = Content::of_samples(&samples(1, f64::from));
    for second in ["a", "b"] {
        let outcome = write(&plan, &fixture.handles, |writer| {
            writer.put_series(&Labels::of("b", []), &one)?;
            writer.put_series(&Labels::of(second, []), &one)
        });
        assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "{outcome:?}");
    }
    let left = fs::read_dir(fixture.temp.path().join(keys::tier(Tier::Raw))).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn an_empty_partition_and_a_series_without_samples_do_no_harm() {
    let fixture = Fixture::on(Box::new(MemoryEngine));
    let mut model = Model::new();
    put(&mut model, Labels::of("none", []), Vec::new());
    let partition = fixture.write(&model, DAY);
    assert_eq!(selected(&partition, &[], ALL), []);
    assert!(partition.scan().unwrap().next().is_none());
    assert_eq!(verify_partition(partition.dir(), &fixture.handles).problems, [""; 0]);
}

/// Changes an entry of a partition that nobody reads.
fn tamper(partition: &Partition, tree: &str, change: impl Fn(&mut Vec<u8>)) {
    partition.handles.close_idle();
    let dir = partition.dir().join(keys::DATABASE);
    let fanout = Fanout::of(partition.manifest.fanout).unwrap();
    let mut db = partition.handles.engine().open(&dir, fanout).unwrap();
    let mut entry = None;
    db.range(tree, &[], None, &mut |key, value| {
        entry = Some((key.to_vec(), value.to_vec()));
        false
    })
    .unwrap();
    let (key, mut value) = entry.unwrap();
    change(&mut value);
    db.apply(tree, vec![(key, value)]).unwrap();
    db.flush().unwrap();
}

#[test]
fn a_damaged_chunk_costs_its_series_alone_and_is_told_once() {
    let fixture = Fixture::on(Box::new(MemoryEngine));
    let model = model_of(20, 100);
    let partition = fixture.write(&model, DAY);
    tamper(&partition, keys::TREE_SAMPLES, |value| *value.last_mut().unwrap() ^= 1);
    let mut found = Vec::new();
    let mut select = || {
        found.clear();
        let take = &mut |labels: &Labels, points: SampleSet| {
            found.push((labels.clone(), points.samples));
            Ok(())
        };
        partition.select(&[], ALL, RollupColumn::Last, take).unwrap().len()
    };
    assert_eq!((select(), select()), (1, 0));
    assert!(!partition.is_damaged());
    assert_eq!(found, expected(&model, &[], ALL)[1..]);
    let mut scan = partition.scan().unwrap();
    let mut read = 0;
    let mut lost = 0;
    while let Some(next) = scan.next() {
        match next.unwrap() {
            (_, content) if content.times().concat().is_empty() => lost += scan.take_bad().len(),
            _ => read += 1,
        }
    }
    assert_eq!((read, lost), (19, 1));
    let report = verify_partition(partition.dir(), &fixture.handles);
    assert_eq!(report.series, 19);
    assert!(report.problems.iter().any(|p| p.contains("samples of metric_0")), "{report:?}");
}

#[test]
fn damage_in_the_index_is_never_a_wrong_answer() {
    for tree in [keys::TREE_SERIES, keys::TREE_TERMS] {
        let fixture = Fixture::on(Box::new(MemoryEngine));
        let partition = fixture.write(&model_of(20, 100), DAY);
        tamper(&partition, tree, |value| *value.last_mut().unwrap() ^= 1);
        let matchers = [matcher("__name__", MatchOp::Equal, "metric_0")];
        let take = &mut |_: &Labels, _| Ok(());
        let outcome = partition.select(&matchers, ALL, RollupColumn::Last, take);
        assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "{tree}: {outcome:?}");
        assert!(partition.is_damaged());
        assert!(!verify_partition(partition.dir(), &fixture.handles).problems.is_empty());
    }
}

#[test]
fn an_index_that_lies_is_found_by_verify() {
    let fixture = Fixture::on(Box::new(MemoryEngine));
    let partition = fixture.write(&model_of(20, 100), DAY);
    tamper(&partition, keys::TREE_TERMS, |value| {
        let mut block = Vec::new();
        terms::put_value("metric_0", &[1], &mut block);
        *value = record::seal(&block);
    });
    let report = verify_partition(partition.dir(), &fixture.handles);
    let wanted = ["does not hold what was written", "index of label __name__"];
    for text in wanted {
        assert!(report.problems.iter().any(|p| p.contains(text)), "{text}: {report:?}");
    }
}

#[test]
fn readers_at_once_see_the_same() {
    let fixture = Fixture::on_sled();
    let model = model_of(200, 200);
    let partition = fixture.write(&model, DAY);
    let wanted = expected(&model, &[], ALL);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert!(selected(&partition, &[], ALL) == wanted));
        }
    });
}

#[test]
fn long_runs_are_written_in_stretches() {
    let fixture = Fixture::on_sled();
    let mut model = Model::new();
    // 17 MB of what cannot be compressed: more than one stretch.
    for n in 0..700_u32 {
        let noise = |at: u32| {
            let mixed = (u64::from(n) << 32 | u64::from(at)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            f64::from_bits(mixed & !(0x7ff << 52) | 0x3ff << 52)
        };
        put(&mut model, Labels::of("noise", [("n", &n.to_string())]), samples(3000, noise));
    }
    let partition = fixture.write(&model, DAY);
    assert!(selected(&partition, &[], ALL) == expected(&model, &[], ALL));
    // Leaves are no longer than they may be: a file has the slots of one size.
    let slabs = fs::read_dir(partition.dir().join(keys::DATABASE).join("slabs")).unwrap();
    for slab in slabs.flatten().filter(|slab| slab.metadata().unwrap().len() > 0) {
        let bytes: u64 = slab.file_name().to_str().unwrap().parse().unwrap();
        assert!(bytes <= 98_304, "there are leaves of {bytes} bytes");
    }
}

fn models() -> impl Strategy<Value = Model> {
    let labels = ("[ab]", "[xy]{0,2}", "[pq]{0,1}");
    let run = prop::collection::btree_map(-9_i64..9_000_000, any::<u64>(), 1..40);
    prop::collection::vec((labels, run), 0..30).prop_map(|all| {
        let mut model = Model::new();
        for ((metric, one, two), run) in all {
            let samples = run.into_iter().map(|(time, bits)| Sample {
                timestamp: Timestamp::from_millis(START + time),
                value: f64::from_bits(bits),
            });
            let labels = Labels::of(&metric, [("one", &one), ("two", &two)]);
            put(&mut model, labels, samples.collect());
        }
        model
    })
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let op = prop::sample::select(vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ]);
    let name = prop::sample::select(vec!["__name__", "one", "two", "none"]);
    let one = (name, op, "[abxypq]{0,2}").prop_map(|(n, op, v)| matcher(n, op, &v));
    prop::collection::vec(one, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_partition_answers_as_a_model(
        model in models(), matchers in matchers(), from in 0_i64..9_000_000, length in 0_i64..9_000_000,
    ) {
        let fixture = Fixture::on(Box::new(MemoryEngine));
        let partition = fixture.write(&model, Duration::from_hours(2));
        let bits = |all: Vec<(Labels, Vec<Sample>)>| -> Vec<(Labels, Vec<(Timestamp, u64)>)> {
            let pairs = |s: Vec<Sample>| s.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
            all.into_iter().map(|(labels, samples)| (labels, pairs(samples))).collect()
        };
        let start = Timestamp::from_millis(START + from);
        let range = (start, Timestamp::from_millis(START + from + length));
        prop_assert_eq!(
            bits(selected(&partition, &matchers, range)),
            bits(expected(&model, &matchers, range))
        );
        let mut named = Vec::new();
        partition.series(&matchers, range, &mut |labels| { named.push(labels.clone()); Ok(()) }).unwrap();
        let wanted = expected(&model, &matchers, range);
        prop_assert!(named.iter().eq(wanted.iter().map(|(labels, _)| labels)));
        let report = verify_partition(partition.dir(), &fixture.handles);
        prop_assert_eq!(report.problems, [""; 0]);
    }
}
