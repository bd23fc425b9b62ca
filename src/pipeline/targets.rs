//! The book of targets: what is watched, how it fares, and the series that say so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use ring::digest::{SHA256, digest};

use crate::{
    limits,
    model::{
        Check, Event, Labels, METRIC_NAME, Matcher, Metadata, MetricKind, ProbeRecord,
        SeriesSample, Target, TargetSource, TargetState, TargetStatus, stale_nan,
    },
    store::Store,
    time::Timestamp,
};

/// Every target and how it fares; shared by the probing loop, which writes, and all who ask.
#[derive(Debug, Default)]
pub struct Targets {
    entries: RwLock<BTreeMap<String, Entry>>,
}

/// What became of the targets before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// What changed, a line each.
    pub changes: Vec<String>,
    /// Targets whose verdict and series end: removed, no longer probed, or checked in another way.
    pub gone: Vec<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    target: Arc<Target>,
    status: TargetStatus,
}

/// How Balefire watches itself: often, for it is cheap.
const SELF_INTERVAL: Duration = Duration::from_mins(1);
const SELF_TIMEOUT: Duration = Duration::from_secs(10);

/// `[probe]`: how targets are probed that say nothing else, discovered ones among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeDefaults {
    /// From one probe to the next; `None` for [`Check::usual_interval`].
    pub interval: Option<Duration>,
    /// Of one attempt.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
}

impl Default for ProbeDefaults {
    fn default() -> Self {
        Self { interval: None, timeout: Duration::from_secs(10), retries: 2 }
    }
}

impl ProbeDefaults {
    /// The interval of a check that says nothing else.
    pub fn interval_of(&self, check: &Check) -> Duration {
        self.interval.unwrap_or_else(|| check.usual_interval())
    }

    fn apply(&self, target: Target) -> Target {
        let interval = self.interval_of(&target.check);
        Target { interval, timeout: self.timeout, retries: self.retries, ..target }
    }
}

/// Balefire itself.
pub fn own_target() -> Target {
    Target {
        name: "balefire".to_owned(),
        check: Check::Balefire,
        interval: SELF_INTERVAL,
        timeout: SELF_TIMEOUT,
        retries: 0,
        source: TargetSource::BuiltIn,
        probed: true,
    }
}

/// The configured targets, and the discovered ones: such a one is probed when it is adopted, or when
/// discovery says that calling it is harmless.
pub fn declared(
    configured: &[Target],
    found: Vec<Target>,
    defaults: &ProbeDefaults,
    adopted: &BTreeSet<String>,
) -> Vec<Target> {
    let mut targets = configured.to_vec();
    targets.extend(found.into_iter().map(|target| {
        let probed = target.probed || adopted.contains(&adoption_of(&target));
        Target { probed, ..defaults.apply(target) }
    }));
    targets
}

/// The first of each name, and `max` of them; how many more there are, for want of room.
pub fn bounded(mut targets: Vec<Target>, max: usize) -> (Vec<Target>, usize) {
    let mut names = BTreeSet::new();
    targets.retain(|target| names.insert(target.name.clone()));
    let left_out = targets.len().saturating_sub(max);
    targets.truncate(max);
    (targets, left_out)
}

/// What an adoption stands for: this name with this program or address, from this file. When any of
/// them changes, nobody has adopted the target yet.
pub fn adoption_of(target: &Target) -> String {
    let what = match &target.check {
        Check::McpStdio { command, env, cwd } => {
            format!("{command:?} {:?} {cwd:?}", env.keys().collect::<Vec<_>>())
        }
        Check::McpHttp { url, .. } | Check::Http { url, .. } => url.clone(),
        Check::Tcp { address } => address.clone(),
        Check::Balefire | Check::Reported { .. } => String::new(),
    };
    // A digest, for a command line may hold a secret, and what is stored must not.
    let digest = digest(&SHA256, format!("{} {what}", target.source).as_bytes());
    let mut adoption = format!("{}#", target.name);
    for byte in digest.as_ref() {
        // Writing to a text cannot fail.
        let _infallible = write!(adoption, "{byte:02x}");
    }
    adoption
}

