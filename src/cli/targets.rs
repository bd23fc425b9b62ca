//! `balefire targets …`.

use std::collections::HashMap;

use comfy_table::Cell;
use serde::Serialize;

use crate::{
    client::{pages, take},
    wire::{to_wire, v1},
};

use super::{
    args::{Span, TargetsCommand},
    error::{CliError, Verdict},
    human, output,
    session::{Session, note_more},
    table::{Style, number},
    views::{Probe, Target},
};

pub(super) async fn run(session: &Session, command: TargetsCommand) -> Result<Verdict, CliError> {
    match command {
        TargetsCommand::List => list(session).await,
        TargetsCommand::Show { name } => show(session, name).await,
        TargetsCommand::Check { name, endpoints } => check(session, name, endpoints).await,
        TargetsCommand::Discover => discover(session).await,
        TargetsCommand::Adopt { name } => adopt(session, name).await,
        TargetsCommand::Forget { name } => forget(session, name).await,
        TargetsCommand::History { name, span, limit } => history(session, name, span, limit).await,
    }
}

async fn list(session: &Session) -> Result<Verdict, CliError> {
    let targets: Vec<Target> = all(session).await?.iter().map(Target::from).collect();
    session.show(&targets, |targets, style| table(targets, style, "no targets are known"))?;
    Ok(Verdict::Fine)
}

async fn all(session: &Session) -> Result<Vec<v1::Target>, CliError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListTargetsRequest { page_size, page_token };
        let page = take(session.connection.targets().list_targets(request).await)?;
        Ok((page.targets, page.next_page_token))
    };
    Ok(pages(crate::limits::TARGETS_MAX, fetch).await?.0)
}

/// Targets, one on each line.
pub(super) fn table(targets: &[Target], style: &Style, empty: &str) -> String {
    let mut table = style.table(["NAME", "KIND", "STATE", "CHECKED", "LATENCY", "ERROR"]);
    for target in targets {
        let state = if target.probed { target.state.as_str() } else { "not adopted" };
        table.add_row(vec![
            Cell::new(&target.name),
            Cell::new(&target.kind),
            style.state(state),
            style.age(target.checked_at),
            latency(target.latency_seconds),
            Cell::new(target.error.as_deref().unwrap_or_default()),
        ]);
    }
    style.finish(&table, empty)
}

fn latency(seconds: Option<f64>) -> Cell {
    let length = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    number(length.map_or_else(|| "-".to_owned(), human::latency))
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    target: Target,
    last_probe: Option<Probe>,
}

async fn show(session: &Session, name: String) -> Result<Verdict, CliError> {
    let request = v1::GetTargetRequest { name };
    let answer = take(session.connection.targets().get_target(request).await)?;
    let shown = Shown {
        target: Target::from(&answer.target.unwrap_or_default()),
        last_probe: answer.last_probe.as_ref().map(Probe::from),
    };
    session.show(&shown, render_shown)?;
    Ok(Verdict::Fine)
}

fn render_shown(shown: &Shown, style: &Style) -> String {
    let target = &shown.target;
    let text = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or_default());
    let since = target.since_at.map(|since| human::age(since, style.now));
    let fields = style.fields([
        ("name", Cell::new(&target.name)),
        ("kind", Cell::new(&target.kind)),
        ("state", style.state(&target.state)),
        ("since", text(&since)),
        ("checked", style.age(target.checked_at)),
        ("latency", Cell::new(latency(target.latency_seconds).content())),
        ("error", text(&target.error)),
        ("endpoint", text(&target.endpoint)),
        ("transport", text(&target.transport)),
        ("protocol", text(&target.protocol_version)),
        ("declared in", text(&target.source)),
        ("probed", style.state(if target.probed { "yes" } else { "no" })),
    ]);
    match &shown.last_probe {
        Some(probe) => format!("{fields}\n\n{}", render_probe(probe, style)),
        None => fields,
    }
}

