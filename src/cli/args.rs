//! What can be typed.

#![expect(clippy::doc_markdown, reason = "the documentation of arguments is the text of --help")]

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    model::Severity,
    time::{Clock, InvalidTime, Timestamp, parse_duration, parse_time},
};

/// The command line of Balefire: asks the daemon and shows what it says.
#[derive(Debug, Parser)]
#[command(name = "balefire", version, propagate_version = true, after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) shared: Shared,
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER_HELP: &str = "\
Times are RFC 3339, Unix seconds or relative (-1h); durations as in PromQL (90s, 1h30m).
Exit status: 0 fine, 1 the answer is \"no\", 2 usage, 3 no daemon reachable.";

/// Flags of every command.
#[derive(Debug, clap::Args)]
pub(super) struct Shared {
    /// The daemon's socket [default: $BALEFIRE_SOCKET, the user's own, then the system's]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// A table for people, or JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
    /// No colours, even on a terminal
    #[arg(long, global = true)]
    pub(super) no_color: bool,
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The daemon: its parts, its store, this host; exit status 1 where it is degraded
    Status,
    /// Host, MCP servers and alerts at a glance
    Overview {
        /// What the summaries cover
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
        range: Duration,
    },
    /// What is watched, and how it fares
    #[command(subcommand)]
    Targets(TargetsCommand),
    /// Evaluate a PromQL expression, now or over a range
    Query(Query),
    /// List the series that selectors match
    Series(Series),
    /// List label names, or the values of one label
    Labels(Labels),
    /// Store samples in Prometheus' text format or in Influx line protocol, read from standard input
    Write,
    /// What fires, and what fired
    #[command(subcommand)]
    Alerts(AlertsCommand),
    /// The rules behind the alerts
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Write stored samples as text
    Export(Export),
    /// Store the samples of an export, or of a file that another program wrote; exit status 1 where
    /// some were not taken
    Import(Import),
    /// What happened: changes of targets and alerts, reloads; with --follow, what happens, too
    Events {
        /// Go on until interrupted, over restarts of the daemon too
        #[arg(short, long)]
        follow: bool,
        /// How many past events
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Who changed what or was refused, newest first
    Audit(Audit),
    /// Bearer tokens for HTTP
    #[command(subcommand)]
    Token(TokenCommand),
    /// What is stored: its sizes, and whether it is whole
    #[command(subcommand)]
    Store(StoreCommand),
    /// Write a copy of the store to a directory while the daemon goes on, and verify it
    Backup {
        /// A directory that is not there, or empty
        dir: PathBuf,
    },
    /// Remove samples for good, from memory, log and every tier
    Erase(Erase),
    /// Put a backup in the place of the store; the daemon is stopped
    Restore(Restore),
    /// Read the configuration again
    Reload {
        /// Wait until every part of the daemon is healthy again
        #[arg(long)]
        wait: bool,
    },
    /// Change what the daemon logs
    LogLevel {
        /// error, warn, info, debug or trace, or directives (info,balefire::probe=debug)
        filter: String,
    },
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Audit {
    #[command(subcommand)]
    pub(super) command: Option<AuditCommand>,
    /// How many entries
    #[arg(long, default_value_t = 50)]
    pub(super) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that no entry was changed or taken out; exit status 1, and the place, where one was
    Verify,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token, and print it: it is shown this once
    Create {
        /// A name of your choice
        name: String,
        /// What its bearer may; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", value_enum, required = true)]
        scopes: Vec<Scope>,
        /// For how long it counts [default: for good]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires: Option<Duration>,
    },
    /// All tokens, expired ones too
    List {
        /// How many tokens
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Refuse a token from now on, for good
    Revoke {
        /// Its id or its name
        token: String,
    },
}

/// What the bearer of a token may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scope {
    /// Read
    Viewer,
    /// Change what is watched and alerted on; read
    Operator,
    /// Everything
    Admin,
    /// Write samples, and nothing else
    Ingest,
}

#[derive(Debug, Subcommand)]
pub(super) enum TargetsCommand {
    /// All targets
    List,
    /// One target, with its last probe
    Show { name: String },
    /// Check now; exit status 1 where something is unhealthy
    Check {
        /// A target, `all`, or `system` (this host and Balefire itself)
        #[arg(default_value = "all")]
        name: String,
        /// A URL (http, https, tcp) to check as well; may be repeated
        #[arg(long = "endpoint", value_name = "URL")]
        endpoints: Vec<String>,
    },
    /// Read the clients' files again and list the MCP servers they declare
    Discover,
    /// Allow a discovered server to be probed
    Adopt { name: String },
    /// Take an adoption back, with the target's history
    Forget { name: String },
    /// The recorded probes of a target, newest first
    History {
        name: String,
        #[command(flatten)]
        span: Span,
        /// How many probes
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
}

/// From when to when.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Span {
    /// From this time on
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(super) start: Option<Timestamp>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(super) end: Option<Timestamp>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// The expression
    pub(super) expr: String,
    /// Evaluate at this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, conflicts_with = "span")]
    pub(super) time: Option<Timestamp>,
    /// Evaluate over a range that begins here
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, group = "span")]
    pub(super) start: Option<Timestamp>,
    /// Evaluate over a range of this length
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, group = "span")]
    pub(super) range: Option<Duration>,
    /// Where the range ends [default: now]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, requires = "span")]
    pub(super) end: Option<Timestamp>,
    /// From one evaluation of the range to the next [default: about 60 in all]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "span")]
    pub(super) step: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Series {
    /// Series selectors, such as 'up{job="node"}'; none means all
    pub(super) selectors: Vec<String>,
    #[command(flatten)]
    pub(super) span: Span,
    /// How many series
    #[arg(long, default_value_t = 1000)]
    pub(super) limit: usize,
}

