//! The data: series and their values, the same for every store that is measured.
//!
//! Either the synthetic mix of docs/benchmarks.md, drawn from a seed, or a corpus that was scraped from
//! a real `node_exporter`. Nothing depends on threads or time: a value is a function of seed, series, step.

use std::{fs, ops::Range, path::Path, sync::Arc, time::Duration};

use balefire::{
    model::Labels,
    promql,
    store::testing::mix::{self, HOST_SERIES, Kind},
    time::Timestamp,
};
use clap::Args;

/// The first instant after midnight of 2023-11-15, UTC: a partition of a day begins with it.
const START_MS: i64 = 1_700_006_400_001;

/// What is written, and how it is cut into requests.
#[derive(Args, Clone, Debug)]
pub(crate) struct Data {
    /// Series of the synthetic mix.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) series: u32,
    /// Samples of each series.
    #[arg(long, default_value_t = 480)]
    pub(crate) steps: u32,
    /// Seconds between the samples of a series.
    #[arg(long, default_value_t = 15)]
    pub(crate) interval: u32,
    /// The first timestamp, in milliseconds.
    #[arg(long, default_value_t = START_MS)]
    pub(crate) start: i64,
    /// Requests at once.
    #[arg(long, default_value_t = 4)]
    pub(crate) writers: usize,
    /// Samples of one request.
    #[arg(long, default_value_t = 1000)]
    pub(crate) batch: usize,
    /// A folder with a scraped corpus, in place of the synthetic mix; it has its own series and steps.
    #[arg(long)]
    pub(crate) corpus: Option<std::path::PathBuf>,
}

impl Data {
    /// The time of a step.
    pub(crate) fn time(&self, step: u32) -> Timestamp {
        Timestamp::from_millis(self.start + i64::from(step) * i64::from(self.interval) * 1000)
    }
}

/// The value of one series at a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Index into the labels.
    pub(crate) series: u32,
    pub(crate) value: f64,
}

/// Gives the points of one writer, a step at a time, in order of steps.
pub(crate) trait Values: Send {
    fn next_step(&mut self, into: &mut Vec<Point>);
}

/// Series, and one source of values for each writer.
pub(crate) struct Workload {
    pub(crate) labels: Arc<[Labels]>,
    pub(crate) steps: u32,
    pub(crate) values: Vec<Box<dyn Values>>,
}

impl Workload {
    pub(crate) fn new(data: &Data) -> Result<Self, String> {
        match &data.corpus {
            Some(dir) => corpus(dir, data.writers),
            None => Ok(synthetic(data)),
        }
    }
}

fn synthetic(data: &Data) -> Workload {
    let labels = (0..data.series).map(labels_of).collect();
    let share = data.series.div_ceil(u32::try_from(data.writers.max(1)).unwrap_or(1)).max(1);
    let starts = (0..data.series).step_by(share as usize);
    let values = starts.map(|first| {
        let range = first..data.series.min(first + share);
        Box::new(Synthetic::new(range, data.interval)) as Box<dyn Values>
    });
    Workload { labels, steps: data.steps, values: values.collect() }
}

/// The beginning and the end of the names of metrics of a kind.
fn names(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Cpu => ("node_cpu", "seconds_total"),
        Kind::Gauge => ("node_load", "ratio"),
        Kind::Constant => ("node_info", "value"),
        Kind::Memory => ("node_memory", "bytes"),
        Kind::Bucket => ("http_request_duration", "seconds_bucket"),
        Kind::Temperature => ("node_hwmon_temp", "celsius"),
        Kind::Entropy => ("app_score", "value"),
        Kind::Network => ("node_network_receive", "bytes_total"),
        Kind::Idle => ("node_errors", "total"),
    }
}

const MODES: [&str; 8] = ["idle", "user", "system", "iowait", "irq", "nice", "softirq", "steal"];

