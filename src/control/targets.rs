//! `TargetsService`.

use tonic::{Request, Response, Status};

use crate::{
    monitor::Monitor,
    time::Clock,
    wire::{
        from_wire, to_wire,
        v1::{self, targets_service_server::TargetsService},
    },
};

use super::{App, convert};

/// What is watched, and how it fares.
#[derive(Debug)]
pub(super) struct Targets {
    monitor: Monitor,
    clock: Clock,
}

impl Targets {
    pub(super) fn new(app: &App) -> Self {
        Self { monitor: app.monitor.clone(), clock: app.clock.clone() }
    }
}

#[tonic::async_trait]
impl TargetsService for Targets {
    async fn list_targets(
        &self,
        request: Request<v1::ListTargetsRequest>,
    ) -> Result<Response<v1::ListTargetsResponse>, Status> {
        let wire = request.into_inner();
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let (targets, next_page_token) =
            convert::page(self.monitor.targets(&page)?, convert::target);
        Ok(Response::new(v1::ListTargetsResponse { targets, next_page_token }))
    }

    async fn get_target(
        &self,
        request: Request<v1::GetTargetRequest>,
    ) -> Result<Response<v1::GetTargetResponse>, Status> {
        let name = from_wire::text("name", request.into_inner().name)?;
        let view = self.monitor.target(&name)?;
        let last_probe = view.status.last_probe.clone().map(to_wire::probe_record);
        let target = Some(convert::target(view));
        Ok(Response::new(v1::GetTargetResponse { target, last_probe }))
    }

    async fn check_target(
        &self,
        request: Request<v1::CheckTargetRequest>,
    ) -> Result<Response<v1::CheckTargetResponse>, Status> {
        let wire = request.into_inner();
        let target = from_wire::text("target", wire.target)?;
        let report = self.monitor.check(&target, &wire.endpoints).await?;
        Ok(Response::new(convert::health_report(report)))
    }

    async fn list_target_history(
        &self,
        request: Request<v1::ListTargetHistoryRequest>,
    ) -> Result<Response<v1::ListTargetHistoryResponse>, Status> {
        let wire = request.into_inner();
        let name = from_wire::text("name", wire.name)?;
        let range = convert::range(wire.start, wire.end, self.clock.now())?;
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let history = self.monitor.target_history(&name, range, &page).await?;
        let (probes, next_page_token) = convert::page(history, to_wire::probe_record);
        Ok(Response::new(v1::ListTargetHistoryResponse { probes, next_page_token }))
    }

    async fn discover_targets(
        &self,
        _request: Request<v1::DiscoverTargetsRequest>,
    ) -> Result<Response<v1::DiscoverTargetsResponse>, Status> {
        let discovery = self.monitor.discover().await?;
        let problems = discovery.problems.into_iter();
        Ok(Response::new(v1::DiscoverTargetsResponse {
            targets: discovery.targets.into_iter().map(convert::target).collect(),
            problems: problems
                .map(|(file, message)| v1::DiscoveryProblem { file, message })
                .collect(),
        }))
    }

    async fn adopt_target(
        &self,
        request: Request<v1::AdoptTargetRequest>,
    ) -> Result<Response<v1::AdoptTargetResponse>, Status> {
        let caller = convert::caller(&request);
        let name = from_wire::text("name", request.into_inner().name)?;
        let target = convert::target(self.monitor.adopt(&caller, &name).await?);
        Ok(Response::new(v1::AdoptTargetResponse { target: Some(target) }))
    }

    async fn forget_target(
        &self,
        request: Request<v1::ForgetTargetRequest>,
    ) -> Result<Response<v1::ForgetTargetResponse>, Status> {
        let caller = convert::caller(&request);
        let name = from_wire::text("name", request.into_inner().name)?;
        self.monitor.forget(&caller, &name).await?;
        Ok(Response::new(v1::ForgetTargetResponse {}))
    }
}