#[derive(Debug, clap::Args)]
pub(super) struct Labels {
    /// The label whose values to list; without it, label names
    pub(super) name: Option<String>,
    /// Only of series that this selector matches; may be repeated
    #[arg(long = "match", value_name = "SELECTOR")]
    pub(super) selectors: Vec<String>,
    #[command(flatten)]
    pub(super) span: Span,
    /// How many names or values
    #[arg(long, default_value_t = 1000)]
    pub(super) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(super) enum AlertsCommand {
    /// Pending and firing alerts
    List {
        /// How many alerts
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Mark an alert, or all firing alerts of a rule, as seen
    Ack {
        /// An alert's id or a rule's id
        id: String,
        /// Why, in your words
        #[arg(short = 'm', long, default_value = "")]
        comment: String,
    },
    /// Transitions, newest first
    History {
        /// Only of this rule
        #[arg(long, value_name = "ID")]
        rule: Option<String>,
        #[command(flatten)]
        span: Span,
        /// How many transitions
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    /// All rules, and how their last evaluation went
    List,
    /// Make a rule, and see what it would have done in the last 7 days
    Create(CreateRule),
    /// Evaluate a rule again
    Enable { id: String },
    /// Evaluate a rule no more
    Disable { id: String },
    /// Remove a rule
    Delete { id: String },
    /// See what a rule would have done over stored history
    Backtest {
        /// PromQL
        expr: String,
        /// How long the condition holds before it fires
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, default_value = "0")]
        hold: Duration,
        /// How much history
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "7d")]
        range: Duration,
        /// Where it ends [default: now]
        #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
        end: Option<Timestamp>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Tiers, memory, log, history: how much of each, and its size
    Stats {
        #[command(flatten)]
        place: Place,
    },
    /// Read everything on disk and report damage, changing nothing; exit status 1 where there is any
    Verify {
        #[command(flatten)]
        place: Place,
    },
}

/// Where the store is, where no daemon is asked.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Place {
    /// The daemon's state directory [default: as the daemon finds it]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// The daemon's configuration file, which names the state directory
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Erase {
    /// Series that this selector matches; may be repeated
    #[arg(long = "match", value_name = "SELECTOR", required = true)]
    pub(super) selectors: Vec<String>,
    #[command(flatten)]
    pub(super) span: Span,
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// A directory that `balefire backup` wrote
    pub(super) dir: PathBuf,
    #[command(flatten)]
    pub(super) place: Place,
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateRule {
    /// Its name; the id is made from it
    pub(super) name: String,
    /// PromQL, such as 'system_cpu_usage > 90'
    pub(super) condition: String,
    /// critical, high, medium, low or info
    #[arg(long, value_parser = severity, default_value = "medium")]
    pub(super) severity: Severity,
    /// For people
    #[arg(long, default_value = "")]
    pub(super) description: String,
    /// How long the condition holds before it fires
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, default_value = "0")]
    pub(super) hold: Duration,
    /// The least time between two new firings that notify [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) cooldown: Option<Duration>,
    /// A label of its alerts; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub(super) labels: Vec<(String, String)>,
    /// Do not evaluate it yet
    #[arg(long)]
    pub(super) disabled: bool,
}

