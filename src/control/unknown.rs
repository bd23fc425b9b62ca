//! Tells a question about nothing from one whose answer is empty.

use tonic::Status;

use crate::{
    error_code::ErrorCode,
    limits,
    model::{METRIC_NAME, PageRequest, is_metric_name},
    monitor::{Failure, Monitor},
    promql::{self, Answer, Value},
    wire::{InvalidField, near, status},
};

/// Names looked through at most, to find one that is near.
const NAMES_MAX: usize = 20 * limits::PAGE_SIZE_MAX;

/// Refuses an expression that came to nothing because no metric that it names was ever stored: that
/// is a mistyped name, not the answer "none".
pub(super) async fn refuse_unknown(
    monitor: &Monitor,
    expr: &str,
    answer: &Answer,
) -> Result<(), Status> {
    if !is_empty(&answer.value) {
        return Ok(());
    }
    let named = promql::parse(expr).map_err(|error| Failure::query("expr", &error))?.metric_names();
    for name in &named {
        if is_stored(monitor, name).await? {
            return Ok(());
        }
    }
    let Some(first) = named.first() else { return Ok(()) };
    let known = stored_names(monitor).await?;
    let near = near::names(first, known.iter().map(String::as_str));
    let invalid = InvalidField::new("expr", description(&named, near.first().copied()));
    Err(status(ErrorCode::NotFound, &invalid.to_string(), &[invalid]))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Vector(entries) => entries.is_empty(),
        Value::Matrix(series) => series.is_empty(),
        Value::Scalar(_) | Value::String(..) => false,
    }
}

async fn is_stored(monitor: &Monitor, name: &str) -> Result<bool, Failure> {
    // What is no name cannot have been stored, and could not be written into a selector as it is.
    if !is_metric_name(name) {
        return Ok(false);
    }
    let selector = format!("{{{METRIC_NAME}=\"{name}\"}}");
    let page = PageRequest { size: 1, ..PageRequest::default() };
    Ok(!monitor.series(&[selector], None, &page).await?.items.is_empty())
}

/// The names of all stored metrics, up to a bound.
async fn stored_names(monitor: &Monitor) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    let mut request = PageRequest::largest();
    loop {
        let page = monitor.label_values(METRIC_NAME, &[], None, &request).await?;
        names.extend(page.items);
        if page.next.is_empty() || names.len() >= NAMES_MAX {
            return Ok(names);
        }
        request.token = page.next;
    }
}

fn description(named: &[String], near: Option<&str>) -> String {
    let quoted: Vec<String> = named.iter().map(|name| format!("{name:?}")).collect();
    let proposal = near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
    format!(
        "nothing is stored under {}: {proposal}`balefire labels {METRIC_NAME}` lists the names",
        quoted.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(named: &[&str], near: Option<&str>, expected: &str) {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(description(&named, near), expected);
    }

    #[test]
    fn the_refusal_names_the_fault_and_the_remedy() {
        check(
            &["upp"],
            Some("up"),
            "nothing is stored under \"upp\": did you mean \"up\"? `balefire labels __name__` lists \
             the names",
        );
        check(
            &["a", "b"],
            None,
            "nothing is stored under \"a\" or \"b\": `balefire labels __name__` lists the names",
        );
    }
}
