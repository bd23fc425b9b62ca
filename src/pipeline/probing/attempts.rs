//! One probe: an attempt, and further ones where it failed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    model::{ProbeAnswer, ProbeAttempt, ProbeFailure, ProbeRecord, Target, TargetState},
    probe::Prober,
    supervise::spread_offset,
    time::Clock,
};

/// The pauses before the second attempt and before all further ones.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Probes a target; it is unhealthy only when the last of its attempts has failed, too.
pub(super) async fn probe(prober: &Prober, clock: &Clock, target: &Target) -> ProbeRecord {
    let until = Instant::now() + target.interval;
    let mut attempts = Vec::new();
    loop {
        let started_at = clock.now();
        let began = Instant::now();
        let result = prober.attempt_target(target).await;
        let duration = began.elapsed();
        let error = result.as_ref().err().map(|failure| failure.error.clone()).unwrap_or_default();
        attempts.push(ProbeAttempt { started_at, duration, error });

        let pause = pause(target, attempts.len());
        let more = attempts.len() <= target.retries as usize
            && Instant::now() + pause + target.timeout <= until;
        if result.is_ok() || !more {
            return record(target, attempts, duration, result);
        }
        sleep(pause).await;
    }
}

/// How long a probe takes at most: every attempt runs into its timeout, every pause is the longest.
pub fn longest(timeout: Duration, retries: u32) -> Duration {
    let pause = |attempt: u32| {
        let base = PAUSES[(attempt as usize).min(PAUSES.len() - 1)];
        base + base / 4
    };
    timeout * (retries + 1) + (0..retries).map(pause).sum::<Duration>()
}

/// Up to a quarter longer than it says, so that targets which failed together do not come back
/// together; how much hangs on the target and the attempt.
fn pause(target: &Target, attempts: usize) -> Duration {
    let base = PAUSES[(attempts - 1).min(PAUSES.len() - 1)];
    base + spread_offset(&format!("{}#{attempts}", target.name), base / 4)
}

fn record(
    target: &Target,
    attempts: Vec<ProbeAttempt>,
    duration: Duration,
    result: Result<ProbeAnswer, ProbeFailure>,
) -> ProbeRecord {
    let (state, error, stderr_tail, answer) = match result {
        Ok(answer) => match &answer.auth_required {
            Some(needed) => (TargetState::AuthRequired, needed.clone(), String::new(), answer),
            None => (TargetState::Healthy, String::new(), String::new(), answer),
        },
        Err(failure) => {
            (TargetState::Unhealthy, failure.error, failure.stderr_tail, failure.answer)
        }
    };
    let started_at = attempts.first().map(|attempt| attempt.started_at).unwrap_or_default();
    ProbeRecord {
        target: target.name.clone(),
        state,
        started_at,
        duration,
        attempts,
        answer,
        error,
        stderr_tail,
    }
}