/// The name of the target that an adoption stands for.
pub fn adopted_name(adoption: &str) -> &str {
    adoption.rsplit_once('#').map_or(adoption, |(name, _)| name)
}

impl Targets {
    /// Puts `targets` in the place of all there were. A target whose check is the same keeps its
    /// status, one whose check changed starts anew; `recall` says how a new one fared before.
    pub fn replace(&self, targets: Vec<Target>, recall: impl Fn(&str) -> TargetStatus) -> Replaced {
        let mut entries = self.entries.write();
        let mut before = std::mem::take(&mut *entries);
        let mut replaced = Replaced::default();
        for target in targets {
            let name = target.name.clone();
            let old = before.remove(&name);
            let status = match &old {
                Some(old)
                    if old.target.check == target.check && old.target.probed == target.probed =>
                {
                    old.status.clone()
                }
                Some(_) => {
                    replaced.gone.push(name.clone());
                    TargetStatus::default()
                }
                None if target.probed => recall(&name),
                None => TargetStatus::default(),
            };
            match old {
                None => replaced.changes.push(format!("target {name} added")),
                Some(old) if *old.target != target => {
                    replaced.changes.push(format!("target {name} changed"));
                }
                Some(_) => {}
            }
            entries.insert(name, Entry { target: Arc::new(target), status });
        }
        replaced.changes.extend(before.keys().map(|name| format!("target {name} removed")));
        replaced.gone.extend(before.into_keys());
        replaced
    }

    /// All targets, sorted by name.
    pub fn list(&self) -> Vec<(Arc<Target>, TargetStatus)> {
        self.entries
            .read()
            .values()
            .map(|entry| (entry.target.clone(), entry.status.clone()))
            .collect()
    }

    /// One target.
    pub fn get(&self, name: &str) -> Option<(Arc<Target>, TargetStatus)> {
        self.entries.read().get(name).map(|entry| (entry.target.clone(), entry.status.clone()))
    }

    /// Says when a target is probed next.
    pub fn set_next_check(&self, name: &str, at: Timestamp) {
        if let Some(entry) = self.entries.write().get_mut(name) {
            entry.status.next_check = Some(at);
        }
    }

    /// Takes a probe's result in; tells what changed, where the state did.
    pub fn record(&self, record: ProbeRecord, now: Timestamp) -> Option<Event> {
        let mut entries = self.entries.write();
        let status = &mut entries.get_mut(&record.target)?.status;
        let (from, to) = (status.state, record.state);
        let event = (from != to).then(|| Event::TargetChanged {
            time: now,
            name: record.target.clone(),
            from,
            to,
            reason: record.error.clone(),
        });
        if event.is_some() || status.since.is_none() {
            status.since = Some(now);
        }
        status.state = to;
        status.last_probe = Some(record);
        status.stale.clear();
        event
    }

    /// Nobody knows any more how these targets fare, for this reason; what changed by that.
    pub fn set_stale(&self, names: &[String], reason: &str, now: Timestamp) -> Vec<Event> {
        let mut entries = self.entries.write();
        let mut events = Vec::new();
        for name in names {
            let Some(entry) = entries.get_mut(name) else { continue };
            let status = &mut entry.status;
            reason.clone_into(&mut status.stale);
            status.next_check = None;
            events.extend(moved(name, status, TargetState::Unknown, now));
        }
        events
    }

    /// Somebody knows again: what the last probe found holds. What changed by that.
    pub fn set_fresh(&self, names: &[String], now: Timestamp) -> Vec<Event> {
        let mut entries = self.entries.write();
        let mut events = Vec::new();
        for name in names {
            let Some(entry) = entries.get_mut(name) else { continue };
            let status = &mut entry.status;
            status.stale.clear();
            let last = status.last_probe.as_ref().filter(|_| entry.target.probed);
            let Some(state) = last.map(|probe| probe.state) else { continue };
            events.extend(moved(name, status, state, now));
        }
        events
    }

