//! `balefire export`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::{
    client::{ClientError, take},
    wire::{to_wire, v1},
};

use super::{
    args::{Export, ExportFormat},
    error::{CliError, Verdict},
    human, output,
    session::Session,
};

pub(super) async fn run(session: &Session, args: Export) -> Result<Verdict, CliError> {
    let request = v1::ExportRequest {
        format: format(args.format).into(),
        matchers: args.selectors,
        start: args.span.start.map(to_wire::time),
        end: args.span.end.map(to_wire::time),
    };
    let mut pieces = take(session.connection.metrics().export(request).await)?;
    let mut place = Place::open(args.file.as_deref())?;
    let mut written = 0;
    while let Some(piece) = pieces.message().await.map_err(ClientError::from)? {
        place.write(&piece.chunk)?;
        written += to_wire::count(piece.chunk.len());
    }
    place.close()?;
    if let Some(file) = args.file {
        output::note(&format!("{} written to {}", human::bytes(written), file.display()));
    }
    Ok(Verdict::Fine)
}

fn format(format: ExportFormat) -> v1::ExportFormat {
    match format {
        ExportFormat::Json => v1::ExportFormat::Json,
        ExportFormat::Csv => v1::ExportFormat::Csv,
        ExportFormat::Prometheus => v1::ExportFormat::Prometheus,
        ExportFormat::Influx => v1::ExportFormat::Influx,
    }
}

/// Where the text goes.
enum Place {
    Output,
    File { name: String, file: BufWriter<File> },
}

impl Place {
    fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else { return Ok(Self::Output) };
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| failed("create", &name, error))?;
        Ok(Self::File { name, file: BufWriter::new(file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Output => output::write(bytes),
            Self::File { name, file } => {
                file.write_all(bytes).map_err(|error| failed("write", name, error))
            }
        }
    }

    /// Makes sure that a file is whole on disk before anybody is told so.
    fn close(&mut self) -> Result<(), CliError> {
        match self {
            Self::Output => Ok(()),
            Self::File { name, file } => file
                .flush()
                .and_then(|()| file.get_ref().sync_all())
                .map_err(|error| failed("write", name, error)),
        }
    }
}

fn failed(what: &str, name: &str, error: io::Error) -> CliError {
    CliError::Io(format!("{what} {name}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_every_piece() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        let mut place = Place::open(Some(&path)).unwrap();
        place.write(b"a,").unwrap();
        place.write(b"b\n").unwrap();
        place.close().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a,b\n");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = Place::open(Some(Path::new("/nowhere/out.csv"))).map(drop).unwrap_err();
        assert!(error.to_string().contains("/nowhere/out.csv"), "{error}");
    }
}
