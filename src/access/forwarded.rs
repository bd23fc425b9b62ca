//! What a proxy passes on.

use http::HeaderMap;

/// What proxies add.
const ADDED: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// Whether a request that comes from this host was passed on for somebody who may be elsewhere. A proxy
/// that adds nothing cannot be told from a client.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    ADDED.iter().any(|name| headers.contains_key(*name))
}
