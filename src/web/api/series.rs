//! `/api/v1/series`, `labels` and `label/<name>/values`.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};

use crate::{model::Labels, monitor::TimeRange};

use super::{
    super::{AppState, failure::ApiError, json::Json, params::Params, result::TRUNCATED},
    Answered, empty_list, success, with_warnings,
};

/// The series that any of `match[]` selects.
pub(in crate::web) async fn series(State(app): State<AppState>, params: Params) -> Answered {
    let asked = Asked::of(&app, &params)?;
    if asked.selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let Some(range) = asked.range else { return Ok(empty_list()) };
    let found: Vec<Labels> = app.monitor.all_series(&asked.selectors, range).await?;
    Ok(limited(found, asked.limit))
}

/// The label names of those series; of all, where there is no `match[]`.
pub(in crate::web) async fn names(State(app): State<AppState>, params: Params) -> Answered {
    let asked = Asked::of(&app, &params)?;
    let Some(range) = asked.range else { return Ok(empty_list()) };
    let found = app.monitor.all_label_names(&asked.selectors, range).await?;
    Ok(limited(found, asked.limit))
}

/// The values that one label has on those series.
pub(in crate::web) async fn values(
    State(app): State<AppState>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Answered {
    let Path(name) = name.map_err(|error| ApiError::bad_data(error.body_text()))?;
    let name = unescaped(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let asked = Asked::of(&app, &params)?;
    let Some(range) = asked.range else { return Ok(empty_list()) };
    let found = app.monitor.all_label_values(&name, &asked.selectors, range).await?;
    Ok(limited(found, asked.limit))
}

/// What all three take.
struct Asked {
    selectors: Vec<String>,
    /// None where the end lies before the start: nothing can be found there.
    range: Option<TimeRange>,
    limit: Option<usize>,
}

impl Asked {
    fn of(app: &AppState, params: &Params) -> Result<Self, ApiError> {
        let limit = params.limit()?;
        let range = params.range(app.clock.now())?;
        let selectors = params.all("match[]").map(str::to_owned).collect();
        Ok(Self { selectors, range: (range.start <= range.end).then_some(range), limit })
    }
}

fn limited<T: Json>(mut found: Vec<T>, limit: Option<usize>) -> Response {
    match limit {
        Some(limit) if found.len() > limit => {
            found.truncate(limit);
            with_warnings(&found, &[TRUNCATED])
        }
        _ => success(&found),
    }
}

/// A name as it is, of one that was escaped for a URL: `U__`, then `_2e_` for a character by its number
/// and `__` for `_`. What is escaped wrongly is no escaped name.
fn unescaped(name: &str) -> String {
    name.strip_prefix("U__").and_then(unescape).unwrap_or_else(|| name.to_owned())
}

fn unescape(mut rest: &str) -> Option<String> {
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        let (code, after) = after.split_once('_')?;
        if code.is_empty() {
            out.push('_');
        } else {
            out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_escaped() {
        assert_eq!(unescaped("job"), "job");
        assert_eq!(unescaped("U__a_2e_b__c"), "a.b_c");
        assert_eq!(unescaped("U__job"), "job");
        for wrong in ["U__a_b", "U__a_zz_b", "U___d800_", "U__a_"] {
            assert_eq!(unescaped(wrong), wrong);
        }
    }
}
