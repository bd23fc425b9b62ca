//! `/api/v1/query`.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;

use crate::limits;

use super::{AppState, failure::ApiError, params::Params, view};

/// Evaluates `query` at `time` (now, where absent), within `timeout`.
pub(super) async fn instant(
    State(app): State<AppState>,
    params: Params,
) -> Result<Response, ApiError> {
    let expr = params.required("query")?;
    let at = params.time("time", app.clock.now())?;
    let timeout = params.duration("timeout")?.map(|timeout| timeout.min(limits::QUERY_TIMEOUT));
    let limit = params.limit()?;
    let mut answer = app.monitor.query(expr, at, timeout).await?;
    view::cut(&mut answer, limit);
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, view::answer(&answer)).into_response())
}
