//! Which hosts a request may name, against DNS rebinding: a page in a browser that has its own name point to
//! 127.0.0.1 still sends that name as `Host`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::uri::Authority;

/// The hosts that may stand in `Host`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hosts {
    listen: IpAddr,
    /// Other names of ours, in lower case.
    names: Arc<[String]>,
}

impl Hosts {
    /// Loopback, where we listen, and the names by which others know us.
    pub fn new(listen: SocketAddr, names: &[String]) -> Self {
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { listen: listen.ip(), names }
    }

    /// Whether `Host` may be this, with or without a port.
    pub fn allow(&self, host: &str) -> bool {
        host.parse::<Authority>().is_ok_and(|host| self.allow_name(host.host()))
    }

    fn allow_name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") || self.names.contains(&name) {
            return true;
        }
        // IPv6 stands in brackets. No name can be rebound to a literal address, so where we listen
        // on every address, each may be named.
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address
            .is_ok_and(|ip| ip.is_loopback() || ip == self.listen || self.listen.is_unspecified())
    }
}

/// Whether a browser's `Origin` is a page of ours: `http://` and the very host that the request names.
pub(super) fn is_same_origin(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, host: &str, allowed: bool) {
        let hosts = Hosts::new(listen.parse().unwrap(), &["Box.lan".to_owned()]);
        assert_eq!(hosts.allow(host), allowed, "{host} at {listen}");
    }

    #[test]
    fn loopback_and_the_listen_address_may_be_named() {
        for host in ["localhost", "LOCALHOST:9494", "127.0.0.1:9494", "127.0.0.2", "[::1]:9494"] {
            check("127.0.0.1:9494", host, true);
        }
        check("192.168.1.5:9494", "192.168.1.5:9494", true);
        check("192.168.1.5:9494", "box.lan:9494", true);
        check("0.0.0.0:9494", "10.0.0.7:9494", true);
    }

    #[test]
    fn any_other_name_may_not() {
        for host in [
            "evil.example",
            "evil.example:9494",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "192.168.1.5",
            "",
            "user@",
            "a b",
            "[::2]:80",
            "notlocalhost",
        ] {
            check("127.0.0.1:9494", host, false);
        }
        check("0.0.0.0:9494", "evil.example", false);
    }

    #[test]
    fn only_our_own_pages_are_same_origin() {
        assert!(is_same_origin("http://localhost:9494", "localhost:9494"));
        assert!(is_same_origin("http://LOCALHOST:9494", "localhost:9494"));
        for origin in ["null", "http://localhost:3000", "http://evil.example", "file://", ""] {
            assert!(!is_same_origin(origin, "localhost:9494"), "{origin}");
        }
    }
}
