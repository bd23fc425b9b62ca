//! `health_check`: targets checked now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::{ClientError, Connection},
    limits,
    mcp::{
        answer::Answer,
        convert::{seconds, time},
        error::ToolError,
    },
    wire::{near, v1},
};

use super::{Context, Effect, Tool, views};

pub(super) struct HealthCheck;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// "all", "system" (this host and Balefire itself) or a target's name
    target: String,
    /// http://, https:// or tcp:// URLs to check as well
    #[serde(default)]
    endpoints: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct CheckView {
    name: String,
    endpoint: String,
    healthy: bool,
    /// healthy, degraded, unhealthy, `auth_required`, unknown, maintenance
    state: String,
    status_code: Option<u32>,
    /// seconds
    response_time: Option<f64>,
    last_check: Option<String>,
    error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    target: String,
    health_checks: Vec<CheckView>,
    overall_healthy: bool,
    check_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

impl Tool for HealthCheck {
    const NAME: &'static str = "health_check";
    const TITLE: &'static str = "Check health";
    const DESCRIPTION: &'static str =
        "Check this host, the watched MCP servers and other targets now, the unhealthy ones first.";
    const EFFECT: Effect = Effect::Reads;
    const OPEN_WORLD: bool = true;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, input: Input) -> Result<Answer<Output>, ToolError> {
        let request =
            v1::CheckTargetRequest { target: input.target.clone(), endpoints: input.endpoints };
        let checked = context.connection.targets().check_target(request).await;
        let response = match checked.map_err(ClientError::from) {
            Ok(response) => response.into_inner(),
            Err(error) => return Err(explain(&context.connection, &input.target, error).await),
        };
        let check_time = response.check_time.ok_or(ToolError::Incomplete("check_time"))?;
        let mut health_checks: Vec<CheckView> =
            response.health_checks.into_iter().map(check).collect();
        // What is wrong is what is kept where not all fits.
        health_checks.sort_by_key(|check| check.healthy);
        let output = Output {
            target: input.target,
            health_checks,
            overall_healthy: response.overall_healthy,
            check_time: time(check_time),
            cut: None,
        };
        let advice = "check a target by its name, or run `balefire targets list`";
        Ok(Answer::of(output, &["health_checks"], advice.to_owned()))
    }
}

/// Adds the names that are near, where the daemon knows no target of this name.
async fn explain(connection: &Connection, target: &str, error: ClientError) -> ToolError {
    let request = v1::ListTargetsRequest {
        page_size: i32::try_from(limits::PAGE_SIZE_MAX).unwrap_or(i32::MAX),
        page_token: String::new(),
    };
    let Ok(page) = connection.targets().list_targets(request).await else {
        return error.into();
    };
    let targets = page.into_inner().targets;
    let names = targets.iter().map(|target| target.name.as_str()).chain(["all", "system"]);
    if names.clone().any(|name| name == target) {
        return error.into();
    }
    let near = near::hint(target, names);
    let problem = format!(
        "no target is named {target:?}{near}; \"all\" checks every one, system_overview lists them"
    );
    ToolError::argument("target", problem)
}

fn check(wire: v1::HealthCheck) -> CheckView {
    CheckView {
        state: views::state(wire.state()),
        name: wire.name,
        endpoint: wire.endpoint,
        healthy: wire.healthy,
        status_code: wire.status_code,
        response_time: wire.response_time.map(seconds),
        last_check: wire.last_check.map(time),
        error: views::some_text(&wire.error),
    }
}
