//! A new configuration for the running process: applied whole or refused.

use tokio::time::Instant;

use crate::{
    config::{Config, HttpOptions, differences},
    error_code::ErrorCode,
    monitor::{Failure, Reloaded},
    telemetry::LogOptions,
};

use super::running::{Running, settings};

/// Reads the configuration again and applies it; tells what changed. Where it is wrong the
/// old one stays.
pub(super) async fn reload(running: &mut Running) -> Result<Reloaded, Failure> {
    let new = Config::load(&running.overrides)
        .map_err(|problems| Failure::new(ErrorCode::FailedPrecondition, problems.to_string()))?;
    // First what may fail, so that the rest follows only where it did not.
    running.monitor.set_settings(settings(&new));
    let declared = running.monitor.declare_targets().await.and_then(|declared| {
        let certificate = apply_certificate(running, &new)?;
        let log = apply_log(running, &new)?;
        Ok((declared, [certificate, log]))
    });
    let ((targets, problems), log) = match declared {
        Ok(applied) => applied,
        Err(failure) => {
            running.monitor.set_settings(settings(&running.config));
            return Err(failure);
        }
    };
    let mut changes = needing_restart(&running.config, &new);
    changes.extend(log.into_iter().flatten());
    changes.extend(apply_loops(running, &new));
    changes.extend(targets);
    changes.extend(problems.into_iter().map(|(file, problem)| format!("{file}: {problem}")));
    let (before, after) = differences(&running.config, &new);
    running.config = in_force(&running.config, new);
    Ok(Reloaded { changes, before, after })
}

/// The new configuration, with the old values of what only the next start applies: until then every
/// reload says so again.
fn in_force(old: &Config, new: Config) -> Config {
    let (http, log) = (fixed_http(old, &new), fixed_log(old, &new));
    Config {
        state_dir: old.state_dir.clone(),
        socket: old.socket.clone(),
        socket_group: old.socket_group.clone(),
        http,
        storage: old.storage.clone(),
        log,
        ..new
    }
}

/// How logs are kept: of all that is new, only the level is applied at once.
fn fixed_log(old: &Config, new: &Config) -> LogOptions {
    LogOptions { level: new.log.level.clone(), ..old.log.clone() }
}

/// Where HTTP listens and whether it has TLS: of all that is new, only the files are read at once.
fn fixed_http(old: &Config, new: &Config) -> HttpOptions {
    let files = new.http.tls.clone().filter(|_| old.http.tls.is_some());
    HttpOptions { tls: files.or_else(|| old.http.tls.clone()), ..old.http.clone() }
}

/// What only the next start applies.
fn needing_restart(old: &Config, new: &Config) -> Vec<String> {
    let fixed = [
        ("state_dir", old.state_dir != new.state_dir),
        ("socket", old.socket != new.socket),
        ("socket_group", old.socket_group != new.socket_group),
        ("[http] beside its certificate", fixed_http(old, new) != new.http),
        ("[storage]", old.storage != new.storage),
        ("[log] beside its level", fixed_log(old, new) != new.log),
    ];
    let changed = fixed.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| format!("{key} changed: needs a restart")).collect()
}

/// Reads the files again: who has renewed a certificate need not wait for it to be noticed.
fn apply_certificate(running: &Running, new: &Config) -> Result<Option<String>, Failure> {
    let (Some(tls), Some(files)) = (&running.web.tls, &new.http.tls) else { return Ok(None) };
    let changed = tls.apply(files.clone()).map_err(|problem| {
        Failure::field(format!("http.tls_server_config.{}", problem.key), problem.message)
    })?;
    Ok(changed.then(|| "the certificate of HTTP is a new one".to_owned()))
}

fn apply_log(running: &Running, new: &Config) -> Result<Option<String>, Failure> {
    running.log.reopen();
    if running.config.log.level == new.log.level {
        return Ok(None);
    }
    let set = running.log.set_filter(&new.log.level);
    set.map_err(|error| Failure::field("log.level", error.to_string()))?;
    Ok(Some(format!("log level is {}", new.log.level)))
}

fn apply_loops(running: &Running, new: &Config) -> Vec<String> {
    let (old, controls) = (&running.config, &running.controls);
    let mut changes = Vec::new();
    if old.access != new.access {
        running.access.set(new.access.clone());
        changes.push("access changed".to_owned());
    }
    if old.limits != new.limits {
        let now = Instant::now();
        running.web.http.set(new.limits.http, now);
        running.web.socket.set(new.limits.socket, now);
        changes.push("limits changed".to_owned());
    }
    if old.collect != new.collect {
        controls.collecting.apply(&new.collect);
        changes.push("collecting changed".to_owned());
    }
    if old.probing.spawn_socket != new.probing.spawn_socket {
        running.prober.set_spawn_socket(new.probing.spawn_socket.clone());
        changes.push("spawn socket changed".to_owned());
    }
    if old.alerting != new.alerting {
        controls.evaluating.send_replace(new.alerting.interval);
        changes.push("alerting changed".to_owned());
    }
    if old.cleanup_interval != new.cleanup_interval {
        controls.cleanup.send_replace(new.cleanup_interval);
        changes.push("clean-up interval changed".to_owned());
    }
    changes
}
