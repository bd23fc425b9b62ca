//! The checked layer: from the tree to typed settings. One function per table; the calls to `take`
//! are the schema.

mod http;
mod target;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    AlertingOptions, CollectOptions, Config, ProbeDefaults, ProbingOptions,
    layers::{Layers, is_environment},
    raw::Table,
    section::{Findings, Said, Section, unknown},
    setting::{Bytes, Setting},
    surroundings::{Places, Surroundings},
};
use crate::{
    access::{Role, Rules, Subject},
    collect::COLLECTORS,
    limits,
    model::{Check, Labels, METRIC_NAME},
    store,
    telemetry::{LogOptions, log::parse_filter},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// The longest path of a Unix socket: `sun_path` holds 108 bytes, with a zero at the end.
const SOCKET_BYTES_MAX: usize = 107;
const LOG_SIZE_MIN: Bytes = Bytes(4096);
const LOG_FILES_MAX: u64 = 1000;
const BUCKETS_MAX: usize = 200;
/// How long anything is kept: partitions are two hours long at least, and numbers of years end somewhere.
const KEPT_MIN: Duration = Duration::from_hours(1);
const KEPT_MAX: Duration = Duration::from_hours(24 * 36_500);
/// How much later than others a sample may come: that much is held in memory.
const LATE_MAX: Duration = Duration::from_hours(24);
/// Whoever could lose more in a power cut would notice.
const UNSYNCED_MAX: Duration = Duration::from_mins(1);
/// The log alone may take so much between two checkpoints.
const STORE_SIZE_MIN: Bytes = Bytes(64 << 20);

/// Upper bounds of histograms made from single observations: those of Prometheus' client libraries.
const HISTOGRAM_BUCKETS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Keys of Prometheus and Alertmanager that have no meaning here yet.
const LATER: [&str; 7] = [
    "include",
    "inhibit_rules",
    "receivers",
    "remote_write",
    "route",
    "rule_files",
    "scrape_configs",
];

/// Reads the whole tree. The configuration counts only where there are no problems.
pub(super) fn config(layers: Layers, places: &Places, around: &Surroundings) -> (Config, Findings) {
    let findings = RefCell::new(Findings { problems: layers.problems, ..Findings::default() });
    let mut root = Section::root(layers.table, &findings);
    let environment = root.optional_if("environment", |name: &String| check_environment(name));
    let environment = environment.map(|said| said.value);
    let state_dir = state_dir(&mut root, places);
    let socket = socket(&mut root, places, &state_dir);
    let socket_group = root.optional("socket_group").map(|said| said.value);
    let access = access(root.section("access"));
    let global = global(root.section("global"), environment.as_deref());
    let http = http::http(root.section("http"), around);
    let limits = http::limits(root.section("limits"));
    let log = log(root.section("log"));
    let collectors = collectors(root.section("collect"));
    let probing = probing(&mut root, places, around);
    let (cooldown, histogram_buckets) = alerting(root.section("alerting"));
    let (storage, cleanup_interval) = storage(root.section("storage"));
    root.finish_with(|key| {
        LATER.contains(&key).then(|| "comes with a later version; remove it for now".to_owned())
    });
    let config = Config {
        file: layers.file,
        environment,
        external_labels: global.external_labels,
        state_dir,
        socket,
        socket_group,
        access,
        http,
        limits,
        log,
        collect: CollectOptions { interval: global.scrape_interval, collectors },
        probing,
        alerting: AlertingOptions {
            interval: global.evaluation_interval,
            cooldown,
            histogram_buckets,
        },
        storage,
        cleanup_interval,
        effective: Vec::new(),
    };
    (config, findings.into_inner())
}

/// The check of one target, whatever else the file says.
pub(super) fn spawned(
    table: Table,
    name: &str,
    around: &Surroundings,
) -> (Option<Check>, Findings) {
    let findings = RefCell::new(Findings::default());
    let sections = Section::root(table, &findings).sections("targets");
    let check = target::named(sections, name, around);
    (check, findings.into_inner())
}

fn check_environment(name: &str) -> Result<(), String> {
    if is_environment(name) {
        return Ok(());
    }
    Err(format!("{name:?} is no name for an environment; use letters, digits, '-' and '_'"))
}

fn state_dir(root: &mut Section<'_>, places: &Places) -> PathBuf {
    match &places.state_dir {
        Some(dir) => root.take("state_dir", dir.clone()).value,
        None => root
            .required("state_dir", "a path, or set HOME or XDG_STATE_HOME", |_| Ok(()))
            .map_or_else(PathBuf::new, |said| said.value),
    }
}

fn socket(root: &mut Section<'_>, places: &Places, state_dir: &Path) -> PathBuf {
    let usual = places.socket.clone().unwrap_or_else(|| state_dir.join("run/control.sock"));
    let socket = root.take("socket", usual);
    let bytes = socket.value.as_os_str().len();
    if bytes > SOCKET_BYTES_MAX {
        let path = socket.value.display();
        let message = format!(
            "{path} is too long for a socket: {bytes} bytes where {SOCKET_BYTES_MAX} are allowed; \
             name a shorter path"
        );
        root.problem("socket", &socket.origin, message);
    }
    socket.value
}

/// `[access]`: a list for each role, and one for whom nothing is to be granted.
fn access(mut section: Section<'_>) -> Rules {
    let mut rules = Rules::default();
    let lists = Role::ALL.map(|role| (role.name(), Some(role)));
    for (key, role) in lists.into_iter().chain([("none", None)]) {
        for name in
            section.take_if(key, Vec::new(), |names: &Vec<String>| check_subjects(names)).value
        {
            // `take_if` has let through what names somebody only.
            if let Ok(subject) = Subject::parse(&name) {
                rules.grant(role, subject);
            }
        }
    }
    section.finish();
    rules
}

fn check_subjects(names: &[String]) -> Result<(), String> {
    if names.len() > limits::ACCESS_SUBJECTS_MAX {
        let most = limits::ACCESS_SUBJECTS_MAX;
        return Err(format!("has {} names, {most} at most; name a group", names.len()));
    }
    let stranger = names.iter().find_map(|name| Some((name, Subject::parse(name).err()?)));
    stranger.map_or(Ok(()), |(name, invalid)| Err(format!("{name:?} {invalid}")))
}

/// `[global]`
struct Global {
    external_labels: Labels,
    scrape_interval: Duration,
    evaluation_interval: Duration,
}

fn global(mut section: Section<'_>, environment: Option<&str>) -> Global {
    let labels = section.take_if("external_labels", [].into(), check_labels);
    let interval = Duration::from_secs(30);
    let scrape = section.take_if("scrape_interval", interval, within(SECOND, DAY));
    let evaluation = section.take_if("evaluation_interval", interval, within(SECOND, DAY));
    section.finish();
    // `take_if` has let through what can be labels only.
    let labels = Labels::new(labels.value).unwrap_or_else(|_| Labels::empty());
    let external_labels = match environment {
        Some(name) if labels.get("environment").is_none() => labels.with("environment", name),
        _ => labels,
    };
    Global { external_labels, scrape_interval: scrape.value, evaluation_interval: evaluation.value }
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.contains_key(METRIC_NAME) {
        return Err(format!("{METRIC_NAME} is the metric's name; use another label"));
    }
    Labels::new(labels.clone()).map(|_| ()).map_err(|error| error.to_string())
}

fn log(mut section: Section<'_>) -> LogOptions {
    let usual = LogOptions::default();
    let files = usual.max_files as u64;
    let filter = |level: &String| match parse_filter(level) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    let options = LogOptions {
        level: section.take_if("level", usual.level, filter).value,
        format: section.take("format", usual.format).value,
        file: section.optional("file").map(|said| said.value),
        max_size: section
            .take_if("max_size", Bytes(usual.max_size), within(LOG_SIZE_MIN, Bytes(1 << 40)))
            .value
            .0,
        max_age: section.take_if("max_age", usual.max_age, within(MINUTE, DAY * 3650)).value,
        max_files: usize::try_from(
            section.take_if("max_files", files, within(0, LOG_FILES_MAX)).value,
        )
        .unwrap_or(usual.max_files),
    };
    section.finish();
    options
}

fn collectors(mut section: Section<'_>) -> Vec<&'static str> {
    let rows: Vec<_> = COLLECTORS.iter().map(|row| (row.name, row.default_on)).collect();
    let chosen = choose(&mut section, &rows);
    section.finish();
    chosen
}

/// The collectors that run: those that do so by default, without `disabled`, with `enabled`.
fn choose(section: &mut Section<'_>, rows: &[(&'static str, bool)]) -> Vec<&'static str> {
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    let known = |wanted: &Vec<String>| {
        let stranger = wanted.iter().find(|name| !names.contains(&name.as_str()));
        stranger
            .map_or(Ok(()), |name| Err(format!("{name:?}: {}", unknown("collector", name, &names))))
    };
    let disabled = section.take_if("disabled", Vec::new(), known);
    let enabled = section.take_if("enabled", Vec::new(), known);
    if let Some(both) = enabled.value.iter().find(|name| disabled.value.contains(name)) {
        let message = format!("{both:?} is disabled as well; remove it from one of the two");
        section.problem("enabled", &enabled.origin, message);
    }
    let listed = |said: &Said<Vec<String>>, name: &str| said.value.iter().any(|n| n == name);
    let runs = |(name, default_on): &&(&'static str, bool)| {
        !listed(&disabled, name) && (*default_on || listed(&enabled, name))
    };
    rows.iter().filter(runs).map(|(name, _)| *name).collect()
}

