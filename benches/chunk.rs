//! What the store's codecs cost: bytes and nanoseconds a sample.
//!
//! `cargo bench --bench chunk [-- --kinds] [-- --real FILE]`. A file of real samples has a line each:
//! the series, the value, the time in milliseconds; Prometheus' text with timestamps is such a file.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{collections::BTreeMap, env, fs, hint::black_box, time::Duration};

use balefire::{
    model::Sample,
    promql::RollupColumn,
    store::testing::{
        codec,
        mix::{self, Kind, Values},
    },
    time::Timestamp,
};
use rustix::time::{ClockId, clock_gettime};

const START: Timestamp = Timestamp::from_secs(1_790_000_000);
const W1_STEP: Duration = Duration::from_secs(15);
const W2_STEP: Duration = Duration::from_secs(30);
const BLOCKS: [usize; 2] = [64, 128];
const CHUNKS: [usize; 5] = [120, 240, 512, 2048, 2880];
/// Each measurement goes over the data until this time has passed.
const LONG_ENOUGH: Duration = Duration::from_millis(300);

fn main() {
    let args: Vec<String> = env::args().collect();
    println!("{:28} {:>6} {:>8} {:>8} {:>8}", "data", "a run", "B", "encode", "decode");
    let w1 = mixed(W1_STEP, 480);
    let w2 = mixed(W2_STEP, 2880);
    for size in BLOCKS {
        blocks("W1, blocks", &w1, size);
    }
    for size in CHUNKS {
        chunks("W2, chunks", &w2, size);
    }
    if args.iter().any(|arg| arg == "--kinds") {
        kinds();
    }
    rolled("W2", &w2);
    let real = args.iter().skip_while(|arg| *arg != "--real").nth(1);
    if let Some(file) = real {
        let series = read(file);
        for size in BLOCKS {
            blocks("real, blocks", &series, size);
        }
        for size in CHUNKS {
            chunks("real, chunks", &series, size);
        }
        rolled("real", &series);
    }
}

fn mixed(step: Duration, count: usize) -> Vec<Vec<Sample>> {
    (0..100).map(|series| mix::samples(series, START, step, count)).collect()
}

fn kinds() {
    for kind in Kind::all() {
        let of = |step, count| {
            let one = |series| mix::on_grid(Values::of(kind, series, step), START, step, count);
            (0..20).map(one).collect::<Vec<_>>()
        };
        blocks(&format!("{kind:?}, blocks"), &of(W1_STEP, 480), 128);
        let w2 = of(W2_STEP, 2880);
        chunks(&format!("{kind:?}, chunks"), &w2, 240);
        chunks(&format!("{kind:?}, chunks"), &w2, 2880);
    }
}

fn blocks(name: &str, series: &[Vec<Sample>], size: usize) {
    let encode = |run: &[Sample]| {
        let mut out = Vec::with_capacity(1024);
        codec::block(run, &mut out);
        assert_eq!(codec::block_head(&out), Some((run.len(), out.len())));
        out
    };
    line(name, series, size, encode, codec::read_block);
}

fn chunks(name: &str, series: &[Vec<Sample>], size: usize) {
    line(name, series, size, codec::chunk, codec::read_chunk);
}

/// Prints what runs of `size` samples cost.
fn line(
    name: &str,
    series: &[Vec<Sample>],
    size: usize,
    encode: impl Fn(&[Sample]) -> Vec<u8>,
    decode: impl Fn(&[u8], &mut Vec<Sample>) -> bool,
) {
    let runs: Vec<&[Sample]> = series.iter().flat_map(|all| all.chunks_exact(size)).collect();
    let samples = runs.iter().map(|run| run.len()).sum::<usize>();
    if samples == 0 {
        println!("{name:28} {size:6}: not enough samples");
        return;
    }
    let encoded: Vec<Vec<u8>> = runs.iter().map(|run| encode(run)).collect();
    let bytes = encoded.iter().map(Vec::len).sum::<usize>();
    let encoding = nanos(samples, || {
        for run in &runs {
            black_box(encode(run));
        }
    });
    let mut out = Vec::with_capacity(size);
    let decoding = nanos(samples, || {
        for bytes in &encoded {
            out.clear();
            assert!(decode(bytes, &mut out), "what was encoded is whole");
            black_box(&out);
        }
    });
    let each = bytes as f64 / samples as f64;
    println!("{name:28} {size:6} {each:8.3} {encoding:8.1} {decoding:8.1}");
}

/// Prints what rollups cost, for each rollup.
fn rolled(name: &str, series: &[Vec<Sample>]) {
    let fine: Vec<_> = series.iter().map(|run| codec::five_minutes(run)).collect();
    let rolling = nanos(counted(&fine), || {
        for run in series {
            black_box(codec::five_minutes(run));
        }
    });
    rollup_line(&format!("{name}, rollups of 5 min"), &fine, rolling);
    let up = |fine: &[u8]| codec::hours(fine).expect("it is whole");
    let coarse: Vec<_> = fine.iter().map(|(chunk, _)| up(chunk)).collect();
    let rolling = nanos(counted(&coarse), || {
        for (chunk, _) in &fine {
            black_box(up(chunk));
        }
    });
    rollup_line(&format!("{name}, rollups of 1 h"), &coarse, rolling);
}

fn counted(chunks: &[(Vec<u8>, usize)]) -> usize {
    chunks.iter().map(|(_, count)| count).sum()
}

fn rollup_line(name: &str, chunks: &[(Vec<u8>, usize)], rolling: f64) {
    let count = counted(chunks);
    let bytes = chunks.iter().map(|(chunk, _)| chunk.len()).sum::<usize>();
    let mut out = Vec::new();
    let decoding = nanos(count, || {
        for (chunk, _) in chunks {
            out.clear();
            assert!(codec::read_rollups(chunk, RollupColumn::Max, &mut out), "it is whole");
            black_box(&out);
        }
    });
    let (each, size) = (bytes as f64 / count as f64, count / chunks.len());
    println!("{name:28} {size:6} {each:8.3} {rolling:8.1} {decoding:8.1}");
}

/// How many nanoseconds of this thread's CPU time each of `count` takes; whoever else is at work on
/// the machine does not count.
fn nanos(count: usize, mut all: impl FnMut()) -> f64 {
    all();
    let (began, mut rounds) = (cpu_time(), 0);
    let took = || cpu_time().saturating_sub(began);
    while took() < LONG_ENOUGH {
        all();
        rounds += 1;
    }
    took().as_secs_f64() * 1e9 / count as f64 / f64::from(rounds)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("CPU time is not negative")
}

/// The series of a file.
fn read(file: &str) -> Vec<Vec<Sample>> {
    let text = fs::read_to_string(file).expect("the file of real samples");
    let mut series: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.rsplitn(3, ' ');
        let time = words.next().and_then(|word| word.parse().ok());
        let value = words.next().and_then(|word| word.parse().ok());
        let (Some(time), Some(value), Some(name)) = (time, value, words.next()) else { continue };
        let sample = Sample { timestamp: Timestamp::from_millis(time), value };
        series.entry(name).or_default().push(sample);
    }
    series.into_values().collect()
}
