//! Bearer tokens: made, listed, revoked, and looked at when somebody comes with one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::FutureExt;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Mutex;

use crate::{
    access::{InvalidToken, Roles, TOKEN_ID_DIGITS, TOKEN_SECRET_DIGITS, Token},
    error_code::ErrorCode,
    limits,
    model::{Batch, Page, PageRequest, Secret, hex},
    store::Change,
    time::Timestamp,
};

use super::{Caller, Failure, Monitor};

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The longest that a token may count that does not count for good: 100 years.
const LIFETIME_MAX: Duration = Duration::from_hours(24 * 36_500);
/// How often it is written down that a token is in use.
const USE_WRITTEN_EVERY: Duration = Duration::from_mins(10);

/// A token that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What to call it.
    pub name: String,
    /// What its bearer may.
    pub roles: Roles,
    /// For how long it counts; `None`: for good.
    pub lifetime: Option<Duration>,
}

/// A token that was made.
#[derive(Clone, Debug)]
pub struct CreatedToken {
    /// What is kept of it.
    pub token: Token,
    /// What its bearer shows; nobody can tell it again.
    pub text: Secret,
}

/// What is known of tokens beside what is stored.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Held while one is made or revoked.
    writing: Mutex<()>,
    /// When tokens were last used, and when that was last written down.
    uses: parking_lot::Mutex<HashMap<String, Use>>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    last: Timestamp,
    written: Timestamp,
}

impl Tokens {
    /// Notes that a token is used now; tells whether that is to be written down.
    fn used(&self, id: &str, now: Timestamp) -> bool {
        let mut uses = self.uses.lock();
        let Some(known) = uses.get_mut(id) else {
            uses.insert(id.to_owned(), Use { last: now, written: now });
            return true;
        };
        known.last = now;
        // A clock that was set back must not keep it from being written for longer.
        let due = now < known.written || now.since(known.written) >= USE_WRITTEN_EVERY;
        if due {
            known.written = now;
        }
        due
    }

    fn last_use(&self, id: &str) -> Option<Timestamp> {
        self.uses.lock().get(id).map(|known| known.last)
    }

    fn forget(&self, id: &str) {
        self.uses.lock().remove(id);
    }
}

impl Monitor {
    /// Makes a token. Its text is in the answer, and nowhere else.
    pub async fn create_token(
        &self,
        caller: &Caller,
        new: NewToken,
    ) -> Result<CreatedToken, Failure> {
        check_new(&new)?;
        let _writing = self.tokens.writing.lock().await;
        let (known, now) = (self.parts.store.tokens(), self.now());
        check_room(&known, &new.name, now)?;
        let id = loop {
            let id = random_digits(TOKEN_ID_DIGITS)?;
            if self.parts.store.token(&id).is_none() {
                break id;
            }
        };
        let secret = random_digits(TOKEN_SECRET_DIGITS)?;
        let token = Token {
            name: new.name,
            roles: new.roles,
            secret_hash: Token::hash(&secret),
            created_at: now,
            created_by: if caller.user.is_empty() { &caller.actor } else { &caller.user }.clone(),
            expires_at: new.lifetime.map(|lifetime| now.plus(lifetime)),
            last_used_at: None,
            id,
        };
        let after = describe(&token);
        let audit = self.audit_entry(caller, "token.create", &token.name, (String::new(), after));
        self.parts.store.commit(vec![Change::PutToken(token.clone()), audit]).await?;
        let text = Secret::new(Token::text(&token.id, &secret));
        Ok(CreatedToken { token, text })
    }

    /// The tokens, sorted by id, expired ones among them.
    pub fn tokens(&self, page: &PageRequest) -> Result<Page<Token>, Failure> {
        let with_use = |token: Arc<Token>| {
            let mut token = Arc::unwrap_or_clone(token);
            token.last_used_at = token.last_used_at.max(self.tokens.last_use(&token.id));
            token
        };
        let tokens = self.parts.store.tokens().into_iter().map(with_use);
        Ok(page.cut(tokens, |token| token.id.clone())?)
    }

    /// Takes a token, by its id or its name, out for good.
    pub async fn revoke_token(&self, caller: &Caller, wanted: &str) -> Result<Token, Failure> {
        let _writing = self.tokens.writing.lock().await;
        let token = self.wanted_token(wanted)?;
        let before = describe(&token);
        let audit = self.audit_entry(caller, "token.revoke", &token.name, (before, String::new()));
        self.parts.store.commit(vec![Change::DeleteToken(token.id.clone()), audit]).await?;
        self.tokens.forget(&token.id);
        Ok(token)
    }

    /// The token with this id; else the one that counts with this name; else the last that had it.
    fn wanted_token(&self, wanted: &str) -> Result<Token, Failure> {
        let mut tokens = self.parts.store.tokens();
        let now = self.now();
        tokens.retain(|token| token.id == wanted || token.name == wanted);
        let rank = |token: &Arc<Token>| {
            (token.id == wanted, !token.is_expired(now), token.created_at, token.id.clone())
        };
        tokens.into_iter().max_by_key(rank).map(Arc::unwrap_or_clone).ok_or_else(|| {
            let message = format!(
                "there is no token {wanted:?}: `balefire token list` shows those there are"
            );
            Failure { code: ErrorCode::NotFound, ..Failure::field("token", message) }
        })
    }

