//! `balefire import`.

use std::{
    io::{self, SeekFrom},
    path::Path,
    sync::Arc,
};

use futures_util::{Stream, stream};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt, AsyncSeekExt},
};

use crate::{
    client::{ClientError, take},
    model::Labels,
    wire::{InvalidField, v1},
};

use super::{
    args::{Import, ImportFormat},
    error::{CliError, Verdict},
    guess::{Guess, guess, guess_by_name},
    progress::Progress,
    session::Session,
    table::Style,
};

/// What is sent at once.
const PIECE_BYTES: usize = 256 * 1024;
/// How OpenMetrics ends, and no other format does.
const END: &[u8] = b"# EOF";

pub(super) async fn run(session: &Session, args: Import) -> Result<Verdict, CliError> {
    let source = Source::open(&args.file).await?;
    let format = match args.format {
        Some(format) => wire(format),
        None => source.guess(&args.file)?,
    };
    let progress = Progress::new(session, "importing");
    progress.set_total(source.bytes);
    let name = source.name.clone();
    let failed = Arc::new(Mutex::new(None));
    let requests = source.requests(format, Arc::clone(&failed));
    let mut answers = take(session.connection.metrics().import(requests).await)?;
    let mut imported = Imported::default();
    while let Some(answer) = answers.message().await.map_err(ClientError::from)? {
        progress.set_done(answer.byte_count);
        imported.take(answer);
    }
    progress.clear();
    if let Some(error) = failed.lock().take() {
        return Err(CliError::Io(format!("read {name}"), error));
    }
    if !imported.complete {
        let reason = "the daemon ended the import before the text; import it again";
        return Err(InvalidField::new("complete", reason).into());
    }
    session.show(&imported, render)?;
    Ok(Verdict::fine_if(imported.rejected == 0 && imported.invalid_lines == 0))
}

fn wire(format: ImportFormat) -> v1::ImportFormat {
    match format {
        ImportFormat::Json => v1::ImportFormat::Json,
        ImportFormat::Csv => v1::ImportFormat::Csv,
        ImportFormat::Prometheus => v1::ImportFormat::Prometheus,
        ImportFormat::Influx => v1::ImportFormat::Influx,
        ImportFormat::Text => v1::ImportFormat::Text,
    }
}

/// Where the text comes from.
struct Source {
    name: String,
    /// Its size; 0 where that is not known.
    bytes: u64,
    /// What has been read of it.
    beginning: Vec<u8>,
    rest: Box<dyn AsyncRead + Send + Unpin>,
    /// Whether it ends as OpenMetrics does; `None` where the end is not to be seen.
    has_end: Option<bool>,
}

impl Source {
    async fn open(path: &Path) -> Result<Self, CliError> {
        let name = if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let opened = Self::read_beginning(path, name.clone()).await;
        opened.map_err(|error| CliError::Io(format!("read {name}"), error))
    }

    async fn read_beginning(path: &Path, name: String) -> io::Result<Self> {
        let mut source = Self {
            name,
            bytes: 0,
            beginning: Vec::new(),
            rest: Box::new(tokio::io::empty()),
            has_end: None,
        };
        if path == Path::new("-") {
            source.rest = Box::new(tokio::io::stdin());
        } else {
            let mut file = File::open(path).await?;
            let metadata = file.metadata().await?;
            if metadata.is_file() {
                source.bytes = metadata.len();
                source.has_end = Some(has_end(&mut file, metadata.len()).await?);
            }
            source.rest = Box::new(file);
        }
        source.beginning = next(&mut source.rest).await?;
        Ok(source)
    }

    /// The format by name and contents.
    fn guess(&self, path: &Path) -> Result<v1::ImportFormat, CliError> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let by_name = extension.and_then(guess_by_name);
        match (by_name.or_else(|| guess(&self.beginning)), self.has_end) {
            (Some(Guess::Json), _) => Ok(v1::ImportFormat::Json),
            (Some(Guess::Csv), _) => Ok(v1::ImportFormat::Csv),
            (Some(Guess::Influx), _) => Ok(v1::ImportFormat::Influx),
            (Some(Guess::Prometheus) | None, Some(true)) => Ok(v1::ImportFormat::Prometheus),
            (Some(Guess::Prometheus), Some(false)) => Ok(v1::ImportFormat::Text),
            (Some(Guess::Prometheus), None) => Err(CliError::Usage(format!(
                "{} may be OpenMetrics (timestamps in seconds) or the text format (milliseconds): \
                 give --format prometheus or --format text",
                self.name
            ))),
            (None, _) => Err(CliError::Usage(format!(
                "cannot tell the format of {}: give --format json, csv, prometheus, influx or text",
                self.name
            ))),
        }
    }

    /// The text in pieces. Where it cannot be read on, it ends, and says why in `failed`.
    fn requests(
        self,
        format: v1::ImportFormat,
        failed: Arc<Mutex<Option<io::Error>>>,
    ) -> impl Stream<Item = v1::ImportRequest> + Send + 'static {
        let first = v1::ImportRequest { format: format.into(), chunk: self.beginning };
        stream::unfold((Some(first), self.rest, failed), |(first, mut rest, failed)| async move {
            if let Some(first) = first {
                return Some((first, (None, rest, failed)));
            }
            match next(&mut rest).await {
                Ok(chunk) if chunk.is_empty() => None,
                Ok(chunk) => {
                    let request = v1::ImportRequest { chunk, ..v1::ImportRequest::default() };
                    Some((request, (None, rest, failed)))
                }
                Err(error) => {
                    *failed.lock() = Some(error);
                    None
                }
            }
        })
    }
}

/// The next piece; empty at the end.
async fn next(rest: &mut (dyn AsyncRead + Send + Unpin)) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    rest.take(PIECE_BYTES as u64).read_to_end(&mut piece).await?;
    Ok(piece)
}

