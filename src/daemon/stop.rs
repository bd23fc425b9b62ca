//! The last stage: down again, in order and in time.

use std::process::ExitCode;

use tokio::{task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use crate::{limits, store::Store, supervise::Supervisor};

use super::{running::Signals, systemd};

/// Why the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody asked for it.
    Wanted,
    /// A part of it failed for good.
    Failed,
    /// A new process can do what this one cannot.
    Restart,
}

/// The exit status that says "try again": `EX_TEMPFAIL` of sysexits.h.
const TRY_AGAIN: u8 = 75;

/// Stops all tasks phase by phase and closes the store, where there is one, within [`limits::STOP_DEADLINE`]; a second
/// signal ends it at once.
pub(super) async fn stop(
    supervisor: Supervisor,
    store: Option<Store>,
    mut signals: Signals,
    end: End,
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
    match end {
        End::Restart => ExitCode::from(TRY_AGAIN),
        End::Wanted if clean => ExitCode::SUCCESS,
        End::Wanted | End::Failed => ExitCode::FAILURE,
    }
}

async fn take_down(supervisor: Supervisor, store: Option<Store>) -> bool {
    // Most of the deadline for the tasks, the rest for the store.
    let stopped = supervisor.stop(limits::STOP_DEADLINE * 3 / 4).await;
    if let Err(left) = &stopped {
        error!("tasks that had to be aborted: {}", left.join(", "));
    }
    let closed = spawn_blocking(move || store.map_or(Ok(()), |store| store.close())).await;
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
