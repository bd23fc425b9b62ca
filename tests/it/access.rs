//! Who may do what, asked of a real daemon: every call with each role and with none.
//!
//! The calls come from the descriptors, so that a new one cannot be forgotten; what each needs comes from
//! the table, which is what the daemon has to obey.

use balefire::{
    access::{self, CALLS, Call, Need, Role, Roles},
    wire::{DESCRIPTORS, v1::SetLogLevelRequest},
};
use http::uri::PathAndQuery;
use prost::Message;
use rustix::process::Signal;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::{
    fixture::{Daemon, eventually, text},
    http::get_with,
    tokens::token,
};

/// Whoever runs the test, and with it the daemon.
fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The configuration that gives its own user this role, or none.
fn access(role: Option<Role>) -> String {
    format!("[access]\n{} = [\"{}\"]\n", role.map_or("none", Role::name), own_uid())
}

/// How a call takes and gives its messages.
struct Shape {
    path: String,
    streams_in: bool,
    streams_out: bool,
}

/// Every call of Balefire's own services.
fn shapes() -> Vec<Shape> {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors are sound");
    let mut shapes = Vec::new();
    for file in &set.file {
        for service in &file.service {
            shapes.extend(service.method.iter().map(|method| Shape {
                path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                streams_in: method.client_streaming(),
                streams_out: method.server_streaming(),
            }));
        }
    }
    shapes
}

/// Calls with an empty message; what comes back is an answer, or why there is none.
async fn call(channel: &Channel, shape: &Shape) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("the daemon answers");
    let path: PathAndQuery = shape.path.parse().expect("a path");
    let codec = ProstCodec::<(), ()>::default();
    match (shape.streams_in, shape.streams_out) {
        (false, false) => client.unary(Request::new(()), path, codec).await.map(drop),
        (false, true) => client.server_streaming(Request::new(()), path, codec).await.map(drop),
        (true, _) => {
            let nothing = Request::new(tokio_stream::empty());
            client.streaming(nothing, path, codec).await.map(drop)
        }
    }
}

