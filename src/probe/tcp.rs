//! A port that accepts connections.

use super::{fault::Fault, http, report::Report};

/// Connects to `address` (`host:port`) and hangs up; phases `resolve` and `connect`.
pub(super) async fn check(address: &str, report: &mut Report) -> Result<(), Fault> {
    let (host, port) = parse(address).ok_or_else(|| Fault::Address {
        address: address.to_owned(),
        problem: "write host:port, an IPv6 host in brackets",
    })?;
    http::connect(host, port, report).await.map(drop)
}

fn parse(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let ambiguous = bare.is_none() && host.contains(':');
    (!host.is_empty() && !ambiguous).then_some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_ports() {
        assert_eq!(parse("localhost:80"), Some(("localhost", 80)));
        assert_eq!(parse("[::1]:80"), Some(("::1", 80)));
        for wrong in ["localhost", ":80", "::1:80", "host:", "host:65536", "host:http", ""] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
