//! `EventsService`.

use futures_util::{Stream, stream};
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status};

use crate::{
    monitor::{EventStream, Monitor},
    supervise::StopSignal,
    time::Clock,
    wire::{
        to_wire,
        v1::{self, events_service_server::EventsService},
    },
};

use super::{
    App,
    streams::{Answers, until_stopped},
};

/// What happens, as it happens.
#[derive(Debug)]
pub(super) struct Events {
    monitor: Monitor,
    clock: Clock,
    stop: StopSignal,
}

impl Events {
    pub(super) fn new(app: &App, stop: &StopSignal) -> Self {
        Self { monitor: app.monitor.clone(), clock: app.clock.clone(), stop: stop.clone() }
    }
}

#[tonic::async_trait]
impl EventsService for Events {
    type SubscribeStream = Answers<v1::SubscribeResponse>;

    async fn subscribe(
        &self,
        _request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let listener = Listener { events: self.monitor.subscribe()?, clock: self.clock.clone() };
        Ok(Response::new(until_stopped(listener.answers(), self.stop.clone())))
    }
}

/// One subscriber.
struct Listener {
    events: EventStream,
    clock: Clock,
}

impl Listener {
    /// Events until nobody makes any; what was lost is told in its place.
    fn answers(self) -> impl Stream<Item = Result<v1::SubscribeResponse, Status>> {
        stream::unfold(self, |mut listener| async move {
            let answer = match listener.events.recv().await {
                Ok(event) => to_wire::event(event),
                Err(RecvError::Lagged(count)) => listener.lost(count),
                Err(RecvError::Closed) => return None,
            };
            Some((Ok(answer), listener))
        })
    }

    fn lost(&self, count: u64) -> v1::SubscribeResponse {
        use v1::subscribe_response::Event;
        v1::SubscribeResponse {
            time: Some(to_wire::time(self.clock.now())),
            event: Some(Event::EventsLost(v1::EventsLost { count })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Event, time::Timestamp};
    use futures_util::StreamExt;
    use tokio::sync::broadcast;
    use v1::subscribe_response::Event as Wire;

    fn event(n: i64) -> Event {
        let changes = vec![n.to_string()];
        Event::ConfigReloaded { time: Timestamp::from_secs(n), changes }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_lost() {
        let (sender, events) = broadcast::channel(2);
        for n in 0..5 {
            sender.send(event(n)).unwrap();
        }
        drop(sender);
        let clock = Clock::manual(Timestamp::from_secs(9));
        let answers: Vec<_> = Listener { events, clock }.answers().collect().await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().event).collect();
        let changes = |n: i64| {
            Some(Wire::ConfigReloaded(v1::ConfigReloaded { changes: vec![n.to_string()] }))
        };
        let lost = Some(Wire::EventsLost(v1::EventsLost { count: 3 }));
        assert_eq!(answers, [lost, changes(3), changes(4)]);
    }
}