fn probing(root: &mut Section<'_>, places: &Places, around: &Surroundings) -> ProbingOptions {
    let mut probe = root.section("probe");
    let spawn_socket = spawn_socket(&mut probe, places);
    let defaults = probe_defaults(probe);
    let mut discovery = root.section("discovery");
    let discover = discovery.take("enabled", places.home.is_some()).value;
    discovery.finish();
    let targets = target::targets(root.sections("targets"), &defaults, around);
    // Where the system service is told to discover, it does so for whoever runs it.
    let home = places.home.clone().or_else(|| around.var("HOME").map(PathBuf::from));
    ProbingOptions { targets, defaults, spawn_socket, discover, home: home.filter(|_| discover) }
}

/// An empty text switches it off.
fn spawn_socket(section: &mut Section<'_>, places: &Places) -> Option<PathBuf> {
    let usual = places.spawn_socket.as_ref().map(|socket| socket.display().to_string());
    let said = section.take_if("spawn_socket", usual.unwrap_or_default(), |path: &String| {
        if path.is_empty() || (path.starts_with('/') && path.len() <= SOCKET_BYTES_MAX) {
            return Ok(());
        }
        Err(format!(
            "{path:?} cannot be a socket's path; write an absolute one of {SOCKET_BYTES_MAX} bytes \
             at most, or \"\""
        ))
    });
    Some(PathBuf::from(said.value)).filter(|path| !path.as_os_str().is_empty())
}