fn render_probe(probe: &Probe, style: &Style) -> String {
    let server = [&probe.server_name, &probe.server_version].map(|part| part.as_deref());
    let server = server.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let phases = probe.phases.iter().map(|phase| {
        let took = latency(phase.duration_seconds).content();
        format!("{} {took}", phase.name)
    });
    let optional =
        |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    style.fields([
        ("last probe", style.age(probe.at)),
        ("attempts", Cell::new(probe.attempts.len())),
        ("phases", Cell::new(phases.collect::<Vec<_>>().join(", "))),
        ("http status", Cell::new(optional(probe.status_code))),
        ("server", Cell::new(server)),
        ("tools", Cell::new(optional(probe.tool_count))),
        ("stderr", Cell::new(probe.stderr_tail.as_deref().unwrap_or_default())),
    ])
}

async fn check(
    session: &Session,
    target: String,
    endpoints: Vec<String>,
) -> Result<Verdict, CliError> {
    let request = v1::CheckTargetRequest { target, endpoints };
    let report = take(session.connection.targets().check_target(request).await)?;
    let known = all(session).await?;
    let known: HashMap<&str, &v1::Target> = known.iter().map(|t| (t.name.as_str(), t)).collect();
    let checks: Vec<Target> = report
        .health_checks
        .iter()
        .map(|check| Target::checked(check, known.get(check.name.as_str()).copied()))
        .collect();
    session.show(&checks, |checks, style| table(checks, style, "nothing to check"))?;
    Ok(Verdict::fine_if(report.overall_healthy))
}

#[derive(Debug, Serialize)]
struct Discovery {
    targets: Vec<Target>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    file: String,
    message: String,
}

async fn discover(session: &Session) -> Result<Verdict, CliError> {
    let request = v1::DiscoverTargetsRequest {};
    let answer = take(session.connection.targets().discover_targets(request).await)?;
    let problems = answer.problems.into_iter();
    let discovery = Discovery {
        targets: answer.targets.iter().map(Target::from).collect(),
        problems: problems.map(|p| Problem { file: p.file, message: p.message }).collect(),
    };
    session.show(&discovery, render_discovery)?;
    Ok(Verdict::fine_if(discovery.problems.is_empty()))
}

fn render_discovery(discovery: &Discovery, style: &Style) -> String {
    let mut table = style.table(["NAME", "STATE", "TRANSPORT", "DECLARED IN", "ENDPOINT"]);
    for target in &discovery.targets {
        let state = if target.probed { "adopted" } else { "not adopted" };
        let text = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or_default());
        table.add_row(vec![
            Cell::new(&target.name),
            Cell::new(state),
            text(&target.transport),
            text(&target.source),
            text(&target.endpoint),
        ]);
    }
    let mut lines = vec![style.finish(&table, "no client declares an MCP server")];
    lines.extend(discovery.problems.iter().map(|p| format!("{}: {}", p.file, p.message)));
    if discovery.targets.iter().any(|target| !target.probed) {
        let next = "\nadopt one with `balefire targets adopt NAME`: it is probed from then on";
        lines.push(next.to_owned());
    }
    lines.join("\n")
}

async fn adopt(session: &Session, name: String) -> Result<Verdict, CliError> {
    let request = v1::AdoptTargetRequest { name };
    let answer = take(session.connection.targets().adopt_target(request).await)?;
    let target = Target::from(&answer.target.unwrap_or_default());
    session.show(&target, |target, _| format!("{} is probed from now on", target.name))?;
    Ok(Verdict::Fine)
}

async fn forget(session: &Session, name: String) -> Result<Verdict, CliError> {
    let request = v1::ForgetTargetRequest { name: name.clone() };
    take(session.connection.targets().forget_target(request).await)?;
    if session.is_json() {
        output::json(&serde_json::json!({ "forgotten": name }))?;
    } else {
        output::text(&format!("{name} is probed no more, and its history is gone"))?;
    }
    Ok(Verdict::Fine)
}

