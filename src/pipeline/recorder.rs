//! Writing down what probes found, wherever that goes, and telling of what changed.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{Batch, Event, ProbeRecord, SeriesSample, TargetStatus},
    store::{Change, Store, StoreError},
    telemetry::events::ProbingEvents,
    time::Clock,
};

use super::{Bus, Outbox, Targets, targets};

/// Where results go.
#[derive(Clone, Debug)]
pub enum Sink {
    /// Into the history.
    Store(Store),
    /// To whoever passes them on to a service that keeps them.
    Outbox(Outbox),
}

/// Writes results down; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    pub(super) sink: Sink,
    pub(super) targets: Arc<Targets>,
    pub(super) bus: Bus,
    pub(super) clock: Clock,
    pub(super) events: ProbingEvents,
}

impl Recorder {
    /// How a target fared, as far as anybody remembers.
    pub(super) fn recall(&self, name: &str) -> TargetStatus {
        match &self.sink {
            Sink::Store(store) => {
                targets::recalled(store.target_state(name), store.last_probe(name))
            }
            Sink::Outbox(_) => TargetStatus::default(),
        }
    }

    /// Ends the series of targets.
    pub(super) async fn end(&self, names: &[String]) -> Result<(), StoreError> {
        let Sink::Store(store) = &self.sink else { return Ok(()) };
        let now = self.clock.now();
        let samples = names.iter().flat_map(|name| targets::end_markers(store, name, now));
        store.append(Batch { samples: samples.collect(), ..Batch::default() }).await.map(drop)
    }

    /// Takes a result in. Series, record and state become durable together; then whoever listens is told. One
    /// that says what the last one said may wait for company, where `within` says for how long.
    pub(super) async fn record(
        &self,
        record: ProbeRecord,
        within: Option<Duration>,
    ) -> Result<(), StoreError> {
        match &self.sink {
            Sink::Store(store) => {
                let told = self.targets.record(record.clone(), self.clock.now());
                let changes = self.changes(record.clone());
                let batch = self.batch([record.target.as_str()]);
                let stored = match within.filter(|_| told.is_none()) {
                    Some(within) => store.defer(batch, changes, within).await,
                    None => store.append_and_commit(batch, changes).await.map(drop),
                };
                self.tell(told);
                stored
            }
            Sink::Outbox(outbox) => {
                let told = self.targets.record(record.clone(), self.clock.now());
                if outbox.push(record) {
                    self.events.overflowed();
                }
                self.tell(told);
                Ok(())
            }
        }
    }

    /// Takes in what somebody else probed, in its order, with `with`: all of it or nothing, durable when this
    /// returns.
    pub(super) async fn record_all(
        &self,
        records: Vec<ProbeRecord>,
        with: Change,
    ) -> Result<(), StoreError> {
        let Sink::Store(store) = &self.sink else { return Ok(()) };
        let (mut told, mut changes) = (Vec::new(), Vec::new());
        for record in &records {
            self.events.probed(record.state.name(), record.duration);
            told.extend(self.targets.record(record.clone(), self.clock.now()));
            changes.extend(self.changes(record.clone()));
        }
        changes.push(with);
        let names: std::collections::BTreeSet<&str> =
            records.iter().map(|record| record.target.as_str()).collect();
        let stored = store.append_and_commit(self.batch(names), changes).await.map(drop);
        self.tell(told);
        stored
    }

    /// Writes down states that no probe found, and tells of them.
    pub(super) async fn moved(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let Sink::Store(store) = &self.sink else { return Ok(()) };
        let changes = events.iter().filter_map(|event| match event {
            Event::TargetChanged { time, name, to, .. } => {
                Some(Change::PutTargetState { name: name.clone(), state: *to, since: *time })
            }
            _ => None,
        });
        let stored = store.commit(changes.collect()).await;
        self.tell(events);
        stored
    }

    fn changes(&self, record: ProbeRecord) -> Vec<Change> {
        let name = record.target.clone();
        let status = self.targets.get(&name).map(|(_, status)| status);
        let state = status.and_then(|s| Some((s.state, s.since?)));
        let put = state.map(|(state, since)| Change::PutTargetState { name, state, since });
        [Change::AddProbe(record)].into_iter().chain(put).collect()
    }

    fn batch<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Batch {
        let now = self.clock.now();
        let samples: Vec<SeriesSample> =
            names.into_iter().flat_map(|name| self.targets.samples_of(name, now)).collect();
        Batch { samples, ..Batch::default() }
    }

    fn tell(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if let Event::TargetChanged { name, from, to, reason, .. } = &event {
                self.events.changed(name, from.name(), to.name(), reason);
            }
            self.bus.publish(event);
        }
    }
}