fn probe_defaults(mut section: Section<'_>) -> ProbeDefaults {
    let interval = section.optional_if("interval", within(SECOND, DAY));
    let usual = ProbeDefaults::default();
    let defaults = ProbeDefaults {
        interval: interval.map(|said| said.value),
        timeout: section.take_if("timeout", usual.timeout, within(target::TIMEOUT_MIN, DAY)).value,
        retries: section
            .take_if("retries", u64::from(usual.retries), within(0, target::RETRIES_MAX))
            .value
            .try_into()
            .unwrap_or(usual.retries),
    };
    section.finish();
    defaults
}

fn alerting(mut section: Section<'_>) -> (Duration, Vec<f64>) {
    let cooldown =
        section.take_if("cooldown", Duration::from_mins(5), within(Duration::ZERO, DAY * 30));
    let buckets = section
        .take_if("histogram_buckets", HISTOGRAM_BUCKETS.to_vec(), |buckets| check_buckets(buckets));
    section.finish();
    (cooldown.value, buckets.value)
}

fn check_buckets(buckets: &[f64]) -> Result<(), String> {
    if buckets.is_empty() || buckets.len() > BUCKETS_MAX {
        return Err(format!("has {} buckets; write 1 to {BUCKETS_MAX}", buckets.len()));
    }
    if buckets.iter().any(|bound| !bound.is_finite()) {
        return Err("has a bound that is not finite; leave it out, +Inf is always there".to_owned());
    }
    if buckets.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("is not in order; write each bound larger than the one before".to_owned());
    }
    Ok(())
}

