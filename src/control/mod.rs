//! The gRPC services on the Unix socket.
//!
//! One file for each service of `proto/balefire/v1`; each method checks its request (`wire`), asks
//! [`Monitor`] and translates the answer (`convert`). It knows neither storage nor loops.
//!
//! Who may call: whoever has the role that the call needs (`access`), by what the kernel says of the other
//! end of the connection (`peer`); each call is looked at before it is served (`guard`). What bounds it: connections, streams on each and message sizes ([`limits`]), one batch
//! at a time on each `WriteStream`, a bounded number of event subscribers. tonic spawns a task for
//! each connection and hyper one for each stream, so those bounds bound the tasks, too; all of them
//! end within the drain time after the stop signal (`transport`). A panic while a request is answered
//! ends that request alone (`guard`).
//!
//! Start reading at [`serve`]: the daemon binds a [`ControlSocket`] before it says that it is ready,
//! and runs [`serve`] as a task.

mod agent;
mod alerts;
mod behalf;
mod convert;
mod events;
mod guard;
mod health;
mod import;
mod metrics;
mod peer;
mod socket;
mod storage;
mod streams;
mod system;
mod targets;
mod tokens;
mod transport;
mod unknown;
mod write_stream;

use std::sync::Arc;

use tonic::service::Routes;

use crate::{
    access::{Access, Limiter},
    limits,
    monitor::Monitor,
    supervise::StopSignal,
    supervise::TaskContext,
    telemetry::events::ControlEvents,
    time::Clock,
    wire::v1::{
        agent_service_server::AgentServiceServer, alerts_service_server::AlertsServiceServer,
        events_service_server::EventsServiceServer, metrics_service_server::MetricsServiceServer,
        system_service_server::SystemServiceServer, targets_service_server::TargetsServiceServer,
    },
};

pub use socket::{BindError, ControlSocket};

/// What the services need; cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// Answers everything.
    pub monitor: Monitor,
    /// Who may do what.
    pub access: Access,
    /// How much each may ask for.
    pub limiter: Limiter,
    /// For ranges that end now.
    pub clock: Clock,
    /// What is counted and logged.
    pub events: ControlEvents,
}

/// Answers on `socket` until told to stop, then lets requests end, and removes the socket's file.
pub async fn serve(
    socket: Arc<ControlSocket>,
    app: App,
    context: TaskContext,
) -> Result<(), String> {
    let health = health::Health::new();
    let routes = routes(&app, &context.stop, &health)?;
    let keeper = guard::Keeper {
        access: app.access.clone(),
        limiter: app.limiter.clone(),
        around: socket.surroundings(),
        file: app.monitor.config_file().to_owned(),
        origin: socket.path().display().to_string().into(),
        events: app.events.clone(),
        monitor: Some(app.monitor.clone()),
    };
    let served = transport::serve(&socket, routes, keeper, context.stop.clone());
    tokio::select! {
        result = served => result?,
        never = health.follow(&app.monitor, &context) => match never {},
    }
    socket.remove();
    Ok(())
}

/// All services, with health and reflection.
fn routes(app: &App, stop: &StopSignal, health: &health::Health) -> Result<Routes, String> {
    let metrics = metrics::Metrics::new(app, stop);
    let events = events::Events::new(app, stop);
    let mut routes = Routes::builder();
    routes
        .add_service(
            MetricsServiceServer::new(metrics)
                .max_decoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX),
        )
        .add_service(TargetsServiceServer::new(targets::Targets::new(app)))
        .add_service(AlertsServiceServer::new(alerts::Alerts::new(app)))
        .add_service(SystemServiceServer::new(system::System::new(app, stop)))
        .add_service(EventsServiceServer::new(events))
        .add_service(
            AgentServiceServer::new(agent::Agents::new(app, stop))
                .max_decoding_message_size(limits::AGENT_MESSAGE_BYTES_MAX),
        )
        .add_service(health.service());
    health::add_reflection(&mut routes)?;
    Ok(routes.routes())
}
