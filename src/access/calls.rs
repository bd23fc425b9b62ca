//! The least role of every call on the control socket, and of every route over HTTP.
//!
//! What has no row is not served: a new RPC or route needs its row here. Tests hold the tables against
//! the descriptors that are served (`control`) and the router (`web`), both ways.

use super::role::{
    Need,
    Role::{Admin, Ingest, Operator, Viewer},
};

/// A call on the control socket.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// The full name of its service: `balefire.v1.SystemService`.
    pub service: &'static str,
    /// Its name there: `Reload`.
    pub method: &'static str,
    /// Who may.
    pub need: Need,
}

impl Call {
    /// Its name for people: `SystemService.Reload`.
    pub fn name(&self) -> String {
        let service = self.service.rsplit('.').next().unwrap_or(self.service);
        format!("{service}.{}", self.method)
    }

    /// Its path in HTTP/2: `/balefire.v1.SystemService/Reload`.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service, self.method)
    }
}

/// The call at a path; `None` where there is none.
pub fn call(path: &str) -> Option<&'static Call> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    CALLS.iter().find(|call| call.method == method && call.service == service)
}

/// What a route over HTTP needs, by its path in the router's table; `None` where there is none.
pub fn route(path: &str) -> Option<Need> {
    ROUTES.iter().find(|(known, _)| *known == path).map(|(_, need)| *need)
}

const METRICS: &str = "balefire.v1.MetricsService";
const TARGETS: &str = "balefire.v1.TargetsService";
const ALERTS: &str = "balefire.v1.AlertsService";
const SYSTEM: &str = "balefire.v1.SystemService";
const AGENT: &str = "balefire.v1.AgentService";
const EVENTS: &str = "balefire.v1.EventsService";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

const VIEWER: Need = Need::Role(Viewer);
const OPERATOR: Need = Need::Role(Operator);
const ADMIN: Need = Need::Role(Admin);
const INGEST: Need = Need::Role(Ingest);

const fn rpc(service: &'static str, method: &'static str, need: Need) -> Call {
    Call { service, method, need }
}

/// Every call.
pub const CALLS: &[Call] = &[
    rpc(METRICS, "CollectMetrics", INGEST),
    rpc(METRICS, "Write", INGEST),
    rpc(METRICS, "WriteStream", INGEST),
    rpc(METRICS, "Import", INGEST),
    rpc(METRICS, "Query", VIEWER),
    rpc(METRICS, "QueryRange", VIEWER),
    rpc(METRICS, "ListSeries", VIEWER),
    rpc(METRICS, "ListLabelNames", VIEWER),
    rpc(METRICS, "ListLabelValues", VIEWER),
    rpc(METRICS, "Export", VIEWER),
    rpc(METRICS, "Erase", ADMIN),
    rpc(TARGETS, "ListTargets", VIEWER),
    rpc(TARGETS, "GetTarget", VIEWER),
    rpc(TARGETS, "ListTargetHistory", VIEWER),
    // These two make the daemon act: it probes addresses that the caller names, and reads the files of
    // clients again.
    rpc(TARGETS, "CheckTarget", OPERATOR),
    rpc(TARGETS, "DiscoverTargets", OPERATOR),
    rpc(TARGETS, "AdoptTarget", OPERATOR),
    rpc(TARGETS, "ForgetTarget", OPERATOR),
    rpc(ALERTS, "ListRules", VIEWER),
    rpc(ALERTS, "ListAlerts", VIEWER),
    rpc(ALERTS, "ListAlertHistory", VIEWER),
    rpc(ALERTS, "BacktestRule", VIEWER),
    rpc(ALERTS, "CreateRule", OPERATOR),
    rpc(ALERTS, "UpdateRule", OPERATOR),
    rpc(ALERTS, "DeleteRule", OPERATOR),
    rpc(ALERTS, "AcknowledgeAlert", OPERATOR),
    rpc(SYSTEM, "GetStatus", VIEWER),
    rpc(SYSTEM, "GetOverview", VIEWER),
    rpc(SYSTEM, "GetStoreStats", VIEWER),
    // Reads the whole disk.
    rpc(SYSTEM, "VerifyStore", OPERATOR),
    rpc(SYSTEM, "Reload", ADMIN),
    rpc(SYSTEM, "SetLogLevel", ADMIN),
    rpc(SYSTEM, "ListAudit", ADMIN),
    rpc(SYSTEM, "CreateToken", ADMIN),
    rpc(SYSTEM, "ListTokens", ADMIN),
    rpc(SYSTEM, "RevokeToken", ADMIN),
    // Everything at once, the audit with it.
    rpc(SYSTEM, "Backup", ADMIN),
    rpc(EVENTS, "Subscribe", VIEWER),
    // Whose targets they are is who the caller is.
    rpc(AGENT, "Report", INGEST),
    rpc(HEALTH, "Check", Need::AnyRole),
    rpc(HEALTH, "Watch", Need::AnyRole),
    rpc(REFLECTION, "ServerReflectionInfo", Need::AnyRole),
    rpc(REFLECTION_ALPHA, "ServerReflectionInfo", Need::AnyRole),
];

/// Every route over HTTP. Who comes from this host without a token is a viewer. Whether the daemon lives
/// may be asked by everybody, wherever it listens.
pub const ROUTES: &[(&str, Need)] = &[
    ("/-/healthy", Need::Nothing),
    ("/-/ready", Need::Nothing),
    ("/", VIEWER),
    ("/metrics", VIEWER),
    ("/federate", VIEWER),
    ("/api/v1/query", VIEWER),
    ("/api/v1/query_range", VIEWER),
    ("/api/v1/query_exemplars", VIEWER),
    ("/api/v1/format_query", VIEWER),
    ("/api/v1/parse_query", VIEWER),
    ("/api/v1/series", VIEWER),
    ("/api/v1/labels", VIEWER),
    ("/api/v1/label/{name}/values", VIEWER),
    ("/api/v1/metadata", VIEWER),
    ("/api/v1/rules", VIEWER),
    ("/api/v1/alerts", VIEWER),
    ("/api/v1/targets", VIEWER),
    ("/api/v1/targets/metadata", VIEWER),
    ("/api/v1/scrape_pools", VIEWER),
    ("/api/v1/alertmanagers", VIEWER),
    ("/api/v1/status/buildinfo", VIEWER),
    ("/api/v1/status/runtimeinfo", VIEWER),
    ("/api/v1/status/config", VIEWER),
    ("/api/v1/status/flags", VIEWER),
    ("/api/v1/status/tsdb", VIEWER),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_by_their_path() {
        let reload = call("/balefire.v1.SystemService/Reload").unwrap();
        assert_eq!((reload.name().as_str(), reload.need), ("SystemService.Reload", ADMIN));
        for other in ["", "/", "Reload", "/balefire.v1.SystemService/reload", "/x/Reload"] {
            assert_eq!(call(other), None, "{other}");
        }
        assert!(CALLS.iter().all(|row| call(&row.path()) == Some(row)), "a row stands there twice");
    }

    /// A slip in the table that its reader may not see.
    #[test]
    fn who_only_reads_changes_nothing() {
        let reads = ["Get", "List", "Query", "Export", "Backtest", "Subscribe"];
        for row in CALLS.iter().filter(|row| row.need == VIEWER) {
            assert!(reads.iter().any(|verb| row.method.starts_with(verb)), "{}", row.name());
        }
        let writes = ["Collect", "Write", "Import", "Report"];
        for row in CALLS.iter().filter(|row| row.need == INGEST) {
            assert!(writes.iter().any(|verb| row.method.starts_with(verb)), "{}", row.name());
        }
    }
}