    /// The token that has this text, where it counts now; notes that it was used.
    pub fn token(&self, text: &str) -> Result<Arc<Token>, InvalidToken> {
        let (id, secret) = Token::parts(text).ok_or(InvalidToken::Malformed)?;
        let (token, now) = (self.parts.store.token(id).ok_or(InvalidToken::Unknown)?, self.now());
        token.check(secret, now)?;
        if self.tokens.used(id, now) {
            let used = Change::UseToken { id: id.to_owned(), at: now };
            // Where the store cannot write, it tells of it; the token counts all the same.
            let within = limits::COMMIT_DEFERRED_MAX;
            // … and where its queue is full, the next use is written.
            let _untold =
                self.parts.store.defer(Batch::default(), vec![used], within).now_or_never();
        }
        Ok(token)
    }
}

fn check_new(new: &NewToken) -> Result<(), Failure> {
    check_name(&new.name)?;
    if new.roles.is_empty() {
        return Err(Failure::field("scopes", "none: give viewer, operator, admin or ingest"));
    }
    match new.lifetime {
        Some(Duration::ZERO) => {
            Err(Failure::field("lifetime", "zero: give a length such as 90d, or leave it out"))
        }
        Some(lifetime) if lifetime > LIFETIME_MAX => {
            Err(Failure::field("lifetime", "over 100 years: leave it out for one that stays"))
        }
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let begins = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !begins || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        let description = format!(
            "{name:?} cannot be a name: use letters, digits, '-', '_' and '.', a letter or digit \
             first, {NAME_BYTES_MAX} at most"
        );
        return Err(Failure::field("name", description));
    }
    if name.len() == TOKEN_ID_DIGITS && name.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(Failure::field("name", format!("{name:?} looks like an id: choose another")));
    }
    Ok(())
}

/// Whether there is room for one more, and its name is free.
fn check_room(known: &[Arc<Token>], name: &str, now: Timestamp) -> Result<(), Failure> {
    if known.iter().any(|token| token.name == name && !token.is_expired(now)) {
        let message =
            format!("there is a token {name:?} already: revoke it, or choose another name");
        return Err(Failure { code: ErrorCode::AlreadyExists, ..Failure::field("name", message) });
    }
    if known.len() >= limits::TOKENS_MAX {
        let message = format!(
            "there are {} tokens already: revoke some first, expired ones say",
            limits::TOKENS_MAX
        );
        return Err(Failure::new(ErrorCode::ResourceExhausted, message));
    }
    Ok(())
}

/// A token for people and for the audit; never with anything of its secret.
fn describe(token: &Token) -> String {
    let Token { id, roles, expires_at, .. } = token;
    let until = expires_at.map_or_else(String::new, |at| format!(", until {at}"));
    format!("{id}: {roles}{until}")
}

/// So many random hexadecimal digits.
fn random_digits(digits: usize) -> Result<String, Failure> {
    let mut bytes = vec![0; digits / 2];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new(ErrorCode::Internal, "the system gives no random bytes"))?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[track_caller]
    fn check(name: &str, roles: Roles, lifetime: Option<Duration>, field: Option<&str>) {
        let checked = check_new(&NewToken { name: name.to_owned(), roles, lifetime });
        let found = checked.err().map(|failure| failure.violations[0].field.clone());
        assert_eq!(found.as_deref(), field, "{name} {lifetime:?}");
    }

    #[test]
    fn what_is_wrong_with_a_new_token_is_named() {
        let viewer = Roles::from(Role::Viewer);
        check("grafana", viewer, None, None);
        check("9.graf-ana_2", viewer, Some(Duration::from_secs(1)), None);
        for name in ["", "-x", "two words", "0a1b2c3d", &"x".repeat(65)] {
            check(name, viewer, None, Some("name"));
        }
        check("x", Roles::NONE, None, Some("scopes"));
        check("x", viewer, Some(Duration::ZERO), Some("lifetime"));
        check("x", viewer, Some(LIFETIME_MAX * 2), Some("lifetime"));
    }

    #[test]
    fn a_use_is_written_now_and_then() {
        let tokens = Tokens::default();
        let later = NOW.plus(USE_WRITTEN_EVERY / 2);
        assert!(tokens.used("a", NOW) && !tokens.used("a", later) && tokens.used("b", later));
        assert_eq!(tokens.last_use("a"), Some(later));
        assert!(tokens.used("a", NOW.plus(USE_WRITTEN_EVERY)));
        assert!(tokens.used("a", NOW), "the clock was set back");
        tokens.forget("a");
        assert_eq!(tokens.last_use("a"), None);
    }

    #[test]
    fn names_are_unique_among_those_that_count() {
        let token = |name: &str, expires_at| {
            Arc::new(Token {
                id: "0a1b2c3d".into(),
                name: name.into(),
                roles: Role::Viewer.into(),
                secret_hash: Token::hash("secret"),
                created_at: NOW,
                created_by: "ada".into(),
                expires_at,
                last_used_at: None,
            })
        };
        let known = [token("stays", None), token("went", Some(NOW))];
        let code = |known: &[Arc<Token>], name| check_room(known, name, NOW).err().map(|f| f.code);
        assert_eq!(code(&known, "stays"), Some(ErrorCode::AlreadyExists));
        assert_eq!(code(&known, "went"), None);
        let full = vec![token("x", Some(NOW)); limits::TOKENS_MAX];
        assert_eq!(code(&full, "new"), Some(ErrorCode::ResourceExhausted));
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let digits = random_digits(TOKEN_SECRET_DIGITS).unwrap();
        assert_eq!(digits.len(), TOKEN_SECRET_DIGITS);
        assert_ne!(digits, random_digits(TOKEN_SECRET_DIGITS).unwrap());
    }
}
