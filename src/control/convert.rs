//! Between what `monitor` speaks in and the wire, out of the pieces made in `wire`.

use tonic::{Request, Status};

use crate::{
    access::{Peer, Token},
    model::{HistogramSample, Labels, Page, Sample},
    monitor::{
        AlertView, Caller, Collected, DiskUsage, ExportPiece, Failure, HealthCheck, HealthReport,
        ImportProblem, ImportProgress, Overview, RuleView, SeriesSummary, Status as DaemonStatus,
        SystemInfo, TargetView, TimeRange,
    },
    promql::{Answer, Point, PointValue, SeriesData, Value},
    store::{AppendSummary, Rejection},
    supervise::TaskReport,
    time::Timestamp,
    wire::{InvalidField, from_wire, status, to_wire, v1},
};

use super::guard::Asked;

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let fields: Vec<InvalidField> = failure
            .violations
            .into_iter()
            .map(|violation| InvalidField::new(violation.field, violation.description))
            .collect();
        status(failure.code, &failure.message, &fields)
    }
}

/// Who asks.
pub(super) fn caller<T>(request: &Request<T>) -> Caller {
    let extensions = request.extensions();
    let (peer, asked) = (extensions.get::<Peer>(), extensions.get::<Asked>());
    let origin = asked.map(|asked| &*asked.origin).unwrap_or_default();
    let bearer = asked.and_then(|asked| asked.bearer.as_deref());
    let call = asked.map(|asked| asked.call.name()).unwrap_or_default();
    let is_admin = asked.is_some_and(|asked| asked.is_admin);
    Caller { is_admin, ..caller_of(peer, bearer, origin, call) }
}

/// Who asks, where that may not have come to a service: the bearer of a token, or else the peer.
pub(super) fn caller_of(
    peer: Option<&Peer>,
    bearer: Option<&Token>,
    origin: &str,
    call: String,
) -> Caller {
    let known = peer.filter(|peer| peer.uid != u32::MAX);
    let (actor, user) = match (bearer, known) {
        (Some(token), _) => (format!("token:{}", token.id), token.name.clone()),
        (None, Some(peer)) => (format!("uid:{}", peer.uid), peer.user.to_string()),
        (None, None) => ("unknown".to_owned(), String::new()),
    };
    Caller {
        actor,
        user,
        pid: known.and_then(|peer| peer.pid),
        origin: origin.to_owned(),
        call,
        is_admin: false,
    }
}

/// A range of which either end may be absent: it begins with time itself and ends now. `None` where
/// both are absent.
pub(super) fn range(
    start: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
    now: Timestamp,
) -> Result<Option<TimeRange>, InvalidField> {
    let (start, end) = from_wire::ends(start, end)?;
    if start.is_none() && end.is_none() {
        return Ok(None);
    }
    let (start, end) = (start.unwrap_or_default(), end.unwrap_or(now));
    if end < start {
        let description = format!("lies in the future ({start}), and there is no end");
        return Err(InvalidField::new("start", description));
    }
    Ok(Some(TimeRange { start, end }))
}

/// The items of a page, translated, and the token for the next one.
pub(super) fn page<T, W>(page: Page<T>, item: impl Fn(T) -> W) -> (Vec<W>, String) {
    (page.items.into_iter().map(item).collect(), page.next)
}

pub(super) fn collected(
    collected: Collected,
    source: v1::MetricSource,
) -> v1::CollectMetricsResponse {
    v1::CollectMetricsResponse {
        collected_count: collected.count,
        source: source.into(),
        timestamp: Some(to_wire::time(collected.timestamp)),
    }
}

pub(super) fn write_response(summary: AppendSummary) -> v1::WriteResponse {
    v1::WriteResponse {
        accepted_count: summary.accepted,
        duplicate_count: summary.duplicates,
        rejections: summary.rejections.into_iter().map(rejection).collect(),
        rejected_count: summary.rejected,
    }
}

pub(super) fn write_stream_response(
    durable_sequence: u64,
    summary: AppendSummary,
) -> v1::WriteStreamResponse {
    v1::WriteStreamResponse {
        durable_sequence,
        accepted_count: summary.accepted,
        duplicate_count: summary.duplicates,
        rejected_count: summary.rejected,
        rejections: summary.rejections.into_iter().map(rejection).collect(),
    }
}

pub(super) fn export_response(piece: ExportPiece) -> v1::ExportResponse {
    match piece {
        ExportPiece::Text(text) => v1::ExportResponse { chunk: text.into(), summary: None },
        ExportPiece::Summary(summary) => {
            let summary = v1::ExportSummary {
                series_count: summary.series,
                sample_count: summary.samples,
                histograms_left_out: summary.histograms_left_out,
                nans_altered: summary.nans_altered,
            };
            v1::ExportResponse { chunk: Vec::new(), summary: Some(summary) }
        }
    }
}

