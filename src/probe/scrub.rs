//! Keeps secrets and control characters out of what foreign programs say.

use std::collections::BTreeMap;

use crate::model::{Check, Secret};

use super::endpoint::hidden_words;

/// Secrets shorter than this are words that a text may hold by chance.
const SECRET_LEN_MIN: usize = 6;

/// Knows the secrets of one check.
#[derive(Clone, Debug)]
pub(super) struct Scrubber {
    /// The longest first, since one may be part of another.
    secrets: Vec<Secret>,
}

impl Scrubber {
    /// Knows the variables and headers of `check`, and what its address or command line hides.
    pub(super) fn of(check: &Check) -> Self {
        let named = match check {
            Check::McpStdio { env, .. } => env,
            Check::McpHttp { headers, .. } | Check::Http { headers, .. } => headers,
            Check::Tcp { .. } | Check::Balefire | Check::Reported { .. } => &BTreeMap::new(),
        };
        let values = named.values().map(|secret| secret.reveal().to_owned());
        let all = values.chain(hidden_words(check)).flat_map(|value| {
            // `Bearer abc`: the token counts by itself, too.
            let token = value.rsplit_once(' ').map(|(_, token)| token.to_owned());
            [Some(value), token].into_iter().flatten()
        });
        let mut secrets: Vec<String> =
            all.filter(|secret| secret.len() >= SECRET_LEN_MIN).collect();
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets: secrets.into_iter().map(Secret::new).collect() }
    }

    /// The length of the longest secret, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.secrets.first().map_or(0, |secret| secret.reveal().len())
    }

    /// `text` without secrets, and without control characters but line breaks and tabs: it may end on
    /// a terminal.
    pub(super) fn clean(&self, text: &str) -> String {
        let harmless = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        // Twice: a secret may hold such a character, and such a character may stand in a secret.
        let plain: String = self.without_secrets(text).chars().filter(harmless).collect();
        self.without_secrets(&plain)
    }

    fn without_secrets(&self, text: &str) -> String {
        let values = self.secrets.iter().map(Secret::reveal);
        values.fold(text.to_owned(), |text, value| text.replace(value, "<redacted>"))
    }

    /// The first place from `from` on that lies within no secret.
    pub(super) fn clear_of_secrets(&self, bytes: &[u8], from: usize) -> usize {
        let straddles = |place: usize| {
            self.secrets.iter().map(|secret| secret.reveal().as_bytes()).find_map(|secret| {
                let first = (place + 1).saturating_sub(secret.len());
                (first..place)
                    .find(|&start| bytes[start..].starts_with(secret))
                    .map(|start| start + secret.len())
            })
        };
        std::iter::successors(Some(from), |&place| straddles(place)).last().unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber() -> Scrubber {
        let env = [("KEY", "sk-12345"), ("REGION", "eu"), ("AUTH", "Bearer opensesame")];
        let env = env.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
        let command = ["x", "--token=from-the-command"].map(str::to_owned).into();
        Scrubber::of(&Check::McpStdio { command, env, cwd: None })
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(scrubber().clean(text), expected);
    }

    #[test]
    fn secrets_of_every_origin_are_left_out() {
        check("bad key sk-12345 in eu", "bad key <redacted> in eu");
        check("no from-the-command here", "no <redacted> here");
        check("token opensesame of Bearer opensesame", "token <redacted> of <redacted>");
    }

    #[test]
    fn control_characters_are_left_out() {
        check("\x1b[31mred\x07\n\tnext\r\n", "[31mred\n\tnext\n");
        check("sk-1\x002345", "<redacted>");
    }

    #[test]
    fn a_cut_moves_behind_the_secret_that_it_would_split() {
        let text = b"ab sk-12345 cd";
        let places = [0, 3, 4, 10, 11].map(|from| scrubber().clear_of_secrets(text, from));
        assert_eq!(places, [0, 3, 11, 11, 11]);
    }
}