/// The six labels of a series: a hundred metrics on each host, ten series of each. They differ without
/// the metric's name too, for `rate` drops it.
pub(crate) fn labels_of(series: u32) -> Labels {
    let (host, place) = (series / HOST_SERIES, series % HOST_SERIES);
    let (slot, ordinal) = (place % 100, place / 100);
    let (stem, unit) = names(Kind::of(series));
    let metric = format!("{stem}_{slot:02}_{unit}");
    let pairs = [
        ("instance", instance(host)),
        ("job", "node".to_owned()),
        ("mode", MODES[ordinal as usize % MODES.len()].to_owned()),
        ("unit", place.to_string()),
        ("zone", format!("zone-{}", host % 5)),
    ];
    let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    Labels::new(pairs.chain([("__name__", metric.as_str())])).expect("labels of ours are valid")
}

/// The label `instance` of a host.
pub(crate) fn instance(host: u32) -> String {
    format!("host-{host:04}.example:9100")
}

struct Synthetic {
    first: u32,
    values: Vec<mix::Values>,
}

impl Synthetic {
    fn new(range: Range<u32>, interval: u32) -> Self {
        let step = Duration::from_secs(interval.into());
        let first = range.start;
        Self { first, values: range.map(|series| mix::Values::new(series, step)).collect() }
    }
}

impl Values for Synthetic {
    fn next_step(&mut self, into: &mut Vec<Point>) {
        let values = self.values.iter_mut().filter_map(Iterator::next);
        into.extend((self.first..).zip(values).map(|(series, value)| Point { series, value }));
    }
}

/// Reads `series.txt` (one series a line, as the text format writes it) and `samples.bin` (records of
/// step u32, series u32, value f64, little-endian, in order of steps).
fn corpus(dir: &Path, writers: usize) -> Result<Workload, String> {
    let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", dir.display());
    let text = fs::read_to_string(dir.join("series.txt")).map_err(|error| broken(&error))?;
    let labels: Vec<Labels> = text.lines().map(series_of).collect::<Result<_, _>>()?;
    let bytes = fs::read(dir.join("samples.bin")).map_err(|error| broken(&error))?;
    let (records, _) = bytes.as_chunks::<16>();
    let mut steps: Vec<Vec<Point>> = Vec::new();
    for record in records {
        let (words, _) = record.as_chunks::<4>();
        let (step, series) = (u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1]));
        let value = f64::from_bits(
            u64::from(u32::from_le_bytes(words[2])) | u64::from(u32::from_le_bytes(words[3])) << 32,
        );
        steps.resize_with(steps.len().max(step as usize + 1), Vec::new);
        steps[step as usize].push(Point { series, value });
    }
    let (steps, count) = (Arc::new(steps), writers.max(1));
    let writer = |writer| Scraped { steps: Arc::clone(&steps), step: 0, writer, writers: count };
    let values = (0..count).map(|number| Box::new(writer(number)) as Box<dyn Values>).collect();
    let steps = u32::try_from(steps.len()).map_err(|error| broken(&error))?;
    Ok(Workload { labels: labels.into(), steps, values })
}

/// The labels of a line of the text format, which a selector of PromQL is written like.
fn series_of(line: &str) -> Result<Labels, String> {
    let matchers = promql::parse_selector(line).map_err(|error| format!("{line}: {error}"))?;
    let pairs = matchers.iter().map(|matcher| (matcher.name(), matcher.value()));
    let node = [("instance", "node"), ("job", "node")];
    Labels::new(pairs.chain(node)).map_err(|error| format!("{line}: {error}"))
}

struct Scraped {
    steps: Arc<Vec<Vec<Point>>>,
    step: usize,
    writer: usize,
    writers: usize,
}

impl Values for Scraped {
    fn next_step(&mut self, into: &mut Vec<Point>) {
        let points = self.steps.get(self.step).into_iter().flatten();
        into.extend(points.filter(|point| point.series as usize % self.writers == self.writer));
        self.step += 1;
    }
}
