//! `balefire write`.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Read},
};

use serde::Serialize;

use crate::{
    client::take,
    exposition::{self, ImportFormat, ImportReader},
    model::{Batch, Labels, Metadata, SeriesSample},
    time::Timestamp,
    wire::{to_wire, v1},
};

use super::{
    error::{CliError, Verdict},
    guess::{Guess, guess},
    output,
    session::Session,
    table::Style,
};

/// Samples in one request: far below what a message may hold.
const CHUNK: usize = 10_000;
/// Longest input, in bytes.
const INPUT_BYTES_MAX: u64 = 256 * 1024 * 1024;

pub(super) async fn run(session: &Session) -> Result<Verdict, CliError> {
    let batch = batch(&read()?, session.now())?;
    let mut written = Written::default();
    for request in requests(batch) {
        written.add(take(session.connection.metrics().write(request).await)?);
    }
    session.show(&written, render)?;
    Ok(Verdict::fine_if(written.rejected == 0))
}

/// All of it or nothing: a line that is wrong leaves nothing half done.
fn batch(text: &str, now: Timestamp) -> Result<Batch, CliError> {
    if guess(text.as_bytes()) != Some(Guess::Influx) {
        return Ok(exposition::parse(text, now)?);
    }
    let mut reader = ImportReader::new(ImportFormat::Influx, now);
    let mut batch = Batch::default();
    let mut rest = text.as_bytes();
    loop {
        let full = reader.read(&mut rest);
        let is_last = full.is_none();
        let piece = full.unwrap_or_else(|| reader.finish());
        if let Some(invalid) = reader.take_invalid().into_iter().next() {
            return Err(CliError::Line(invalid));
        }
        batch.samples.extend(piece.batch.samples);
        batch.metadata.extend(piece.batch.metadata);
        if is_last {
            return Ok(batch);
        }
    }
}

fn read() -> Result<String, CliError> {
    let input = io::stdin();
    if input.is_terminal() {
        output::note("reading Prometheus text from the terminal; end with Ctrl-D");
    }
    let mut text = String::new();
    let taken = input.lock().take(INPUT_BYTES_MAX + 1).read_to_string(&mut text);
    taken.map_err(|error| CliError::Io("read standard input".to_owned(), error))?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        let message = format!("standard input is longer than {INPUT_BYTES_MAX} bytes: split it");
        return Err(CliError::Usage(message));
    }
    Ok(text)
}

/// Requests of [`CHUNK`] samples at most, the metadata with the first.
fn requests(batch: Batch) -> Vec<v1::WriteRequest> {
    let mut requests: Vec<v1::WriteRequest> = batch.samples.chunks(CHUNK).map(request).collect();
    let metadata = batch.metadata.into_iter().map(metadata).collect();
    match requests.first_mut() {
        Some(first) => first.metadata = metadata,
        None => requests.push(v1::WriteRequest { series: Vec::new(), metadata }),
    }
    requests
}

fn request(samples: &[SeriesSample]) -> v1::WriteRequest {
    let mut series: BTreeMap<&Labels, Vec<v1::Sample>> = BTreeMap::new();
    for sample in samples {
        series.entry(&sample.labels).or_default().push(to_wire::sample(sample.sample));
    }
    let series = series.into_iter().map(|(labels, samples)| v1::TimeSeries {
        labels: to_wire::labels(labels),
        samples,
        histograms: Vec::new(),
    });
    v1::WriteRequest { series: series.collect(), metadata: Vec::new() }
}

fn metadata(model: Metadata) -> v1::MetricMetadata {
    v1::MetricMetadata {
        name: model.name,
        r#type: to_wire::metric_type(model.kind).into(),
        help: model.help,
        unit: model.unit,
    }
}

/// What became of the samples.
#[derive(Debug, Default, Serialize)]
struct Written {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    rejections: Vec<Rejection>,
}

#[derive(Debug, Serialize)]
struct Rejection {
    series: String,
    samples: u64,
    reason: String,
}

impl Written {
    fn add(&mut self, answer: v1::WriteResponse) {
        self.accepted += answer.accepted_count;
        self.duplicates += answer.duplicate_count;
        self.rejected += answer.rejected_count;
        self.rejections.extend(answer.rejections.into_iter().map(|wire| Rejection {
            series: Labels::new(wire.labels).map_or_else(|_| "{}".into(), |l| l.to_string()),
            samples: wire.sample_count,
            reason: wire.reason,
        }));
    }
}

fn render(written: &Written, _: &Style) -> String {
    let mut lines = vec![format!("{} samples stored", written.accepted)];
    if written.duplicates > 0 {
        lines.push(format!("{} were stored already", written.duplicates));
    }
    if written.rejected > 0 {
        lines.push(format!("{} refused:", written.rejected));
    }
    let reasons = written.rejections.iter();
    lines.extend(reasons.map(|r| format!("  {} ({} samples): {}", r.series, r.samples, r.reason)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::table::tests::PLAIN, model::MetricKind};

    #[test]
    fn large_inputs_go_in_several_requests() {
        let labels = [Labels::of("a", []), Labels::of("b", [])];
        let sample = |n: usize| {
            let at = Timestamp::from_secs(i64::try_from(n).unwrap());
            SeriesSample::new(labels[n % 2].clone(), at, 1.0)
        };
        let samples = (0..=CHUNK).map(sample).collect();
        let known = Metadata {
            name: "a".into(),
            kind: MetricKind::Gauge,
            help: String::new(),
            unit: String::new(),
        };
        let requests = requests(Batch { samples, metadata: vec![known], ..Batch::default() });
        assert_eq!(requests.len(), 2);
        let count = |r: &v1::WriteRequest| r.series.iter().map(|s| s.samples.len()).sum::<usize>();
        assert_eq!(requests.iter().map(count).collect::<Vec<_>>(), [CHUNK, 1]);
        assert_eq!(requests[0].series.len(), 2, "one entry for each series");
        assert_eq!((requests[0].metadata.len(), requests[1].metadata.len()), (1, 0));
    }

    #[test]
    fn takes_the_text_format_and_line_protocol() {
        let now = Timestamp::from_secs(1_700_000_000);
        let text = batch("up{a=\"b\"} 1\n", now).unwrap();
        let lines = batch("up,a=b value=1\n", now).unwrap();
        assert_eq!(text.samples, lines.samples);
        assert_eq!(text.samples.len(), 1);
        let error = batch("up,a=b value=1\nup,a=b value=one\n", now).unwrap_err().to_string();
        assert!(error.contains("line 2, column 14") && error.contains("\"one\""), "{error}");
    }

    #[test]
    fn refusals_are_shown_with_their_reason() {
        let mut written = Written::default();
        written.add(v1::WriteResponse {
            accepted_count: 3,
            rejected_count: 1,
            rejections: vec![v1::Rejection {
                labels: [("__name__".to_owned(), "up".to_owned())].into(),
                sample_count: 1,
                reason: "too old".into(),
            }],
            ..v1::WriteResponse::default()
        });
        let text = render(&written, &PLAIN);
        assert_eq!(text, "3 samples stored\n1 refused:\n  up (1 samples): too old");
    }
}