async fn history(
    session: &Session,
    name: String,
    span: Span,
    limit: usize,
) -> Result<Verdict, CliError> {
    let fetch = |page_size, page_token| {
        let request = v1::ListTargetHistoryRequest {
            name: name.clone(),
            start: span.start.map(to_wire::time),
            end: span.end.map(to_wire::time),
            page_size,
            page_token,
        };
        async move {
            let page = take(session.connection.targets().list_target_history(request).await)?;
            Ok((page.probes, page.next_page_token))
        }
    };
    let (probes, more) = pages(limit, fetch).await?;
    let probes: Vec<Probe> = probes.iter().map(Probe::from).collect();
    session.show(&probes, |probes, style| render_history(probes, style))?;
    note_more(more, limit);
    Ok(Verdict::Fine)
}

fn render_history(probes: &[Probe], style: &Style) -> String {
    let mut table = style.table(["TIME", "STATE", "TOOK", "ATTEMPTS", "ERROR"]);
    for probe in probes {
        table.add_row(vec![
            Cell::new(probe.started_at.as_deref().unwrap_or("-")),
            style.state(&probe.state),
            latency(probe.duration_seconds),
            number(probe.attempts.len()),
            Cell::new(probe.error.as_deref().unwrap_or_default()),
        ]);
    }
    style.finish(&table, "not probed in that time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    fn target(name: &str, state: v1::TargetState, error: &str) -> v1::Target {
        v1::Target {
            name: name.into(),
            kind: "mcp".into(),
            state: state.into(),
            error: error.into(),
            probed: true,
            last_check: Some(prost_types::Timestamp { seconds: 1_699_999_955, nanos: 0 }),
            ..v1::Target::default()
        }
    }

    #[test]
    fn a_list_tells_state_age_and_error() {
        let healthy = v1::Target {
            latency: Some(prost_types::Duration { seconds: 0, nanos: 12_000_000 }),
            ..target("time", v1::TargetState::Healthy, "")
        };
        let unhealthy = target("files", v1::TargetState::Unhealthy, "exited with 1");
        let new = v1::Target { probed: false, last_check: None, ..v1::Target::default() };
        let views = [&healthy, &unhealthy, &new].map(Target::from);
        let expected = "\
NAME   KIND  STATE        CHECKED  LATENCY  ERROR
time   mcp   healthy      45s ago     12ms
files  mcp   unhealthy    45s ago        -  exited with 1
             not adopted  -              -";
        assert_eq!(table(&views, &PLAIN, "none"), expected);
    }

    #[test]
    fn what_discovery_found_tells_what_to_do_next() {
        let new = v1::Target { probed: false, ..target("time", v1::TargetState::Unknown, "") };
        let problem = Problem { file: "/h/.claude.json".into(), message: "line 3: no JSON".into() };
        let discovery = Discovery { targets: vec![Target::from(&new)], problems: vec![problem] };
        let text = render_discovery(&discovery, &PLAIN);
        assert!(text.contains("balefire targets adopt NAME"), "{text}");
        assert!(text.contains("/h/.claude.json: line 3: no JSON"), "{text}");
    }

    #[test]
    fn one_target_is_shown_with_its_last_probe() {
        let probe = v1::ProbeRecord {
            server_name: "mcp-time".into(),
            server_version: "1.2".into(),
            tool_count: Some(2),
            phases: vec![v1::ProbePhase {
                name: "spawn".into(),
                duration: Some(prost_types::Duration { seconds: 0, nanos: 3_000_000 }),
            }],
            ..v1::ProbeRecord::default()
        };
        let shown = Shown {
            target: Target::from(&target("time", v1::TargetState::Healthy, "")),
            last_probe: Some(Probe::from(&probe)),
        };
        let text = render_shown(&shown, &PLAIN);
        assert!(text.contains("server      mcp-time 1.2"), "{text}");
        assert!(text.contains("phases      spawn 3.0ms"), "{text}");
        assert!(!text.contains("error"), "{text}");
    }
}
