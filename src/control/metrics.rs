//! `MetricsService`.

use std::time::Duration;

use futures_util::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    limits,
    model::Labels,
    monitor::{ExportFormat, ExportRequest, Monitor, Observation, ObservationSource, TimeRange},
    supervise::StopSignal,
    time::{Clock, Timestamp},
    wire::{
        InvalidField, from_wire, to_wire,
        v1::{self, metrics_service_server::MetricsService},
    },
};

use super::{
    App, convert,
    import::ImportStream,
    storage,
    streams::{Answers, until_stopped},
    unknown::refuse_unknown,
    write_stream::WriteStream,
};

/// What is exported where no start is given.
const EXPORT_RANGE: Duration = Duration::from_hours(1);

/// Samples in and out.
#[derive(Debug)]
pub(super) struct Metrics {
    monitor: Monitor,
    clock: Clock,
    stop: StopSignal,
}

impl Metrics {
    pub(super) fn new(app: &App, stop: &StopSignal) -> Self {
        Self { monitor: app.monitor.clone(), clock: app.clock.clone(), stop: stop.clone() }
    }
}

#[tonic::async_trait]
impl MetricsService for Metrics {
    type WriteStreamStream = Answers<v1::WriteStreamResponse>;
    type ExportStream = Answers<v1::ExportResponse>;
    type ImportStream = Answers<v1::ImportResponse>;

    async fn collect_metrics(
        &self,
        request: Request<v1::CollectMetricsRequest>,
    ) -> Result<Response<v1::CollectMetricsResponse>, Status> {
        let caller = convert::caller(&request);
        let wire = request.into_inner();
        let source = source(wire.source)?;
        let observations = observations(wire.metrics)?;
        let collected = self.monitor.collect(&caller, source, observations).await?;
        let source = v1::MetricSource::try_from(wire.source).unwrap_or_default();
        Ok(Response::new(convert::collected(collected, source)))
    }

    async fn write(
        &self,
        request: Request<v1::WriteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let caller = convert::caller(&request);
        let batch = from_wire::batch(request.into_inner())?;
        let summary = self.monitor.write(&caller, batch).await?;
        Ok(Response::new(convert::write_response(summary)))
    }

    async fn write_stream(
        &self,
        request: Request<Streaming<v1::WriteStreamRequest>>,
    ) -> Result<Response<Self::WriteStreamStream>, Status> {
        let caller = convert::caller(&request);
        let stream =
            WriteStream::new(request.into_inner(), self.monitor.clone(), caller, self.stop.clone());
        Ok(Response::new(Box::pin(stream.answers())))
    }

