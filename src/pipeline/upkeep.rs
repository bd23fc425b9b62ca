//! The loop that keeps the store in order: seals, and removes what is past its retention.

use std::time::Duration;

use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    store::{Store, StoreError},
    supervise::TaskContext,
    time::{Clock, Timestamp},
};

use super::rhythm::{Rhythm, beating};

/// How often the store is asked whether there is anything to seal.
const SEAL_INTERVAL: Duration = Duration::from_mins(5);

/// The longest that a piece of this work may take before it counts as hanging.
const WORK_MAX: Duration = Duration::from_mins(10);

/// What the loop works with.
#[derive(Clone, Debug)]
pub struct Upkeep {
    store: Store,
    clock: Clock,
    cleanup: watch::Receiver<Duration>,
    seal: watch::Receiver<Duration>,
}

impl Upkeep {
    /// A loop that cleans up every `cleanup`, which its sender changes.
    pub fn new(store: Store, clock: Clock, cleanup: Duration) -> (Self, watch::Sender<Duration>) {
        let (sender, cleanup) = watch::channel(cleanup);
        // The interval of sealing never changes, so its sender may go.
        let seal = watch::channel(SEAL_INTERVAL).1;
        (Self { store, clock, cleanup, seal }, sender)
    }

    /// Seals and cleans up until it is told to stop.
    pub async fn run(self, context: TaskContext) -> Result<(), String> {
        let mut rhythm = Rhythm::new(context, self.seal.clone());
        let mut cleaned: Option<Timestamp> = None;
        while rhythm.next().await.is_some() {
            let now = self.clock.now();
            let cleanup = *self.cleanup.borrow();
            // First what gives room back, for sealing needs some.
            let mut done = Ok(());
            if cleaned.is_none_or(|at| now.since(at) >= cleanup) {
                done = self.blocking(&rhythm.context, |store| store.clean_up().map(drop)).await;
                cleaned = done.is_ok().then_some(now);
            }
            let sealed = self.blocking(&rhythm.context, |store| store.seal().map(drop)).await;
            match done.and(sealed) {
                Ok(()) => rhythm.context.heartbeat.succeeded(),
                Err(reason) => rhythm.context.heartbeat.failed(reason),
            }
        }
        Ok(())
    }

    async fn blocking(
        &self,
        context: &TaskContext,
        work: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), String> {
        let store = self.store.clone();
        let done = beating(context, WORK_MAX, spawn_blocking(move || work(&store))).await;
        let done = done.map_err(|error| format!("upkeep panicked: {error}"))?;
        done.map_err(|error| error.to_string())
    }
}
