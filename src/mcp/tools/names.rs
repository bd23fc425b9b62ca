//! The names of stored metrics, and texts for a shell.

use crate::{
    client::{ClientError, Connection},
    limits,
    mcp::error::ToolError,
    model::METRIC_NAME,
    wire::{near, v1},
};

/// Names looked through at most, to find one that is near.
const NAMES_MAX: usize = 20 * limits::PAGE_SIZE_MAX;

/// The names of all stored metrics, up to a bound.
pub(super) async fn of_metrics(connection: &Connection) -> Result<Vec<String>, ClientError> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    while names.len() < NAMES_MAX {
        let request = v1::ListLabelValuesRequest {
            name: METRIC_NAME.to_owned(),
            page_size: i32::try_from(limits::PAGE_SIZE_MAX).unwrap_or(i32::MAX),
            page_token,
            ..v1::ListLabelValuesRequest::default()
        };
        let page = connection.metrics().list_label_values(request).await?.into_inner();
        names.extend(page.values);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(names)
}

/// Says that no metric has the name that the argument `field` gives, and which are near.
pub(super) fn unknown(field: &str, name: &str, known: &[String]) -> ToolError {
    let near = near::hint(name, known.iter().map(String::as_str));
    let all = r#"query_metrics with expr count by (__name__) ({__name__!=""}) lists all names"#;
    ToolError::argument(field, format!("no metric is named {name:?}{near}; {all}"))
}

/// A text as one word of a shell.
pub(super) fn shell_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_:.-/".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
