//! `SystemService`.

use std::time::Duration;

use futures_util::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    monitor::Monitor,
    supervise::StopSignal,
    time::Clock,
    wire::{
        InvalidField, from_wire, to_wire,
        v1::{self, system_service_server::SystemService},
    },
};

use super::{
    App, convert, storage,
    streams::{Answers, until_stopped},
    tokens,
};

/// What an overview covers where nothing is said.
const OVERVIEW_RANGE: Duration = Duration::from_hours(1);

/// The daemon itself.
#[derive(Debug)]
pub(super) struct System {
    monitor: Monitor,
    clock: Clock,
    stop: StopSignal,
}

impl System {
    pub(super) fn new(app: &App, stop: &StopSignal) -> Self {
        Self { monitor: app.monitor.clone(), clock: app.clock.clone(), stop: stop.clone() }
    }
}

#[tonic::async_trait]
impl SystemService for System {
    type BackupStream = Answers<v1::BackupResponse>;
    type VerifyStoreStream = Answers<v1::VerifyStoreResponse>;

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(convert::daemon_status(self.monitor.status())))
    }

    async fn get_overview(
        &self,
        request: Request<v1::GetOverviewRequest>,
    ) -> Result<Response<v1::GetOverviewResponse>, Status> {
        let wire = request.into_inner();
        let range = overview_range(wire.range)?;
        let overview = self.monitor.overview(wire.include_details, range).await?;
        Ok(Response::new(convert::overview(overview)))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        let changes = self.monitor.reload(&convert::caller(&request)).await?;
        Ok(Response::new(v1::ReloadResponse { changes }))
    }

    async fn set_log_level(
        &self,
        request: Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelResponse>, Status> {
        let caller = convert::caller(&request);
        let filter = from_wire::text("filter", request.into_inner().filter)?;
        let previous_filter = self.monitor.set_log_level(&caller, &filter).await?;
        Ok(Response::new(v1::SetLogLevelResponse { previous_filter }))
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        let wire = request.into_inner();
        let page = from_wire::page(wire.page_size, wire.page_token)?;
        let (entries, next_page_token) =
            convert::page(self.monitor.audit(&page).await?, to_wire::audit_entry);
        Ok(Response::new(v1::ListAuditResponse { entries, next_page_token }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let caller = convert::caller(&request);
        let new = tokens::new_token(request.into_inner())?;
        let created = self.monitor.create_token(&caller, new).await?;
        Ok(Response::new(tokens::created(&created, self.clock.now())))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let wire = request.into_inner();
        let page = self.monitor.tokens(&from_wire::page(wire.page_size, wire.page_token)?)?;
        let now = self.clock.now();
        let (tokens, next_page_token) = convert::page(page, |token| tokens::token(&token, now));
        Ok(Response::new(v1::ListTokensResponse { tokens, next_page_token }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let caller = convert::caller(&request);
        let wanted = from_wire::text("token", request.into_inner().token)?;
        let revoked = self.monitor.revoke_token(&caller, &wanted).await?;
        let token = tokens::token(&revoked, self.clock.now());
        Ok(Response::new(v1::RevokeTokenResponse { token: Some(token) }))
    }

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let parts = self.monitor.backup(&convert::caller(&request)).await?;
        let parts = ReceiverStream::new(parts)
            .map(|part| part.map(storage::backup_part).map_err(Status::from));
        Ok(Response::new(until_stopped(parts, self.stop.clone())))
    }

    async fn get_store_stats(
        &self,
        _request: Request<v1::GetStoreStatsRequest>,
    ) -> Result<Response<v1::GetStoreStatsResponse>, Status> {
        Ok(Response::new(storage::stats(&self.monitor.store_stats().await?)))
    }

    async fn verify_store(
        &self,
        _request: Request<v1::VerifyStoreRequest>,
    ) -> Result<Response<Self::VerifyStoreStream>, Status> {
        let steps = ReceiverStream::new(self.monitor.verify_store().await)
            .map(|step| step.map(storage::verify_step).map_err(Status::from));
        Ok(Response::new(until_stopped(steps, self.stop.clone())))
    }
}

fn overview_range(wire: Option<prost_types::Duration>) -> Result<Duration, InvalidField> {
    let range = from_wire::optional_duration("range", wire)?.unwrap_or(OVERVIEW_RANGE);
    if range.is_zero() {
        return Err(InvalidField::new("range", "zero: give a length such as 1h, or leave it out"));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overview_covers_an_hour_unless_said_otherwise() {
        assert_eq!(overview_range(None), Ok(OVERVIEW_RANGE));
        let zero = Some(prost_types::Duration { seconds: 0, nanos: 0 });
        assert_eq!(overview_range(zero).unwrap_err().field, "range");
    }
}
