//! What systemd is told, where it started us.

use std::time::Duration;

use sd_notify::NotifyState;

/// Ready to answer.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Reading the configuration again; [`ready`] ends it.
pub(super) fn reloading() {
    tell(&[NotifyState::Reloading, NotifyState::Status("reloading")]);
}

/// On the way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Alive; told only while every watched task beats.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear that we are alive: half of what it waits for.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}

/// Without systemd nobody listens, which is fine.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
