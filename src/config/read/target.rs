//! `[[targets]]`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use super::{DAY, MINUTE, SECOND, http::credential, within};
use crate::{
    config::{
        ProbeDefaults,
        layers::read_bounded,
        raw::Origin,
        section::{Said, Section, unknown},
        surroundings::Surroundings,
    },
    limits::TARGETS_MAX,
    model::{Check, Secret, Target, TargetSource},
    pipeline::probing,
    time::format_duration,
};

pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(10);
pub(super) const RETRIES_MAX: u64 = 10;
const NAME_BYTES_MAX: usize = 64;

/// Names that mean something else in commands and series.
const RESERVED: [&str; 3] = ["all", "system", "balefire"];
const KINDS: [&str; 3] = ["mcp", "http", "tcp"];
const KINDS_LATER: [&str; 5] = ["grpc", "dns", "process", "systemd", "exec"];

/// Reads all targets; what is wrong with one is told, and the one left out.
pub(super) fn targets(
    sections: Vec<Section<'_>>,
    defaults: &ProbeDefaults,
    around: &Surroundings,
) -> Vec<Target> {
    let mut seen = BTreeMap::new();
    let mut targets = Vec::new();
    for (count, mut section) in sections.into_iter().enumerate() {
        if count == TARGETS_MAX {
            let message = format!("there are more than {TARGETS_MAX} targets; remove some");
            section.problem("", section.origin(), message);
            break;
        }
        let name = name(&mut section, &mut seen);
        let check = check(&mut section, around);
        let schedule = schedule(&mut section, check.as_ref(), defaults);
        let source = TargetSource::Config(file_of(section.origin()));
        section.finish();
        if let (Some(name), Some(check)) = (name, check) {
            let Schedule { interval, timeout, retries } = schedule;
            targets.push(Target { name, check, interval, timeout, retries, source, probed: true });
        }
    }
    targets
}

/// The check of the first target of this name; nothing is read of the others.
pub(super) fn named(
    sections: Vec<Section<'_>>,
    name: &str,
    around: &Surroundings,
) -> Option<Check> {
    let mut sections = sections.into_iter();
    let mut found = sections.find_map(|mut section| {
        let said: Said<String> = section.optional("name")?;
        (said.value == name).then_some(section)
    })?;
    check(&mut found, around)
}

fn file_of(origin: &Origin) -> PathBuf {
    match origin {
        Origin::File { file, .. } => file.to_path_buf(),
        other => PathBuf::from(other.to_string()),
    }
}

fn name(section: &mut Section<'_>, seen: &mut BTreeMap<String, Origin>) -> Option<String> {
    let Said { value: name, origin } =
        section.required("name", "a name of your choice", |name: &String| check_name(name))?;
    if let Some(first) = seen.get(&name) {
        let message =
            format!("{name:?} is the name of another target, at {first}; choose one of its own");
        section.problem("name", &origin, message);
        return None;
    }
    seen.insert(name.clone(), origin);
    Some(name)
}

fn check_name(name: &str) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err(format!("{name:?} is reserved; choose another name"));
    }
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let begins = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot be a name; use letters, digits, '-', '_' and '.', a letter or digit \
         first, {NAME_BYTES_MAX} at most"
    ))
}

fn check(section: &mut Section<'_>, around: &Surroundings) -> Option<Check> {
    let help = "\"mcp\", \"http\" or \"tcp\"";
    let kind = section.required("kind", help, |kind: &String| check_kind(kind));
    let Some(kind) = kind else {
        // Which other keys it may have hangs on the kind: nothing can be said of them.
        section.forgive_unknown();
        return None;
    };
    match kind.value.as_str() {
        "mcp" => mcp(section, around),
        "http" => http(section, around),
        _ => tcp(section),
    }
}

fn check_kind(kind: &str) -> Result<(), String> {
    if KINDS.contains(&kind) {
        return Ok(());
    }
    if KINDS_LATER.contains(&kind) {
        return Err(format!("kind {kind:?} comes with a later version; use {}", KINDS.join(", ")));
    }
    Err(format!("{kind:?}: {}", unknown("kind", kind, &KINDS)))
}

