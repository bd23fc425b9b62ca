//! Writing down what probes found, wherever that goes, and what changed by it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    model::{Batch, Event, ProbeRecord, SeriesSample, TargetStatus},
    store::{Change, Store, StoreError},
    telemetry::events::ProbingEvents,
    time::Clock,
};

use super::{Outbox, Targets, targets};

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

    /// Takes a result in. Series, record, state and what changed become durable together. One that says what
    /// the last one said may wait for company, where `within` says for how long.
    pub(super) async fn record(
        &self,
        record: ProbeRecord,
        within: Option<Duration>,
    ) -> Result<(), StoreError> {
        let told = self.targets.record(record.clone(), self.clock.now());
        self.log(&told);
        match &self.sink {
            Sink::Store(store) => {
                let within = within.filter(|_| told.is_none());
                let batch = self.batch([record.target.as_str()]);
                let changes = self.changes(record, told).collect();
                match within {
                    Some(within) => store.defer(batch, changes, within).await,
                    None => store.append_and_commit(batch, changes).await.map(drop),
                }
            }
            Sink::Outbox(outbox) => {
                if outbox.push(record) {
                    self.events.overflowed();
                }
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
        let mut changes = Vec::new();
        let mut names = BTreeSet::new();
        for record in records {
            self.events.probed(record.state.name(), record.duration);
            let told = self.targets.record(record.clone(), self.clock.now());
            self.log(&told);
            names.insert(record.target.clone());
            changes.extend(self.changes(record, told));
        }
        changes.push(with);
        let batch = self.batch(names.iter().map(String::as_str));
        store.append_and_commit(batch, changes).await.map(drop)
    }

    /// Writes down states that no probe found.
    pub(super) async fn moved(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let Sink::Store(store) = &self.sink else { return Ok(()) };
        self.log(&events);
        let changes = events.into_iter().flat_map(|event| {
            let state = match &event {
                Event::TargetChanged { time, name, to, .. } => {
                    Some(Change::PutTargetState { name: name.clone(), state: *to, since: *time })
                }
                _ => None,
            };
            state.into_iter().chain([Change::AddEvent(event)])
        });
        store.commit(changes.collect()).await
    }

    fn changes(&self, record: ProbeRecord, told: Option<Event>) -> impl Iterator<Item = Change> {
        let name = record.target.clone();
        let status = self.targets.get(&name).map(|(_, status)| status);
        let state = status.and_then(|s| Some((s.state, s.since?)));
        let put = state.map(|(state, since)| Change::PutTargetState { name, state, since });
        [Change::AddProbe(record)].into_iter().chain(told.map(Change::AddEvent)).chain(put)
    }

    fn batch<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Batch {
        let now = self.clock.now();
        let samples: Vec<SeriesSample> =
            names.into_iter().flat_map(|name| self.targets.samples_of(name, now)).collect();
        Batch { samples, ..Batch::default() }
    }

    fn log<'a>(&self, told: impl IntoIterator<Item = &'a Event>) {
        for event in told {
            if let Event::TargetChanged { name, from, to, reason, .. } = event {
                self.events.changed(name, from.name(), to.name(), reason);
            }
        }
    }
}
