//! `balefire token`.

use std::time::Duration;

use comfy_table::Cell;
use serde::Serialize;

use crate::{
    client::{pages, take},
    time::Timestamp,
    wire::{from_wire::word, to_wire, v1},
};

use super::{
    args::{Scope, TokenCommand},
    error::{CliError, Verdict},
    human::instant,
    output,
    session::{Session, note_more},
    table::Style,
    views::time,
};

pub(super) async fn run(session: &Session, command: TokenCommand) -> Result<Verdict, CliError> {
    match command {
        TokenCommand::Create { name, scopes, expires } => {
            create(session, name, &scopes, expires).await
        }
        TokenCommand::List { limit } => list(session, limit).await,
        TokenCommand::Revoke { token } => revoke(session, token).await,
    }
}

async fn create(
    session: &Session,
    name: String,
    scopes: &[Scope],
    expires: Option<Duration>,
) -> Result<Verdict, CliError> {
    let request = v1::CreateTokenRequest {
        name,
        scopes: scopes.iter().map(|scope| wire_scope(*scope).into()).collect(),
        lifetime: expires.map(to_wire::duration),
    };
    let answer = take(session.connection.system().create_token(request).await)?;
    let created =
        Created { token: Token::from(answer.token.unwrap_or_default()), text: answer.text };
    if !session.is_json() {
        // Beside the token, so that a script takes that alone.
        output::note("keep it: it is shown this once. Send it as `Authorization: Bearer …`");
    }
    session.show(&created, |created, _| created.text.clone())?;
    Ok(Verdict::Fine)
}

fn wire_scope(scope: Scope) -> v1::TokenScope {
    match scope {
        Scope::Viewer => v1::TokenScope::Viewer,
        Scope::Operator => v1::TokenScope::Operator,
        Scope::Admin => v1::TokenScope::Admin,
        Scope::Ingest => v1::TokenScope::Ingest,
    }
}

async fn list(session: &Session, limit: usize) -> Result<Verdict, CliError> {
    let fetch = |page_size, page_token| async move {
        let request = v1::ListTokensRequest { page_size, page_token };
        let page = take(session.connection.system().list_tokens(request).await)?;
        Ok((page.tokens, page.next_page_token))
    };
    let (tokens, more) = pages(limit, fetch).await?;
    let tokens: Vec<Token> = tokens.into_iter().map(Token::from).collect();
    session.show(&tokens, |tokens, style| render(tokens, style))?;
    note_more(more, limit);
    Ok(Verdict::Fine)
}

async fn revoke(session: &Session, token: String) -> Result<Verdict, CliError> {
    let request = v1::RevokeTokenRequest { token };
    let answer = take(session.connection.system().revoke_token(request).await)?;
    let revoked = Token::from(answer.token.unwrap_or_default());
    session.show(&revoked, |token, _| format!("revoked {} ({})", token.name, token.id))?;
    Ok(Verdict::Fine)
}

#[derive(Debug, Serialize)]
struct Created {
    #[serde(flatten)]
    token: Token,
    #[serde(rename = "token")]
    text: String,
}

#[derive(Debug, Serialize)]
struct Token {
    id: String,
    name: String,
    scopes: Vec<String>,
    created: Option<String>,
    created_by: String,
    expires: Option<String>,
    expired: bool,
    last_used: Option<String>,
    /// For the ages in tables.
    #[serde(skip)]
    at: Times,
}

#[derive(Debug)]
struct Times {
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
    used: Option<Timestamp>,
}

impl From<v1::Token> for Token {
    fn from(wire: v1::Token) -> Self {
        let name = |scope: v1::TokenScope| word(scope.as_str_name(), "TOKEN_SCOPE_");
        Self {
            scopes: wire.scopes().map(name).collect(),
            created: time(wire.created_at),
            expires: time(wire.expires_at),
            last_used: time(wire.last_used_at),
            at: Times {
                created: instant(wire.created_at),
                expires: instant(wire.expires_at),
                used: instant(wire.last_used_at),
            },
            id: wire.id,
            name: wire.name,
            created_by: wire.created_by,
            expired: wire.expired,
        }
    }
}

fn render(tokens: &[Token], style: &Style) -> String {
    let headings = ["ID", "NAME", "SCOPES", "CREATED", "BY", "EXPIRES", "LAST USED"];
    let mut table = style.table(headings);
    for token in tokens {
        let expires = match (token.expired, token.at.expires) {
            (true, _) => Cell::new("expired"),
            (false, None) => Cell::new("never"),
            (false, at) => style.age(at),
        };
        table.add_row(vec![
            Cell::new(&token.id),
            Cell::new(&token.name),
            Cell::new(token.scopes.join(", ")),
            style.age(token.at.created),
            Cell::new(&token.created_by),
            expires,
            style.age(token.at.used),
        ]);
    }
    style.finish(&table, "no tokens: `balefire token create` makes one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::PLAIN;

    #[test]
    fn the_list_says_who_may_what_until_when() {
        let token = |expired, expires_at| v1::Token {
            id: "0a1b2c3d".into(),
            name: "grafana".into(),
            scopes: vec![v1::TokenScope::Viewer.into(), v1::TokenScope::Ingest.into()],
            created_at: Some(to_wire::time(PLAIN.now.minus(Duration::from_hours(48)))),
            created_by: "ada".into(),
            expires_at,
            expired,
            last_used_at: None,
        };
        let at = Some(to_wire::time(PLAIN.now));
        let tokens = [token(false, None), token(true, at)].map(Token::from);
        let text = render(&tokens, &PLAIN);
        let row = "0a1b2c3d  grafana  viewer, ingest  2d ago   ada  never    -";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("ada  expired  -"), "{text}");
    }
}
