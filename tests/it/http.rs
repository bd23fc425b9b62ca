//! HTTP as anybody on the host meets it: read-only, bounded, deaf to strange hosts.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::fixture::{Daemon, PATIENCE, eventually};

/// Sends one request as it stands, its body behind an empty line, and reads to the end: the status, and everything else.
pub(crate) fn exchange(address: &str, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("more than nothing");
    let (head, body) = head.split_once("\r\n\r\n").unwrap_or((head, ""));
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").expect("a small request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer that ends");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
    (status.unwrap_or_else(|| panic!("no HTTP: {answer}")), answer)
}

pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    get_with(address, path, &[])
}

/// The same with headers, each a line.
pub(crate) fn get_with(address: &str, path: &str, headers: &[String]) -> (u16, String) {
    let lines = [format!("GET {path} HTTP/1.1"), format!("Host: {address}")];
    exchange(address, &[&lines, headers].concat().join("\r\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn serves_health_metrics_and_queries() {
    let daemon = Daemon::start("");
    let address = daemon.status().await.http_address;
    assert_eq!(get(&address, "/-/healthy").0, 200);
    assert_eq!(get(&address, "/-/ready").0, 200);
    let (status, metrics) = get(&address, "/metrics");
    assert_eq!(status, 200, "{metrics}");
    assert!(metrics.contains("\n# TYPE balefire_"), "{metrics}");
    eventually("the host is collected and can be asked for", || async {
        let (status, answer) = get(&address, "/api/v1/query?query=node_load1");
        assert_eq!(status, 200, "{answer}");
        answer.contains("\"__name__\":\"node_load1\"").then_some(())
    })
    .await;
    let (status, everything) =
        get(&address, "/federate?match%5B%5D=%7B__name__%3D%22node_load1%22%7D");
    assert_eq!(status, 200, "{everything}");
    assert!(everything.contains("node_load1{"), "{everything}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn refuses_what_is_wrong_or_not_for_strangers() {
    let daemon = Daemon::start("");
    let address = daemon.status().await.http_address;
    let own = format!("Host: {address}");
    let cases = [
        ("malformed PromQL", format!("GET /api/v1/query?query=up%7B HTTP/1.1\r\n{own}"), 400..=400),
        ("no query", format!("GET /api/v1/query HTTP/1.1\r\n{own}"), 400..=400),
        ("an unknown path", format!("GET /nowhere HTTP/1.1\r\n{own}"), 404..=404),
        ("a strange host", "GET /metrics HTTP/1.1\r\nHost: evil.example".into(), 400..=421),
        (
            "a strange origin",
            format!("GET /metrics HTTP/1.1\r\n{own}\r\nOrigin: http://evil.example"),
            400..=403,
        ),
        ("a write", format!("PUT /metrics HTTP/1.1\r\n{own}\r\nContent-Length: 0"), 400..=405),
    ];
    for (what, head, statuses) in cases {
        let (status, answer) = exchange(&address, &head);
        assert!(statuses.contains(&status), "{what}: {answer}");
    }
    daemon.assert_sound().await;
}
