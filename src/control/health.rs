//! `grpc.health.v1` and reflection.

use std::{convert::Infallible, time::Duration};

use tonic::service::RoutesBuilder;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::{monitor::Monitor, supervise::TaskContext, wire};

/// The services that are served, by their full names; health is reported for each, and for `""`.
pub(super) const SERVICES: [&str; 6] = [
    "balefire.v1.MetricsService",
    "balefire.v1.TargetsService",
    "balefire.v1.AlertsService",
    "balefire.v1.SystemService",
    "balefire.v1.EventsService",
    "balefire.v1.AgentService",
];

/// From one look at the daemon's readiness to the next.
const LOOK: Duration = Duration::from_secs(1);

/// What `grpc.health.v1.Health` tells.
pub(super) struct Health {
    reporter: HealthReporter,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { reporter: HealthReporter::new() }
    }

    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Reports the daemon's readiness, and beats, until told to stop; then reports that nothing is
    /// served, and never ends.
    pub(super) async fn follow(&self, monitor: &Monitor, context: &TaskContext) -> Infallible {
        let mut looks = tokio::time::interval(LOOK);
        while !context.stop.is_stopped() {
            tokio::select! {
                () = context.stop.stopped() => break,
                _ = looks.tick() => {}
            }
            let ready = monitor.readiness();
            match &ready {
                Ok(()) => context.heartbeat.succeeded(),
                Err(_) => context.heartbeat.beat(),
            }
            self.report(ready.is_ok()).await;
        }
        self.report(false).await;
        std::future::pending().await
    }

    async fn report(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES.into_iter().chain([""]) {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

/// Adds reflection v1 and v1alpha, which know all services with health and themselves.
pub(super) fn add_reflection(routes: &mut RoutesBuilder) -> Result<(), String> {
    let wrong = |error: tonic_reflection::server::Error| format!("reflection: {error}");
    routes
        .add_service(reflection().build_v1().map_err(wrong)?)
        .add_service(reflection().build_v1alpha().map_err(wrong)?);
    Ok(())
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn the_list_of_services_is_that_of_the_proto_files() {
        let files = prost_types::FileDescriptorSet::decode(wire::DESCRIPTORS).unwrap();
        let mut found: Vec<String> = files
            .file
            .iter()
            .flat_map(|file| {
                file.service.iter().map(|service| format!("{}.{}", file.package(), service.name()))
            })
            .collect();
        found.sort();
        let mut listed = SERVICES.to_vec();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }

    #[test]
    fn the_descriptors_hold_what_they_import() {
        let files = prost_types::FileDescriptorSet::decode(wire::DESCRIPTORS).unwrap();
        let names: Vec<&str> =
            files.file.iter().map(prost_types::FileDescriptorProto::name).collect();
        for import in files.file.iter().flat_map(|file| &file.dependency) {
            assert!(names.contains(&import.as_str()), "{import}");
        }
    }

    #[test]
    fn reflection_can_be_built() {
        add_reflection(&mut tonic::service::Routes::builder()).unwrap();
    }
}
