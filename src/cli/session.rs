//! What every command holds: the connection, how to render, and what time it is.

use std::{env, future::Future, io::IsTerminal};

use serde::Serialize;

use crate::{
    client::{ClientError, Connection},
    limits,
    time::{Clock, Timestamp},
};

use super::{
    args::{Output, Shared},
    error::CliError,
    output,
    table::Style,
};

/// One run of the program.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) style: Style,
    output: Output,
}

impl Session {
    /// Must be called within a tokio runtime.
    pub(super) fn open(shared: &Shared) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = Style {
            colour: terminal && !no_color && !shared.no_color,
            terminal,
            now: Clock::System.now(),
        };
        let connection = Connection::open(shared.socket.as_deref());
        Self { connection, style, output: shared.output }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.style.now
    }

    pub(super) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints `view` as JSON, or else what `table` renders.
    pub(super) fn show<V: Serialize>(
        &self,
        view: &V,
        table: impl FnOnce(&V, &Style) -> String,
    ) -> Result<(), CliError> {
        match self.output {
            Output::Json => output::json(view),
            Output::Table => output::text(&table(view, &self.style)),
        }
    }
}

/// The entries of all pages, `limit` at most, and whether there are more. `fetch` takes a page size
/// and a token.
pub(super) async fn pages<T, F>(
    limit: usize,
    fetch: impl Fn(i32, String) -> F,
) -> Result<(Vec<T>, bool), CliError>
where
    F: Future<Output = Result<(Vec<T>, String), ClientError>>,
{
    let mut entries = Vec::new();
    let mut token = String::new();
    loop {
        let wanted = (limit - entries.len()).min(limits::PAGE_SIZE_MAX);
        let (page, next) = fetch(i32::try_from(wanted).unwrap_or(i32::MAX), token).await?;
        entries.extend(page);
        if next.is_empty() || entries.len() >= limit {
            let more = !next.is_empty() || entries.len() > limit;
            entries.truncate(limit);
            return Ok((entries, more));
        }
        token = next;
    }
}

/// Says on standard error that a list was cut.
pub(super) fn note_more(more: bool, limit: usize) {
    if more {
        output::note(&format!("only the first {limit} are shown: raise --limit for more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetch(size: i32, token: String) -> Result<(Vec<usize>, String), ClientError> {
        let start: usize = token.parse().unwrap_or(0);
        let end = (start + usize::try_from(size).unwrap().min(4)).min(10);
        let next = if end < 10 { end.to_string() } else { String::new() };
        Ok(((start..end).collect(), next))
    }

    #[tokio::test]
    async fn pages_are_joined_up_to_the_limit() {
        let (all, more) = pages(100, fetch).await.unwrap();
        assert_eq!((all.len(), more), (10, false));
        let (some, more) = pages(6, fetch).await.unwrap();
        assert_eq!((some, more), ((0..6).collect(), true));
    }
}
