use std::collections::HashSet;

use super::{testing::Fixture, *};
use crate::telemetry::Telemetry;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn own(telemetry: &Telemetry, metric: &str, collector: &str) -> Option<f64> {
    let families = telemetry.gather();
    let family = families.iter().find(|family| family.name() == metric)?;
    let found = family.get_metric().iter().find(|m| m.get_label()[0].value() == collector)?;
    Some(found.get_counter().get_value())
}

fn success(samples: &[SeriesSample], collector: &str) -> Option<f64> {
    let is = |s: &&SeriesSample| {
        s.labels.metric() == "node_scrape_collector_success"
            && s.labels.get("collector") == Some(collector)
    };
    samples.iter().find(is).map(|s| s.sample.value)
}

#[test]
fn the_table_is_sorted_and_every_row_has_help() {
    assert!(COLLECTORS.is_sorted_by(|a, b| a.name < b.name));
    assert!(COLLECTORS.iter().all(|row| !row.help.is_empty()));
}

#[test]
fn a_failing_collector_is_counted_and_the_rest_goes_on() {
    let telemetry = Telemetry::new();
    let fixture = Fixture::new().proc("loadavg", "1 2 3 4/5 6\n");
    let mut collectors = Collectors::reading(
        fixture.files(),
        &["loadavg", "meminfo"],
        "host",
        CollectEvents::new(&telemetry),
    );
    let samples = collectors.collect(NOW);
    assert_eq!(success(&samples, "meminfo"), Some(0.0));
    assert_eq!(success(&samples, "loadavg"), Some(1.0));
    assert!(samples.iter().any(|s| s.labels.metric() == "node_load1"));
    assert_eq!(own(&telemetry, "balefire_collector_failures_total", "meminfo"), Some(1.0));

    let _fixture = fixture.proc("meminfo", "MemTotal: 4 kB\nMemAvailable: 1 kB\n");
    assert_eq!(success(&collectors.collect(NOW), "meminfo"), Some(1.0));
    assert_eq!(own(&telemetry, "balefire_collector_failures_total", "meminfo"), Some(1.0));
}

#[test]
fn series_beyond_the_bound_are_dropped_and_counted() {
    let telemetry = Telemetry::new();
    let line = |n: usize| format!("e{n}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
    let devices = crate::limits::COLLECTOR_SERIES_MAX / 16 + 1;
    let text: String = (0..devices).map(line).collect();
    let fixture = Fixture::new().proc("self/net/dev", &format!("a\nb\n{text}"));
    let mut collectors =
        Collectors::reading(fixture.files(), &["netdev"], "host", CollectEvents::new(&telemetry));
    let samples = collectors.collect(NOW);
    assert_eq!(samples.len(), crate::limits::COLLECTOR_SERIES_MAX + 1);
    assert_eq!(own(&telemetry, "balefire_collector_series_dropped_total", "netdev"), Some(16.0));
}

#[test]
fn selecting_again_starts_and_ends_collectors() {
    let fixture = Fixture::new().proc("loadavg", "1 2 3 4/5 6\n");
    let telemetry = Telemetry::new();
    let mut collectors =
        Collectors::reading(fixture.files(), &["loadavg"], "host", CollectEvents::new(&telemetry));
    collectors.select(&["time"]);
    let samples = collectors.collect(NOW);
    assert!(samples.iter().any(|s| s.labels.metric() == "node_time_seconds"));
    assert!(!samples.iter().any(|s| s.labels.metric() == "node_load1"));
}

#[test]
fn this_host_is_collected_within_reason() {
    let telemetry = Telemetry::new();
    let mut collectors =
        Collectors::new(&Collectors::default_names(), "here", CollectEvents::new(&telemetry));
    let samples = collectors.collect(NOW);
    let unique: HashSet<_> = samples.iter().map(|s| &s.labels).collect();
    assert_eq!(unique.len(), samples.len(), "each series once");
    assert!(samples.iter().all(|s| s.labels.get("instance") == Some("here")));
    for row in COLLECTORS.iter().filter(|row| row.default_on) {
        assert_eq!(success(&samples, row.name), Some(1.0), "{}", row.name);
    }

    let sum = |metric: &str| -> f64 {
        samples.iter().filter(|s| s.labels.metric() == metric).map(|s| s.sample.value).sum()
    };
    let cpus = std::thread::available_parallelism().unwrap().get() as f64;
    let uptime = collectors.summary().uptime.as_secs_f64();
    let cpu = sum("node_cpu_seconds_total");
    assert!(cpu > 0.0 && cpu < (uptime + 60.0) * cpus * 2.0, "{cpu} s in {uptime} s");
    assert!(sum("node_memory_MemTotal_bytes") > sum("node_memory_MemAvailable_bytes"));
    assert!(collectors.summary().memory_percent > 0.0);

    let names: HashSet<_> = collectors.metadata().into_iter().map(|m| m.name).collect();
    assert!(samples.iter().all(|s| names.contains(s.labels.metric())), "all are described");
}

#[test]
fn own_series_have_the_own_job() {
    let telemetry = Telemetry::new();
    let mut collectors =
        Collectors::new(&["process", "time"], "here", CollectEvents::new(&telemetry));
    for sample in collectors.collect(NOW) {
        let own = sample.labels.metric().starts_with("process_");
        assert_eq!(sample.labels.get("job"), Some(if own { "balefire" } else { "node" }));
    }
}
