//! What is watched.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use crate::time::Timestamp;

use super::Secret;

/// Something that is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Unique; the `server` or `instance` label of its series.
    pub name: String,
    /// How it is checked.
    pub check: Check,
    /// From one probe to the next.
    pub interval: Duration,
    /// Of one attempt.
    pub timeout: Duration,
    /// Attempts after the first before it is unhealthy.
    pub retries: u32,
    /// Where it was declared.
    pub source: TargetSource,
    /// False for a discovered server that nobody has adopted: it is listed, never started or called.
    pub probed: bool,
}

/// How a target is checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// An MCP server that is spawned and spoken to over its standard input and output.
    McpStdio {
        /// The program and its arguments; never empty.
        command: Vec<String>,
        /// Added to a small clean environment.
        env: BTreeMap<String, Secret>,
        /// The directory it starts in.
        cwd: Option<PathBuf>,
    },
    /// An MCP server behind a URL.
    McpHttp {
        /// `http://…` or `https://…`.
        url: String,
        /// Sent with each request.
        headers: BTreeMap<String, Secret>,
    },
    /// Any HTTP server.
    Http {
        /// `http://…` or `https://…`.
        url: String,
        /// Sent with the request.
        headers: BTreeMap<String, Secret>,
        /// The statuses that mean "fine"; never empty.
        expected_status: Vec<u16>,
    },
    /// A port that accepts connections.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// Balefire itself: gRPC health, readiness and the shim.
    Balefire,
    /// What a user's agent probes, and reports; only the agent knows how.
    Reported {
        /// `mcp`, `http`, `tcp`.
        kind: String,
        /// `stdio`, `streamable-http` …
        transport: String,
        /// The address or command line, secrets left out.
        endpoint: String,
    },
}

impl Check {
    /// The `kind` of the configuration.
    pub fn kind(&self) -> &str {
        match self {
            Self::Reported { kind, .. } => kind,
            Self::McpStdio { .. } | Self::McpHttp { .. } => "mcp",
            Self::Http { .. } => "http",
            Self::Tcp { .. } => "tcp",
            Self::Balefire => "balefire",
        }
    }

    /// How the target is reached.
    pub fn transport(&self) -> &str {
        match self {
            Self::Reported { transport, .. } => transport,
            Self::McpStdio { .. } => "stdio",
            Self::McpHttp { .. } => "streamable-http",
            Self::Http { url, .. } if url.starts_with("https:") => "https",
            Self::Http { .. } => "http",
            Self::Tcp { .. } => "tcp",
            Self::Balefire => "grpc",
        }
    }

    /// From one probe to the next where nobody says: a spawned probe is a whole process of somebody's,
    /// so it is made less often.
    pub fn usual_interval(&self) -> Duration {
        Duration::from_mins(if self.spawns() { 15 } else { 1 })
    }

    /// Whether a probe starts a process.
    pub fn spawns(&self) -> bool {
        matches!(self, Self::McpStdio { .. })
    }

    /// Whether it counts as an MCP server, with `mcp_server_health` and a place in the overview.
    pub fn is_mcp(&self) -> bool {
        self.kind() == "mcp"
    }

    /// Whether an agent makes the probes, and tells what they found.
    pub fn is_reported(&self) -> bool {
        matches!(self, Self::Reported { .. })
    }
}

/// Where a target was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSource {
    /// Part of every daemon.
    BuiltIn,
    /// Balefire's configuration file.
    Config(PathBuf),
    /// A client's file, found by discovery.
    Discovered {
        /// `claude-code`, `claude-desktop` …
        client: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// A user's agent.
    Agent {
        /// The user, as the kernel says.
        uid: u32,
        /// What the agent's targets are named with: the user's name, or the number.
        user: String,
        /// Where the agent has it from.
        source: String,
    },
}

impl fmt::Display for TargetSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::Config(file) => write!(f, "{}", file.display()),
            Self::Discovered { client, file } => write!(f, "{client}: {}", file.display()),
            Self::Agent { user, source, .. } => write!(f, "agent of {user}: {source}"),
        }
    }
}

/// How a target fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetState {
    /// Not probed yet, or not at all.
    #[default]
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It answers, but not as well as it should.
    Degraded,
    /// It does not answer, or wrongly, after all retries.
    Unhealthy,
    /// It is up and wants a token.
    AuthRequired,
    /// It is being worked on; nothing is judged.
    Maintenance,
}

impl TargetState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Healthy,
        Self::Degraded,
        Self::Unhealthy,
        Self::AuthRequired,
        Self::Maintenance,
    ];

    /// The word of the API: `healthy`, `auth_required` …
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::AuthRequired => "auth_required",
            Self::Maintenance => "maintenance",
        }
    }

    /// The value of `mcp_server_health`: 1 where it is up, 0 where it is not, `None` where nobody
    /// can say.
    pub fn health(self) -> Option<f64> {
        match self {
            Self::Healthy | Self::Degraded | Self::AuthRequired => Some(1.0),
            Self::Unhealthy => Some(0.0),
            Self::Unknown | Self::Maintenance => None,
        }
    }

    /// Whether somebody should look at it.
    pub fn is_healthy(self) -> bool {
        self.health() == Some(1.0)
    }
}

/// How a target fares, and since when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetStatus {
    /// The state.
    pub state: TargetState,
    /// Since when it is in this state; `None` before the first probe.
    pub since: Option<Timestamp>,
    /// When the next probe is due.
    pub next_check: Option<Timestamp>,
    /// The last probe.
    pub last_probe: Option<super::ProbeRecord>,
    /// Why nobody knows any more, where that is so: its agent is gone.
    pub stale: String,
}

impl TargetStatus {
    /// Why it is not healthy; empty where it is, or was never probed.
    pub fn error(&self) -> &str {
        let last = || self.last_probe.as_ref().map_or("", |probe| &probe.error);
        if self.stale.is_empty() { last() } else { &self.stale }
    }
}