fn mcp(section: &mut Section<'_>, around: &Surroundings) -> Option<Check> {
    match (section.has("command"), section.has("url")) {
        (true, false) => mcp_stdio(section, around),
        (false, true) => {
            Some(Check::McpHttp { url: url(section)?, headers: headers(section, around) })
        }
        (both, _) => {
            let wrong = if both { "both command and url" } else { "neither command nor url" };
            let message = format!(
                "an MCP server has {wrong}; write command = [\"program\", \"argument\"] for \
                 one that is spawned, or url = \"http://…\" for one that runs"
            );
            section.problem("", section.origin(), message);
            section.forgive_unknown();
            None
        }
    }
}

fn mcp_stdio(section: &mut Section<'_>, around: &Surroundings) -> Option<Check> {
    let command = section.optional_if("command", |command: &Vec<String>| {
        let program = command.first().is_some_and(|program| !program.is_empty());
        program.then_some(()).ok_or_else(|| "names no program; write [\"program\", …]".to_owned())
    });
    let cwd = section.optional("cwd").map(|said| said.value);
    let mut env = section
        .optional_if("env", |env: &BTreeMap<String, Secret>| {
            env.keys().try_for_each(check_env_name)
        })
        .map_or_else(BTreeMap::new, |said| said.value);
    let files = section.optional_if("env_files", |files: &BTreeMap<String, String>| {
        files.keys().try_for_each(check_env_name)
    });
    for (name, file) in files.iter().flat_map(|said| &said.value) {
        let origin = files.as_ref().map_or(section.origin(), |said| &said.origin);
        match secret_file(file, around) {
            Ok(secret) => drop(env.insert(name.clone(), Secret::new(secret))),
            Err(wrong) => section.problem("env_files", origin, format!("{name}: {wrong}")),
        }
    }
    Some(Check::McpStdio { command: command?.value, env, cwd })
}

fn check_env_name(name: &String) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} cannot be the name of an environment variable"));
    }
    Ok(())
}

fn http(section: &mut Section<'_>, around: &Surroundings) -> Option<Check> {
    let expected = section.take_if("expected_status", vec![200], |statuses: &Vec<u64>| {
        let wrong = statuses.iter().find(|status| !(100..600).contains(*status));
        match wrong {
            Some(status) => Err(format!("{status} is no HTTP status; write 100 to 599")),
            None if statuses.is_empty() => Err("is empty; write [200]".to_owned()),
            None => Ok(()),
        }
    });
    let expected_status = expected.value.iter().filter_map(|s| u16::try_from(*s).ok()).collect();
    let headers = headers(section, around);
    Some(Check::Http { url: url(section)?, headers, expected_status })
}

fn tcp(section: &mut Section<'_>) -> Option<Check> {
    let help = "\"host:port\"";
    let address = section.required("address", help, |address: &String| {
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        let bare_v6 = host.contains(':') && !host.starts_with('[');
        let fine = !host.is_empty() && !bare_v6 && port.parse::<u16>().is_ok_and(|port| port > 0);
        let wrong =
            || format!("{address:?} is no host and port; write \"host:port\" or \"[::1]:port\"");
        fine.then_some(()).ok_or_else(wrong)
    })?;
    Some(Check::Tcp { address: address.value })
}

fn url(section: &mut Section<'_>) -> Option<String> {
    let said = section
        .required("url", "\"http://…\" or \"https://…\"", |url: &String| check_url(url))?;
    Some(said.value)
}

fn check_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("is no URL that begins with \"http://\" or \"https://\"".to_owned());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(
            "holds a user and a password, which would be shown; use headers or bearer_token_file"
                .to_owned(),
        );
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("names no host; write \"http://host:port/path\"".to_owned());
    }
    Ok(())
}

