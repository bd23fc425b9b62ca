//! The prober against servers that do one thing wrong each: the right verdict with the right reason,
//! in bounded time, and no process left.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use balefire::{
    limits,
    model::{Check, ProbeAnswer, ProbeFailure, Secret, Target, TargetSource},
    probe::{OwnDoors, Prober},
    telemetry::Telemetry,
};
use tokio::{
    net::UnixListener,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

const FAULT_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fault_server.py");
/// Enough for a server that answers, on a machine that is busy with other tests.
const PATIENT: Duration = Duration::from_secs(20);
/// Where a part of it is spent on silence.
const FAIR: Duration = Duration::from_secs(8);
/// For servers that never answer.
const SHORT: Duration = Duration::from_secs(3);
/// What cleaning up may take beyond the timeout, and a busy machine's lateness.
const SLACK: Duration = Duration::from_millis(1500);

type Outcome = Result<ProbeAnswer, ProbeFailure>;

/// Marks the processes of one test in their environment.
struct Mark(String);

impl Mark {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("probe-test-{}-{number}", std::process::id()))
    }

    fn check(&self, mode: &str) -> Check {
        let env = [("BALEFIRE_TEST", self.0.as_str()), ("API_KEY", "sk-very-secret")];
        let env = env.map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let command = ["python3", FAULT_SERVER, "stdio", mode].map(str::to_owned).into();
        Check::McpStdio { command, env: env.into(), cwd: None }
    }

    /// The processes that carry the mark, as directories of `/proc`.
    fn processes(&self) -> Vec<PathBuf> {
        let mark = format!("BALEFIRE_TEST={}", self.0);
        let marked = |process: &PathBuf| {
            let environ = fs::read(process.join("environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        };
        let processes =
            fs::read_dir("/proc").expect("procfs is mounted").flatten().map(|entry| entry.path());
        processes.filter(marked).collect()
    }

    /// Waits until `count` processes with the mark run Python; those that only lead to it do not count.
    async fn wait_for(&self, count: usize) {
        let is_python = |process: &PathBuf| {
            let exe = fs::read_link(process.join("exe")).unwrap_or_default();
            exe.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
        };
        self.wait(|processes| processes.iter().filter(|p| is_python(p)).count() == count).await;
    }

    async fn wait_gone(&self) {
        self.wait(<[PathBuf]>::is_empty).await;
    }

    async fn wait(&self, wanted: impl Fn(&[PathBuf]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !wanted(&self.processes()) {
            assert!(Instant::now() < deadline, "still there: {:?}", self.processes());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Waits until no child of ours is dead and not reaped. The fields of `stat` after the name in
/// parentheses are the state and the parent (proc(5)).
async fn wait_reaped() {
    let own = std::process::id().to_string();
    let is_our_zombie = |stat: &String| {
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        fields.get(1) == Some(&"Z") && fields.get(2) == Some(&own.as_str())
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let processes = fs::read_dir("/proc").expect("procfs is mounted").flatten();
        let mut stats = processes.filter_map(|p| fs::read_to_string(p.path().join("stat")).ok());
        let Some(zombie) = stats.find(is_our_zombie) else { return };
        assert!(Instant::now() < deadline, "not reaped: {zombie}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn prober() -> Prober {
    Prober::new(&Telemetry::new())
}

/// One attempt by a new prober; bounded in time, no process left.
async fn stdio(mode: &str, timeout: Duration) -> Outcome {
    let mark = Mark::new();
    let began = Instant::now();
    let outcome = prober().attempt(mode, &mark.check(mode), timeout).await;
    assert!(began.elapsed() < timeout + SLACK, "{mode} took {:?}", began.elapsed());
    mark.wait_gone().await;
    wait_reaped().await;
    outcome
}

#[track_caller]
fn assert_healthy(outcome: &Outcome, version: &str, phases: &[&str]) {
    let answer = outcome.as_ref().expect("the server is fine");
    assert_eq!(answer.protocol_version, version);
    assert_eq!(answer.tool_count, Some(2));
    assert_eq!(answer.server_name, "fault");
    let names: Vec<_> = answer.phases.iter().map(|phase| phase.name).collect();
    assert_eq!(names, phases);
}

#[track_caller]
fn assert_fails(outcome: &Outcome, reasons: &[&str]) {
    let failure = outcome.as_ref().expect_err("the server is broken");
    for reason in reasons {
        assert!(failure.error.contains(reason), "{reason:?} is not in {:?}", failure.error);
    }
}

const LEGACY: &str = "2025-06-18";
const LEGACY_PHASES: [&str; 4] = ["spawn", "initialize", "ping", "list"];
const UNPINGED_PHASES: [&str; 3] = ["spawn", "initialize", "list"];

#[tokio::test]
async fn healthy_servers_of_both_eras() {
    assert_healthy(&stdio("legacy", PATIENT).await, LEGACY, &LEGACY_PHASES);
    assert_healthy(&stdio("modern", PATIENT).await, "2026-07-28", &["spawn", "discover", "list"]);
    assert_healthy(&stdio("exit-on-discover", PATIENT).await, LEGACY, &LEGACY_PHASES);
    assert_healthy(&stdio("nonsense-version", PATIENT).await, "banana", &LEGACY_PHASES);
}

#[tokio::test]
async fn ping_alone_is_no_proof_against_a_server() {
    for mode in ["ping-unknown", "ping-invalid", "ping-silent"] {
        assert_healthy(&stdio(mode, FAIR).await, LEGACY, &UNPINGED_PHASES);
    }
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let outcome = stdio("hang-before", SHORT).await;
    assert_fails(&outcome, &["no answer to initialize within", "no answer to server/discover"]);
    let outcome = stdio("hang-after", SHORT).await;
    assert_fails(&outcome, &["no answer to tools/list within"]);
    let outcome = stdio("chatter", SHORT).await;
    assert_fails(
        &outcome,
        &["no answer to initialize", "the server wrote 32 bytes that are not JSON-RPC"],
    );
}

#[tokio::test]
async fn floods_are_cut_off() {
    let outcome = stdio("flood", PATIENT).await;
    let limit = format!("wrote more than {} bytes", limits::PROBE_ANSWER_BYTES_MAX);
    assert_fails(&outcome, &[&limit, "before it answered initialize", "not JSON-RPC"]);
    assert_fails(&stdio("huge-stdio", PATIENT).await, &[&limit, "before it answered tools/list"]);
}

#[tokio::test]
async fn deaths_are_told_with_their_last_words() {
    let outcome = stdio("stderr-exit", PATIENT).await;
    assert_fails(&outcome, &["exited with status 1 before it answered initialize"]);
    let tail = outcome.unwrap_err().stderr_tail;
    assert_eq!(tail, "first line\nno such key: <redacted>");
    let outcome = stdio("die-in-mid-answer", PATIENT).await;
    assert_fails(&outcome, &["was killed by signal 9 before it answered initialize"]);
}

#[tokio::test]
async fn a_greeting_is_no_proof_for_a_server() {
    let outcome = stdio("list-fails", PATIENT).await;
    assert_fails(&outcome, &["tools/list was answered with error -32603: database is locked"]);
    let outcome = stdio("future-version", PATIENT).await;
    assert_fails(&outcome, &["no version of MCP in common: the server speaks 2027-05-05"]);
}

#[tokio::test]
async fn servers_that_will_not_go_are_made_to() {
    assert_healthy(&stdio("stubborn", PATIENT).await, LEGACY, &LEGACY_PHASES);
    assert_healthy(&stdio("forks", PATIENT).await, LEGACY, &LEGACY_PHASES);
}

#[tokio::test]
async fn a_dropped_attempt_leaves_nothing() {
    let mark = Mark::new();
    let check = mark.check("hang-before");
    let prober = prober();
    let attempt = prober.attempt("dropped", &check, PATIENT);
    tokio::select! {
        outcome = attempt => panic!("it hangs, and yet: {outcome:?}"),
        () = mark.wait_for(1) => {}
    }
    mark.wait_gone().await;
    wait_reaped().await;
}

#[tokio::test]
async fn the_dialect_is_remembered() {
    let mark = Mark::new();
    let prober = prober();
    let check = mark.check("ping-silent");
    assert!(prober.attempt("a", &check, FAIR).await.is_ok());
    let began = Instant::now();
    let answer = prober.attempt("a", &check, FAIR).await.unwrap();
    // Neither the other era nor the ping that nobody answers is tried again.
    assert!(began.elapsed() < FAIR.mul_f64(0.2), "{:?}", began.elapsed());
    assert!(answer.phases.iter().all(|phase| phase.name != "ping"));
    // A server that turned modern is understood at once all the same.
    let answer = prober.attempt("a", &mark.check("modern"), FAIR).await.unwrap();
    assert_eq!(answer.protocol_version, "2026-07-28");
}

#[tokio::test]
async fn a_slow_start_has_all_the_time_at_the_second_attempt() {
    let mark = Mark::new();
    let check = mark.check("slow-start");
    let prober = prober();
    let outcome = prober.attempt("a", &check, Duration::from_secs(5)).await;
    assert_fails(&outcome, &["no answer to initialize", "no answer to server/discover"]);
    assert_healthy(&prober.attempt("a", &check, FAIR).await, LEGACY, &LEGACY_PHASES);
}

#[tokio::test]
async fn what_cannot_be_spawned_says_how_to_mend_it() {
    let command = vec!["no-such-program".to_owned()];
    let check = Check::McpStdio { command, env: BTreeMap::new(), cwd: None };
    let outcome = prober().attempt("a", &check, SHORT).await;
    assert_fails(&outcome, &["spawn failed: `no-such-program`", "install it or mend `command`"]);
    let command = vec!["cat".to_owned()];
    let check = Check::McpStdio { command, env: BTreeMap::new(), cwd: Some("/no/such".into()) };
    assert_fails(&prober().attempt("a", &check, SHORT).await, &["/no/such", "mend `cwd`"]);
}

#[tokio::test]
async fn attempts_and_processes_are_counted() {
    let telemetry = Telemetry::new();
    let prober = Prober::new(&telemetry);
    let mark = Mark::new();
    assert!(prober.attempt("a", &mark.check("modern"), PATIENT).await.is_ok());
    assert!(prober.attempt("b", &mark.check("stubborn"), PATIENT).await.is_ok());
    assert!(prober.attempt("c", &mark.check("stderr-exit"), PATIENT).await.is_err());
    let families = telemetry.gather();
    let count = |family: &str, label: &str| {
        let family = families.iter().find(|f| f.name() == family).expect("it is registered");
        let series = family.get_metric().iter();
        let mut found = series.filter(|m| m.get_label().iter().any(|pair| pair.value() == label));
        found.next().map(|m| m.get_counter().get_value())
    };
    assert_eq!(count("balefire_probe_attempts_total", "OK"), Some(2.0));
    assert_eq!(count("balefire_probe_attempts_total", "UNAVAILABLE"), Some(1.0));
    // One for each era that was tried.
    assert_eq!(count("balefire_probe_processes_total", "killed"), Some(2.0));
    assert_eq!(count("balefire_probe_dialects_learned_total", "modern"), Some(1.0));
}

/// Set in the child that the test below starts, to the mark.
const CHILD: &str = "BALEFIRE_TEST_CHILD";

/// Not a test by itself: what `a_killed_daemon_leaves_nothing` kills.
#[tokio::test]
async fn probing_until_killed() {
    let Ok(mark) = std::env::var(CHILD) else { return };
    let _ = prober().attempt("a", &Mark(mark).check("stubborn-hang"), Duration::from_mins(1)).await;
}

#[tokio::test]
async fn a_killed_daemon_leaves_nothing() {
    let mark = Mark::new();
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "probing_until_killed"])
        .env(CHILD, &mark.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The server and the two children that it forks.
    mark.wait_for(3).await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    mark.wait_gone().await;
}

/// A fault server behind HTTP.
struct Http(Child, u16);

impl Http {
    fn start(mode: &str) -> Self {
        let mut child = Command::new("python3")
            .args([FAULT_SERVER, "http", mode])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says its port");
        Self(child, line.trim().parse().expect("a port is a number"))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.1)
    }

    fn mcp(&self) -> Check {
        Check::McpHttp { url: self.url("mcp"), headers: BTreeMap::new() }
    }

    fn plain(&self, path: &str) -> Check {
        let expected_status = vec![200];
        Check::Http { url: self.url(path), headers: BTreeMap::new(), expected_status }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn attempt(check: &Check, timeout: Duration) -> Outcome {
    let began = Instant::now();
    let outcome = prober().attempt("a", check, timeout).await;
    assert!(began.elapsed() < timeout + SLACK, "{check:?} took {:?}", began.elapsed());
    outcome
}

async fn mcp_http(mode: &str, timeout: Duration) -> Outcome {
    attempt(&Http::start(mode).mcp(), timeout).await
}

const HTTP_LEGACY_PHASES: [&str; 5] = ["resolve", "connect", "initialize", "ping", "list"];

#[tokio::test]
async fn healthy_http_servers_of_both_eras() {
    assert_healthy(&mcp_http("legacy", PATIENT).await, LEGACY, &HTTP_LEGACY_PHASES);
    assert_healthy(&mcp_http("events", PATIENT).await, LEGACY, &HTTP_LEGACY_PHASES);
    let phases = ["resolve", "connect", "discover", "list"];
    assert_healthy(&mcp_http("modern", PATIENT).await, "2026-07-28", &phases);
}

#[tokio::test]
async fn sessions_are_kept_and_closed() {
    let server = Http::start("session");
    assert_healthy(&attempt(&server.mcp(), PATIENT).await, LEGACY, &HTTP_LEGACY_PHASES);
    // The server answers 409 as long as it holds one.
    attempt(&server.plain("sessions"), PATIENT).await.expect("no session is left");
}

#[tokio::test]
async fn a_token_that_is_missing_means_up() {
    for (mode, words) in [
        ("unauthorized", "Bearer resource_metadata=\"http://x/y\""),
        ("unauthorized-mute", "HTTP 401 without WWW-Authenticate"),
        ("scope", "insufficient_scope"),
    ] {
        let answer = mcp_http(mode, PATIENT).await.expect("it is up");
        let challenge = answer.auth_required.expect("it wants a token");
        assert!(challenge.contains(words), "{challenge:?}");
    }
}

#[tokio::test]
async fn broken_http_servers_are_told_apart() {
    let outcome = mcp_http("forbidden", PATIENT).await;
    assert_fails(&outcome, &["initialize was answered with HTTP 403: refused"]);
    assert_eq!(outcome.unwrap_err().answer.status_code, Some(403));
    assert_fails(&mcp_http("broken", PATIENT).await, &["HTTP 500: refused"]);
    assert_fails(&mcp_http("list-fails", PATIENT).await, &["tools/list", "database is locked"]);
    assert_fails(&mcp_http("legacy-sse", PATIENT).await, &["legacy HTTP+SSE transport"]);
    assert_fails(&mcp_http("huge", PATIENT).await, &["wrote more than", "tools/list"]);
    assert_fails(&mcp_http("slow-loris", SHORT).await, &["no answer to initialize within"]);
}

#[tokio::test]
async fn plain_http_is_judged_by_its_status() {
    let server = Http::start("redirects");
    let answer = attempt(&server.plain("3"), PATIENT).await.unwrap();
    assert_eq!(answer.status_code, Some(200));
    let phases: Vec<_> = answer.phases.iter().map(|phase| phase.name).collect();
    assert_eq!(phases, ["resolve", "connect", "first_byte", "body"]);
    assert_fails(&attempt(&server.plain("9"), PATIENT).await, &["more than 5 redirects"]);
    let outcome = attempt(&Http::start("status-503").plain(""), PATIENT).await;
    assert_fails(&outcome, &["answered HTTP 503, expected 200"]);
    let outcome = attempt(&Http::start("slow-loris").plain(""), SHORT).await;
    assert_fails(&outcome, &["no answer within 3s (during body)"]);
    let check =
        Check::McpHttp { url: server.url("").replace("http:", "https:"), headers: BTreeMap::new() };
    assert_fails(&attempt(&check, PATIENT).await, &["TLS with \"127.0.0.1\" failed"]);
}

#[tokio::test]
async fn ports_are_open_or_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let check = Check::Tcp { address: address.clone() };
    let answer = attempt(&check, PATIENT).await.unwrap();
    assert_eq!(answer.phases.len(), 2);
    drop(listener);
    let reason = format!("connecting to {address} failed");
    assert_fails(&attempt(&check, PATIENT).await, &[&reason, "refused"]);
    let check = Check::Tcp { address: "nowhere.invalid:80".to_owned() };
    assert_fails(&attempt(&check, PATIENT).await, &["resolving \"nowhere.invalid\" failed"]);
}

/// Runs `test` while a gRPC health service says `status` on a socket, beside a shim in `mode`.
async fn with_doors(status: ServingStatus, mode: &str, test: impl AsyncFnOnce(OwnDoors)) {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket).expect("the socket is free");
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", status).await;
    let server = Server::builder()
        .add_service(health)
        .serve_with_incoming(UnixListenerStream::new(listener));
    let shim = directory.path().join("shim");
    fs::write(&shim, format!("#!/bin/sh\nexec python3 {FAULT_SERVER} stdio {mode}\n"))
        .and_then(|()| fs::set_permissions(&shim, Permissions::from_mode(0o755)))
        .expect("the directory is ours");
    let http = Http::start("ready");
    let base = http.url("").trim_end_matches('/').to_owned();
    tokio::select! {
        ended = server => panic!("the health service ended: {ended:?}"),
        () = test(OwnDoors { socket, http: Some(base), shim: Some(shim) }) => {}
    }
}

async fn knock(doors: OwnDoors) -> Outcome {
    let prober = prober();
    prober.set_own_doors(doors);
    prober.attempt("balefire", &Check::Balefire, PATIENT).await
}

#[tokio::test]
async fn balefire_knocks_at_its_own_doors() {
    with_doors(ServingStatus::Serving, "legacy", async |doors| {
        let answer = knock(doors.clone()).await.unwrap();
        let phases: Vec<_> = answer.phases.iter().map(|phase| phase.name).collect();
        assert_eq!(phases, ["grpc", "ready", "shim"]);
        assert_eq!(answer.tool_count, Some(2));
        let only_socket = OwnDoors { http: None, shim: None, ..doors.clone() };
        assert_eq!(knock(only_socket).await.unwrap().phases.len(), 1);
        let no_http = OwnDoors { http: Some("http://127.0.0.1:1".to_owned()), ..doors };
        assert_fails(&knock(no_http).await, &["connecting to 127.0.0.1:1 failed"]);
    })
    .await;
}

#[tokio::test]
async fn balefire_says_which_of_its_doors_is_shut() {
    assert_fails(&prober().attempt("balefire", &Check::Balefire, SHORT).await, &["not known yet"]);
    with_doors(ServingStatus::NotServing, "legacy", async |doors| {
        let outcome = knock(doors).await;
        assert_fails(&outcome, &["gRPC health: serving status is 2 instead of SERVING"]);
    })
    .await;
    with_doors(ServingStatus::Serving, "stderr-exit", async |doors| {
        let outcome = knock(doors.clone()).await;
        assert_fails(&outcome, &["exited with status 1 before it answered initialize"]);
        let gone = OwnDoors { socket: "/no/such.sock".into(), ..doors };
        assert_fails(&knock(gone).await, &["gRPC health: connecting to /no/such.sock"]);
    })
    .await;
}

/// A server that is found or adopted stands in no file of the administrator's: the helper is for
/// configured ones.
#[tokio::test]
async fn the_helper_is_asked_for_configured_servers_alone() {
    let mark = Mark::new();
    let prober = prober();
    prober.set_spawn_socket(Some("/nonexistent/spawn.sock".into()));
    let from = |source| Target {
        name: "fine".to_owned(),
        check: mark.check("modern"),
        interval: PATIENT * 2,
        timeout: PATIENT,
        retries: 0,
        source,
        probed: true,
    };
    let file = PathBuf::from("/etc/balefire/balefire.toml");
    let configured = prober.attempt_target(&from(TargetSource::Config(file.clone()))).await;
    let error = configured.expect_err("nobody listens there").error;
    assert!(error.contains("/nonexistent/spawn.sock"), "{error}");
    assert!(error.contains("`systemctl enable --now balefire-spawn.socket`"), "{error}");
    let found = from(TargetSource::Discovered { client: "claude-code", file });
    prober.attempt_target(&found).await.expect("it is our own child");
    mark.wait_gone().await;
}
