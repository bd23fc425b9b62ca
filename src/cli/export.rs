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
    let mut summary = None;
    while let Some(piece) = pieces.message().await.map_err(ClientError::from)? {
        place.write(&piece.chunk)?;
        written += to_wire::count(piece.chunk.len());
        summary = piece.summary;
    }
    place.close()?;
    let summary = summary.unwrap_or_default();
    if let Some(file) = args.file {
        let (size, file) = (human::bytes(written), file.display());
        let (samples, series) = (summary.sample_count, summary.series_count);
        output::note(&format!("{samples} samples of {series} series, {size}, written to {file}"));
    }
    for loss in losses(&summary) {
        output::note(&loss);
    }
    Ok(Verdict::Fine)
}

/// What the format has no word for, in words.
fn losses(summary: &v1::ExportSummary) -> Vec<String> {
    let v1::ExportSummary { histograms_left_out, nans_altered, .. } = summary;
    let histograms = (*histograms_left_out > 0).then(|| {
        format!(
            "left out: {histograms_left_out} native histograms, which OpenMetrics has no word for; \
             the other formats hold them"
        )
    });
    let nans = (*nans_altered > 0).then(|| {
        format!(
            "{nans_altered} values that are not a number lost their bits, which OpenMetrics cannot \
             tell; the other formats keep them"
        )
    });
    histograms.into_iter().chain(nans).collect()
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
    fn says_what_is_missing_and_which_format_has_it() {
        assert!(losses(&v1::ExportSummary { sample_count: 9, ..Default::default() }).is_empty());
        let summary =
            v1::ExportSummary { histograms_left_out: 3, nans_altered: 1, ..Default::default() };
        let told = losses(&summary);
        assert!(told[0].contains("3 native histograms") && told[0].contains("other formats"));
        assert!(told[1].starts_with("1 values"), "{told:?}");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = Place::open(Some(Path::new("/nowhere/out.csv"))).map(drop).unwrap_err();
        assert!(error.to_string().contains("/nowhere/out.csv"), "{error}");
    }
}
