//! The one place that prints.

use std::io::{self, BufRead as _, Write};

use serde::Serialize;

use super::error::CliError;

/// Writes bytes to standard output.
pub(super) fn write(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| CliError::Io("write to standard output".to_owned(), error))
}

/// Writes a text that ends with a newline, once.
pub(super) fn text(text: &str) -> Result<(), CliError> {
    write(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
}

/// Writes a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string_pretty(value).map_err(as_io)?;
    text(&json)
}

/// Writes a value as one line of JSON, for streams.
pub(super) fn json_line(value: &impl Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string(value).map_err(as_io)?;
    text(&json)
}

fn as_io(error: serde_json::Error) -> CliError {
    CliError::Io("write JSON".to_owned(), error.into())
}

/// Writes one line to standard error; a closed one is nobody's loss.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Asks on standard error, and reads the answer; anything but yes is no.
pub(super) fn confirm(question: &str) -> Result<bool, CliError> {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question}").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| CliError::Io("read the answer".to_owned(), error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Says why a command did not work.
pub(super) fn complain(error: &CliError) {
    if !error.is_silent() {
        note(&format!("balefire: {error}"));
    }
}