pub(super) fn import_response(progress: ImportProgress, complete: bool) -> v1::ImportResponse {
    let problem = |problem: ImportProblem| v1::ImportProblem {
        first_line: problem.first_line,
        last_line: problem.last_line,
        column: problem.column,
        labels: to_wire::labels(&problem.series),
        sample_count: problem.samples,
        reason: problem.reason,
    };
    v1::ImportResponse {
        byte_count: progress.bytes,
        line_count: progress.lines,
        accepted_count: progress.accepted,
        duplicate_count: progress.duplicates,
        rejected_count: progress.rejected,
        invalid_line_count: progress.invalid_lines,
        text_field_count: progress.text_fields,
        metadata_dropped_count: progress.metadata_dropped,
        problems: progress.problems.into_iter().map(problem).collect(),
        complete,
    }
}

fn rejection(rejection: Rejection) -> v1::Rejection {
    v1::Rejection {
        labels: to_wire::labels(&rejection.labels),
        sample_count: rejection.samples,
        reason: rejection.reason,
    }
}

pub(super) fn query_response(answer: Answer) -> v1::QueryResponse {
    use v1::query_response::Result as Wire;
    let result = match answer.value {
        Value::Scalar(sample) => Wire::Scalar(to_wire::sample(sample)),
        Value::String(time, value) => {
            Wire::String(v1::StringValue { timestamp_ms: time.as_millis(), value })
        }
        Value::Vector(entries) => {
            let entries = entries.into_iter().map(|(labels, point)| entry(&labels, point));
            Wire::Vector(v1::Vector { entries: entries.collect() })
        }
        Value::Matrix(series) => Wire::Matrix(matrix(series)),
    };
    v1::QueryResponse { result: Some(result), warnings: answer.warnings, infos: answer.infos }
}

fn entry(labels: &Labels, Point { timestamp, value }: Point) -> v1::VectorEntry {
    let labels = to_wire::labels(labels);
    match value {
        PointValue::Float(value) => {
            let sample = Some(to_wire::sample(Sample { timestamp, value }));
            v1::VectorEntry { labels, sample, histogram: None }
        }
        PointValue::Histogram(histogram) => {
            let histogram = to_wire::histogram(&HistogramSample { timestamp, histogram });
            v1::VectorEntry { labels, sample: None, histogram: Some(histogram) }
        }
    }
}

/// The answer of a range query, which is a matrix; a scalar one becomes a series without labels.
pub(super) fn query_range_response(answer: Answer) -> v1::QueryRangeResponse {
    let matrix = match answer.value {
        Value::Matrix(series) => matrix(series),
        Value::Scalar(sample) => v1::Matrix { series: vec![unnamed(sample)] },
        Value::Vector(_) | Value::String(..) => v1::Matrix::default(),
    };
    v1::QueryRangeResponse { matrix: Some(matrix), warnings: answer.warnings, infos: answer.infos }
}

fn unnamed(sample: Sample) -> v1::TimeSeries {
    v1::TimeSeries { samples: vec![to_wire::sample(sample)], ..v1::TimeSeries::default() }
}

fn matrix(series: Vec<SeriesData>) -> v1::Matrix {
    let series = series.into_iter().map(|data| v1::TimeSeries {
        labels: to_wire::labels(&data.labels),
        samples: data.samples.into_iter().map(to_wire::sample).collect(),
        histograms: data.histograms.iter().map(to_wire::histogram).collect(),
    });
    v1::Matrix { series: series.collect() }
}

pub(super) fn target(view: TargetView) -> v1::Target {
    to_wire::target(&view.target, view.endpoint, &view.status)
}

pub(super) fn health_report(report: HealthReport) -> v1::CheckTargetResponse {
    v1::CheckTargetResponse {
        health_checks: report.checks.into_iter().map(health_check).collect(),
        overall_healthy: report.overall_healthy,
        check_time: Some(to_wire::time(report.time)),
    }
}

fn health_check(check: HealthCheck) -> v1::HealthCheck {
    v1::HealthCheck {
        name: check.name,
        endpoint: check.endpoint,
        healthy: check.state.is_healthy(),
        state: to_wire::target_state(check.state).into(),
        status_code: check.status_code.map(u32::from),
        response_time: check.response_time.map(to_wire::duration),
        last_check: check.last_check.map(to_wire::time),
        error: check.error,
    }
}

pub(super) fn rule(view: RuleView) -> v1::Rule {
    v1::Rule {
        last_error: view.last_error,
        last_evaluation: view.last_evaluation.map(to_wire::time),
        last_evaluation_duration: view.last_duration.map(to_wire::duration),
        note: view.note,
        ..to_wire::rule(view.rule)
    }
}

pub(super) fn alert(view: AlertView) -> v1::Alert {
    v1::Alert {
        name: view.name,
        severity: to_wire::severity(view.severity).into(),
        description: view.description,
        suppressed: view.suppressed,
        ..to_wire::alert(view.instance)
    }
}

pub(super) fn daemon_status(status: DaemonStatus) -> v1::GetStatusResponse {
    v1::GetStatusResponse {
        server_name: "balefire".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        status: if status.healthy { "ok" } else { "degraded" }.to_owned(),
        uptime: Some(to_wire::duration(status.uptime)),
        components: status.components.into_iter().map(component).collect(),
        total_metrics_stored: status.samples,
        series_count: status.series,
        active_alerts: status.active_alerts,
        health_checks: status.health_checks,
        system_info: Some(system_info(status.system)),
        timestamp: Some(to_wire::time(status.time)),
        state_dir: status.state_dir,
        config_file: status.config_file,
        http_address: status.http_address,
        pid: std::process::id(),
    }
}

