//! `/api/v1/format_query` and `parse_query`.

use super::{
    super::{failure::ApiError, params::Params},
    Answered, success,
};
use crate::promql;

/// `query` as Prometheus would lay it out.
pub(in crate::web) async fn format(params: Params) -> Answered {
    let text = promql::format(params.required("query")?);
    Ok(success(&text.map_err(|error| ApiError::query(&error))?))
}

/// The parts of `query`, as a tree.
pub(in crate::web) async fn parse(params: Params) -> Answered {
    let tree = promql::syntax(params.required("query")?);
    Ok(success(&tree.map_err(|error| ApiError::query(&error))?))
}
