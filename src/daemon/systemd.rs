//! What systemd is told, and what it passes, where it started us.

use std::{env, os::unix::net::UnixListener, time::Duration};

use anyhow::Context;
use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use sd_notify::NotifyState;

/// The name of the control socket among those that a socket unit passes (`FileDescriptorName=`).
const CONTROL: &str = "control";

/// The control socket that systemd holds, if it passed one: it listened before we started, and goes on
/// when we stop.
pub(super) fn control_listener() -> anyhow::Result<Option<UnixListener>> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Ok(None);
    }
    let place = names.split(':').position(|name| name == CONTROL);
    let listener = place.map(|index| passed.take_unix_listener(index)).transpose();
    let listener = listener.context("the socket named \"control\" is no listening Unix socket")?;
    let listener = listener.flatten().with_context(|| {
        format!(
            "systemd passed sockets ({names}), but none is named \"control\": give the socket unit \
             FileDescriptorName=control"
        )
    })?;
    fcntl_setfd(&listener, FdFlags::CLOEXEC)
        .context("cannot keep the control socket to ourselves")?;
    Ok(Some(listener))
}

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
