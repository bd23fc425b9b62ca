//! Events, over restarts of the daemon.

use std::time::Duration;

use tonic::Streaming;

use crate::wire::{self, v1};

use super::{ClientError, Connection, take};

/// Between two tries to reach a daemon that went away.
const PAUSE: Duration = Duration::from_millis(500);

/// A subscription that knows how far it has come.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
    request: v1::SubscribeRequest,
    answers: Streaming<v1::SubscribeResponse>,
}

impl Events {
    /// Asks for events.
    pub async fn subscribe(
        connection: &Connection,
        request: v1::SubscribeRequest,
    ) -> Result<Self, ClientError> {
        let answer = connection.events().subscribe(request).await?;
        let begins_after = answer.metadata().get(wire::BEGINS_AFTER);
        let begins_after = begins_after.and_then(|number| number.to_str().ok()?.parse().ok());
        let after_sequence = request.after_sequence.or(begins_after);
        let request = v1::SubscribeRequest { after_sequence, ..request };
        Ok(Self { connection: connection.clone(), request, answers: answer.into_inner() })
    }

    /// The next event; `None` at the end of those that were asked for.
    pub async fn next(&mut self) -> Result<Option<v1::SubscribeResponse>, ClientError> {
        let event = self.answers.message().await?;
        if let Some(event) = &event {
            self.request.after_sequence = Some(event.sequence);
        }
        Ok(event)
    }

    /// After the daemon went away: waits until one answers, for as long as that takes, and goes on after
    /// the last event.
    pub async fn resume(&mut self) -> Result<(), ClientError> {
        loop {
            tokio::time::sleep(PAUSE).await;
            match take(self.connection.events().subscribe(self.request).await) {
                Err(error) if error.may_pass() => {}
                answered => {
                    self.answers = answered?;
                    return Ok(());
                }
            }
        }
    }
}