    async fn query(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<Response<v1::QueryResponse>, Status> {
        let wire = request.into_inner();
        let expr = expression(wire.expr)?;
        let at = from_wire::optional_time("time", wire.time)?;
        let timeout = from_wire::optional_duration("timeout", wire.timeout)?;
        let answer = self.monitor.query(&expr, at, timeout).await?;
        refuse_unknown(&self.monitor, &expr, &answer).await?;
        Ok(Response::new(convert::query_response(answer)))
    }

    async fn query_range(
        &self,
        request: Request<v1::QueryRangeRequest>,
    ) -> Result<Response<v1::QueryRangeResponse>, Status> {
        let wire = request.into_inner();
        let expr = expression(wire.expr)?;
        let (range, step) = steps(wire.start, wire.end, wire.step)?;
        let timeout = from_wire::optional_duration("timeout", wire.timeout)?;
        let answer = self.monitor.query_range(&expr, range, step, timeout).await?;
        refuse_unknown(&self.monitor, &expr, &answer).await?;
        Ok(Response::new(convert::query_range_response(answer)))
    }

    async fn list_series(
        &self,
        request: Request<v1::ListSeriesRequest>,
    ) -> Result<Response<v1::ListSeriesResponse>, Status> {
        let wire = request.into_inner();
        let range = convert::range(wire.start, wire.end, self.clock.now())?;
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let page = self.monitor.series(&wire.matchers, range, &page).await?;
        let (series, next_page_token) = convert::page(page, |labels: Labels| v1::SeriesLabels {
            labels: to_wire::labels(&labels),
        });
        Ok(Response::new(v1::ListSeriesResponse { series, next_page_token }))
    }

    async fn list_label_names(
        &self,
        request: Request<v1::ListLabelNamesRequest>,
    ) -> Result<Response<v1::ListLabelNamesResponse>, Status> {
        let wire = request.into_inner();
        let range = convert::range(wire.start, wire.end, self.clock.now())?;
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let page = self.monitor.label_names(&wire.matchers, range, &page).await?;
        let (names, next_page_token) = (page.items, page.next);
        Ok(Response::new(v1::ListLabelNamesResponse { names, next_page_token }))
    }

    async fn list_label_values(
        &self,
        request: Request<v1::ListLabelValuesRequest>,
    ) -> Result<Response<v1::ListLabelValuesResponse>, Status> {
        let wire = request.into_inner();
        let name = from_wire::text("name", wire.name)?;
        let range = convert::range(wire.start, wire.end, self.clock.now())?;
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let page = self.monitor.label_values(&name, &wire.matchers, range, &page).await?;
        let (values, next_page_token) = (page.items, page.next);
        Ok(Response::new(v1::ListLabelValuesResponse { values, next_page_token }))
    }

    async fn export(
        &self,
        request: Request<v1::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let request = export_request(request.into_inner(), self.clock.now())?;
        let pieces = ReceiverStream::new(self.monitor.export(request).await?);
        let answers = pieces.map(|piece| piece.map(convert::export_response).map_err(Status::from));
        Ok(Response::new(until_stopped(answers, self.stop.clone())))
    }

    async fn import(
        &self,
        request: Request<Streaming<v1::ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (monitor, caller) = (self.monitor.clone(), convert::caller(&request));
        let stream = ImportStream::new(request.into_inner(), monitor, caller, self.stop.clone());
        Ok(Response::new(Box::pin(stream.answers())))
    }

    async fn erase(
        &self,
        request: Request<v1::EraseRequest>,
    ) -> Result<Response<v1::EraseResponse>, Status> {
        let caller = convert::caller(&request);
        let wire = request.into_inner();
        let range = from_wire::ends(wire.start, wire.end)?;
        let erased = self.monitor.erase(&caller, &wire.matchers, range).await?;
        Ok(Response::new(storage::erased(erased)))
    }
}

fn source(wire: i32) -> Result<ObservationSource, InvalidField> {
    match v1::MetricSource::try_from(wire) {
        Ok(v1::MetricSource::System) => Ok(ObservationSource::System),
        Ok(v1::MetricSource::McpServer) => Ok(ObservationSource::McpServer),
        Ok(v1::MetricSource::Custom) => Ok(ObservationSource::Custom),
        Ok(v1::MetricSource::Unspecified) | Err(_) => {
            Err(InvalidField::new("source", "use system (1), mcp_server (2) or custom (3)"))
        }
    }
}

fn observations(wire: Vec<v1::Observation>) -> Result<Vec<Observation>, InvalidField> {
    from_wire::batch_size("metrics", wire.len())?;
    wire.into_iter().enumerate().map(|(index, wire)| observation(index, wire)).collect()
}

fn observation(index: usize, wire: v1::Observation) -> Result<Observation, InvalidField> {
    let field = |name: &str| format!("metrics[{index}].{name}");
    Ok(Observation {
        name: from_wire::metric_name(&field("name"), wire.name)?,
        value: wire.value,
        kind: from_wire::metric_kind(&field("metric_type"), wire.metric_type)?,
        tags: from_wire::tags(&field("tags"), wire.tags)?,
        timestamp: from_wire::optional_time(&field("timestamp"), wire.timestamp)?,
    })
}

fn expression(wire: String) -> Result<String, InvalidField> {
    let max = limits::EXPR_BYTES_MAX;
    if wire.len() > max {
        let description = format!("{} bytes long where {max} are allowed", wire.len());
        return Err(InvalidField::new("expr", description));
    }
    from_wire::text("expr", wire)
}

fn steps(
    start: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
    step: Option<prost_types::Duration>,
) -> Result<(TimeRange, Duration), InvalidField> {
    let (start, end) = from_wire::ends(start, end)?;
    let range = TimeRange {
        start: from_wire::required("start", start)?,
        end: from_wire::required("end", end)?,
    };
    let step = from_wire::duration("step", from_wire::required("step", step)?)?;
    if step < Duration::from_millis(1) {
        return Err(InvalidField::new("step", "below a millisecond: give a length such as 30s"));
    }
    Ok((range, step))
}

fn export_request(wire: v1::ExportRequest, now: Timestamp) -> Result<ExportRequest, InvalidField> {
    let (start, end) = from_wire::ends(wire.start, wire.end)?;
    let end = end.unwrap_or(now);
    let range = TimeRange { start: start.unwrap_or_else(|| end.minus(EXPORT_RANGE)), end };
    if range.end < range.start {
        return Err(InvalidField::new("start", "lies in the future, and there is no end"));
    }
    Ok(ExportRequest { format: export_format(wire.format)?, matchers: wire.matchers, range })
}

fn export_format(wire: i32) -> Result<ExportFormat, InvalidField> {
    match v1::ExportFormat::try_from(wire) {
        Ok(v1::ExportFormat::Json) => Ok(ExportFormat::Json),
        Ok(v1::ExportFormat::Csv) => Ok(ExportFormat::Csv),
        Ok(v1::ExportFormat::Prometheus) => Ok(ExportFormat::Prometheus),
        Ok(v1::ExportFormat::Influx) => Ok(ExportFormat::Influx),
        Ok(v1::ExportFormat::Unspecified) | Err(_) => {
            Err(InvalidField::new("format", "use json (1), csv (2), prometheus (3) or influx (4)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn at(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 0 }
    }

    fn good() -> v1::Observation {
        v1::Observation {
            name: "requests".into(),
            value: 1.0,
            metric_type: v1::MetricType::Counter.into(),
            ..v1::Observation::default()
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut v1::Observation), field: &str) {
        let mut wire = good();
        change(&mut wire);
        assert_eq!(observations(vec![good(), wire]).unwrap_err().field, field);
    }

    #[test]
    fn names_the_observation_that_is_wrong() {
        assert_eq!(observations(vec![good()]).unwrap().len(), 1);
        check(|o| o.name = "a b".into(), "metrics[1].name");
        check(|o| o.metric_type = 0, "metrics[1].metric_type");
        check(|o| drop(o.tags.insert("a-b".into(), "x".into())), "metrics[1].tags");
        check(|o| o.timestamp = Some(at(i64::MAX)), "metrics[1].timestamp");
        assert_eq!(source(0).unwrap_err().field, "source");
    }

    #[test]
    fn a_range_query_needs_start_end_and_step() {
        let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        assert!(steps(Some(at(0)), Some(at(60)), minute).is_ok());
        assert_eq!(steps(None, Some(at(60)), minute).unwrap_err().field, "start");
        assert_eq!(steps(Some(at(0)), None, minute).unwrap_err().field, "end");
        assert_eq!(steps(Some(at(60)), Some(at(0)), minute).unwrap_err().field, "end");
        assert_eq!(steps(Some(at(0)), Some(at(60)), None).unwrap_err().field, "step");
        let zero = Some(prost_types::Duration { seconds: 0, nanos: 0 });
        assert_eq!(steps(Some(at(0)), Some(at(60)), zero).unwrap_err().field, "step");
    }

    #[test]
    fn an_export_covers_the_last_hour_unless_said_otherwise() {
        let wire = |format| v1::ExportRequest { format, ..v1::ExportRequest::default() };
        let request = export_request(wire(v1::ExportFormat::Csv.into()), NOW).unwrap();
        assert_eq!(request.range, TimeRange { start: NOW.minus(EXPORT_RANGE), end: NOW });
        assert_eq!(export_request(wire(0), NOW).unwrap_err().field, "format");
    }

    #[test]
    fn expressions_have_bounds() {
        assert_eq!(expression(String::new()).unwrap_err().field, "expr");
        let long = "a".repeat(limits::EXPR_BYTES_MAX + 1);
        assert!(expression(long).unwrap_err().description.contains("16384"));
    }
}
