//! What administrators ask: reload, log level, readiness.

use tokio::sync::{mpsc, oneshot};

use crate::{error_code::ErrorCode, supervise::TaskState, telemetry::LogHandle};

use super::{Caller, Failure, Monitor};

/// Somebody wants the configuration read again, and waits for what came of it.
pub type ReloadRequest = oneshot::Sender<Result<Reloaded, Failure>>;

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What changed, a line each.
    pub changes: Vec<String>,
    /// The keys that changed, as they were …
    pub before: String,
    /// … and as they are.
    pub after: String,
}

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
        let result = answer
            .await
            .map_err(|_| Failure::new(ErrorCode::Unavailable, "the daemon is stopping"))?;
        self.note_reload(caller, &result).await?;
        Ok(result?.changes)
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
