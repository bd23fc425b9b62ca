//! A user's agent beside the service: what it finds is seen there, stays when it goes, and is never lost.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use balefire::{
    limits,
    wire::v1::{
        AgentHeartbeat, AgentHello, AgentTarget, AgentTargets, GetTargetRequest,
        ListTargetHistoryRequest, ListTargetsRequest, ProbeRecord, QueryRequest, ReportRequest,
        Target, TargetState, agent_service_client::AgentServiceClient, query_response,
        report_request::Message,
    },
};
use rustix::process::Signal;
use tonic::Code;
use tonic_types::StatusExt;

use crate::fixture::{Daemon, Home, PATIENCE, eventually, text};

const SERVICE: &str = "[discovery]\nenabled = false\n";
/// A real MCP server over stdio.
const SERVER: &str = env!("CARGO_BIN_EXE_balefire-mcp");

/// The home of a user who has configured `own` and `port`, and declared `time` to a client.
fn users_home(port: u16) -> Home {
    let home = Home::new(&format!(
        r#"
[[targets]]
name = "own"
kind = "mcp"
command = ["{SERVER}", "--socket", "SOCKET"]

[[targets]]
name = "port"
kind = "tcp"
address = "127.0.0.1:{port}"
interval = "1s"
timeout = "1s"
retries = 0
"#
    ));
    let config = fs::read_to_string(home.path("balefire.toml")).expect("just written");
    let nowhere = home.path("nowhere").display().to_string();
    home.configure(&config.replace("SOCKET", &nowhere));
    let declared = serde_json::json!({"mcpServers": {
        "time": {"command": SERVER, "args": ["--socket", nowhere], "env": {"API_TOKEN": "hush-hush"}},
    }});
    fs::write(home.path("home/.claude.json"), declared.to_string()).expect("a writable folder");
    home
}

/// A port that counts who comes.
fn counting_port() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    // Ends with the test's process.
    thread::spawn(move || {
        while listener.accept().is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, count)
}

/// The target that an agent calls by this name, and is in this state.
async fn target_of(service: &Daemon, name: &str, state: TargetState) -> Target {
    let ask = || async {
        let mut targets = service.targets().await;
        let answer = targets.list_targets(ListTargetsRequest::default()).await.ok()?.into_inner();
        let suffix = format!("/{name}");
        answer.targets.into_iter().find(|t| t.name.ends_with(&suffix) && t.state() == state)
    };
    eventually(&format!("{name} is {state:?}"), ask).await
}

async fn health_series(service: &Daemon, server: &str) -> Vec<f64> {
    let expr = format!("mcp_server_health{{server=\"{server}\"}}");
    let request = QueryRequest { expr, ..QueryRequest::default() };
    // Where nothing was ever stored the query is refused, which is empty, too.
    let answer = service.metrics().await.query(request).await;
    let Some(query_response::Result::Vector(vector)) =
        answer.ok().and_then(|answer| answer.into_inner().result)
    else {
        return Vec::new();
    };
    vector.entries.iter().filter_map(|entry| Some(entry.sample.as_ref()?.value)).collect()
}

/// Waits for these values: the book of targets knows before the store does.
async fn await_health_series(service: &Daemon, server: &str, expected: &[f64]) {
    let is_so = || async { (health_series(service, server).await == expected).then_some(()) };
    eventually(&format!("the health of {server} is {expected:?}"), is_so).await;
}

async fn history(service: &Daemon, name: &str) -> Vec<ProbeRecord> {
    let request =
        ListTargetHistoryRequest { name: name.into(), page_size: 1000, ..Default::default() };
    let answer = service.targets().await.list_target_history(request).await;
    answer.map(|answer| answer.into_inner().probes).unwrap_or_default()
}

