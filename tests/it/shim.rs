//! The shim over HTTP: whoever comes reads, who shows a token does what that allows, and nobody does more
//! than the shim's own user may.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use balefire::wire::{
    ON_BEHALF,
    v1::{GetStatusRequest, ReloadRequest},
};
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::{
    fixture::{Daemon, text},
    http::exchange,
    tokens::token,
};

/// A shim that serves HTTP; killed when it is dropped.
struct Shim {
    child: Child,
    address: String,
}

impl Shim {
    fn start(daemon: &Daemon) -> Self {
        let mut command = daemon.home().shim_command();
        command.args(["--http", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the shim starts");
        let mut line = String::new();
        let stderr = child.stderr.take().expect("piped");
        BufReader::new(stderr).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").expect("an address");
        Self { address: address.trim_end_matches("/mcp").to_owned(), child }
    }

    fn ask(&self, token: Option<&str>, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let body = body.to_string();
        let shown = token.map(|token| format!("\r\nAuthorization: Bearer {token}"));
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n\
             Content-Length: {}{}",
            self.address,
            body.len(),
            shown.unwrap_or_default()
        );
        let (_, answer) = exchange(&self.address, &format!("{head}\r\n\r\n{body}"));
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn call(&self, token: Option<&str>, tool: &str, arguments: &Value) -> Value {
        self.ask(token, "tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    fn tools(&self, token: Option<&str>) -> usize {
        let answer = self.ask(token, "tools/list", &json!({}));
        answer["result"]["tools"].as_array().map_or(0, Vec::len)
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn alert(name: &str) -> Value {
    json!({"name": name, "condition": "up == 0", "severity": "low"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_shows_a_token_does_what_that_allows() {
    let daemon = Daemon::start("");
    let viewer = token(&daemon, "looks", "viewer", &[]);
    let operator = token(&daemon, "works", "operator", &[]);
    let shim = Shim::start(&daemon);
    assert_eq!((shim.tools(None), shim.tools(Some(&viewer))), (5, 8));

    let status = shim.call(None, "get_server_status", &json!({}));
    assert_eq!(status["result"]["isError"], json!(false), "{status}");
    let hidden = shim.call(None, "create_alert", &alert("by nobody"));
    assert!(hidden["error"]["message"].to_string().contains("takes a token"), "{hidden}");
    // It makes the daemon act, so reading is not enough.
    let checked = shim.call(None, "health_check", &json!({"target": "system"}));
    assert!(checked.to_string().contains("needs the scope operator"), "{checked}");
    let refused = shim.call(Some(&viewer), "create_alert", &alert("by a viewer"));
    assert!(refused.to_string().contains("needs the scope operator"), "{refused}");
    let wrong = viewer.replace(&viewer[12..20], "00000000");
    let refused = shim.call(Some(&wrong), "get_server_status", &json!({}));
    assert!(refused.to_string().contains("this token is not known"), "{refused}");
    let made = shim.call(Some(&operator), "create_alert", &alert("by an operator"));
    assert_eq!(made["result"]["isError"], json!(false), "{made}");

    let audit = daemon.cli(&["-o", "json", "audit"]);
    let audit: Value = serde_json::from_slice(&audit.stdout).expect("JSON");
    let who = |action: &str, user: &str| {
        let entries = audit.as_array().expect("a list").iter();
        entries.filter(|e| e["action"] == action && e["user"] == user).count()
    };
    assert_eq!((who("rule.create", "works"), who("access", "looks")), (1, 1), "{audit}");
}

/// What a call says of those that it is made for takes rights away, and never gives any.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_does_more_than_the_peer() {
    let daemon = Daemon::start("");
    let admin = token(&daemon, "admin", "admin", &[]);
    let mut system = daemon.system().await;
    let says = |name: &'static str, value: &str| {
        let mut request = Request::new(ReloadRequest {});
        request.metadata_mut().insert(name, value.parse().expect("text"));
        request
    };
    let bearer = format!("Bearer {admin}");
    let refused = system.reload(says(ON_BEHALF, "anybody")).await.expect_err("it reads only");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("needs the scope admin"), "{refused}");
    assert!(system.reload(says("authorization", &bearer)).await.is_ok());

    let own = rustix::process::geteuid().as_raw();
    daemon.home().configure(&format!("[access]\nviewer = [\"{own}\"]\n"));
    assert!(daemon.cli(&["reload"]).status.success());
    let refused = system.reload(says("authorization", &bearer)).await.expect_err("not the peer's");
    assert!(refused.message().contains("has viewer"), "{refused}");
    assert!(system.get_status(GetStatusRequest {}).await.is_ok());
    assert!(!text(&daemon.cli(&["status"])).contains("refused"));
}
