//! Where a URL leads.

use http::{Uri, uri::Scheme};

use crate::probe::fault::Fault;

/// A URL that can be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Address {
    /// The whole of it.
    pub(in crate::probe) uri: Uri,
    /// The host without brackets.
    pub(in crate::probe) host: String,
    /// The port, said or implied.
    pub(in crate::probe) port: u16,
    /// Whether TLS is spoken.
    pub(in crate::probe) tls: bool,
}

impl Address {
    /// Reads an absolute `http` or `https` URL without user and password.
    pub(in crate::probe) fn parse(url: &str) -> Result<Self, Fault> {
        let fault =
            |problem| Fault::Address { address: crate::probe::endpoint::redact_url(url), problem };
        let uri: Uri = url.parse().map_err(|_| fault("not a URL"))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(fault("begin it with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| fault("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(fault("put user and password into an Authorization header instead"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { uri, host, port, tls })
    }

    /// What the `Host` header says.
    pub(in crate::probe) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    pub(in crate::probe) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Where a `Location` leads, provided that it is the same origin.
    pub(in crate::probe) fn redirected(&self, location: &str) -> Option<Self> {
        let origin = format!("{}://{}", self.uri.scheme_str()?, self.authority());
        let target = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{}:{location}", self.uri.scheme_str()?)
        } else if location.starts_with('/') {
            format!("{origin}{location}")
        } else if location.starts_with('?') {
            format!("{origin}{}{location}", self.uri.path())
        } else {
            let directory = self.uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{origin}{directory}/{location}")
        };
        let target = Self::parse(target.split('#').next()?).ok()?;
        let same = (&target.host, target.port, target.tls) == (&self.host, self.port, self.tls);
        same.then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(location: &str, expected: Option<&str>) {
        let base = Address::parse("http://host:8080/a/b?q=1").unwrap();
        let target = base.redirected(location).map(|address| address.uri.to_string());
        assert_eq!(target.as_deref(), expected, "{location:?}");
    }

    #[test]
    fn follows_redirects_within_the_origin() {
        check("/c", Some("http://host:8080/c"));
        check("c", Some("http://host:8080/a/c"));
        check("?r=2", Some("http://host:8080/a/b?r=2"));
        check("http://host:8080/d#e", Some("http://host:8080/d"));
        check("//host:8080/f", Some("http://host:8080/f"));
    }

    #[test]
    fn follows_none_out_of_it() {
        for location in ["http://other:8080/", "https://host:8080/", "http://host/", "//evil/"] {
            check(location, None);
        }
    }

    #[test]
    fn refuses_what_it_cannot_dial() {
        for url in ["host:80", "ftp://host/", "http://", "http://u:p@host/", "/path", "http://a b/"]
        {
            assert!(Address::parse(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn knows_hosts_and_ports() {
        let address = Address::parse("https://[::1]/x").unwrap();
        assert_eq!((address.host.as_str(), address.port, address.tls), ("::1", 443, true));
    }
}
