//! The loop that keeps the store in order: seals, compacts, and removes what is past its retention.

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

    /// Seals, compacts and cleans up until it is told to stop.
    pub async fn run(self, context: TaskContext) -> Result<(), String> {
        let mut rhythm = Rhythm::new(context, self.seal.clone());
        let mut cleaned: Option<Timestamp> = None;
        while rhythm.next().await.is_some() {
            let now = self.clock.now();
            let cleanup = *self.cleanup.borrow();
            let mut done = self.seal(&rhythm.context).await;
            done = self.compact(&rhythm.context).await.and(done);
            // Last, for nothing goes before it is rolled up.
            if cleaned.is_none_or(|at| now.since(at) >= cleanup) {
                let clean = self.clean_up(&rhythm.context).await;
                cleaned = clean.is_ok().then_some(now);
                done = clean.and(done);
            }
            match done {
                Ok(()) => rhythm.context.heartbeat.succeeded(),
                Err(reason) => rhythm.context.heartbeat.failed(reason),
            }
        }
        Ok(())
    }

    /// Seals; where that fails, for want of room say, what is too old goes first.
    async fn seal(&self, context: &TaskContext) -> Result<(), String> {
        let seal = |store: &Store| store.seal().map(drop);
        if self.blocking(context, seal).await.is_ok() {
            return Ok(());
        }
        self.clean_up(context).await?;
        self.blocking(context, seal).await
    }

    async fn clean_up(&self, context: &TaskContext) -> Result<(), String> {
        self.blocking(context, |store| store.clean_up().map(drop)).await
    }

    /// One job after the other, each with the whole time for itself.
    async fn compact(&self, context: &TaskContext) -> Result<(), String> {
        while !context.stop.is_stopped() && self.blocking(context, Store::compact_next).await? {}
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        context: &TaskContext,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let store = self.store.clone();
        let work = beating(context, WORK_MAX, spawn_blocking(move || work(&store)));
        tokio::pin!(work);
        let done = tokio::select! {
            done = &mut work => done,
            () = context.stop.stopped() => {
                self.store.stop_compacting();
                work.await
            }
        };
        let done = done.map_err(|error| format!("upkeep panicked: {error}"))?;
        done.map_err(|error| error.to_string())
    }
}
