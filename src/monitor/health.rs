//! Checks that are made now: targets, this host, Balefire itself, and URLs that are no targets.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout};

use crate::{
    error_code::ErrorCode,
    limits,
    model::{Check, Labels, METRIC_NAME, ProbeRecord, TargetState},
    promql::{Point, Value},
    supervise::TaskReport,
};

use super::{Failure, HealthCheck, HealthReport, Monitor, TargetView};

/// URLs at most in one health check.
const ENDPOINTS_MAX: usize = 16;
/// How long each of them may take.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(10);

/// A check of this host: healthy while the expression stays at or below the threshold.
struct HostCheck {
    name: &'static str,
    expr: &'static str,
    threshold: f64,
}

/// The checks of this host, all in per cent.
const HOST_CHECKS: [HostCheck; 7] = [
    HostCheck { name: "cpu", expr: "system_cpu_usage", threshold: 90.0 },
    HostCheck { name: "memory", expr: "system_memory_usage", threshold: 90.0 },
    HostCheck { name: "file system", expr: "system_disk_usage", threshold: 90.0 },
    HostCheck {
        name: "cpu pressure",
        expr: "100 * rate(node_pressure_cpu_waiting_seconds_total[2m])",
        threshold: 80.0,
    },
    HostCheck {
        name: "memory pressure",
        expr: "100 * rate(node_pressure_memory_waiting_seconds_total[2m])",
        threshold: 20.0,
    },
    HostCheck {
        name: "io pressure",
        expr: "100 * rate(node_pressure_io_waiting_seconds_total[2m])",
        threshold: 80.0,
    },
    HostCheck {
        name: "file descriptors",
        expr: "100 * node_filefd_allocated / node_filefd_maximum",
        threshold: 90.0,
    },
];

/// The longest that a target's check is waited for; clients give up later than this.
const CHECK_MAX: Duration = Duration::from_secs(90);

/// How far the wall clock may have moved against the monotonic one since the start.
const CLOCK_STEP_MAX: Duration = Duration::from_mins(1);

impl Monitor {
    /// Checks `all`, `system` or one target now, and URLs with it.
    pub async fn check(&self, target: &str, endpoints: &[String]) -> Result<HealthReport, Failure> {
        let extra = parse_endpoints(endpoints)?;
        let mut checks = match target {
            "all" => {
                let mut checks = self.check_all().await?;
                checks.extend(self.check_system().await?);
                checks
            }
            "system" => self.check_system().await?,
            name => vec![self.check_target(name.to_owned()).await?],
        };
        checks.extend(self.check_endpoints(extra).await);
        let overall_healthy = checks.iter().all(|check| check.state.is_healthy());
        Ok(HealthReport { checks, overall_healthy, time: self.now() })
    }

    async fn check_all(&self) -> Result<Vec<HealthCheck>, Failure> {
        let names = self
            .all_targets()
            .into_iter()
            .filter(|view| view.target.probed)
            .map(|view| view.target.name);
        let names: Vec<String> = names.collect();
        let checks = stream::iter(names)
            .map(|name| self.check_target(name))
            .buffered(limits::PROBES_CONCURRENT_MAX);
        let checks: Vec<_> = checks.collect().await;
        // A target that is removed at this very moment is no failure of the others.
        checks
            .into_iter()
            .filter(|check| !matches!(check, Err(f) if f.code == ErrorCode::NotFound))
            .collect()
    }

    async fn check_target(&self, name: String) -> Result<HealthCheck, Failure> {
        let view = self.target(&name).map_err(|failure| of_field("target", failure))?;
        if !view.target.probed {
            let message = format!(
                "target {name:?} was discovered, but not adopted: `balefire targets adopt {name}`"
            );
            let failure = Failure::field("target", message);
            return Err(Failure { code: ErrorCode::FailedPrecondition, ..failure });
        }
        if view.target.check.is_reported() {
            return Ok(last_known(self.check_by_agent(view, CHECK_MAX).await?));
        }
        match timeout(CHECK_MAX, self.parts.probing.check(&name)).await {
            Ok(Ok(record)) => Ok(of_record(record, view.endpoint)),
            Ok(Err(error)) => Err(Failure::new(ErrorCode::Unavailable, error.to_string())),
            Err(_) => Ok(still_checking(view)),
        }
    }

    /// This host against its thresholds, its clock, and Balefire's components.
    async fn check_system(&self) -> Result<Vec<HealthCheck>, Failure> {
        let mut checks = Vec::new();
        for check in &HOST_CHECKS {
            checks.extend(self.check_host(check).await?);
        }
        checks.push(self.check_clock());
        let components = self.parts.supervisor.reports();
        checks.extend(components.iter().map(|report| self.of_component(report)));
        Ok(checks)
    }

    /// One line for each series; none where the host has no such thing.
    async fn check_host(&self, check: &HostCheck) -> Result<Vec<HealthCheck>, Failure> {
        let answer = self.query(check.expr, None, None).await?;
        let Value::Vector(series) = answer.value else { return Ok(Vec::new()) };
        let line = |(labels, point): (Labels, Point)| {
            let value = point.float()?;
            let fine = value <= check.threshold;
            let error = format!("{value:.1} % is above {} %", check.threshold);
            Some(HealthCheck {
                name: check.name.to_owned(),
                endpoint: place_of(&labels),
                state: if fine { TargetState::Healthy } else { TargetState::Unhealthy },
                status_code: None,
                response_time: None,
                last_check: Some(point.timestamp),
                error: if fine { String::new() } else { error },
            })
        };
        Ok(series.into_iter().filter_map(line).collect())
    }

