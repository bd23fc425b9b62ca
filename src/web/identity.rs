//! Who asks: the bearer of a token, or whoever comes from this host without one.
//!
//! A token that does not count is refused, also from this host: whoever shows one wants to be known by it.
//! What a proxy on this host passes on is not from this host.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, header};

use crate::{
    access::{InvalidToken, Need, Role, Roles, Token, Who, bearer, is_forwarded, network},
    monitor::{Caller, Monitor},
};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Peer {
    /// Whether it is on this host.
    pub(super) fn is_local(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Somebody on this host, without a token.
    Local,
    /// Somebody from elsewhere, without a token.
    Stranger,
    /// The bearer of a token.
    Bearer(Arc<Token>),
}

/// Why what a request shows makes nobody known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    #[error("the header Authorization is not `Bearer` and a token, the one way to show who asks")]
    Scheme,
    #[error(transparent)]
    Token(#[from] InvalidToken),
}

impl Identity {
    /// Of a request from `peer` with these headers. Without a monitor, in tests, no token counts.
    pub(super) fn of(
        headers: &HeaderMap,
        peer: Peer,
        monitor: Option<&Monitor>,
    ) -> Result<Self, Unknown> {
        let Some(shown) = headers.get(header::AUTHORIZATION) else {
            return Ok(if peer.is_local() && !is_forwarded(headers) {
                Self::Local
            } else {
                Self::Stranger
            });
        };
        let text = shown.to_str().ok().and_then(bearer).ok_or(Unknown::Scheme)?;
        let monitor = monitor.ok_or(InvalidToken::Unknown)?;
        Ok(Self::Bearer(monitor.token(text)?))
    }

    /// What it may.
    pub(super) fn roles(&self) -> Roles {
        match self {
            Self::Local => Role::Viewer.into(),
            Self::Stranger => Roles::NONE,
            Self::Bearer(token) => token.roles,
        }
    }

    /// For limits, of a request that needs this.
    pub(super) fn who(&self, peer: Peer, need: Option<Need>) -> Who {
        match self {
            Self::Bearer(token) => Who::Token(token.id.clone()),
            Self::Local if need == Some(Need::Nothing) => Who::Watcher,
            Self::Local => Who::Local,
            Self::Stranger if peer.is_local() => Who::Forwarded,
            Self::Stranger => Who::from_address(peer.0.ip()),
        }
    }

    /// For the audit.
    pub(super) fn caller(&self, peer: Peer, call: String) -> Caller {
        let (actor, user) = match self {
            Self::Bearer(token) => (format!("token:{}", token.id), token.name.clone()),
            Self::Local | Self::Stranger => (format!("ip:{}", network(peer.0.ip())), String::new()),
        };
        let (origin, is_admin) = (peer.0.to_string(), self.roles().include(Role::Admin));
        Caller { actor, user, pid: None, origin, call, is_admin }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    /// `headers` is `name: value`, each on a line.
    fn of(peer: &str, headers: &str) -> Result<Identity, Unknown> {
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
        };
        let headers: HeaderMap = headers.lines().map(header).collect();
        Identity::of(&headers, Peer(peer.parse().unwrap()), None)
    }

    #[test]
    fn without_a_token_the_address_decides() {
        for local in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(of(local, ""), Ok(Identity::Local), "{local}");
            for passed_on in ["X-Forwarded-For: 192.0.2.7", "forwarded: for=_x", "via: 1.1 x"] {
                assert_eq!(of(local, passed_on), Ok(Identity::Stranger), "{passed_on}");
            }
        }
        for elsewhere in ["192.0.2.7:1", "[2001:db8::1]:1", "[::ffff:192.0.2.7]:1"] {
            assert_eq!(of(elsewhere, ""), Ok(Identity::Stranger), "{elsewhere}");
        }
        assert_eq!(Identity::Stranger.roles(), Roles::NONE);
    }

    #[test]
    fn what_is_shown_must_count_wherever_it_comes_from() {
        let secret = Token::text("0a1b2c3d", &"0".repeat(64));
        let bearer = format!("Authorization: bEARER  {secret} ");
        for peer in ["127.0.0.1:1", "192.0.2.7:1"] {
            assert_eq!(of(peer, &bearer), Err(InvalidToken::Unknown.into()));
            for other in ["Basic YTpi", "Bearer", &secret] {
                let shown = format!("authorization: {other}");
                assert_eq!(of(peer, &shown), Err(Unknown::Scheme), "{other}");
            }
        }
    }
}
