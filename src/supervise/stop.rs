//! The signal that tells tasks to stop, and the switch that gives it.

use tokio_util::sync::CancellationToken;

/// Says when to stop; cheap to clone.
#[derive(Clone, Debug)]
pub struct StopSignal(CancellationToken);

impl StopSignal {
    /// Ends when the task shall stop.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }

    /// Whether it shall stop.
    pub fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Gives the signal to stop, to all who hold its signals.
#[derive(Clone, Debug, Default)]
pub struct StopSwitch(CancellationToken);

impl StopSwitch {
    /// A signal of this switch.
    pub fn signal(&self) -> StopSignal {
        StopSignal(self.0.clone())
    }

    /// Tells all to stop; for good.
    pub fn stop(&self) {
        self.0.cancel();
    }
}