/// Command lines of servers that were started with something in this folder.
fn left_behind(home: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("Linux has one").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let home = home.display().to_string();
    lines
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.starts_with(SERVER) && line.contains(&home))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_agent_makes_its_users_servers_visible() {
    let service = Daemon::start(SERVICE);
    let home = users_home(counting_port().0);
    let nowhere = home.path("nowhere");
    let agent = home.start_agent(&service.home().path("sock"));

    let own = target_of(&service, "own", TargetState::Healthy).await;
    let (user, _) = own.name.split_once('/').expect("named by its user");
    assert_eq!((own.kind.as_str(), own.transport.as_str()), ("mcp", "stdio"));
    assert!(own.source.starts_with(&format!("agent of {user}: ")), "{own:?}");
    assert!(own.endpoint.starts_with(SERVER) && !own.protocol_version.is_empty(), "{own:?}");
    await_health_series(&service, &own.name, &[1.0]).await;

    let found = target_of(&service, "time", TargetState::Unknown).await;
    assert!(!found.probed && !format!("{found:?}").contains("hush"), "{found:?}");
    let adopted = service.cli(&["targets", "adopt", &found.name]);
    assert!(adopted.status.success(), "{}", text(&adopted));
    let time = target_of(&service, "time", TargetState::Healthy).await;
    assert!(time.probed);

    let before = history(&service, &own.name).await.len();
    let checked = service.cli(&["targets", "check", &own.name]);
    assert!(checked.status.success(), "{}", text(&checked));
    assert!(history(&service, &own.name).await.len() > before, "it was probed just now");
    let refused = service.cli(&["targets", "forget", &own.name]);
    assert!(text(&refused).contains("take it out there"), "{}", text(&refused));
    let forgotten = service.cli(&["targets", "forget", &time.name]);
    assert!(forgotten.status.success(), "{}", text(&forgotten));
    assert!(!target_of(&service, "time", TargetState::Unknown).await.probed);
    assert_eq!(history(&service, &time.name).await, []);

    drop(agent);
    assert_eq!(left_behind(&nowhere), Vec::<String>::new());
    service.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_gone_agent_leaves_is_stale() {
    let (port, _) = counting_port();
    let service = Daemon::start(SERVICE);
    let socket = service.home().path("sock");
    let agent = users_home(port).start_agent(&socket);
    let time = target_of(&service, "time", TargetState::Unknown).await;
    let adopted = service.cli(&["targets", "adopt", &time.name]);
    assert!(adopted.status.success(), "{}", text(&adopted));
    let own = target_of(&service, "own", TargetState::Healthy).await;

    // The agent dies: what is known of its targets is that nobody knows.
    await_health_series(&service, &own.name, &[1.0]).await;
    let home = agent.kill();
    let stale = target_of(&service, "own", TargetState::Unknown).await;
    let reason = "stale: the agent of ";
    assert!(stale.error.starts_with(reason), "{stale:?}");
    await_health_series(&service, &own.name, &[]).await;
    let checked = service.cli(&["targets", "check", &own.name]);
    assert_eq!(checked.status.code(), Some(1), "{}", text(&checked));
    assert!(text(&checked).contains(reason), "{}", text(&checked));
    // … also after a restart.
    let service = service.kill().start();
    eventually("the reason is told again", || async {
        let request = GetTargetRequest { name: stale.name.clone() };
        let answer = service.targets().await.get_target(request).await.ok()?.into_inner();
        answer.target.filter(|target| target.error == stale.error)
    })
    .await;

    let agent = home.start_agent(&socket);
    target_of(&service, "own", TargetState::Healthy).await;
    target_of(&service, "time", TargetState::Healthy).await;
    drop(agent);
    service.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_while_the_service_is_away() {
    let (port, accepted) = counting_port();
    let service = Daemon::start(SERVICE);
    let agent = users_home(port).start_agent(&service.home().path("sock"));
    let port = target_of(&service, "port", TargetState::Healthy).await;

    let service = service.kill();
    let then = accepted.load(Ordering::SeqCst);
    eventually("probes go on without a service", || async {
        (accepted.load(Ordering::SeqCst) >= then + 3).then_some(())
    })
    .await;
    let service = service.start();
    let kept = eventually("every probe is in the history", || async {
        // In this order: a probe that is under way may not have been told of.
        let probed = accepted.load(Ordering::SeqCst);
        Some(history(&service, &port.name).await).filter(|kept| kept.len() >= probed)
    })
    .await;
    let times: BTreeSet<_> =
        kept.iter().map(|probe| probe.started_at.map(|at| (at.seconds, at.nanos))).collect();
    assert_eq!(times.len(), kept.len(), "none twice");
    // Who was away was the service: of the agent's targets nobody lost sight.
    let own = target_of(&service, "own", TargetState::Healthy).await;
    assert_eq!(own.error, "");

    drop(agent);
    service.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_agent_waits_for_a_service_and_a_newer_one_takes_over() {
    let (port, _) = counting_port();
    let home = Home::new(SERVICE);
    let socket = home.path("sock");
    let mut first = users_home(port).start_agent(&socket);
    eventually("it says that it waits", || async {
        first.log().contains("nobody to report to").then_some(())
    })
    .await;
    let service = home.start();
    target_of(&service, "port", TargetState::Healthy).await;
    assert_eq!(first.log().matches("nobody to report to").count(), 1, "{}", first.log());

    let second = users_home(port).start_agent(&socket);
    let end = first.wait_for_end(PATIENCE);
    assert!(end.success(), "{end:?}: {}", first.log());
    assert!(first.log().contains("another agent of this user"), "{}", first.log());
    target_of(&service, "port", TargetState::Healthy).await;
    // What it is told while it runs holds at once.
    second.home().configure("");
    second.signal(Signal::HUP);
    eventually("the configured targets are gone", || async {
        let mut targets = service.targets().await;
        let answer = targets.list_targets(ListTargetsRequest::default()).await.ok()?.into_inner();
        let names: Vec<_> = answer.targets.iter().filter(|t| t.name.contains('/')).collect();
        (names.len() == 1 && names[0].name.ends_with("/time")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_agents_say_is_checked() {
    let service = Daemon::start(SERVICE);
    let hello = |instance: &str| {
        Message::Hello(AgentHello { version: String::new(), instance_id: instance.to_owned() })
    };
    let too_many =
        AgentTargets { targets: vec![AgentTarget::default(); limits::AGENT_TARGETS_MAX + 1] };
    let unnamed = AgentTargets { targets: vec![AgentTarget::default()] };
    for (messages, field) in [
        (vec![None], "message"),
        (vec![Some(Message::Heartbeat(AgentHeartbeat {}))], "hello"),
        (vec![Some(hello(""))], "hello.instance_id"),
        (vec![Some(hello(&"x".repeat(100)))], "hello.instance_id"),
        (vec![Some(hello("a")), Some(hello("b"))], "hello"),
        (vec![Some(hello("a")), Some(Message::Targets(too_many))], "targets.targets"),
        (vec![Some(hello("a")), Some(Message::Targets(unnamed))], "targets.targets[0].interval"),
    ] {
        let messages = messages.into_iter().map(|message| ReportRequest { message });
        let mut client = AgentServiceClient::new(service.channel().await);
        let mut answers =
            client.report(tokio_stream::iter(messages)).await.expect("a stream").into_inner();
        let status = loop {
            match answers.message().await {
                Ok(answer) => assert!(answer.is_some(), "{field}: it ended well"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let violations = status.get_details_bad_request().expect("it names a field");
        assert_eq!(violations.field_violations[0].field, field);
    }
    service.assert_sound().await;
}
