//! `/api/v1/status/…`: what answers here, and how it is set up, as far as Prometheus' words for it fit.

use axum::extract::State;

use crate::{
    limits,
    monitor::Count,
    time::{Timestamp, format_duration},
};

use super::{
    super::{
        AppState,
        failure::ApiError,
        json::{Json, Object, Time},
        params::Params,
    },
    Answered, success,
};

/// The Prometheus whose API this is: clients choose by it what they ask.
const PROMETHEUS: &str = "3.5.3";
/// Entries in each list of `tsdb` where nothing is said, and at most.
const TOP_DEFAULT: usize = 10;
const TOP_MAX: usize = 10_000;

/// The version of the API, and Balefire's own under `application`.
pub(in crate::web) async fn build() -> Answered {
    let version = env!("CARGO_PKG_VERSION");
    Ok(success(&Object(&[
        ("version", &PROMETHEUS),
        ("revision", &""),
        ("branch", &""),
        ("buildUser", &""),
        ("buildDate", &""),
        ("goVersion", &""),
        // A text, as others have it who speak this API.
        ("application", &format!("Balefire {version}")),
    ])))
}

/// Since when, where; what only a Go program has is left out.
pub(in crate::web) async fn runtime(State(app): State<AppState>) -> Answered {
    let status = app.monitor.status();
    Ok(success(&Object(&[
        ("startTime", &Time(Some(status.time.minus(status.uptime)))),
        ("CWD", &status.state_dir),
        ("hostname", &status.system.hostname),
        ("serverTime", &Time(Some(status.time))),
    ])))
}

/// The settings that Prometheus has, too, as its YAML; Balefire's own file is TOML.
pub(in crate::web) async fn config(State(app): State<AppState>) -> Answered {
    let interval = format_duration(app.monitor.evaluation_interval());
    let mut yaml = format!("global:\n  evaluation_interval: {interval}\n");
    let external = app.monitor.external_labels();
    if !external.is_empty() {
        yaml.push_str("  external_labels:\n");
    }
    for (name, value) in external.iter() {
        // JSON texts are YAML texts.
        let mut text = Vec::new();
        value.write(&mut text);
        yaml.extend(["    ", name, ": ", &String::from_utf8_lossy(&text), "\n"]);
    }
    Ok(success(&Object(&[("yaml", &yaml)])))
}

/// The bounds that are flags of Prometheus.
pub(in crate::web) async fn flags(State(app): State<AppState>) -> Answered {
    let status = app.monitor.status();
    let duration = |duration| format_duration(duration).to_string();
    Ok(success(&Object(&[
        ("config.file", &status.config_file),
        ("query.lookback-delta", &duration(limits::QUERY_LOOKBACK)),
        ("query.max-concurrency", &limits::QUERIES_CONCURRENT_MAX.to_string()),
        ("query.max-samples", &limits::QUERY_SAMPLES_MAX.to_string()),
        ("query.timeout", &duration(limits::QUERY_TIMEOUT)),
        ("storage.tsdb.path", &status.state_dir),
        ("web.listen-address", &status.http_address),
        ("web.max-connections", &limits::HTTP_CONNECTIONS_MAX.to_string()),
    ])))
}

/// Where the series come from. The window that is open stands for the head; it has no chunks.
pub(in crate::web) async fn tsdb(State(app): State<AppState>, params: Params) -> Answered {
    let top = match params.count("limit")? {
        None if params.get("limit").is_none() => TOP_DEFAULT,
        None | Some(0) => return Err(ApiError::bad_data("limit must be a positive number")),
        Some(top) => top.min(TOP_MAX),
    };
    let found = app.monitor.cardinality(top).await?;
    let (oldest, newest) = found.newest.unwrap_or_default();
    let head = Object(&[
        ("numSeries", &found.series),
        ("numLabelPairs", &found.label_pairs),
        ("chunkCount", &0_u64),
        ("minTime", &Millis(oldest)),
        ("maxTime", &Millis(newest)),
    ]);
    Ok(success(&Object(&[
        ("headStats", &head),
        ("seriesCountByMetricName", &found.series_by_metric),
        ("labelValueCountByLabelName", &found.values_by_label),
        ("memoryInBytesByLabelName", &found.bytes_by_label),
        ("seriesCountByLabelValuePair", &found.series_by_pair),
    ])))
}

impl Json for Count {
    fn write(&self, out: &mut Vec<u8>) {
        Object(&[("name", &self.name), ("value", &self.count)]).write(out);
    }
}

/// A time in milliseconds.
struct Millis(Timestamp);

impl Json for Millis {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.as_millis().write(out);
    }
}
