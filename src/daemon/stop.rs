//! The last stage: down again, in order and in time.

use std::process::ExitCode;

use tokio::{task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use crate::{limits, store::Store, supervise::Supervisor};

use super::{running::Signals, systemd};

/// Stops all tasks phase by phase and closes the store, within [`limits::STOP_DEADLINE`]; a second
/// signal ends it at once. `wanted` is false where the daemon stops because a part of it failed.
pub(super) async fn stop(
    supervisor: Supervisor,
    store: Store,
    mut signals: Signals,
    wanted: bool,
) -> ExitCode {
    systemd::stopping();
    info!("stopping");
    let down = timeout(limits::STOP_DEADLINE, take_down(supervisor, store));
    let clean = tokio::select! {
        result = down => result.unwrap_or_else(|_| {
            error!(deadline_s = limits::STOP_DEADLINE.as_secs(), "not stopped in time: leaving the rest as it is");
            false
        }),
        () = signals.stop() => {
            warn!("second signal: leaving at once");
            false
        }
    };
    if clean && wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn take_down(supervisor: Supervisor, store: Store) -> bool {
    // Most of the deadline for the tasks, the rest for the store.
    let stopped = supervisor.stop(limits::STOP_DEADLINE * 3 / 4).await;
    if let Err(left) = &stopped {
        error!("tasks that had to be aborted: {}", left.join(", "));
    }
    let closed = spawn_blocking(move || store.close()).await;
    match closed {
        Ok(Ok(())) => {
            info!("stopped");
            stopped.is_ok()
        }
        Ok(Err(error)) => {
            error!("the store was not closed well: {error}");
            false
        }
        Err(error) => {
            error!("closing the store panicked: {error}");
            false
        }
    }
}
