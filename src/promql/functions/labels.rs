//! Functions that change labels.

use regex::Regex;

use crate::{
    model::{Labels, whole_match},
    promql::columns::{Column, merged},
};

use super::{Call, Evaluated, QueryError, Result};

/// `label_replace(v, destination, replacement, source, regex)`: series whose source label does not
/// match stay as they are.
pub(super) fn replace(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let (destination, replacement) = (call.text(1).to_owned(), call.text(2).to_owned());
    let (source, regex) = (call.text(3).to_owned(), anchored(call.text(4))?);
    check_destination("label_replace", &destination)?;
    relabelled(call, &destination, |labels| {
        let captures = regex.captures(labels.get(&source).unwrap_or_default())?;
        let mut value = String::new();
        captures.expand(&replacement, &mut value);
        Some(value)
    })
}

/// `label_join(v, destination, separator, source …)`.
pub(super) fn join(call: &mut Call<'_, '_>) -> Result<Evaluated> {
    let (destination, separator) = (call.text(1).to_owned(), call.text(2).to_owned());
    let sources: Vec<String> =
        (3..call.arguments.len()).map(|index| call.text(index).to_owned()).collect();
    check_destination("label_join", &destination)?;
    if let Some(source) = sources.iter().find(|source| source.is_empty()) {
        return Err(invalid("label_join", "source", source));
    }
    relabelled(call, &destination, |labels| {
        let values = sources.iter().map(|source| labels.get(source).unwrap_or_default());
        Some(values.collect::<Vec<_>>().join(&separator))
    })
}

fn relabelled(
    call: &mut Call<'_, '_>,
    destination: &str,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<Evaluated> {
    let mut columns = call.vector(0)?;
    for Column { labels, .. } in &mut columns {
        if let Some(value) = value(labels) {
            *labels = labels.with(destination, &value);
        }
    }
    Ok(Evaluated::Vector(merged(columns)?))
}

/// Any text may be a label name, as in Prometheus 3.
fn check_destination(function: &str, name: &str) -> Result<()> {
    if name.is_empty() { Err(invalid(function, "destination", name)) } else { Ok(()) }
}

fn invalid(function: &str, what: &str, name: &str) -> QueryError {
    QueryError::Execution(format!("invalid {what} label name in {function}(): {name:?}"))
}

fn anchored(pattern: &str) -> Result<Regex> {
    whole_match(pattern).map_err(|error| {
        QueryError::Execution(format!(
            "invalid regular expression in label_replace(): {pattern:?}: {error}"
        ))
    })
}