fn headers(section: &mut Section<'_>, around: &Surroundings) -> BTreeMap<String, Secret> {
    let headers = section.optional_if("headers", |headers: &BTreeMap<String, Secret>| {
        headers.iter().try_for_each(|(name, value)| check_header(name, value.reveal()))
    });
    let mut headers = headers.map_or_else(BTreeMap::new, |said| said.value);
    let Some(file) = section.optional::<String>("bearer_token_file") else { return headers };
    if headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) {
        let message = "headers have an Authorization already; remove one of the two";
        section.problem("bearer_token_file", &file.origin, message);
    }
    let bearer = secret_file(&file.value, around).map(|token| format!("Bearer {token}"));
    match bearer.and_then(|value| check_header("Authorization", &value).map(|()| value)) {
        Ok(value) => drop(headers.insert("Authorization".to_owned(), Secret::new(value))),
        Err(wrong) => section.problem("bearer_token_file", &file.origin, wrong),
    }
    headers
}

/// Says nothing of the value but that it is wrong: it may be a secret.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    if HeaderName::try_from(name).is_err() {
        return Err(format!("{name:?} cannot be the name of a header"));
    }
    if HeaderValue::try_from(value).is_err() {
        return Err(format!("the value of {name:?} has a character that a header cannot have"));
    }
    Ok(())
}

/// What stands in a file; a relative path is one of systemd's credentials.
fn secret_file(file: &str, around: &Surroundings) -> Result<String, String> {
    let path = credential(file, around)?;
    let text =
        read_bounded(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("{} is empty; write the secret into it", path.display())),
        secret => Ok(secret.to_owned()),
    }
}

/// When a target is probed.
struct Schedule {
    interval: Duration,
    timeout: Duration,
    retries: u32,
}

impl Schedule {
    /// How long a probe takes where every attempt runs into its timeout.
    fn longest(&self) -> Duration {
        probing::longest(self.timeout, self.retries)
    }

    fn fits(&self) -> bool {
        self.longest() <= self.interval
    }
}

fn schedule(
    section: &mut Section<'_>,
    check: Option<&Check>,
    defaults: &ProbeDefaults,
) -> Schedule {
    let interval = check.map_or(MINUTE, |check| defaults.interval_of(check));
    let interval = section.take_if("interval", interval, within(SECOND, DAY)).value;
    let timeout = section.optional_if("timeout", within(TIMEOUT_MIN, DAY));
    let retries = section.optional_if("retries", within(0, RETRIES_MAX));
    let mut schedule = Schedule {
        interval,
        timeout: timeout.as_ref().map_or(defaults.timeout, |said| said.value),
        retries: retries
            .as_ref()
            .map_or(defaults.retries, |said| u32::try_from(said.value).unwrap_or(defaults.retries)),
    };
    // What nobody asked for gives way: a short interval alone is no mistake.
    while !schedule.fits() && retries.is_none() && schedule.retries > 0 {
        schedule.retries -= 1;
    }
    while !schedule.fits() && timeout.is_none() && schedule.timeout > TIMEOUT_MIN {
        schedule.timeout = (schedule.timeout / 2).max(TIMEOUT_MIN);
    }
    if !schedule.fits() {
        let said = timeout.as_ref().map(|t| ("timeout", &t.origin));
        let said = said.or(retries.as_ref().map(|r| ("retries", &r.origin)));
        let (key, origin) = said.unwrap_or(("interval", section.origin()));
        section.problem(key, origin, too_tight(&schedule));
    }
    if timeout.is_none() {
        section.settle("timeout", schedule.timeout, Origin::Default);
    }
    if retries.is_none() {
        section.settle("retries", u64::from(schedule.retries), Origin::Default);
    }
    schedule
}

fn too_tight(schedule: &Schedule) -> String {
    format!(
        "{} × {} and the pauses between the attempts come to {}, longer than the interval of {}; \
         write less, or a longer interval",
        schedule.retries + 1,
        format_duration(schedule.timeout),
        format_duration(schedule.longest()),
        format_duration(schedule.interval),
    )
}
