//! From the file to checked settings: layers, origins, every problem at once.
//!
//! (helper: implementation)

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    model::{Labels, Target},
    store,
    telemetry::LogOptions,
};

/// Everything that the daemon was told, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it came from; `None` where there is none.
    pub file: Option<PathBuf>,
    /// `environment`: merges `balefire.<environment>.toml`, and is an external label.
    pub environment: Option<String>,
    /// Labels of everything that leaves this host.
    pub external_labels: Labels,
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The group that may use the control socket beside its owner; `None` for the process' own group.
    pub socket_group: Option<String>,
    /// `[http]`
    pub http: HttpOptions,
    /// `[log]`
    pub log: LogOptions,
    /// `[collect]`
    pub collect: CollectOptions,
    /// `[probe]`, `[[targets]]`, `[discovery]`
    pub probing: ProbingOptions,
    /// `[alerting]`
    pub alerting: AlertingOptions,
    /// `[storage]`
    pub storage: store::Options,
    /// `[storage] cleanup_interval`
    pub cleanup_interval: Duration,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// Whether somebody asked for just that address: then a taken port is an error; else another is taken.
    pub explicit: bool,
}

/// `[collect]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectOptions {
    /// From one pass to the next.
    pub interval: Duration,
    /// Names of the collectors that run, from the table in `collect`.
    pub collectors: Vec<&'static str>,
}

/// `[probe]`, `[[targets]]`, `[discovery]`
#[derive(Clone, Debug, PartialEq)]
pub struct ProbingOptions {
    /// The configured targets.
    pub targets: Vec<Target>,
    /// Whether the clients' files are read.
    pub discover: bool,
    /// The directory that stands for the user's home; discovery reads below it.
    pub home: Option<PathBuf>,
}

/// `[alerting]`
#[derive(Clone, Debug, PartialEq)]
pub struct AlertingOptions {
    /// From one evaluation to the next.
    pub interval: Duration,
    /// The cooldown of rules that name none.
    pub cooldown: Duration,
    /// Buckets of histograms made from single observations, upper bounds in order.
    pub histogram_buckets: Vec<f64>,
}