fn component(report: TaskReport) -> v1::Component {
    v1::Component {
        name: report.name.to_owned(),
        healthy: report.healthy,
        state: report.state.name().to_owned(),
        last_success: report.last_success.map(to_wire::time),
        error: report.error,
    }
}

fn system_info(system: SystemInfo) -> v1::SystemInfo {
    v1::SystemInfo {
        hostname: system.hostname,
        cpu_percent: system.cpu_percent,
        memory_percent: system.memory_percent,
        memory_total_bytes: system.memory_total,
        memory_used_bytes: system.memory_used,
        disks: system.disks.into_iter().map(disk_usage).collect(),
        load1: system.load1,
        host_uptime: Some(to_wire::duration(system.uptime)),
    }
}

fn disk_usage(disk: DiskUsage) -> v1::DiskUsage {
    v1::DiskUsage {
        mount_point: disk.mount_point,
        device: disk.device,
        total_bytes: disk.total,
        used_bytes: disk.used,
        used_percent: disk.used_percent,
    }
}

pub(super) fn overview(overview: Overview) -> v1::GetOverviewResponse {
    let transitions = overview.transitions.into_iter();
    v1::GetOverviewResponse {
        timestamp: Some(to_wire::time(overview.time)),
        range: Some(to_wire::duration(overview.range)),
        total_mcp_servers: overview.total_mcp_servers,
        healthy_servers: overview.healthy_servers,
        active_alerts: overview.active_alerts,
        total_metrics: overview.total_metrics,
        system_metrics: overview.system_metrics.iter().map(series_summary).collect(),
        mcp_servers: overview.mcp_servers.into_iter().map(target).collect(),
        alerts: overview.alerts.into_iter().map(alert).collect(),
        recent_transitions: transitions.map(|(n, model)| to_wire::transition(n, model)).collect(),
    }
}

fn series_summary(summary: &SeriesSummary) -> v1::SeriesSummary {
    v1::SeriesSummary {
        name: summary.labels.metric().to_owned(),
        labels: to_wire::labels(&summary.labels),
        last: summary.last,
        min: summary.min,
        avg: summary.avg,
        max: summary.max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error_code::ErrorCode, model::Labels};

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn at(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn a_range_may_lack_either_end() {
        let secs = |start, end| {
            Some(TimeRange { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) })
        };
        assert_eq!(range(None, None, NOW), Ok(None));
        assert_eq!(range(Some(at(10)), None, NOW), Ok(secs(10, 1000)));
        assert_eq!(range(None, Some(at(10)), NOW), Ok(secs(0, 10)));
        assert_eq!(range(Some(at(5)), Some(at(10)), NOW), Ok(secs(5, 10)));
    }

    #[test]
    fn a_range_upside_down_is_refused_by_name() {
        assert_eq!(range(Some(at(10)), Some(at(5)), NOW).unwrap_err().field, "end");
        assert_eq!(range(Some(at(2000)), None, NOW).unwrap_err().field, "start");
    }

    #[test]
    fn a_failure_keeps_its_code_and_fields() {
        use tonic_types::StatusExt;
        let status = Status::from(Failure::field("expr", "unexpected ')'"));
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "expr");
        let status = Status::from(Failure::new(ErrorCode::NotFound, "no rule \"x\""));
        assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, "no rule \"x\""));
    }

    #[test]
    fn the_caller_is_the_peers_user() {
        let mut request = Request::new(());
        assert_eq!(caller(&request).actor, "unknown");
        let ada = Peer { uid: 1000, user: "ada".into(), pid: Some(7), ..Peer::unknown() };
        request.extensions_mut().insert(ada);
        let call = crate::access::call("/balefire.v1.SystemService/Reload").unwrap();
        let origin = "/run/x".into();
        request.extensions_mut().insert(Asked { call, origin, bearer: None, is_admin: true });
        let expected = Caller {
            actor: "uid:1000".to_owned(),
            user: "ada".to_owned(),
            pid: Some(7),
            origin: "/run/x".to_owned(),
            call: "SystemService.Reload".to_owned(),
            is_admin: true,
        };
        assert_eq!(caller(&request), expected);
    }

    #[test]
    fn a_vector_keeps_labels_and_values() {
        let sample = Sample { timestamp: NOW, value: 1.5 };
        let value = Value::Vector(vec![(Labels::of("up", [("job", "node")]), sample.into())]);
        let wire = query_response(Answer { value, warnings: vec![], infos: vec!["i".into()] });
        let Some(v1::query_response::Result::Vector(vector)) = wire.result else {
            panic!("not a vector");
        };
        assert_eq!(vector.entries[0].labels["job"], "node");
        assert_eq!(vector.entries[0].sample.unwrap().timestamp_ms, 1_000_000);
        assert_eq!(wire.infos, ["i"]);
    }
}
