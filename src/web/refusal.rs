//! Why a request is refused before anybody reads it, and what its client is told.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::access::{Excess, Role, Roles};

use super::{failure::ApiError, identity::Unknown};

/// Why a request is refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    NoHost,
    Host(String),
    Origin(String),
    /// What it shows makes nobody known.
    Unknown(Unknown),
    /// It shows nothing, and comes from elsewhere.
    NoToken,
    /// Who asks has other roles.
    Role {
        needed: Role,
        had: Roles,
    },
    /// Who asks has asked for enough.
    Limit(Excess),
}

impl Refusal {
    /// Its name in metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoHost => "no_host",
            Self::Host(_) => "host",
            Self::Origin(_) => "origin",
            Self::Unknown(_) | Self::NoToken => "token",
            Self::Role { .. } => "role",
            Self::Limit(excess) => excess.bound.name(),
        }
    }

    /// Why, and what would mend it.
    pub(super) fn message(&self) -> String {
        match self {
            Self::NoHost => "the request has no Host header".to_owned(),
            Self::Host(host) => format!(
                "Host {:?} is not one of ours: use localhost, a loopback address, the address \
                 Balefire listens on or a name in its certificate, or list it in `[http] external_hosts`",
                short(host)
            ),
            Self::Origin(origin) => format!("pages of {:?} may not ask Balefire", short(origin)),
            Self::Unknown(unknown) => unknown.to_string(),
            Self::NoToken => {
                "who comes from elsewhere needs a token: an administrator makes one with \
                              `balefire token create NAME --scope viewer`"
                    .to_owned()
            }
            Self::Role { needed, had } => format!(
                "this needs the scope {needed}, and who asks has {had}: an administrator makes a token \
                 with `balefire token create NAME --scope {needed}`"
            ),
            Self::Limit(excess) => excess.to_string(),
        }
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoHost => (StatusCode::BAD_REQUEST, "bad_data"),
            Self::Host(_) | Self::Origin(_) | Self::Role { .. } => {
                (StatusCode::FORBIDDEN, "forbidden")
            }
            Self::Unknown(_) | Self::NoToken => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Limit(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        }
    }

    /// What a client reads that does not read messages (RFC 6750, 3; RFC 9110, 10.2.3).
    fn header(&self) -> Option<(HeaderName, String)> {
        let challenge = |text: String| Some((header::WWW_AUTHENTICATE, text));
        match self {
            Self::NoToken | Self::Unknown(Unknown::Scheme) => challenge("Bearer".to_owned()),
            Self::Unknown(Unknown::Token(_)) => {
                challenge("Bearer error=\"invalid_token\"".to_owned())
            }
            Self::Role { needed, .. } => {
                challenge(format!("Bearer error=\"insufficient_scope\", scope=\"{needed}\""))
            }
            Self::Limit(excess) => {
                Some((header::RETRY_AFTER, excess.retry_after_secs().to_string()))
            }
            Self::NoHost | Self::Host(_) | Self::Origin(_) => None,
        }
    }
}

/// As much of a stranger's text as messages and logs have room for.
fn short(text: &str) -> &str {
    const BYTES: usize = 100;
    &text[..text.floor_char_boundary(BYTES)]
}

impl IntoResponse for &Refusal {
    fn into_response(self) -> Response {
        let ((status, kind), message) = (self.status(), self.message());
        let mut response = ApiError { status, kind, message }.into_response();
        if let Some((name, value)) = self.header()
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
