//! `system_overview`: the whole at a glance.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::ClientError,
    mcp::{
        answer::Answer,
        convert::{Number, time},
        error::ToolError,
    },
    wire::{to_wire, v1},
};

use super::{
    Context, Effect, Tool,
    views::{AlertView, TargetView},
};

const HOUR: Duration = Duration::from_hours(1);

pub(super) struct SystemOverview;

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
enum TimeRange {
    #[default]
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "24h")]
    Day,
    #[serde(rename = "7d")]
    Week,
    #[serde(rename = "30d")]
    Month,
}

impl TimeRange {
    fn duration(self) -> Duration {
        match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Week => 7 * 24 * HOUR,
            Self::Month => 30 * 24 * HOUR,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// With servers, alerts and metrics one by one; default true
    include_details: Option<bool>,
    /// What metrics are summed up over; default "1h"
    time_range: Option<TimeRange>,
}

#[derive(Serialize, JsonSchema)]
struct Summary {
    total_mcp_servers: u64,
    healthy_servers: u64,
    active_alerts: u64,
    total_metrics: u64,
}

#[derive(Serialize, JsonSchema)]
struct Metric {
    name: String,
    labels: BTreeMap<String, String>,
    last: Number,
    min: Number,
    avg: Number,
    max: Number,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    timestamp: String,
    #[schemars(with = "String")]
    time_range: TimeRange,
    summary: Summary,
    system_metrics: Vec<Metric>,
    mcp_servers: Vec<TargetView>,
    alerts: Vec<AlertView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

impl Tool for SystemOverview {
    const NAME: &'static str = "system_overview";
    const TITLE: &'static str = "System overview";
    const DESCRIPTION: &'static str =
        "How this host, its MCP servers and its alerts fare: start here.";
    const EFFECT: Effect = Effect::Reads;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, input: Input) -> Result<Answer<Output>, ToolError> {
        let time_range = input.time_range.unwrap_or_default();
        let request = v1::GetOverviewRequest {
            include_details: input.include_details.unwrap_or(true),
            range: Some(to_wire::duration(time_range.duration())),
        };
        let mut system = context.connection.system();
        let response = system.get_overview(request).await.map_err(ClientError::from)?.into_inner();
        let advice = "ask query_metrics, health_check or manage_alerts for one of them, or run \
                      `balefire overview`";
        let lists = &["system_metrics", "mcp_servers", "alerts"];
        Ok(Answer::of(output(response, time_range)?, lists, advice.to_owned()))
    }
}

fn output(wire: v1::GetOverviewResponse, time_range: TimeRange) -> Result<Output, ToolError> {
    Ok(Output {
        timestamp: time(wire.timestamp.ok_or(ToolError::Incomplete("timestamp"))?),
        time_range,
        summary: Summary {
            total_mcp_servers: wire.total_mcp_servers,
            healthy_servers: wire.healthy_servers,
            active_alerts: wire.active_alerts,
            total_metrics: wire.total_metrics,
        },
        system_metrics: wire.system_metrics.into_iter().map(metric).collect(),
        mcp_servers: wire.mcp_servers.into_iter().map(TargetView::from).collect(),
        alerts: wire.alerts.into_iter().map(AlertView::from).collect(),
        cut: None,
    })
}

fn metric(wire: v1::SeriesSummary) -> Metric {
    Metric {
        name: wire.name,
        labels: wire.labels.into_iter().collect(),
        last: Number(wire.last),
        min: Number(wire.min),
        avg: Number(wire.avg),
        max: Number(wire.max),
    }
}
