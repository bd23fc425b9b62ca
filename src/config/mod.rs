//! From the file to checked settings: layers, origins, every problem at once.
//!
//! Two representations. The *raw* one (`raw.rs`, `layers.rs`) is a tree of values, each with the
//! file and line, environment variable or flag that said it; layers are laid one on the other: base
//! file, `balefire.<environment>.toml` beside it, `BALEFIRE__SECTION__KEY`, flags. The *checked* one
//! is [`Config`]; `read/` makes it through `section.rs`, which notes on the way what is wrong
//! (unknown keys too) and what holds in the end, so that checks and `--print-config` come from the
//! same calls.
//!
//! Nothing is started here, and no path but those of files to read is touched. Start with
//! [`Config::load`], then `read/mod.rs`, whose calls are the schema.

mod layers;
mod print;
mod problem;
mod raw;
mod read;
mod section;
mod setting;
mod surroundings;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use crate::pipeline::{ProbeDefaults, collecting::Options as CollectOptions};
pub use print::{differences, print_config};
pub use problem::{Problem, Problems};
pub use raw::Origin;
pub use section::Effective;

use surroundings::Surroundings;

use crate::{
    access,
    model::{Check, Labels, Target},
    store,
    telemetry::LogOptions,
    web::TlsOptions,
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
    /// The group that may use the control socket beside its owner; `None` for the process' own.
    pub socket_group: Option<String>,
    /// `[access]`: who has which role on the control socket.
    pub access: access::Rules,
    /// `[http]`
    pub http: HttpOptions,
    /// `[limits]`: how much each may ask for.
    pub limits: access::Rates,
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
    /// Every key, what it holds and where that was said; for [`print_config`].
    pub effective: Vec<Effective>,
}

/// What the command line says over everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`
    pub config_file: Option<PathBuf>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--socket`
    pub socket: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--log-file`
    pub log_file: Option<PathBuf>,
    /// `--agent`: whoever starts it, it is a person's.
    pub agent: bool,
}

impl Config {
    /// Reads files, environment and flags, and checks them. No file at all is fine, unless one was
    /// named. Blocking.
    pub fn load(overrides: &Overrides) -> Result<Self, Problems> {
        Self::load_in(overrides, &Surroundings::of_process())
    }

    fn load_in(overrides: &Overrides, around: &Surroundings) -> Result<Self, Problems> {
        let around = &around.of_person(overrides.agent);
        let named = layers::named_file(overrides, around);
        let places = around.places(named.as_deref());
        let layers = layers::gather(overrides, around, places.config_file.clone());
        let (config, findings) = read::config(layers, &places, around);
        if findings.problems.is_empty() {
            return Ok(Self { effective: findings.effective, ..config });
        }
        Err(Problems::in_order(findings.problems))
    }
}

/// How the MCP server `name` is started, as the text of `file` has it: what `balefired --spawn` takes
/// from there, and all that it looks at. Overlays and environment variables do not count. The error says
/// what is wrong, and where. Blocking.
pub fn spawned_target(file: &Path, text: &str, name: &str) -> Result<Check, String> {
    let (table, problems) = raw::parse(text, &file.into());
    let (check, findings) = read::spawned(table, name, &Surroundings::of_process());
    if let Some(problem) = problems.into_iter().chain(findings.problems).next() {
        return Err(problem.to_string());
    }
    check.ok_or_else(|| format!("{} has no target of this name", file.display()))
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// Whether somebody asked for just that address: then a taken port is an error; else another
    /// one is used.
    pub explicit: bool,
    /// Other names by which clients know this host.
    pub external_hosts: Vec<String>,
    /// `[http.tls_server_config]`; `None` for plain HTTP.
    pub tls: Option<TlsOptions>,
}

/// `[probe]`, `[[targets]]`, `[discovery]`
#[derive(Clone, Debug, PartialEq)]
pub struct ProbingOptions {
    /// The configured targets.
    pub targets: Vec<Target>,
    /// `[probe]`: what holds for targets that say nothing else, discovered ones too.
    pub defaults: ProbeDefaults,
    /// `[probe] spawn_socket`: who starts configured MCP servers; `None` for the daemon itself.
    pub spawn_socket: Option<PathBuf>,
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

#[cfg(test)]
mod tests;