    /// How every target fares at `now`, as series.
    pub fn samples(&self, now: Timestamp) -> Vec<SeriesSample> {
        let entries = self.entries.read();
        entries.values().flat_map(|entry| samples_of(&entry.target, &entry.status, now)).collect()
    }

    /// How one target fares at `now`, as series.
    pub fn samples_of(&self, name: &str, now: Timestamp) -> Vec<SeriesSample> {
        let entries = self.entries.read();
        entries
            .get(name)
            .map(|entry| samples_of(&entry.target, &entry.status, now))
            .unwrap_or_default()
    }
}

/// Has a target be in another state, without a probe; tells the change, if it is one.
fn moved(name: &str, status: &mut TargetStatus, to: TargetState, now: Timestamp) -> Option<Event> {
    let from = std::mem::replace(&mut status.state, to);
    if from == to {
        return None;
    }
    status.since = Some(now);
    let reason = status.error().to_owned();
    Some(Event::TargetChanged { time: now, name: name.to_owned(), from, to, reason })
}

/// Markers that end every series of a target that is gone, as far as the store remembers them.
pub(super) fn end_markers(store: &Store, name: &str, now: Timestamp) -> Vec<SeriesSample> {
    let of_probe = [Matcher::equal("job", "probe"), Matcher::equal("instance", name)];
    let of_server =
        [Matcher::equal(METRIC_NAME, "mcp_server_health"), Matcher::equal("server", name)];
    let since = now.minus(limits::QUERY_LOOKBACK);
    let series =
        [&of_probe, &of_server].into_iter().flat_map(|matchers| store.latest(matchers, since));
    series.map(|series| SeriesSample::new(series.labels, now, stale_nan())).collect()
}

fn samples_of(target: &Target, status: &TargetStatus, now: Timestamp) -> Vec<SeriesSample> {
    let known = status.last_probe.as_ref().filter(|_| target.probed && status.stale.is_empty());
    let Some(probe) = known else { return Vec::new() };
    let labels = ProbeLabels::new(target);
    let mut samples = Vec::new();
    let mut emit = |metric: &str, phase: Option<&str>, value: f64| {
        samples.push(SeriesSample::new(labels.series(metric, phase), now, value));
    };
    emit("probe_success", None, f64::from(u8::from(probe.state.is_healthy())));
    emit("probe_duration_seconds", None, probe.duration.as_secs_f64());
    if let Some(code) = probe.answer.status_code {
        emit("probe_http_status_code", None, f64::from(code));
    }
    if let Some(tools) = probe.answer.tool_count {
        emit("probe_mcp_tools", None, f64::from(tools));
    }
    for phase in &probe.answer.phases {
        emit(labels.phases, Some(phase.name), phase.duration.as_secs_f64());
    }
    if let Some(health) = target.check.is_mcp().then(|| status.state.health()).flatten() {
        samples.push(SeriesSample::new(
            Labels::of("mcp_server_health", [("server", &target.name)]),
            now,
            health,
        ));
    }
    samples
}

/// The labels that every probe series of a target carries.
struct ProbeLabels<'a> {
    target: &'a Target,
    phases: &'static str,
}

impl<'a> ProbeLabels<'a> {
    fn new(target: &'a Target) -> Self {
        let phases = match target.check.kind() {
            "mcp" => "probe_mcp_duration_seconds",
            "http" => "probe_http_duration_seconds",
            _ => "probe_phase_duration_seconds",
        };
        Self { target, phases }
    }

    fn series(&self, metric: &str, phase: Option<&str>) -> Labels {
        let name = self.target.name.as_str();
        let server = if self.target.check.is_mcp() { name } else { "" };
        let pairs = [
            (METRIC_NAME, metric),
            ("instance", name),
            ("job", "probe"),
            ("kind", self.target.check.kind()),
            ("phase", phase.unwrap_or_default()),
            ("server", server),
        ];
        let present: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Labels::from_sorted(&present)
    }
}