impl CreateRule {
    pub(super) fn label_map(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// How it is written
    #[arg(long, value_enum)]
    pub(super) format: ExportFormat,
    /// Only series that this selector matches; may be repeated
    #[arg(long = "match", value_name = "SELECTOR")]
    pub(super) selectors: Vec<String>,
    #[command(flatten)]
    pub(super) span: Span,
    /// A file [default: standard output]
    #[arg(long, value_name = "PATH")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// JSON objects, one a line
    Json,
    /// timestamp, series, value, detail
    Csv,
    /// OpenMetrics with timestamps
    Prometheus,
    /// InfluxDB line protocol
    Influx,
}

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The file; - for standard input
    pub(super) file: PathBuf,
    /// How it is written [default: what its name and its beginning look like]
    #[arg(long, value_enum)]
    pub(super) format: Option<ImportFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ImportFormat {
    /// JSON objects, one a line, as export writes them
    Json,
    /// timestamp, series, value, detail
    Csv,
    /// OpenMetrics, timestamps in seconds
    Prometheus,
    /// InfluxDB line protocol, from any program
    Influx,
    /// Prometheus' text format, timestamps in milliseconds
    Text,
}

fn time(text: &str) -> Result<Timestamp, InvalidTime> {
    parse_time(text, Clock::System.now())
}

fn severity(text: &str) -> Result<Severity, crate::model::InvalidSeverity> {
    text.parse()
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or("write NAME=VALUE, such as team=web")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("balefire").chain(line.split_whitespace()))
    }

    #[track_caller]
    fn check(line: &str) -> Command {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command
    }

    /// A line that is refused with exit status 2, and a word of the reason.
    #[track_caller]
    fn refused(line: &str, part: &str) {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(part), "{line}: {error}");
    }

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn shared_flags_stand_anywhere() {
        let args = parse("targets list -o json --socket /tmp/x.sock --no-color").unwrap();
        assert_eq!(args.shared.output, Output::Json);
        assert_eq!(args.shared.socket, Some("/tmp/x.sock".into()));
        assert!(args.shared.no_color);
        assert!(parse("--output json status").is_ok());
    }

    #[test]
    fn takes_what_scripts_are_written_with() {
        for line in [
            "status",
            "overview --range 24h",
            "targets list",
            "targets show time",
            "targets check",
            "targets check all --endpoint http://127.0.0.1:1/",
            "targets discover",
            "targets adopt time",
            "targets forget time",
            "targets history time --start -1h --limit 5",
            "query up",
            "query up --time -5m",
            "query up --start -1h --end now --step 30s",
            "query up --range 1h",
            "series up",
            "labels",
            "labels job --match up",
            "write",
            "alerts list",
            "alerts ack high-1 -m seen",
            "alerts history --rule high",
            "rules list",
            "rules create hot up>1 --severity high --for 5m --label team=web",
            "rules enable hot",
            "rules disable hot",
            "rules delete hot",
            "rules backtest up>1 --range 7d",
            "export --format csv --match up --start -1h --end now --file /tmp/x",
            "import /tmp/x",
            "import - --format influx",
            "events --follow",
            "audit",
            "audit --limit 5",
            "audit verify",
            "reload --wait",
            "log-level debug",
            "completions bash",
        ] {
            check(line);
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_would_be_right() {
        refused("query up --time yesterday", "RFC 3339");
        refused("overview --range 1hour", "\"1h30m\"");
        refused("query up --end now", "--start");
        refused("query up --time now --range 1h", "--time");
        refused("query up --start -1h --range 1h", "--range");
        refused("rules create a b --severity bad", "critical, high");
        refused("rules create a b --label x", "NAME=VALUE");
        refused("export --format xml", "influx");
        refused("import", "<FILE>");
        refused("erase", "--match");
        refused("store", "verify");
        refused("audit --limit 5 verify", "--limit");
        refused("targets", "list");
        refused("nonsense", "nonsense");
    }
}
