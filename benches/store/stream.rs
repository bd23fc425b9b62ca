//! `MetricsService.WriteStream` over the control socket: each writer has a connection and a stream of
//! its own, and a few requests under way on it.

use std::{path::Path, sync::Arc};

use balefire::{
    client::Connection,
    model::Labels,
    time::Timestamp,
    wire::{to_wire, v1},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{drive::Sink, workload::Point};

/// Requests that may wait for their answer on one stream.
const UNDER_WAY: u64 = 4;

/// One stream.
pub(crate) struct WriteStream {
    runtime: Runtime,
    requests: Option<mpsc::Sender<v1::WriteStreamRequest>>,
    answers: Streaming<v1::WriteStreamResponse>,
    labels: Arc<[Labels]>,
    declared: Vec<bool>,
    sent: u64,
    durable: u64,
}

impl WriteStream {
    /// Connects to the daemon at `socket`.
    pub(crate) fn connect(socket: &Path, labels: &Arc<[Labels]>) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (requests, receiver) = mpsc::channel(usize::try_from(UNDER_WAY).unwrap_or(1));
        let answers = runtime.block_on(async {
            let connection = Connection::open(Some(socket));
            connection.metrics().write_stream(ReceiverStream::new(receiver)).await
        });
        let answers = answers.map_err(|status| status.to_string())?.into_inner();
        let declared = vec![false; labels.len()];
        let (labels, requests) = (Arc::clone(labels), Some(requests));
        Ok(Self { runtime, requests, answers, labels, declared, sent: 0, durable: 0 })
    }

    fn request(&mut self, at: Timestamp, points: &[Point]) -> v1::WriteStreamRequest {
        let mut series = Vec::new();
        for point in points {
            let known = &mut self.declared[point.series as usize];
            if !std::mem::replace(known, true) {
                let labels = to_wire::labels(&self.labels[point.series as usize]);
                series.push(v1::SeriesDeclaration { r#ref: point.series.into(), labels });
            }
        }
        v1::WriteStreamRequest {
            sequence: self.sent,
            series,
            refs: points.iter().map(|point| point.series.into()).collect(),
            timestamps_ms: vec![at.as_millis(); points.len()],
            values: points.iter().map(|point| point.value).collect(),
        }
    }

    /// Waits until at most so many requests are without an answer.
    fn wait(&mut self, under_way: u64) -> Result<(), String> {
        while self.sent - self.durable > under_way {
            let answer = self.runtime.block_on(self.answers.message());
            let answer = answer.map_err(|status| status.to_string())?;
            let answer = answer.ok_or("the daemon ended the stream")?;
            if let Some(first) = answer.rejections.first() {
                return Err(format!("{} refused: {}", answer.rejected_count, first.reason));
            }
            self.durable = answer.durable_sequence;
        }
        Ok(())
    }
}

impl Sink for WriteStream {
    fn send(&mut self, at: Timestamp, points: &[Point]) -> Result<(), String> {
        self.sent += 1;
        let request = self.request(at, points);
        let requests = self.requests.as_ref().expect("open until it is finished");
        let sent = self.runtime.block_on(requests.send(request));
        sent.map_err(|_| "the daemon ended the stream".to_owned())?;
        self.wait(UNDER_WAY)
    }

    fn finish(&mut self) -> Result<(), String> {
        self.wait(0)
    }
}
