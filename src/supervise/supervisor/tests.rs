use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::{
    supervise::{Policy, TaskState},
    time::Timestamp,
};

const DEADLINE: Duration = Duration::from_secs(8);

fn supervisor() -> (Supervisor, Telemetry) {
    let telemetry = Telemetry::new();
    let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
    (Supervisor::new(clock, &telemetry), telemetry)
}

fn spec(name: &'static str, policy: Policy, phase: Phase) -> TaskSpec {
    TaskSpec { name, policy, phase, beat_within: None }
}

async fn until_stopped(context: TaskContext) -> Result<(), String> {
    context.stop.stopped().await;
    Ok(())
}

/// The sum of an own metric over its labels.
fn metric(telemetry: &Telemetry, name: &str) -> String {
    let families = telemetry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let sum: f64 = family.map_or(0.0, |family| {
        let value =
            |m: &prometheus::proto::Metric| m.get_counter().get_value() + m.get_gauge().get_value();
        family.get_metric().iter().map(value).sum()
    });
    sum.to_string()
}

fn report(supervisor: &Supervisor, name: &str) -> TaskReport {
    supervisor.reports().into_iter().find(|report| report.name == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_started_again_after_growing_pauses() {
    let (supervisor, telemetry) = supervisor();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&starts);
    let begin = Instant::now();
    supervisor.spawn(spec("flaky", Policy::Restart, Phase::Work), move |_| {
        seen.lock().push(begin.elapsed().as_millis());
        async { Err("no route".to_owned()) }
    });
    sleep(Duration::from_millis(1600)).await;
    assert_eq!(*starts.lock(), [0, 100, 300, 700, 1500]);
    let report = report(&supervisor, "flaky");
    assert_eq!((report.state, report.healthy), (TaskState::Restarting, false));
    assert_eq!(report.error, "no route");
    assert_eq!(metric(&telemetry, "balefire_task_restarts_total"), "5");
    assert_eq!(supervisor.stop(DEADLINE).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_caught_counted_and_named_wherever_it_happens() {
    let (supervisor, telemetry) = supervisor();
    let runs = AtomicU32::new(0);
    supervisor.spawn(spec("clumsy", Policy::Restart, Phase::Work), move |context| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        assert!(run != 0, "while it was made");
        async move {
            assert!(run != 1, "while it ran");
            until_stopped(context).await
        }
    });
    sleep(Duration::from_millis(50)).await;
    assert_eq!(report(&supervisor, "clumsy").error, "it panicked: while it was made");
    sleep(Duration::from_secs(1)).await;
    let again = report(&supervisor, "clumsy");
    assert_eq!((again.state, again.healthy), (TaskState::Running, false));
    assert_eq!(again.error, "it panicked: while it ran");
    assert_eq!(metric(&telemetry, "balefire_task_panics_total"), "2");

    sleep(Duration::from_mins(1)).await;
    assert!(report(&supervisor, "clumsy").healthy, "forgiven once it has run well for a while");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_critical_task_is_told_with_its_reason() {
    let (supervisor, _) = supervisor();
    supervisor.spawn(spec("steady", Policy::Critical, Phase::Base), until_stopped);
    let end = timeout(Duration::from_secs(5), supervisor.critical_end());
    assert!(end.await.is_err(), "nothing has ended yet");

    supervisor.spawn(spec("ingest", Policy::Critical, Phase::Base), |_| async { Ok(()) });
    assert_eq!(supervisor.critical_end().await, "task ingest: it ended before it was told to");
    assert_eq!(report(&supervisor, "ingest").state, TaskState::Stopped);
    assert!(!report(&supervisor, "ingest").healthy);
    assert!(report(&supervisor, "steady").healthy);
}

#[tokio::test(start_paused = true)]
async fn a_watched_task_that_stays_silent_is_late() {
    let (supervisor, _) = supervisor();
    let watched = TaskSpec {
        beat_within: Some(Duration::from_secs(10)),
        ..spec("loop", Policy::Restart, Phase::Work)
    };
    let beats = Arc::new(tokio::sync::Notify::new());
    let beat = Arc::clone(&beats);
    supervisor.spawn(watched, move |context| {
        let beat = Arc::clone(&beat);
        async move {
            loop {
                beat.notified().await;
                context.heartbeat.succeeded();
            }
        }
    });
    tokio::task::yield_now().await;
    assert!(supervisor.is_alive());
    advance(Duration::from_secs(11)).await;
    assert!(!supervisor.is_alive());
    assert_eq!(report(&supervisor, "loop").state, TaskState::Late);
    beats.notify_one();
    tokio::task::yield_now().await;
    assert!(supervisor.is_alive());
    assert_eq!(report(&supervisor, "loop").last_success, Some(Timestamp::from_secs(1_700_000_000)));
}

#[tokio::test(start_paused = true)]
async fn phases_stop_one_after_the_other_children_included() {
    let (supervisor, telemetry) = supervisor();
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, phase) in
        [("store", Phase::Base), ("evaluator", Phase::Work), ("listener", Phase::Intake)]
    {
        let order = Arc::clone(&order);
        supervisor.spawn(spec(name, Policy::Critical, phase), move |context| {
            let order = Arc::clone(&order);
            async move {
                context.stop.stopped().await;
                sleep(Duration::from_millis(200)).await;
                order.lock().push(name);
                Ok(())
            }
        });
    }
    let connection = Arc::clone(&order);
    let child = supervisor.spawn_child("listener", async move {
        sleep(Duration::from_millis(700)).await;
        connection.lock().push("connection");
    });
    assert_eq!(metric(&telemetry, "balefire_task_children"), "1");
    assert_eq!(supervisor.stop(DEADLINE).await, Ok(()));
    assert_eq!(*order.lock(), ["listener", "connection", "evaluator", "store"]);
    child.await.unwrap();
    assert_eq!(metric(&telemetry, "balefire_task_children"), "0");
    assert!(supervisor.reports().iter().all(|report| report.state == TaskState::Stopped));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_stop_is_aborted_named_and_leaves_time_for_the_rest() {
    let (supervisor, telemetry) = supervisor();
    supervisor.spawn(spec("deaf", Policy::Restart, Phase::Intake), |_| std::future::pending());
    supervisor.spawn(spec("probes", Policy::Restart, Phase::Work), until_stopped);
    let hanging = supervisor.spawn_child("probes", std::future::pending());
    let closed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&closed);
    supervisor.spawn(spec("store", Policy::Critical, Phase::Base), move |context| {
        let closed = Arc::clone(&count);
        async move {
            context.stop.stopped().await;
            sleep(Duration::from_secs(1)).await;
            closed.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    assert_eq!(supervisor.stop(DEADLINE).await, Err(vec!["deaf", "probes"]));
    assert!(began.elapsed() <= DEADLINE, "{:?}", began.elapsed());
    assert_eq!(closed.load(Ordering::SeqCst), 1, "the store was closed all the same");
    hanging.await.unwrap();
    assert_eq!(metric(&telemetry, "balefire_task_aborted_total"), "2");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_panics_is_counted_and_told_to_who_waits() {
    let (supervisor, telemetry) = supervisor();
    supervisor.spawn(spec("probes", Policy::Restart, Phase::Work), until_stopped);
    let child = supervisor.spawn_child("probes", async { panic!("bad answer") });
    assert!(child.await.unwrap_err().is_panic());
    assert_eq!(metric(&telemetry, "balefire_task_panics_total"), "1");
    assert_eq!(supervisor.stop(DEADLINE).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_aborted_child_is_no_longer_counted() {
    let (supervisor, telemetry) = supervisor();
    let child = supervisor.spawn_child("probes", std::future::pending());
    child.abort();
    assert!(child.await.unwrap_err().is_cancelled());
    assert_eq!(metric(&telemetry, "balefire_task_children"), "0");
    assert_eq!(supervisor.stop(DEADLINE).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_its_restart_stops_at_once() {
    let (supervisor, _) = supervisor();
    supervisor.spawn(spec("flaky", Policy::Restart, Phase::Work), |_| async { Err("x".into()) });
    sleep(Duration::from_secs(20)).await;
    let began = Instant::now();
    assert_eq!(supervisor.stop(DEADLINE).await, Ok(()));
    assert!(began.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_tasks_ticker_counts_under_its_name() {
    let (supervisor, telemetry) = supervisor();
    supervisor.spawn(spec("slow", Policy::Restart, Phase::Work), |context| async move {
        let mut ticker = context.ticker(Duration::from_secs(1));
        loop {
            ticker.tick().await;
            sleep(Duration::from_secs(3)).await;
        }
    });
    sleep(Duration::from_secs(31)).await;
    // Each pass works through two ticks and takes the third.
    assert_eq!(metric(&telemetry, "balefire_ticks_missed_total"), "20");
}
