//! `balefire status`.

use comfy_table::Cell;
use serde::Serialize;

use crate::{client::take, wire::v1};

use super::{
    error::{CliError, Verdict},
    human::{self, instant},
    session::Session,
    table::{Style, number},
    views::{seconds, some, time},
};

pub(super) async fn run(session: &Session) -> Result<Verdict, CliError> {
    let wire = take(session.connection.system().get_status(v1::GetStatusRequest {}).await)?;
    let socket = session.connection.socket();
    let socket = socket.map(|socket| socket.display().to_string()).unwrap_or_default();
    let status = Status::new(wire, socket);
    session.show(&status, render)?;
    Ok(Verdict::fine_if(status.verdict == "ok"))
}

#[derive(Debug, Serialize)]
struct Status {
    server_name: String,
    version: String,
    #[serde(rename = "status")]
    verdict: String,
    uptime_seconds: Option<f64>,
    pid: u32,
    socket: String,
    http_address: Option<String>,
    state_dir: String,
    config_file: Option<String>,
    components: Vec<Component>,
    samples: u64,
    series: u64,
    active_alerts: u64,
    health_checks: u64,
    system: System,
    timestamp: Option<String>,
    #[serde(skip)]
    uptime: String,
}

#[derive(Debug, Serialize)]
struct Component {
    name: String,
    healthy: bool,
    state: String,
    last_success: Option<String>,
    error: Option<String>,
    #[serde(skip)]
    succeeded: Option<crate::time::Timestamp>,
}

#[derive(Debug, Default, Serialize)]
struct System {
    hostname: String,
    cpu_percent: f64,
    memory_percent: f64,
    memory_total_bytes: u64,
    memory_used_bytes: u64,
    load1: f64,
    uptime_seconds: Option<f64>,
    disks: Vec<Disk>,
}

#[derive(Debug, Serialize)]
struct Disk {
    mount_point: String,
    device: String,
    total_bytes: u64,
    used_bytes: u64,
    used_percent: f64,
}

impl Status {
    fn new(wire: v1::GetStatusResponse, socket: String) -> Self {
        let uptime = human::length(wire.uptime).map(human::span).unwrap_or_default();
        Self {
            uptime,
            uptime_seconds: seconds(wire.uptime),
            http_address: some(&wire.http_address),
            config_file: some(&wire.config_file),
            timestamp: time(wire.timestamp),
            components: wire.components.into_iter().map(Component::from).collect(),
            system: wire.system_info.map(System::from).unwrap_or_default(),
            server_name: wire.server_name,
            version: wire.version,
            verdict: wire.status,
            pid: wire.pid,
            socket,
            state_dir: wire.state_dir,
            samples: wire.total_metrics_stored,
            series: wire.series_count,
            active_alerts: wire.active_alerts,
            health_checks: wire.health_checks,
        }
    }
}

impl From<v1::Component> for Component {
    fn from(wire: v1::Component) -> Self {
        Self {
            last_success: time(wire.last_success),
            succeeded: instant(wire.last_success),
            error: some(&wire.error),
            name: wire.name,
            healthy: wire.healthy,
            state: wire.state,
        }
    }
}

impl From<v1::SystemInfo> for System {
    fn from(wire: v1::SystemInfo) -> Self {
        let disks = wire.disks.into_iter().map(|disk| Disk {
            mount_point: disk.mount_point,
            device: disk.device,
            total_bytes: disk.total_bytes,
            used_bytes: disk.used_bytes,
            used_percent: disk.used_percent,
        });
        Self {
            hostname: wire.hostname,
            cpu_percent: wire.cpu_percent,
            memory_percent: wire.memory_percent,
            memory_total_bytes: wire.memory_total_bytes,
            memory_used_bytes: wire.memory_used_bytes,
            load1: wire.load1,
            uptime_seconds: seconds(wire.host_uptime),
            disks: disks.collect(),
        }
    }
}