fn storage(mut section: Section<'_>) -> (store::Options, Duration) {
    let usual = store::Options::default();
    let kept = within(KEPT_MIN, KEPT_MAX);
    let retention = section.take_if("retention", usual.retention, &kept);
    let (raw, five) = (retention.value, usual.retention_5m.max(retention.value));
    let five = section.take_if("retention_5m", five, no_shorter("retention", raw));
    let hour = usual.retention_1h.max(five.value);
    let hour = section.take_if("retention_1h", hour, no_shorter("retention_5m", five.value));
    let history = section.take_if("history_retention", usual.history_retention, &kept);
    let size_max = section.optional_if("size_max", within(STORE_SIZE_MIN, Bytes(1 << 50)));
    let late = LATE_MAX.min(raw);
    let usual_late = usual.out_of_order_window.min(late);
    let late =
        section.take_if("out_of_order_window", usual_late, within(Duration::ZERO, late)).value;
    let series_max = section
        .take_if("series_max", usual.series_max as u64, within(1, limits::SERIES_MAX as u64))
        .value;
    let unsynced = section.take_if(
        "power_cut_loses_up_to",
        usual.power_cut_loses_up_to,
        within(Duration::ZERO, UNSYNCED_MAX),
    );
    let shorter = retention.value.min(history.value);
    let cleanup = section.take_if("cleanup_interval", DAY.min(shorter), within(MINUTE, shorter));
    section.finish();
    let options = store::Options {
        retention: raw,
        retention_5m: five.value,
        retention_1h: hour.value,
        history_retention: history.value,
        size_max: size_max.map(|said| said.value.0),
        out_of_order_window: late,
        series_max: usize::try_from(series_max).unwrap_or(usual.series_max),
        power_cut_loses_up_to: unsynced.value,
    };
    (options, cleanup.value)
}

/// A check for how long a tier is kept: rollups are made of the finer tier, and outlive it.
fn no_shorter(finer: &str, least: Duration) -> impl Fn(&Duration) -> Result<(), String> {
    move |value| {
        if *value < least {
            let (value, least) = (value.show(), least.show());
            return Err(format!("{value} is less than {finer}, {least}; write {least} or more"));
        }
        within(KEPT_MIN, KEPT_MAX)(value)
    }
}

/// A check for values from `least` to `most`.
fn within<T: Setting + PartialOrd>(least: T, most: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| {
        if *value < least {
            return Err(format!("{} is too little; write {} or more", value.show(), least.show()));
        }
        if *value > most {
            return Err(format!("{} is too much; write {} or less", value.show(), most.show()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::{Node, Origin, Table, Value};

    /// `lists` is `disabled/enabled`, each a list with commas.
    #[track_caller]
    fn check(lists: &str, chosen: &[&str], problem: Option<&str>) {
        let (disabled, enabled) = lists.split_once('/').unwrap();
        let node = |text: &str| Node {
            value: Value::Untyped(text.to_owned()),
            origin: Origin::Flag("test"),
        };
        let table = Table::from([
            ("disabled".to_owned(), node(disabled)),
            ("enabled".to_owned(), node(enabled)),
        ]);
        let findings = RefCell::new(Findings::default());
        let mut section = Section::root(table, &findings);
        let rows = [("cpu", true), ("disk", true), ("wifi", false)];
        assert_eq!(choose(&mut section, &rows), chosen, "{lists}");
        let problems = findings.into_inner().problems;
        assert_eq!(problems.first().map(ToString::to_string).as_deref(), problem, "{lists}");
    }

    #[test]
    fn collectors_are_chosen() {
        check("/", &["cpu", "disk"], None);
        check("cpu/wifi", &["disk", "wifi"], None);
        check(
            "/wify",
            &["cpu", "disk"],
            Some("flag test: enabled: \"wify\": unknown collector; did you mean \"wifi\"?"),
        );
        check(
            "cpu/cpu",
            &["disk"],
            Some("flag test: enabled: \"cpu\" is disabled as well; remove it from one of the two"),
        );
    }
}
