//! An alert from its rule to its end.

use balefire::wire::v1::{
    AlertState, AlertTransition, CollectMetricsRequest, CreateRuleRequest, ListAlertHistoryRequest,
    ListAlertsRequest, MetricSource, MetricType, Observation, Severity,
};

use crate::fixture::{Daemon, eventually};

const EVERY_SECOND: &str = "[global]\nevaluation_interval = \"1s\"\n";

async fn observe(daemon: &Daemon, value: f64) {
    let observation = Observation {
        name: "queue_length".into(),
        value,
        metric_type: MetricType::Gauge.into(),
        tags: [("queue".to_owned(), "mail".to_owned())].into(),
        timestamp: None,
    };
    let request =
        CollectMetricsRequest { source: MetricSource::Custom.into(), metrics: vec![observation] };
    let answer = daemon.metrics().await.collect_metrics(request).await;
    assert_eq!(answer.expect("a gauge is taken").into_inner().collected_count, 1);
}

/// The labels of the alerts of `rule` that fire now.
async fn firing(daemon: &Daemon, rule: &str) -> Vec<String> {
    let answer = daemon.alerts().await.list_alerts(ListAlertsRequest::default()).await;
    let alerts = answer.expect("alerts can be listed").into_inner().alerts;
    let firing = alerts
        .into_iter()
        .filter(|alert| alert.rule_id == rule && alert.state() == AlertState::Firing);
    firing.map(|alert| alert.labels["queue"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fires_when_its_condition_is_met_and_resolves_when_it_is_not() {
    let daemon = Daemon::start(EVERY_SECOND);
    let request = CreateRuleRequest {
        name: "queue too long".into(),
        condition: "queue_length > 5".into(),
        severity: Severity::High.into(),
        ..CreateRuleRequest::default()
    };
    let created = daemon.alerts().await.create_rule(request).await.expect("a sound rule");
    let created = created.into_inner();
    let rule = created.rule.expect("the answer tells the rule").id;
    assert_eq!(created.backtest.expect("the answer tells the past").firing_count, 0);

    observe(&daemon, 9.0).await;
    eventually("it fires", || async { (firing(&daemon, &rule).await == ["mail"]).then_some(()) })
        .await;
    observe(&daemon, 1.0).await;
    eventually("it is resolved", || async {
        firing(&daemon, &rule).await.is_empty().then_some(())
    })
    .await;

    let request = ListAlertHistoryRequest { rule_id: rule, ..Default::default() };
    let history = daemon.alerts().await.list_alert_history(request).await;
    let transitions = history.expect("history can be listed").into_inner().transitions;
    let states: Vec<AlertState> = transitions.iter().map(AlertTransition::to).collect();
    assert_eq!(states.first(), Some(&AlertState::Resolved), "newest first: {states:?}");
    assert!(states.contains(&AlertState::Firing), "{states:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_metric_keeps_its_type() {
    let daemon = Daemon::start(EVERY_SECOND);
    observe(&daemon, 1.0).await;
    let observation = Observation {
        name: "queue_length".into(),
        value: 1.0,
        metric_type: MetricType::Counter.into(),
        ..Observation::default()
    };
    let request =
        CollectMetricsRequest { source: MetricSource::Custom.into(), metrics: vec![observation] };
    let refusal = daemon.metrics().await.collect_metrics(request).await;
    let refusal = refusal.expect_err("a gauge does not become a counter");
    assert!(refusal.message().contains("gauge"), "{refusal}");
}