/// What the probe series mean.
pub fn probe_metadata() -> Vec<Metadata> {
    const GAUGES: [(&str, &str, &str); 8] = [
        ("probe_success", "", "Whether the last probe of the target succeeded."),
        ("probe_duration_seconds", "seconds", "How long the last probe took."),
        ("probe_http_status_code", "", "The HTTP status that the target answered with."),
        ("probe_http_duration_seconds", "seconds", "How long each phase of the HTTP probe took."),
        ("probe_mcp_duration_seconds", "seconds", "How long each phase of the MCP probe took."),
        ("probe_phase_duration_seconds", "seconds", "How long each phase of the probe took."),
        ("probe_mcp_tools", "", "How many tools the MCP server lists."),
        (
            "mcp_server_health",
            "",
            "1 where the MCP server is up, 0 where it is not, absent while nobody knows.",
        ),
    ];
    let metadata = |(name, unit, help): (&str, &str, &str)| Metadata {
        name: name.to_owned(),
        kind: MetricKind::Gauge,
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    GAUGES.into_iter().map(metadata).collect()
}

/// How a target fared as far as the store remembers.
pub(super) fn recalled(
    state: Option<(TargetState, Timestamp)>,
    last_probe: Option<ProbeRecord>,
) -> TargetStatus {
    let (state, since) =
        state.map_or((TargetState::Unknown, None), |(state, since)| (state, Some(since)));
    TargetStatus { state, since, next_check: None, last_probe, stale: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProbeAnswer, ProbeAttempt};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn tcp(name: &str, probed: bool) -> Target {
        Target {
            name: name.to_owned(),
            check: Check::Tcp { address: "127.0.0.1:1".to_owned() },
            interval: Duration::from_mins(1),
            timeout: Duration::from_secs(10),
            retries: 2,
            source: TargetSource::BuiltIn,
            probed,
        }
    }

    fn mcp(name: &str) -> Target {
        let check =
            Check::McpHttp { url: "http://127.0.0.1/mcp".to_owned(), headers: BTreeMap::new() };
        Target { check, ..tcp(name, true) }
    }

    fn record(target: &str, state: TargetState) -> ProbeRecord {
        let attempt = ProbeAttempt {
            started_at: NOW,
            duration: Duration::from_millis(5),
            error: String::new(),
        };
        ProbeRecord {
            target: target.to_owned(),
            state,
            started_at: NOW,
            duration: Duration::from_millis(5),
            attempts: vec![attempt],
            answer: ProbeAnswer::default(),
            error: "refused".to_owned(),
            stderr_tail: String::new(),
        }
    }

    fn usual() -> ProbeDefaults {
        ProbeDefaults::default()
    }

    fn book(targets: Vec<Target>) -> Targets {
        let book = Targets::default();
        book.replace(targets, |_| TargetStatus::default());
        book
    }

    #[test]
    fn a_configured_target_hides_a_discovered_one_of_the_same_name() {
        let found = vec![mcp("a"), tcp("b", false), tcp("c", false)];
        let targets = declared(&[tcp("a", true)], found, &usual(), &BTreeSet::new());
        let (targets, left_out) = bounded(targets, 2);
        let names: Vec<_> =
            targets.iter().map(|t| (t.name.as_str(), t.check.kind(), t.probed)).collect();
        assert_eq!(names, [("a", "tcp", true), ("b", "tcp", false)]);
        assert_eq!(left_out, 1);
    }

    #[test]
    fn what_nobody_knows_any_more_has_no_series_and_says_why() {
        let book = book(vec![mcp("a")]);
        book.record(record("a", TargetState::Healthy), NOW);
        assert!(!book.samples(NOW).is_empty());
        let gone = ["a".to_owned(), "no such target".to_owned()];
        let later = NOW.plus(Duration::from_secs(5));
        let told = book.set_stale(&gone, "stale: gone", later);
        assert!(
            matches!(&told[..], [Event::TargetChanged { to: TargetState::Unknown, reason, .. }] if reason == "stale: gone"),
            "{told:?}"
        );
        let status = book.get("a").unwrap().1;
        assert_eq!((status.error(), status.since), ("stale: gone", Some(later)));
        assert!(book.samples(later).is_empty());
        assert_eq!(book.set_stale(&gone, "stale: still gone", later), []);

        assert_eq!(book.set_fresh(&gone, later).len(), 1);
        let status = book.get("a").unwrap().1;
        assert_eq!((status.state, status.stale.as_str()), (TargetState::Healthy, ""));
        assert!(!book.samples(later).is_empty());
    }

    #[test]
    fn a_probe_ends_staleness() {
        let book = book(vec![mcp("a")]);
        book.set_stale(&["a".to_owned()], "stale: gone", NOW);
        assert!(book.record(record("a", TargetState::Unhealthy), NOW).is_some());
        assert_eq!(book.get("a").unwrap().1.error(), "refused");
    }

    #[test]
    fn a_discovered_target_is_probed_once_it_is_adopted() {
        let adopted = BTreeSet::from([adoption_of(&tcp("b", false))]);
        let targets = declared(&[], vec![tcp("b", false)], &usual(), &adopted);
        assert!(targets[0].probed);
    }

    #[test]
    fn what_was_adopted_under_a_name_is_not_another_program_of_that_name() {
        let adopted = BTreeSet::from([adoption_of(&tcp("b", false))]);
        let other = Target { probed: false, ..mcp("b") };
        let targets = declared(&[], vec![other], &usual(), &adopted);
        assert!(!targets[0].probed);
    }

    #[test]
    fn a_change_of_state_is_told_once() {
        let book = book(vec![tcp("a", true)]);
        assert!(book.record(record("a", TargetState::Unhealthy), NOW).is_some());
        assert!(book.record(record("a", TargetState::Unhealthy), NOW).is_none());
        assert_eq!(book.get("a").unwrap().1.since, Some(NOW));
    }

    #[test]
    fn health_is_absent_until_somebody_knows() {
        let book = book(vec![mcp("a")]);
        let health = |book: &Targets| {
            let samples = book.samples(NOW);
            samples
                .iter()
                .find(|s| s.labels.metric() == "mcp_server_health")
                .map(|s| s.sample.value)
        };
        assert_eq!(health(&book), None);
        book.record(record("a", TargetState::Unhealthy), NOW);
        assert_eq!(health(&book), Some(0.0));
        book.record(record("a", TargetState::AuthRequired), NOW);
        assert_eq!(health(&book), Some(1.0));
    }

    #[test]
    fn replacing_keeps_what_is_known_of_an_unchanged_check() {
        let book = book(vec![tcp("a", true), tcp("b", true)]);
        book.record(record("a", TargetState::Healthy), NOW);
        let slower = Target { interval: Duration::from_mins(5), ..tcp("a", true) };
        let replaced = book.replace(vec![slower, mcp("c")], |_| TargetStatus::default());
        assert_eq!(replaced.changes, ["target a changed", "target c added", "target b removed"]);
        assert_eq!(replaced.gone, ["b"]);
        assert_eq!(book.get("a").unwrap().1.state, TargetState::Healthy);
    }

    #[test]
    fn a_target_that_is_checked_in_another_way_starts_anew() {
        let book = book(vec![mcp("a")]);
        book.record(record("a", TargetState::Unhealthy), NOW);
        let recall =
            |_: &str| TargetStatus { state: TargetState::Unhealthy, ..TargetStatus::default() };
        let replaced = book.replace(vec![tcp("a", true)], recall);
        assert_eq!(replaced.gone, ["a"]);
        assert_eq!(book.get("a").unwrap().1, TargetStatus::default());
    }
}
