//! What administrators ask: reload, log level, audit, events, readiness.

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    error_code::ErrorCode,
    model::{AuditEntry, Event, Page, PageRequest},
    supervise::TaskState,
    telemetry::LogHandle,
};

use super::{Caller, Failure, Monitor};

/// Events as they happen. `RecvError::Lagged(n)` says that n were lost.
pub type EventStream = broadcast::Receiver<Event>;

/// Somebody wants the configuration read again, and waits for what came of it.
pub type ReloadRequest = oneshot::Sender<Result<Vec<String>, Failure>>;

/// What only the process can do, and what only it knows of itself.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Takes requests to reload.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Changes what is logged.
    pub log: LogHandle,
    /// Where everything is kept.
    pub state_dir: String,
    /// The configuration file; empty where there is none.
    pub config_file: String,
    /// Where HTTP listens; empty where it does not.
    pub http_address: String,
}

impl Monitor {
    /// Reads the configuration again; what changed, a line each.
    pub async fn reload(&self, caller: &Caller) -> Result<Vec<String>, Failure> {
        let busy =
            || Failure::new(ErrorCode::Unavailable, "another reload is under way: try again");
        let (reply, answer) = oneshot::channel();
        self.parts.admin.reload.try_send(reply).map_err(|_| busy())?;
        let changes = answer
            .await
            .map_err(|_| Failure::new(ErrorCode::Unavailable, "the daemon is stopping"))??;
        let audit = self.audit_entry(
            caller,
            "reload",
            "configuration",
            (String::new(), changes.join("; ")),
        );
        self.parts.store.commit(vec![audit]).await?;
        Ok(changes)
    }

    /// Changes what is logged; gives the filter that was.
    pub async fn set_log_level(&self, caller: &Caller, filter: &str) -> Result<String, Failure> {
        let set = self.parts.admin.log.set_filter(filter);
        let before = set.map_err(|error| Failure::field("filter", error.to_string()))?;
        let audit =
            self.audit_entry(caller, "log.level", "log", (before.clone(), filter.to_owned()));
        self.parts.store.commit(vec![audit]).await?;
        Ok(before)
    }

    /// The audit, newest first.
    pub async fn audit(&self, page: &PageRequest) -> Result<Page<AuditEntry>, Failure> {
        let page = page.clone();
        Ok(self.blocking(move |store| store.audit(&page)).await??)
    }

    /// Listens to what happens.
    pub fn subscribe(&self) -> Result<EventStream, Failure> {
        let subscribed = self.parts.bus.subscribe();
        subscribed.map_err(|error| Failure::new(ErrorCode::ResourceExhausted, error.to_string()))
    }

    /// Whether the daemon is ready to answer; else why not.
    pub fn readiness(&self) -> Result<(), String> {
        let reports = self.parts.supervisor.reports();
        match reports.iter().find(|report| report.state != TaskState::Running) {
            None => Ok(()),
            Some(report) => {
                Err(format!("{} is {}: {}", report.name, report.state.name(), report.error))
            }
        }
    }
}
