//! Bearer tokens: what is kept of one, what its text looks like, and whether a text is it.

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use crate::time::Timestamp;

use super::role::Roles;

/// SHA-256 of a token's secret.
pub type SecretHash = [u8; 32];

/// What a token's text begins with, for people and for scanners of leaked secrets.
const PREFIX: &str = "bf_";
/// Digits of an id: hexadecimal, of four random bytes.
pub const TOKEN_ID_DIGITS: usize = 8;
/// Digits of a secret: hexadecimal, of 32 random bytes.
pub const TOKEN_SECRET_DIGITS: usize = 64;

/// What is kept of a token: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its public part.
    pub id: String,
    /// What it was named.
    pub name: String,
    /// What its bearer may.
    pub roles: Roles,
    /// Of its secret.
    pub secret_hash: SecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, about; `None`: never.
    pub last_used_at: Option<Timestamp>,
}

/// Why a text is no token that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It does not look like one.
    #[error(
        "this is no token of Balefire: those look like bf_<{TOKEN_ID_DIGITS} digits>_<{TOKEN_SECRET_DIGITS} digits>"
    )]
    Malformed,
    /// There is none like it.
    #[error("this token is not known: it was revoked, mistyped, or is another daemon's")]
    Unknown,
    /// Its time is over.
    #[error("the token {name:?} expired at {at}: `balefire token create` makes another")]
    Expired {
        /// Its name.
        name: String,
        /// When.
        at: Timestamp,
    },
}

impl Token {
    /// The text of a token: id and secret, both of hexadecimal digits.
    pub fn text(id: &str, secret: &str) -> String {
        format!("{PREFIX}{id}_{secret}")
    }

    /// The id and the secret in a text; `None` where it is no token's.
    pub fn parts(text: &str) -> Option<(&str, &str)> {
        let digits =
            |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_hexdigit());
        text.strip_prefix(PREFIX)?.split_once('_').filter(|(id, secret)| {
            digits(id, TOKEN_ID_DIGITS) && digits(secret, TOKEN_SECRET_DIGITS)
        })
    }

    /// What is kept of a secret. It is random and long, so that no salt and no slow hash is called for.
    pub fn hash(secret: &str) -> SecretHash {
        let mut hash = SecretHash::default();
        hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        hash
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether `secret` is this token's, and counts now. Takes as long for a wrong one as for the right.
    pub fn check(&self, secret: &str, now: Timestamp) -> Result<(), InvalidToken> {
        if !bool::from(self.secret_hash.ct_eq(&Self::hash(secret))) {
            return Err(InvalidToken::Unknown);
        }
        match self.expires_at {
            Some(at) if self.is_expired(now) => {
                Err(InvalidToken::Expired { name: self.name.clone(), at })
            }
            _ => Ok(()),
        }
    }
}

/// What follows the scheme in an `Authorization` whose scheme is `Bearer`; the scheme's case does not count
/// (RFC 9110, 11.1).
pub fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn token(expires_at: Option<Timestamp>) -> Token {
        Token {
            id: "0a1b2c3d".into(),
            name: "grafana".into(),
            roles: Role::Viewer.into(),
            secret_hash: Token::hash("secret"),
            created_at: NOW,
            created_by: "ada".into(),
            expires_at,
            last_used_at: None,
        }
    }

    #[test]
    fn a_text_has_an_id_and_a_secret() {
        let (id, secret) = ("0a1b2c3d", "7f".repeat(32));
        let text = Token::text(id, &secret);
        assert_eq!(Token::parts(&text), Some((id, secret.as_str())));
        let short = text[..text.len() - 1].to_owned();
        for other in ["", "bf_", &short, &format!("{text}0"), &text[3..], &text.replace('7', "g")] {
            assert_eq!(Token::parts(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_counts_until_it_expires() {
        assert_eq!(token(None).check("secret", NOW), Ok(()));
        assert_eq!(token(None).check("secret ", NOW), Err(InvalidToken::Unknown));
        let short = token(Some(NOW));
        assert_eq!(short.check("secret", NOW.minus(std::time::Duration::from_millis(1))), Ok(()));
        let expired = short.check("secret", NOW).unwrap_err().to_string();
        assert!(expired.contains("\"grafana\" expired at 2023-11-14"), "{expired}");
        // Whoever does not have the secret learns nothing.
        assert_eq!(short.check("other", NOW), Err(InvalidToken::Unknown));
    }
}