/// Whether a file ends as OpenMetrics does; it is read from its beginning afterwards.
async fn has_end(file: &mut File, bytes: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(bytes.saturating_sub(64))).await?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).await?;
    file.rewind().await?;
    Ok(end.trim_ascii_end().ends_with(END))
}

/// What became of the text.
#[derive(Debug, Default, Serialize)]
struct Imported {
    #[serde(skip)]
    complete: bool,
    bytes: u64,
    lines: u64,
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    invalid_lines: u64,
    text_fields: u64,
    metadata_dropped: u64,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    first_line: u64,
    last_line: u64,
    #[serde(skip_serializing_if = "is_zero")]
    column: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    series: String,
    #[serde(skip_serializing_if = "is_zero")]
    samples: u64,
    reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Imported {
    fn take(&mut self, answer: v1::ImportResponse) {
        self.complete = answer.complete;
        self.bytes = answer.byte_count;
        self.lines = answer.line_count;
        self.accepted = answer.accepted_count;
        self.duplicates = answer.duplicate_count;
        self.rejected = answer.rejected_count;
        self.invalid_lines = answer.invalid_line_count;
        self.text_fields = answer.text_field_count;
        self.metadata_dropped = answer.metadata_dropped_count;
        self.problems.extend(answer.problems.into_iter().map(problem));
    }
}

fn problem(wire: v1::ImportProblem) -> Problem {
    let series = match Labels::new(wire.labels) {
        Ok(labels) if !labels.is_empty() => labels.to_string(),
        _ => String::new(),
    };
    Problem {
        first_line: wire.first_line,
        last_line: wire.last_line,
        column: wire.column,
        series,
        samples: wire.sample_count,
        reason: wire.reason,
    }
}

fn render(imported: &Imported, _: &Style) -> String {
    let mut lines = vec![format!("{} samples stored", imported.accepted)];
    let counts = [
        (imported.duplicates, "were stored already"),
        (imported.rejected, "refused"),
        (imported.invalid_lines, "lines are not in the format and were passed over"),
        (imported.text_fields, "fields hold text, which is no sample"),
        (imported.metadata_dropped, "descriptions of metrics not taken: too many names are known"),
    ];
    lines.extend(counts.into_iter().filter(|one| one.0 > 0).map(|(n, what)| format!("{n} {what}")));
    lines.extend(imported.problems.iter().map(in_words));
    lines.join("\n")
}

fn in_words(problem: &Problem) -> String {
    let Problem { first_line, last_line, column, series, samples, reason } = problem;
    if series.is_empty() {
        return format!("  line {first_line}, column {column}: {reason}");
    }
    format!("  lines {first_line} to {last_line}: {series} ({samples} samples): {reason}")
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::cli::table::tests::PLAIN;

    async fn source(
        name: &str,
        text: &[u8],
    ) -> Result<(v1::ImportFormat, Vec<v1::ImportRequest>), CliError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let source = Source::open(&path).await?;
        assert_eq!(source.bytes, text.len() as u64);
        let format = source.guess(&path)?;
        let requests = source.requests(format, Arc::default()).collect().await;
        Ok((format, requests))
    }

    #[tokio::test]
    async fn a_file_is_sent_in_pieces_with_its_format_first() {
        let text = [b"up 1 5\n".repeat(100_000), b"# EOF\n".to_vec()].concat();
        let (format, requests) = source("x", &text).await.unwrap();
        assert_eq!(format, v1::ImportFormat::Prometheus);
        assert_eq!(requests[0].format, i32::from(v1::ImportFormat::Prometheus));
        assert!(requests.len() > 1 && requests[1].format == 0);
        assert_eq!(
            requests.into_iter().flat_map(|request| request.chunk).collect::<Vec<_>>(),
            text
        );
    }

    #[tokio::test]
    async fn the_format_is_seen_from_name_beginning_and_end() {
        let guessed = async |name: &str, text: &str| source(name, text.as_bytes()).await.unwrap().0;
        assert_eq!(guessed("a", "{\"labels\":{}}\n").await, v1::ImportFormat::Json);
        assert_eq!(guessed("a.csv", "").await, v1::ImportFormat::Csv);
        assert_eq!(guessed("a.prom", "# x\n").await, v1::ImportFormat::Text);
        assert_eq!(guessed("a", "# EOF\n").await, v1::ImportFormat::Prometheus);
        assert_eq!(guessed("a.txt", "up 1 5000\n").await, v1::ImportFormat::Text);
        assert_eq!(guessed("a.txt", "cpu value=1\n").await, v1::ImportFormat::Influx);
        let error = source("a", b"# x\n").await.unwrap_err().to_string();
        assert!(error.contains("--format"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let error = Source::open(Path::new("/nowhere/x")).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("/nowhere/x"), "{error}");
    }

    #[test]
    fn tells_what_was_not_taken() {
        let mut imported = Imported::default();
        let wrong = |labels: &[(&str, &str)], column| v1::ImportProblem {
            first_line: 1,
            last_line: 9,
            column,
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            sample_count: 4,
            reason: "so".into(),
        };
        imported.take(v1::ImportResponse { accepted_count: 1, ..Default::default() });
        imported.take(v1::ImportResponse {
            accepted_count: 7,
            rejected_count: 4,
            invalid_line_count: 1,
            problems: vec![wrong(&[], 3), wrong(&[("__name__", "up")], 0)],
            ..Default::default()
        });
        assert_eq!(
            render(&imported, &PLAIN),
            "7 samples stored\n4 refused\n1 lines are not in the format and were passed over\n  \
             line 1, column 3: so\n  lines 1 to 9: up (4 samples): so"
        );
    }
}
