//! `get_server_status`: the daemon itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::ClientError,
    mcp::{
        answer::Answer,
        convert::{seconds, time},
        error::ToolError,
    },
    wire::v1,
};

use super::{Context, Effect, Tool, views};

/// File systems shown, the fullest ones.
const DISKS_MAX: usize = 20;

pub(super) struct GetServerStatus;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {}

#[derive(Serialize, JsonSchema)]
struct Component {
    healthy: bool,
    state: String,
    last_success: Option<String>,
    error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Metrics {
    total_metrics_stored: u64,
    active_alerts: u64,
    health_checks: u64,
}

#[derive(Serialize, JsonSchema)]
struct SystemInfo {
    cpu_percent: f64,
    memory_percent: f64,
    /// Percent used, by mount point; the 20 fullest
    disk_usage: BTreeMap<String, f64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    server_name: String,
    version: String,
    /// ok or degraded
    status: String,
    /// seconds
    uptime: f64,
    components: BTreeMap<String, Component>,
    metrics: Metrics,
    system_info: SystemInfo,
    timestamp: String,
}

impl Tool for GetServerStatus {
    const NAME: &'static str = "get_server_status";
    const TITLE: &'static str = "Balefire's status";
    const DESCRIPTION: &'static str = "How the Balefire daemon itself fares: components by their heartbeats, stored metrics, host load.";
    const EFFECT: Effect = Effect::Reads;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, _: Input) -> Result<Answer<Output>, ToolError> {
        let mut system = context.connection.system();
        let request = v1::GetStatusRequest {};
        let response = system.get_status(request).await.map_err(ClientError::from)?.into_inner();
        Ok(Answer::small(output(response)?))
    }
}

fn output(wire: v1::GetStatusResponse) -> Result<Output, ToolError> {
    let mut info = wire.system_info.ok_or(ToolError::Incomplete("system_info"))?;
    info.disks.sort_by(|left, right| right.used_percent.total_cmp(&left.used_percent));
    info.disks.truncate(DISKS_MAX);
    Ok(Output {
        server_name: wire.server_name,
        version: wire.version,
        status: wire.status,
        uptime: seconds(wire.uptime.ok_or(ToolError::Incomplete("uptime"))?),
        components: wire.components.into_iter().map(component).collect(),
        metrics: Metrics {
            total_metrics_stored: wire.total_metrics_stored,
            active_alerts: wire.active_alerts,
            health_checks: wire.health_checks,
        },
        system_info: SystemInfo {
            cpu_percent: rounded(info.cpu_percent),
            memory_percent: rounded(info.memory_percent),
            disk_usage: info
                .disks
                .into_iter()
                .map(|disk| (disk.mount_point, rounded(disk.used_percent)))
                .collect(),
        },
        timestamp: time(wire.timestamp.ok_or(ToolError::Incomplete("timestamp"))?),
    })
}

fn component(wire: v1::Component) -> (String, Component) {
    let component = Component {
        healthy: wire.healthy,
        state: wire.state,
        last_success: wire.last_success.map(time),
        error: views::some_text(&wire.error),
    };
    (wire.name, component)
}

/// A hundredth of a percent is all that anybody reads.
fn rounded(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}
