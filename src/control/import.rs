//! `MetricsService.Import`: a text in pieces, each answered by how far it has come.
//!
//! Pieces are taken one at a time: while the samples of one are made durable, the flow control of HTTP/2
//! holds the client back.

use futures_util::{Stream, stream};
use tonic::{Status, Streaming};

use crate::{
    monitor::{Caller, Import, ImportFormat, Monitor},
    supervise::StopSignal,
    wire::{InvalidField, v1},
};

use super::{convert, streams::stopping};

/// One import.
pub(super) struct ImportStream {
    requests: Streaming<v1::ImportRequest>,
    monitor: Monitor,
    caller: Caller,
    stop: StopSignal,
    /// From the first request on.
    begun: Option<(ImportFormat, Import)>,
}

impl ImportStream {
    pub(super) fn new(
        requests: Streaming<v1::ImportRequest>,
        monitor: Monitor,
        caller: Caller,
        stop: StopSignal,
    ) -> Self {
        Self { requests, monitor, caller, stop, begun: None }
    }

    /// An answer for each request, and one for the end of them; ends there, or with the first that is
    /// wrong.
    pub(super) fn answers(self) -> impl Stream<Item = Result<v1::ImportResponse, Status>> + Send {
        stream::unfold(Some(self), |stream| async move {
            let mut stream = stream?;
            match stream.next().await {
                Ok(answer) => {
                    let next = (!answer.complete).then_some(stream);
                    Some((Ok(answer), next))
                }
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<v1::ImportResponse, Status> {
        // Only waiting is broken off: a piece that was taken is answered.
        let request = tokio::select! {
            biased;
            () = self.stop.stopped() => return Err(stopping()),
            request = self.requests.message() => request?,
        };
        let Some(request) = request else {
            return self.end().await;
        };
        let format = format_of(self.begun.as_ref().map(|(format, _)| *format), request.format)?;
        if self.begun.is_none() {
            self.begun = Some((format, self.monitor.import(&self.caller, format).await?));
        }
        let (_, import) = self.begun.as_mut().expect("it has begun by now");
        let progress = import.feed(request.chunk.into()).await?;
        Ok(convert::import_response(progress, false))
    }

    async fn end(&mut self) -> Result<v1::ImportResponse, Status> {
        let Some((format, import)) = &mut self.begun else {
            return Err(
                InvalidField::new("format", "no request: send the format, and the text").into()
            );
        };
        let progress = import.finish().await?;
        self.monitor.note_import(&self.caller, *format, &progress).await?;
        Ok(convert::import_response(progress, true))
    }
}

/// The format of an import, of which one has begun or not.
fn format_of(begun: Option<ImportFormat>, wire: i32) -> Result<ImportFormat, InvalidField> {
    let asked = match v1::ImportFormat::try_from(wire) {
        Ok(v1::ImportFormat::Json) => ImportFormat::Json,
        Ok(v1::ImportFormat::Csv) => ImportFormat::Csv,
        Ok(v1::ImportFormat::Prometheus) => ImportFormat::Prometheus,
        Ok(v1::ImportFormat::Influx) => ImportFormat::Influx,
        Ok(v1::ImportFormat::Text) => ImportFormat::Text,
        Ok(v1::ImportFormat::Unspecified) | Err(_) => {
            let no_other = begun.filter(|_| wire == 0);
            let missing = "use json (1), csv (2), prometheus (3), influx (4) or text (5) in the first request";
            return no_other.ok_or_else(|| InvalidField::new("format", missing));
        }
    };
    match begun {
        Some(begun) if begun != asked => {
            Err(InvalidField::new("format", "another one than before: an import has one format"))
        }
        _ => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_has_one_format() {
        let csv = i32::from(v1::ImportFormat::Csv);
        assert_eq!(format_of(None, csv), Ok(ImportFormat::Csv));
        assert_eq!(format_of(Some(ImportFormat::Csv), csv), Ok(ImportFormat::Csv));
        assert_eq!(format_of(Some(ImportFormat::Csv), 0), Ok(ImportFormat::Csv));
        for (begun, wire) in [(None, 0), (None, 99), (Some(ImportFormat::Text), csv)] {
            assert_eq!(format_of(begun, wire).unwrap_err().field, "format");
        }
    }
}
