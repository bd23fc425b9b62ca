//! The loop that keeps the store in order: seals, and removes what is past its retention.

use std::time::Duration;

use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    store::{Store, StoreError},
    supervise::TaskContext,
    telemetry::{Telemetry, events::UpkeepEvents},
    time::{Clock, Timestamp},
};

use super::rhythm::Rhythm;

/// How often the store is asked whether there is anything to seal.
const SEAL_INTERVAL: Duration = Duration::from_mins(5);

/// What the loop works with.
#[derive(Clone, Debug)]
pub struct Upkeep {
    store: Store,
    clock: Clock,
    events: UpkeepEvents,
    cleanup: watch::Receiver<Duration>,
    seal: watch::Receiver<Duration>,
}

impl Upkeep {
    /// A loop that cleans up every `cleanup`, which its sender changes.
    pub fn new(
        store: Store,
        clock: Clock,
        telemetry: &Telemetry,
        cleanup: Duration,
    ) -> (Self, watch::Sender<Duration>) {
        let (sender, cleanup) = watch::channel(cleanup);
        // The interval of sealing never changes, so its sender may go.
        let seal = watch::channel(SEAL_INTERVAL).1;
        (Self { store, clock, events: UpkeepEvents::new(telemetry), cleanup, seal }, sender)
    }

    /// Seals and cleans up until it is told to stop.
    pub async fn run(self, context: TaskContext) -> Result<(), String> {
        let mut rhythm = Rhythm::new(context, self.seal.clone());
        let mut cleaned: Option<Timestamp> = None;
        while rhythm.next().await.is_some() {
            let now = self.clock.now();
            let cleanup = *self.cleanup.borrow();
            let due = cleaned.is_none_or(|at| now.since(at) >= cleanup);
            let done = self.work(due).await;
            match done {
                Ok(()) => rhythm.context.heartbeat.succeeded(),
                Err(reason) => rhythm.context.heartbeat.failed(reason),
            }
            if due {
                cleaned = Some(now);
            }
        }
        Ok(())
    }

    async fn work(&self, clean_up: bool) -> Result<(), String> {
        let store = self.store.clone();
        let work = move || {
            store.seal()?;
            if clean_up { store.clean_up().map(Some) } else { Ok(None) }
        };
        let freed =
            spawn_blocking(work).await.map_err(|error| format!("upkeep panicked: {error}"))?;
        let freed = freed.map_err(|error: StoreError| error.to_string())?;
        if let Some(freed) = freed.filter(|freed| *freed != crate::store::CleanUp::default()) {
            self.events.cleaned(freed.partitions, freed.entries, freed.bytes);
        }
        Ok(())
    }
}