/// Whether the daemon refused for want of a role; the refusal must say which, and what would mend it.
fn is_refused(shape: &Shape, answer: &Result<(), Status>, role: Option<Role>) -> bool {
    let Some(status) = answer.as_ref().err().filter(|s| s.code() == Code::PermissionDenied) else {
        return false;
    };
    let row: &Call = access::call(&shape.path).expect("a row for each call");
    let info = status.get_details_error_info().expect("details with each refusal");
    let fact = |name: &str| info.metadata.get(name).cloned().unwrap_or_default();
    let needed = row.need.least();
    assert_eq!(fact("call"), row.name());
    assert_eq!(fact("role_needed"), needed.name());
    assert_eq!(fact("roles_had"), role.map_or("none", Role::name));
    assert!(fact("access").starts_with(&format!("{needed} = [")), "{info:?}");
    assert!(status.message().contains(&fact("access")), "{status}");
    assert!(status.message().contains("balefire.toml"), "{status}");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_call_with_each_role_and_with_none() {
    let mut daemon = Daemon::start(&access(Some(Role::Admin)));
    // One connection all the while: rules that change hold for it, too.
    let channel = daemon.channel().await;
    let shapes = shapes();
    assert!(shapes.len() > 30, "{} calls", shapes.len());
    // An admin comes last: its call of `Reload` would be told to systemd, too.
    let roles =
        [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Ingest), Some(Role::Admin)];
    let mut wrong = Vec::new();
    for role in roles {
        daemon.home().configure(&access(role));
        daemon.signal(Signal::HUP);
        daemon.wait_for_notification("READY=1");
        let has = role.map_or(Roles::NONE, Roles::from);
        for shape in &shapes {
            let need = access::call(&shape.path).expect("a row for each call").need;
            let refused = is_refused(shape, &call(&channel, shape).await, role);
            if refused == need.is_met_by(has) {
                wrong.push(format!("{} with {has}: refused {refused}", shape.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Health and reflection are for everybody who has a role, whichever.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_has_a_role_may_ask_for_health() {
    let rows = || CALLS.iter().filter(|call| call.need == Need::AnyRole);
    assert_eq!(rows().count(), 4);
    let check = rows().find(|call| call.method == "Check").expect("health can be checked");
    for (role, code) in [(Some(Role::Ingest), None), (None, Some(Code::PermissionDenied))] {
        let daemon = Daemon::start(&access(role));
        let shape = Shape { path: check.path(), streams_in: false, streams_out: false };
        let answer = call(&daemon.channel().await, &shape).await;
        assert_eq!(answer.err().map(|status| status.code()), code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_command_that_is_refused_says_what_to_write() {
    let daemon = Daemon::start(&access(Some(Role::Viewer)));
    assert!(daemon.cli(&["status"]).status.success());
    let refused = daemon.cli(&["reload"]);
    let said = text(&refused);
    // The daemon was reached, and its answer is no.
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("needs the role admin") && said.contains("has viewer"), "{said}");
    assert!(said.contains("admin = [") && said.contains("[access]"), "{said}");
    let level = SetLogLevelRequest { filter: "debug".into() };
    let refused = daemon.system().await.set_log_level(level).await.expect_err("not for viewers");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

/// Who asks over HTTP: a name, the headers that say so, and the roles; `None` for whom nobody knows.
type Asker = (&'static str, Vec<String>, Option<Roles>);

/// Everybody there is: without a token from here and, by way of a proxy, from elsewhere; with a token of each
/// scope; with tokens that count no more, or never did.
async fn askers(daemon: &Daemon, address: &str) -> Vec<Asker> {
    let of =
        |name: &'static str, scope: &str| (name, vec![bearer(&token(daemon, name, scope, &[]))]);
    let mut askers = vec![
        ("nobody", Vec::new(), Some(Role::Viewer.into())),
        ("elsewhere", vec!["X-Forwarded-For: 192.0.2.7".to_owned()], Some(Roles::NONE)),
    ];
    for role in Role::ALL {
        let (name, headers) = of(role.name(), role.name());
        askers.push((name, headers, Some(role.into())));
    }
    let (name, headers) = of("revoked", "admin");
    assert!(daemon.cli(&["token", "revoke", name]).status.success());
    askers.push((name, headers, None));
    askers.push(("wrong", vec![bearer(&format!("bf_0a1b2c3d_{}", "0".repeat(64)))], None));
    let expired = vec![bearer(&token(daemon, "expired", "admin", &["--expires", "1s"]))];
    eventually("it expires", || async {
        (get_with(address, "/-/healthy", &expired).0 == 401).then_some(())
    })
    .await;
    askers.push(("expired", expired, None));
    askers
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// What an answer must be: its status, where that is sure, and the challenge.
fn expected(need: Need, roles: Option<Roles>) -> (Option<u16>, String) {
    match roles {
        None => (Some(401), "Bearer error=\"invalid_token\"".to_owned()),
        Some(roles) if need.is_met_by(roles) => (None, String::new()),
        Some(Roles::NONE) => (Some(401), "Bearer".to_owned()),
        Some(_) => {
            let scope = need.least();
            (Some(403), format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_route_over_http_with_each_scope_and_with_none() {
    let daemon = Daemon::start("");
    let address = daemon.status().await.http_address;
    let mut wrong = Vec::new();
    for (name, headers, roles) in askers(&daemon, &address).await {
        for (route, need) in access::ROUTES {
            let (status, answer) = get_with(&address, &route.replace("{name}", "job"), &headers);
            let challenge = answer.lines().find_map(|line| line.strip_prefix("www-authenticate: "));
            let (wanted, challenged) = expected(*need, roles);
            let fine = match wanted {
                Some(wanted) => status == wanted,
                None => !matches!(status, 401 | 403 | 404 | 500..),
            };
            if !fine || challenge.unwrap_or_default() != challenged {
                wrong.push(format!("{route} of {name}: {status} {challenge:?}"));
            }
        }
        // What leads nowhere is told whoever has a role.
        let has_role = roles.is_some_and(|roles| !roles.is_empty());
        let (status, _) = get_with(&address, "/nowhere", &headers);
        assert_eq!(status == 404, has_role, "{name}: {status}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
