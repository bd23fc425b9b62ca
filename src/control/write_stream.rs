//! `MetricsService.WriteStream`: series declared once, then columns that refer to them.
//!
//! Batches are taken one at a time: while one is made durable, the flow control of HTTP/2 holds the
//! client back. So the sequence number of an answer covers everything before it.

use futures_util::{Stream, stream};
use hashbrown::HashMap;
use tonic::{Status, Streaming};

use crate::{
    limits,
    model::Sample,
    monitor::{Caller, Monitor},
    store::{AppendSummary, SeriesHandle},
    supervise::StopSignal,
    time::Timestamp,
    wire::{InvalidField, from_wire, v1},
};

use super::{convert, streams::stopping};

/// One stream of batches.
pub(super) struct WriteStream {
    requests: Streaming<v1::WriteStreamRequest>,
    monitor: Monitor,
    caller: Caller,
    stop: StopSignal,
    declared: Declared,
}

impl WriteStream {
    pub(super) fn new(
        requests: Streaming<v1::WriteStreamRequest>,
        monitor: Monitor,
        caller: Caller,
        stop: StopSignal,
    ) -> Self {
        Self { requests, monitor, caller, stop, declared: Declared::default() }
    }

    /// An answer for each request; ends with the requests, or with the first that is wrong.
    pub(super) fn answers(
        self,
    ) -> impl Stream<Item = Result<v1::WriteStreamResponse, Status>> + Send {
        stream::unfold(Some(self), |stream| async move {
            let mut stream = stream?;
            match stream.next().await {
                Ok(answer) => answer.map(|answer| (Ok(answer), Some(stream))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<v1::WriteStreamResponse>, Status> {
        // Only waiting is broken off: a batch that was taken is answered.
        let request = tokio::select! {
            biased;
            () = self.stop.stopped() => return Err(stopping()),
            request = self.requests.message() => request?,
        };
        let Some(request) = request else {
            return Ok(None);
        };
        let sequence = request.sequence;
        let samples = self.declared.samples(request)?;
        let summary = if samples.is_empty() {
            AppendSummary::default()
        } else {
            self.monitor.write_to(&self.caller, samples).await?
        };
        self.monitor.find(&mut self.declared.not_found());
        Ok(Some(convert::write_stream_response(sequence, summary)))
    }
}

/// What a stream has declared so far.
#[derive(Debug, Default)]
struct Declared {
    series: HashMap<u64, SeriesHandle>,
    /// Whether the last request had samples of series that were not found.
    search: bool,
    sequence: Option<u64>,
}

impl Declared {
    /// The samples of a request, with its declarations taken in.
    fn samples(
        &mut self,
        request: v1::WriteStreamRequest,
    ) -> Result<Vec<(SeriesHandle, Sample)>, InvalidField> {
        self.advance(request.sequence)?;
        self.declare(request.series)?;
        let count = request.refs.len();
        from_wire::batch_size("refs", count)?;
        same_length("timestamps_ms", request.timestamps_ms.len(), count)?;
        same_length("values", request.values.len(), count)?;
        let columns = request.refs.iter().zip(&request.timestamps_ms).zip(&request.values);
        let samples = columns.enumerate().map(|(index, ((reference, millis), value))| {
            let timestamp = Timestamp::from_millis(*millis);
            Ok((self.handle(index, *reference)?, Sample { timestamp, value: *value }))
        });
        let samples: Vec<(SeriesHandle, Sample)> = samples.collect::<Result<_, InvalidField>>()?;
        self.search = samples.iter().any(|(handle, _)| !handle.is_found());
        Ok(samples)
    }

    /// The handles that have not found their series, where that is worth another look.
    fn not_found(&mut self) -> Vec<&mut SeriesHandle> {
        if !self.search {
            return Vec::new();
        }
        let handles = self.series.values_mut().filter(|handle| !handle.is_found());
        handles.collect()
    }

    fn advance(&mut self, sequence: u64) -> Result<(), InvalidField> {
        if let Some(last) = self.sequence.filter(|last| sequence <= *last) {
            let description = format!("{sequence} does not rise: the request before had {last}");
            return Err(InvalidField::new("sequence", description));
        }
        self.sequence = Some(sequence);
        Ok(())
    }

    fn declare(&mut self, series: Vec<v1::SeriesDeclaration>) -> Result<(), InvalidField> {
        for (index, declaration) in series.into_iter().enumerate() {
            let labels = from_wire::labels(&format!("series[{index}].labels"), declaration.labels)?;
            let known = self.series.get(&declaration.r#ref).map(|known| *known.labels() == labels);
            self.series.entry(declaration.r#ref).or_insert_with(|| SeriesHandle::new(labels));
            if known == Some(false) {
                let description = format!("{} names another series already", declaration.r#ref);
                return Err(InvalidField::new(format!("series[{index}].ref"), description));
            }
            if self.series.len() > limits::STREAM_SERIES_MAX {
                let max = limits::STREAM_SERIES_MAX;
                let description = format!("more than {max} on one stream: open another one");
                return Err(InvalidField::new("series", description));
            }
        }
        Ok(())
    }

    fn handle(&self, index: usize, reference: u64) -> Result<SeriesHandle, InvalidField> {
        self.series.get(&reference).cloned().ok_or_else(|| {
            let description = format!("{reference} is not declared: put it into `series` first");
            InvalidField::new(format!("refs[{index}]"), description)
        })
    }
}

fn same_length(field: &str, length: usize, expected: usize) -> Result<(), InvalidField> {
    if length == expected {
        return Ok(());
    }
    let description = format!("{length} entries where `refs` has {expected}");
    Err(InvalidField::new(field, description))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declaration(reference: u64, metric: &str) -> v1::SeriesDeclaration {
        let labels = [("__name__".to_owned(), metric.to_owned())].into();
        v1::SeriesDeclaration { r#ref: reference, labels }
    }

    fn request(sequence: u64, refs: &[u64]) -> v1::WriteStreamRequest {
        v1::WriteStreamRequest {
            sequence,
            refs: refs.to_vec(),
            timestamps_ms: vec![5; refs.len()],
            values: vec![1.5; refs.len()],
            series: Vec::new(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut v1::WriteStreamRequest), field: &str) {
        let mut declared = Declared::default();
        let first =
            v1::WriteStreamRequest { series: vec![declaration(1, "up")], ..request(1, &[1]) };
        assert_eq!(declared.samples(first).unwrap().len(), 1);
        let mut second = request(2, &[1, 1]);
        change(&mut second);
        assert_eq!(declared.samples(second).unwrap_err().field, field);
    }

    #[test]
    fn a_declaration_holds_for_the_rest_of_the_stream() {
        let mut declared = Declared::default();
        let series = vec![declaration(7, "up"), declaration(9, "down")];
        declared.samples(v1::WriteStreamRequest { series, ..request(1, &[]) }).unwrap();
        let samples = declared.samples(request(5, &[9, 7])).unwrap();
        let metrics: Vec<_> = samples.iter().map(|(series, _)| series.labels().metric()).collect();
        assert_eq!(metrics, ["down", "up"]);
        let again = vec![declaration(7, "up")];
        assert!(
            declared.samples(v1::WriteStreamRequest { series: again, ..request(6, &[]) }).is_ok()
        );
    }

    #[test]
    fn names_what_is_wrong() {
        check(|r| r.sequence = 1, "sequence");
        check(|r| r.refs[1] = 4, "refs[1]");
        check(|r| r.values.truncate(1), "values");
        check(|r| r.timestamps_ms.truncate(1), "timestamps_ms");
        check(|r| r.series = vec![declaration(1, "other")], "series[0].ref");
        check(|r| r.series = vec![declaration(2, "not good")], "series[0].labels");
    }
}
