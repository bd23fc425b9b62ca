//! Every numeric bound of the project, with the relations between them asserted at compile time.

use std::time::Duration;

/// Longest metric name and label name, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 512;
/// Longest label value, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 4096;
/// Most labels on one series, the metric name among them.
pub const LABELS_MAX: usize = 64;

/// Most series in the open window where nothing is said.
pub const SERIES_MAX_DEFAULT: usize = 1_000_000;
/// … and the most that can be asked for.
pub const SERIES_MAX: usize = 10_000_000;
/// Numbers by which one segment of the log may name series: those that are live, and those that went
/// while it was open.
pub const SERIES_NUMBERS_MAX: usize = 1 << 25;
/// Most samples in one batch.
pub const BATCH_SAMPLES_MAX: usize = 100_000;
/// Most buckets, and bounds of its own, of one native histogram.
pub const HISTOGRAM_BUCKETS_MAX: usize = 1024;
/// How far into the future a sample may lie: clocks differ a little, typing errors a lot.
pub const SAMPLE_FUTURE_MAX: Duration = Duration::from_mins(10);
/// Series of one collector in one pass: a host with 400 CPUs fits.
pub const COLLECTOR_SERIES_MAX: usize = 4096;
/// Histograms and summaries of single observations that are added up at once.
pub const ACCUMULATORS_MAX: usize = 100_000;
/// Batches waiting for the write-ahead log.
pub const COMMIT_QUEUE_MAX: usize = 1024;
/// The longest that a commit nobody waits for may wait for company.
pub const COMMIT_DEFERRED_MAX: Duration = Duration::from_mins(1);

/// Longest PromQL expression, in bytes.
pub const EXPR_BYTES_MAX: usize = 16 * 1024;
/// Brackets of a PromQL expression that may be open at once: trees are walked by recursion.
pub const EXPR_DEPTH_MAX: usize = 64;
/// Most operators in a PromQL expression, for the same reason: a chain of them is a deep tree.
pub const EXPR_OPERATORS_MAX: usize = 200;
/// Most steps of a range query, as in Prometheus.
pub const QUERY_STEPS_MAX: usize = 11_000;
/// Most samples one query may load, as in Prometheus.
pub const QUERY_SAMPLES_MAX: usize = 50_000_000;
/// Most series one query may touch.
pub const QUERY_SERIES_MAX: usize = 200_000;
/// How long one query may take.
pub const QUERY_TIMEOUT: Duration = Duration::from_mins(2);
/// Queries evaluated at once; more wait their turn.
pub const QUERIES_CONCURRENT_MAX: usize = 4;
/// How far back an instant selector looks for a sample, as in Prometheus.
pub const QUERY_LOOKBACK: Duration = Duration::from_mins(5);

/// Largest gRPC message in.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections to the control socket at once.
pub const GRPC_CONNECTIONS_MAX: usize = 256;
/// Requests at once on one of them.
pub const GRPC_STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Series that one `WriteStream` may declare.
pub const STREAM_SERIES_MAX: usize = 200_000;
/// Most entries in a page of a list.
pub const PAGE_SIZE_MAX: usize = 1000;
/// Entries in a page where nothing is said.
pub const PAGE_SIZE_DEFAULT: usize = 100;

/// HTTP connections at once.
pub const HTTP_CONNECTIONS_MAX: usize = 256;
/// Largest HTTP request body.
pub const HTTP_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a client may take to send its request's head.
pub const HTTP_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
pub const HTTP_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take in all.
pub const HTTP_REQUEST_TIMEOUT: Duration = Duration::from_secs(130);
/// How long open requests have to end when the listener stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest configuration file, and largest file with a secret.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Users and groups in one list of `[access]`.
pub const ACCESS_SUBJECTS_MAX: usize = 100;

/// Users, tokens and addresses that limits know at once.
pub const IDENTITIES_MAX: usize = 10_000;
/// Bearer tokens at most, expired ones among them.
pub const TOKENS_MAX: usize = 1000;

