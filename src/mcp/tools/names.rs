//! The names of stored metrics, and texts for a shell.

use crate::{
    client::{ClientError, Connection, pages, take},
    limits,
    mcp::error::ToolError,
    model::METRIC_NAME,
    wire::{near, v1},
};

/// Names looked through at most, to find one that is near.
const NAMES_MAX: usize = 20 * limits::PAGE_SIZE_MAX;

/// The names of all stored metrics, up to a bound.
pub(super) async fn of_metrics(connection: &Connection) -> Result<Vec<String>, ClientError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListLabelValuesRequest {
            name: METRIC_NAME.to_owned(),
            page_size,
            page_token,
            ..v1::ListLabelValuesRequest::default()
        };
        let page = take(connection.metrics().list_label_values(request).await)?;
        Ok((page.values, page.next_page_token))
    };
    Ok(pages(NAMES_MAX, fetch).await?.0)
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