fn render(status: &Status, style: &Style) -> String {
    let sections = [daemon(status, style), host(&status.system, style), components(status, style)];
    sections.join("\n\n")
}

fn daemon(status: &Status, style: &Style) -> String {
    let version = format!("{} {}", status.server_name, status.version);
    let stored = format!(
        "{} samples in {} series",
        human::count(status.samples),
        human::count(status.series)
    );
    style.fields([
        ("daemon", Cell::new(version)),
        ("status", style.state(&status.verdict)),
        ("up for", Cell::new(format!("{} (pid {})", status.uptime, status.pid))),
        ("socket", Cell::new(&status.socket)),
        ("http", Cell::new(status.http_address.as_deref().unwrap_or("off"))),
        ("data", Cell::new(&status.state_dir)),
        ("config", Cell::new(status.config_file.as_deref().unwrap_or("none"))),
        ("stored", Cell::new(stored)),
        ("alerts", Cell::new(format!("{} firing", status.active_alerts))),
        ("probes", Cell::new(format!("{} since the start", human::count(status.health_checks)))),
    ])
}

fn host(system: &System, style: &Style) -> String {
    let memory = format!(
        "{:.1}% ({} of {})",
        system.memory_percent,
        human::bytes(system.memory_used_bytes),
        human::bytes(system.memory_total_bytes)
    );
    let host = style.fields([
        ("host", Cell::new(&system.hostname)),
        ("cpu", Cell::new(format!("{:.1}%, load {:.2}", system.cpu_percent, system.load1))),
        ("memory", Cell::new(memory)),
    ]);
    let mut table = style.table(["DISK", "USED", "OF", "%"]);
    for disk in &system.disks {
        table.add_row(vec![
            Cell::new(&disk.mount_point),
            number(human::bytes(disk.used_bytes)),
            number(human::bytes(disk.total_bytes)),
            number(format!("{:.1}", disk.used_percent)),
        ]);
    }
    let disks = style.finish(&table, "");
    if disks.is_empty() { host } else { format!("{host}\n\n{disks}") }
}

fn components(status: &Status, style: &Style) -> String {
    let mut table = style.table(["COMPONENT", "STATE", "HEALTHY", "LAST SUCCESS", "ERROR"]);
    for component in &status.components {
        table.add_row(vec![
            Cell::new(&component.name),
            style.state(&component.state),
            style.state(if component.healthy { "yes" } else { "no" }),
            style.age(component.succeeded),
            Cell::new(component.error.as_deref().unwrap_or_default()),
        ]);
    }
    style.finish(&table, "no components")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    fn wire() -> v1::GetStatusResponse {
        v1::GetStatusResponse {
            server_name: "balefire".into(),
            version: "0.1.0".into(),
            status: "degraded".into(),
            uptime: Some(prost_types::Duration { seconds: 7500, nanos: 0 }),
            components: vec![v1::Component {
                name: "collect".into(),
                state: "late".into(),
                last_success: Some(prost_types::Timestamp { seconds: 1_699_999_800, nanos: 0 }),
                ..v1::Component::default()
            }],
            total_metrics_stored: 12_345,
            ..v1::GetStatusResponse::default()
        }
    }

    #[test]
    fn shows_which_socket_answered_and_what_is_late() {
        let text = render(&Status::new(wire(), "/run/x.sock".into()), &PLAIN);
        assert!(text.contains("socket  /run/x.sock"), "{text}");
        assert!(text.contains("up for  2h 5m"), "{text}");
        assert!(text.contains("12 345 samples"), "{text}");
        assert!(text.contains("collect    late   no       3m 20s ago"), "{text}");
    }

    #[test]
    fn json_has_stable_names() {
        let json = serde_json::to_value(Status::new(wire(), String::new())).unwrap();
        assert_eq!(json["status"], "degraded");
        assert_eq!(json["uptime_seconds"], 7500.0);
        assert_eq!(json["components"][0]["healthy"], false);
        assert!(json["config_file"].is_null());
    }
}