/// Targets at most, discovered ones among them.
pub const TARGETS_MAX: usize = 10_000;
/// Longest stretch of a probed server's answer that is read.
pub const PROBE_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of a spawned server's standard error is kept.
pub const PROBE_STDERR_BYTES_MAX: usize = 4 * 1024;
/// Network probes at once.
pub const PROBES_CONCURRENT_MAX: usize = 64;
/// Spawned probes at once: each is a whole process of somebody's.
pub const PROBES_SPAWNED_MAX: usize = 2;

/// Users whose agents report.
pub const AGENTS_MAX: usize = 64;
/// Targets of one agent.
pub const AGENT_TARGETS_MAX: usize = 1000;
/// Longest text of such a target: its name, address, source.
pub const AGENT_TEXT_BYTES_MAX: usize = 1024;
/// Results in one message of an agent.
pub const AGENT_PROBES_MAX: usize = 100;
/// Largest message of an agent.
pub const AGENT_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Results that an agent keeps while the service is away.
pub const AGENT_QUEUE_MAX: usize = 10_000;
/// What the service may have asked of one agent at once.
pub const AGENT_REQUESTS_MAX: usize = 2 * PROBES_CONCURRENT_MAX;
/// How often an agent says something.
pub const AGENT_HEARTBEAT: Duration = Duration::from_secs(5);
/// An agent that said nothing for so long counts as gone.
pub const AGENT_SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long an agent that went has to come back before its targets are stale.
pub const AGENT_GRACE: Duration = Duration::from_secs(10);
/// The longest that an agent waits before it tries the service again.
pub const AGENT_RETRY_MAX: Duration = Duration::from_secs(5);

/// Rules at most.
pub const RULES_MAX: usize = 10_000;
/// Alert instances of one rule at most.
pub const ALERT_INSTANCES_PER_RULE_MAX: usize = 1_000;
/// Events and audit entries that are kept.
pub const HISTORY_ENTRIES_MAX: usize = 100_000;

/// Longest text of an entry of the audit.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1024;

/// Events that are read for a subscriber at once.
pub const EVENTS_READ_AT_ONCE: usize = 256;
/// Subscribers at once.
pub const EVENT_SUBSCRIBERS_MAX: usize = 64;

/// From the first stop signal to the end, whatever happens.
pub const STOP_DEADLINE: Duration = Duration::from_secs(8);

/// Tokens, about, in one answer of an MCP tool where nothing else is asked for.
pub const TOOL_ANSWER_TOKENS: usize = 1500;
/// The same in bytes of JSON text: a token is about four of them.
pub const TOOL_ANSWER_BYTES: usize = 4 * TOOL_ANSWER_TOKENS;
/// … where the caller asked for more with `limit`.
pub const TOOL_ANSWER_BYTES_MAX: usize = 16 * TOOL_ANSWER_BYTES;
/// Tool calls that one shim has under way at once; it refuses more.
pub const TOOL_CALLS_MAX: usize = 64;
/// Samples of one series in a tool's answer where the step is the shim's choice.
pub const TOOL_SERIES_SAMPLES: usize = 60;

const _: () = {
    assert!(SERIES_MAX_DEFAULT <= SERIES_MAX);
    assert!(PAGE_SIZE_DEFAULT <= PAGE_SIZE_MAX);
    assert!(SERIES_MAX * 3 <= SERIES_NUMBERS_MAX);
    assert!(AGENTS_MAX * AGENT_TARGETS_MAX >= TARGETS_MAX && AGENT_TARGETS_MAX <= TARGETS_MAX);
    // An agent that waits before it comes back is back before its targets are stale.
    assert!(AGENT_RETRY_MAX.as_millis() < AGENT_GRACE.as_millis());
    assert!(AGENT_HEARTBEAT.as_millis() * 3 <= AGENT_SILENCE_MAX.as_millis());
    assert!(PROBES_SPAWNED_MAX <= PROBES_CONCURRENT_MAX);
    assert!(QUERY_TIMEOUT.as_secs() < HTTP_REQUEST_TIMEOUT.as_secs());
    // The tasks have three quarters of the deadline, their first phase half of that.
    assert!(DRAIN_TIMEOUT.as_millis() * 10 < STOP_DEADLINE.as_millis() * 3);
    // systemd's stop timeout in the unit is 10 s.
    assert!(STOP_DEADLINE.as_secs() < 10);
};
