//! `AlertsService`.

use std::time::Duration;

use tonic::{Request, Response, Status};

use crate::{
    monitor::{Monitor, NewRule, RuleChange},
    time::Clock,
    wire::{
        InvalidField, from_wire, to_wire,
        v1::{self, alerts_service_server::AlertsService},
    },
};

use super::{App, convert};

/// Rules and alerts.
#[derive(Debug)]
pub(super) struct Alerts {
    monitor: Monitor,
    clock: Clock,
}

impl Alerts {
    pub(super) fn new(app: &App) -> Self {
        Self { monitor: app.monitor.clone(), clock: app.clock.clone() }
    }
}

#[tonic::async_trait]
impl AlertsService for Alerts {
    async fn create_rule(
        &self,
        request: Request<v1::CreateRuleRequest>,
    ) -> Result<Response<v1::CreateRuleResponse>, Status> {
        let caller = convert::caller(&request);
        let rule = new_rule(request.into_inner())?;
        let (view, backtest) = self.monitor.create_rule(&caller, rule).await?;
        Ok(Response::new(v1::CreateRuleResponse {
            rule: Some(convert::rule(view)),
            backtest: Some(to_wire::backtest(&backtest)),
        }))
    }

    async fn update_rule(
        &self,
        request: Request<v1::UpdateRuleRequest>,
    ) -> Result<Response<v1::UpdateRuleResponse>, Status> {
        let caller = convert::caller(&request);
        let mut wire = request.into_inner();
        let id = from_wire::text("id", std::mem::take(&mut wire.id))?;
        let view = self.monitor.update_rule(&caller, &id, rule_change(wire)?).await?;
        Ok(Response::new(v1::UpdateRuleResponse { rule: Some(convert::rule(view)) }))
    }

    async fn delete_rule(
        &self,
        request: Request<v1::DeleteRuleRequest>,
    ) -> Result<Response<v1::DeleteRuleResponse>, Status> {
        let caller = convert::caller(&request);
        let id = from_wire::text("id", request.into_inner().id)?;
        self.monitor.delete_rule(&caller, &id).await?;
        Ok(Response::new(v1::DeleteRuleResponse {}))
    }

    async fn list_rules(
        &self,
        request: Request<v1::ListRulesRequest>,
    ) -> Result<Response<v1::ListRulesResponse>, Status> {
        let wire = request.into_inner();
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let (rules, next_page_token) = convert::page(self.monitor.rules(&page)?, convert::rule);
        Ok(Response::new(v1::ListRulesResponse { rules, next_page_token }))
    }

    async fn list_alerts(
        &self,
        request: Request<v1::ListAlertsRequest>,
    ) -> Result<Response<v1::ListAlertsResponse>, Status> {
        let wire = request.into_inner();
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let (alerts, next_page_token) = convert::page(self.monitor.alerts(&page)?, convert::alert);
        Ok(Response::new(v1::ListAlertsResponse { alerts, next_page_token }))
    }

    async fn acknowledge_alert(
        &self,
        request: Request<v1::AcknowledgeAlertRequest>,
    ) -> Result<Response<v1::AcknowledgeAlertResponse>, Status> {
        let caller = convert::caller(&request);
        let wire = request.into_inner();
        let id = from_wire::text("alert_id", wire.alert_id)?;
        let alerts = self.monitor.acknowledge(&caller, &id, &wire.comment).await?;
        let alerts = alerts.into_iter().map(convert::alert).collect();
        Ok(Response::new(v1::AcknowledgeAlertResponse { alerts }))
    }

    async fn list_alert_history(
        &self,
        request: Request<v1::ListAlertHistoryRequest>,
    ) -> Result<Response<v1::ListAlertHistoryResponse>, Status> {
        let wire = request.into_inner();
        let rule_id = Some(wire.rule_id).filter(|id| !id.is_empty());
        let range = convert::range(wire.start, wire.end, self.clock.now())?;
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let history = self.monitor.alert_history(rule_id.as_deref(), range, &page).await?;
        let (transitions, next_page_token) =
            convert::page(history, |(sequence, model)| to_wire::transition(sequence, model));
        Ok(Response::new(v1::ListAlertHistoryResponse { transitions, next_page_token }))
    }

    async fn backtest_rule(
        &self,
        request: Request<v1::BacktestRuleRequest>,
    ) -> Result<Response<v1::BacktestRuleResponse>, Status> {
        let wire = request.into_inner();
        let condition = from_wire::text("condition", wire.condition)?;
        let hold = from_wire::optional_duration("for", wire.r#for)?.unwrap_or(Duration::ZERO);
        let range = convert::range(wire.start, wire.end, self.clock.now())?;
        let backtest = self.monitor.backtest(&condition, hold, range).await?;
        Ok(Response::new(v1::BacktestRuleResponse { backtest: Some(to_wire::backtest(&backtest)) }))
    }
}

fn new_rule(wire: v1::CreateRuleRequest) -> Result<NewRule, InvalidField> {
    Ok(NewRule {
        name: from_wire::text("name", wire.name)?,
        condition: from_wire::text("condition", wire.condition)?,
        severity: from_wire::severity("severity", wire.severity)?,
        description: wire.description,
        enabled: wire.enabled.unwrap_or(true),
        hold: from_wire::optional_duration("for", wire.r#for)?.unwrap_or(Duration::ZERO),
        cooldown: from_wire::optional_duration("cooldown", wire.cooldown)?,
        labels: from_wire::tags("labels", wire.labels)?,
    })
}

fn rule_change(wire: v1::UpdateRuleRequest) -> Result<RuleChange, InvalidField> {
    let severity = wire.severity.map(|word| from_wire::severity("severity", word));
    Ok(RuleChange {
        condition: wire.condition.map(|text| from_wire::text("condition", text)).transpose()?,
        severity: severity.transpose()?,
        description: wire.description,
        enabled: wire.enabled,
        hold: from_wire::optional_duration("for", wire.r#for)?,
        cooldown: from_wire::optional_duration("cooldown", wire.cooldown)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::CreateRuleRequest {
        v1::CreateRuleRequest {
            name: "high".into(),
            condition: "a > 1".into(),
            severity: v1::Severity::High.into(),
            ..v1::CreateRuleRequest::default()
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut v1::CreateRuleRequest), field: &str) {
        let mut wire = request();
        change(&mut wire);
        assert_eq!(new_rule(wire).unwrap_err().field, field);
    }

    #[test]
    fn a_new_rule_is_enabled_unless_said_otherwise() {
        let rule = new_rule(request()).unwrap();
        assert!(rule.enabled);
        assert_eq!((rule.hold, rule.cooldown), (Duration::ZERO, None));
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        check(|r| r.name.clear(), "name");
        check(|r| r.condition.clear(), "condition");
        check(|r| r.severity = 0, "severity");
        check(|r| r.r#for = Some(prost_types::Duration { seconds: -1, nanos: 0 }), "for");
        check(|r| drop(r.labels.insert("a-b".into(), "x".into())), "labels");
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let wire =
            v1::UpdateRuleRequest { enabled: Some(false), ..v1::UpdateRuleRequest::default() };
        let expected = RuleChange { enabled: Some(false), ..RuleChange::default() };
        assert_eq!(rule_change(wire).unwrap(), expected);
        let empty = v1::UpdateRuleRequest {
            condition: Some(String::new()),
            ..v1::UpdateRuleRequest::default()
        };
        assert_eq!(rule_change(empty).unwrap_err().field, "condition");
    }
}
