//! `EventsService`.

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use crate::{
    monitor::{EventStream, FirstEvent, Heard, Monitor},
    supervise::StopSignal,
    time::Clock,
    wire::{
        self, to_wire,
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
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let backlog = FirstEvent::Newest(request.backlog.into());
        let first = request.after_sequence.map_or(backlog, FirstEvent::After);
        let events = self.monitor.subscribe(first)?;
        let clock = self.clock.clone();
        let listener = Listener { events, clock, until_now: request.until_now };
        let begins_after = listener.events.heard();
        let answers = until_stopped(listener.answers(), self.stop.clone());
        let mut response = Response::new(answers);
        response.metadata_mut().insert(wire::BEGINS_AFTER, begins_after.into());
        Ok(response)
    }
}

/// One subscriber.
struct Listener {
    events: EventStream,
    clock: Clock,
    until_now: bool,
}

impl Listener {
    fn answers(self) -> impl Stream<Item = Result<v1::SubscribeResponse, Status>> {
        stream::unfold(self, |mut listener| async move {
            if listener.until_now && listener.events.is_caught_up() {
                return None;
            }
            let answer = match listener.events.next().await? {
                Heard::Event { sequence, event } => to_wire::event(sequence, event),
                Heard::Lost { sequence, count } => listener.lost(sequence, count),
            };
            Some((Ok(answer), listener))
        })
    }

    fn lost(&self, sequence: u64, count: u64) -> v1::SubscribeResponse {
        use v1::subscribe_response::Event;
        v1::SubscribeResponse {
            time: Some(to_wire::time(self.clock.now())),
            event: Some(Event::EventsLost(v1::EventsLost { count })),
            sequence,
        }
    }
}
