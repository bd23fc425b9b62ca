//! Bearer tokens to and from the wire.

use crate::{
    access::{Role, Roles, Token},
    monitor::{CreatedToken, NewToken},
    time::Timestamp,
    wire::{InvalidField, from_wire, to_wire, v1},
};

/// A token that somebody wants.
pub(super) fn new_token(wire: v1::CreateTokenRequest) -> Result<NewToken, InvalidField> {
    let roles: Roles = wire.scopes().map(role).collect::<Option<_>>().ok_or_else(|| {
        let description = "use viewer (1), operator (2), admin (3) or ingest (4)";
        InvalidField::new("scopes", description)
    })?;
    let lifetime = from_wire::optional_duration("lifetime", wire.lifetime)?;
    Ok(NewToken { name: wire.name, roles, lifetime })
}

fn role(wire: v1::TokenScope) -> Option<Role> {
    match wire {
        v1::TokenScope::Unspecified => None,
        v1::TokenScope::Viewer => Some(Role::Viewer),
        v1::TokenScope::Operator => Some(Role::Operator),
        v1::TokenScope::Admin => Some(Role::Admin),
        v1::TokenScope::Ingest => Some(Role::Ingest),
    }
}

fn scope(role: Role) -> v1::TokenScope {
    match role {
        Role::Viewer => v1::TokenScope::Viewer,
        Role::Operator => v1::TokenScope::Operator,
        Role::Admin => v1::TokenScope::Admin,
        Role::Ingest => v1::TokenScope::Ingest,
    }
}

/// A token as it is `now`, without its secret.
pub(super) fn token(token: &Token, now: Timestamp) -> v1::Token {
    v1::Token {
        id: token.id.clone(),
        name: token.name.clone(),
        scopes: token.roles.iter().map(|role| scope(role).into()).collect(),
        created_at: Some(to_wire::time(token.created_at)),
        created_by: token.created_by.clone(),
        expires_at: token.expires_at.map(to_wire::time),
        expired: token.is_expired(now),
        last_used_at: token.last_used_at.map(to_wire::time),
    }
}

/// A token that was made, with its text.
pub(super) fn created(created: &CreatedToken, now: Timestamp) -> v1::CreateTokenResponse {
    let CreatedToken { token: kept, text } = created;
    v1::CreateTokenResponse { token: Some(token(kept, now)), text: text.reveal().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_come_back_as_they_went() {
        for role_sent in Role::ALL {
            assert_eq!(role(scope(role_sent)), Some(role_sent));
        }
        let unknown = v1::CreateTokenRequest { scopes: vec![1, 0], ..Default::default() };
        assert_eq!(new_token(unknown).unwrap_err().field, "scopes");
    }
}