    fn check_clock(&self) -> HealthCheck {
        let expected = self.started.plus(self.started_at.elapsed());
        let now = self.now();
        let moved = now.since(expected).max(expected.since(now));
        let fine = moved <= CLOCK_STEP_MAX;
        let error =
            format!("the clock was moved by {:.0} s since Balefire started", moved.as_secs_f64());
        HealthCheck {
            name: "clock".to_owned(),
            endpoint: String::new(),
            state: if fine { TargetState::Healthy } else { TargetState::Unhealthy },
            status_code: None,
            response_time: None,
            last_check: Some(now),
            error: if fine { String::new() } else { error },
        }
    }

    fn of_component(&self, report: &TaskReport) -> HealthCheck {
        HealthCheck {
            name: format!("balefire {}", report.name),
            endpoint: String::new(),
            state: if report.healthy { TargetState::Healthy } else { TargetState::Unhealthy },
            status_code: None,
            response_time: None,
            last_check: Some(self.now()),
            error: if report.healthy {
                String::new()
            } else {
                format!("{}: {}", report.state.name(), report.error)
            },
        }
    }

    async fn check_endpoints(&self, endpoints: Vec<(String, Check)>) -> Vec<HealthCheck> {
        let checks = stream::iter(endpoints).map(|(url, check)| self.check_endpoint(url, check));
        checks.buffered(ENDPOINTS_MAX).collect().await
    }

    async fn check_endpoint(&self, url: String, check: Check) -> HealthCheck {
        let started = Instant::now();
        let result = self.parts.prober.attempt(&url, &check, ENDPOINT_TIMEOUT).await;
        let (state, answer, error) = match result {
            Ok(answer) if answer.auth_required.is_some() => {
                (TargetState::AuthRequired, answer, String::new())
            }
            Ok(answer) => (TargetState::Healthy, answer, String::new()),
            Err(failure) => (TargetState::Unhealthy, failure.answer, failure.error),
        };
        HealthCheck {
            endpoint: crate::probe::endpoint(&check),
            name: url,
            state,
            status_code: answer.status_code,
            response_time: Some(started.elapsed()),
            last_check: Some(self.now()),
            error,
        }
    }
}

/// What tells the series of one host check apart: its mount point, or nothing.
fn place_of(labels: &Labels) -> String {
    const SHARED: [&str; 3] = [METRIC_NAME, "instance", "job"];
    let own = labels.iter().filter(|(name, _)| !SHARED.contains(name)).map(|(_, value)| value);
    own.collect::<Vec<_>>().join(" ")
}

fn of_record(record: ProbeRecord, endpoint: String) -> HealthCheck {
    HealthCheck {
        name: record.target,
        endpoint,
        state: record.state,
        status_code: record.answer.status_code,
        response_time: Some(record.duration),
        last_check: Some(record.started_at),
        error: record.error,
    }
}

/// What was known before, where the probe under way takes longer than anybody waits.
fn still_checking(view: TargetView) -> HealthCheck {
    let waited = CHECK_MAX.as_secs();
    let error = format!("not checked within {waited} s: this is its last known state");
    HealthCheck { error, ..last_known(view) }
}

/// What is known of a target without another probe.
fn last_known(view: TargetView) -> HealthCheck {
    let last = view.status.last_probe.as_ref();
    HealthCheck {
        name: view.target.name.clone(),
        endpoint: view.endpoint,
        state: view.status.state,
        status_code: last.and_then(|probe| probe.answer.status_code),
        response_time: last.map(|probe| probe.duration),
        last_check: last.map(|probe| probe.started_at),
        error: view.status.error().to_owned(),
    }
}

fn of_field(field: &str, mut failure: Failure) -> Failure {
    for violation in &mut failure.violations {
        failure.message = format!("{field}: {}", violation.description);
        field.clone_into(&mut violation.field);
    }
    failure
}

fn parse_endpoints(endpoints: &[String]) -> Result<Vec<(String, Check)>, Failure> {
    if endpoints.len() > ENDPOINTS_MAX {
        let message = format!(
            "{} URLs where {ENDPOINTS_MAX} are allowed: ask several times",
            endpoints.len()
        );
        return Err(Failure::field("endpoints", message));
    }
    let parse = |(index, url): (usize, &String)| {
        let check = parse_endpoint(url).ok_or_else(|| {
            let message = format!("{url:?} is no URL that can be checked: write http://…, https://… or tcp://host:port");
            Failure::field(format!("endpoints[{index}]"), message)
        })?;
        Ok((url.clone(), check))
    };
    endpoints.iter().enumerate().map(parse).collect()
}

fn parse_endpoint(url: &str) -> Option<Check> {
    if let Some(address) = url.strip_prefix("tcp://") {
        let (host, port) = address.rsplit_once(':')?;
        let valid = !host.is_empty() && port.parse::<u16>().is_ok();
        return valid.then(|| Check::Tcp { address: address.to_owned() });
    }
    let uri: http::Uri = url.parse().ok()?;
    let valid = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty());
    let expected_status = (200..300).collect();
    valid.then(|| Check::Http { url: url.to_owned(), headers: BTreeMap::new(), expected_status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_that_can_be_checked() {
        for url in
            ["http://localhost:1/x", "https://example.com", "tcp://[::1]:80", "tcp://db:5432"]
        {
            assert!(parse_endpoint(url).is_some(), "{url}");
        }
        for url in
            ["", "ftp://x", "localhost:80", "tcp://x", "tcp://:80", "tcp://x:99999", "http://"]
        {
            assert!(parse_endpoint(url).is_none(), "{url}");
        }
    }
}
