//! `/api/v1/query`, `query_range` and `query_exemplars`.

use axum::extract::State;

use crate::{
    limits,
    monitor::TimeRange,
    promql::{self, Answer, Kind},
};

use super::{
    super::{AppState, failure::ApiError, params::Params, result},
    Answered, empty_list, json,
};

/// Evaluates `query` at `time` (now, where absent), within `timeout`.
pub(in crate::web) async fn instant(State(app): State<AppState>, params: Params) -> Answered {
    let expr = params.required("query")?;
    let limit = params.limit()?;
    let at = params.time("time", app.clock.now())?;
    let options = params.query_options()?;
    Ok(answered(app.monitor.query(expr, at, options).await?, limit))
}

/// Evaluates `query` from `start` to `end`, each `step`.
pub(in crate::web) async fn range(State(app): State<AppState>, params: Params) -> Answered {
    let expr = params.required("query")?;
    check_kind(expr)?;
    let limit = params.limit()?;
    let range = required_range(&app, &params)?;
    let step = params.step()?;
    if range.end.since(range.start).as_millis() / step.as_millis() > limits::QUERY_STEPS_MAX as u128
    {
        // In Prometheus' words: clients look for them.
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let options = params.query_options()?;
    Ok(answered(app.monitor.query_range(expr, range, step, options).await?, limit))
}

/// Only a scalar or a vector has a value at each step.
fn check_kind(expr: &str) -> Result<(), ApiError> {
    let query = promql::parse(expr).map_err(|error| ApiError::query(&error))?;
    let name = match query.kind() {
        Kind::Scalar | Kind::Vector => return Ok(()),
        Kind::Matrix => "range vector",
        Kind::Text => "string",
    };
    let reason = format!(
        "invalid expression type {name:?} for range query, must be Scalar or instant Vector"
    );
    Err(ApiError::bad_parameter("query", reason))
}

/// Balefire keeps no exemplars: the answer is empty.
pub(in crate::web) async fn exemplars(State(app): State<AppState>, params: Params) -> Answered {
    promql::parse(params.required("query")?).map_err(|error| ApiError::query(&error))?;
    let range = params.range(app.clock.now())?;
    check_order(range)?;
    Ok(empty_list())
}

fn required_range(app: &AppState, params: &Params) -> Result<TimeRange, ApiError> {
    params.required("start")?;
    params.required("end")?;
    let range = params.range(app.clock.now())?;
    check_order(range)?;
    Ok(range)
}

fn check_order(range: TimeRange) -> Result<(), ApiError> {
    if range.start <= range.end {
        return Ok(());
    }
    Err(ApiError::bad_parameter("end", "end timestamp must not be before start time"))
}

fn answered(mut answer: Answer, limit: Option<usize>) -> axum::response::Response {
    result::cut(&mut answer, limit);
    json(result::body(answer))
}
