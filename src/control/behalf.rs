//! For whom a peer calls: the shim over HTTP passes on what its caller shows. That takes rights away, and
//! never gives any.

use std::sync::Arc;

use http::{HeaderMap, header};

use crate::{
    access::{InvalidToken, Role, Roles, Token, bearer},
    monitor::Monitor,
    wire::ON_BEHALF,
};

/// For whom a peer calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Behalf {
    /// For itself.
    Own,
    /// For somebody without a token.
    Anybody,
    /// For the bearer of a token.
    Bearer(Arc<Token>),
}

impl Behalf {
    /// What a call says of it. Without a monitor, in tests, no token counts.
    pub(super) fn of(headers: &HeaderMap, monitor: Option<&Monitor>) -> Result<Self, InvalidToken> {
        match headers.get(header::AUTHORIZATION) {
            Some(shown) => {
                let text = shown.to_str().ok().and_then(bearer).ok_or(InvalidToken::Malformed)?;
                let monitor = monitor.ok_or(InvalidToken::Unknown)?;
                Ok(Self::Bearer(monitor.token(text)?))
            }
            None if headers.contains_key(ON_BEHALF) => Ok(Self::Anybody),
            None => Ok(Self::Own),
        }
    }

    /// The most that the call may; `None`: what the peer may.
    pub(super) fn roles(&self) -> Option<Roles> {
        match self {
            Self::Own => None,
            Self::Anybody => Some(Role::Viewer.into()),
            Self::Bearer(token) => Some(token.roles),
        }
    }

    /// The token, where there is one.
    pub(super) fn token(&self) -> Option<&Arc<Token>> {
        match self {
            Self::Own | Self::Anybody => None,
            Self::Bearer(token) => Some(token),
        }
    }
}
