//! Regular expressions as Prometheus means them: Go's RE2 syntax, anchored at both ends
//! (<https://github.com/google/re2/wiki/Syntax>). What the crate `regex` reads otherwise is escaped.

use regex::{Regex, RegexBuilder};
use regex_automata::meta;

/// The memory a compiled expression may take: a pattern that needs more is an attack or a mistake.
const BYTES_MAX: usize = 1 << 20;

/// A compiled expression that tells which texts it matches, whole.
#[derive(Debug)]
pub(super) struct Pattern(meta::Regex);

impl Pattern {
    /// Compiles an expression; the error says what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        // A table of all states would cost more than most queries gain by it.
        let config = meta::Config::new().dfa(false).nfa_size_limit(Some(BYTES_MAX));
        let built = meta::Builder::new().configure(config).build(&anchored(pattern)?);
        let too_large = || format!("it takes more than {BYTES_MAX} bytes when it is compiled");
        built.map(Self).map_err(|error| match error.size_limit() {
            Some(_) => too_large(),
            None => error.to_string(),
        })
    }

    /// Whether it matches the whole text.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// The same with what its groups match, for replacing.
pub fn whole_match(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(&anchored(pattern)?).size_limit(BYTES_MAX).build();
    built.map_err(|error| error.to_string())
}

/// Reads an expression without compiling it; the error says what is wrong with it.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    anchored(pattern).map(drop)
}

/// Between anchors, once it was read by itself: a bracket must not close what is put around it.
fn anchored(pattern: &str) -> Result<String, String> {
    let pattern = go_syntax(pattern);
    regex_syntax::parse(&pattern).map_err(|error| error.to_string())?;
    Ok(format!("^(?s:{pattern})$"))
}

/// The same expression for the crate `regex`: within brackets, `[`, `&&`, `--` and `~~` are characters in
/// Go and operators here; outside of them, a brace that begins no repetition is a character in Go.
fn go_syntax(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut class = Class::Outside;
    while let Some(c) = rest.chars().next() {
        let len = token_len(rest, class, c);
        let escape = match class {
            Class::Outside => c == '{' && len == 1,
            Class::Begins | Class::Inside => len == 1 && is_operator(rest, c),
        };
        if escape {
            out.push('\\');
        }
        out.push_str(&rest[..len]);
        class = class.after(&rest[..len], c);
        rest = &rest[len..];
    }
    out
}

/// Where in an expression a character stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Outside,
    /// Just behind the opening bracket, where a closing one is a character.
    Begins,
    Inside,
}

impl Class {
    fn after(self, token: &str, c: char) -> Self {
        match (self, c) {
            (Self::Outside, '[') | (Self::Begins, '^') => Self::Begins,
            (Self::Outside, _) => Self::Outside,
            (Self::Inside, ']') if token.len() == 1 => Self::Outside,
            _ => Self::Inside,
        }
    }
}

/// How much of the text is one piece: an escaped character, `\p{…}`, `[:alpha:]`, `{2,3}`.
fn token_len(text: &str, class: Class, c: char) -> usize {
    match c {
        '\\' => {
            let escaped = text[1..].chars().next().map_or(1, |next| 1 + next.len_utf8());
            let braced = text[escaped..].starts_with('{') && text[1..].starts_with(['p', 'P', 'x']);
            if braced { text.find('}').map_or(escaped, |end| end + 1) } else { escaped }
        }
        '[' if class != Class::Outside && text[1..].starts_with(':') => {
            text.find(":]").map_or(1, |end| end + 2)
        }
        '{' if class == Class::Outside => repetition_len(text).unwrap_or(1),
        _ => c.len_utf8(),
    }
}

/// The length of `{2}`, `{2,}` or `{2,3}`.
fn repetition_len(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let (least, most) = text[1..end].split_once(',').unwrap_or((&text[1..end], ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    (!least.is_empty() && digits(least) && digits(most)).then_some(end + 1)
}

fn is_operator(text: &str, c: char) -> bool {
    let twice = matches!(c, '&' | '~' | '-') && text[1..].starts_with(c);
    // Before the end of the brackets, the second of two dashes ends a range.
    c == '[' || (twice && !text.starts_with("--]")) || text.starts_with("-]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let regex = whole_match(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(regex.is_match(text), expected, "{pattern} on {text}");
    }

    #[test]
    fn classes_hold_characters() {
        check(r"[[\w:./-]+", "a[b:c", true);
        check("[a&&b]+", "a&b", true);
        check("[a~~b]", "~", true);
        check("[^[]+", "a[", false);
        check("[]a]+", "]a", true);
        check("[[:alpha:]]+", "abc", true);
        check("[[:alpha:]]+", "a:", false);
        check(r"[\]&&a]+", "]&a", true);
        check("[+--]", ",", true);
    }

    #[test]
    fn braces_that_repeat_nothing_are_characters() {
        check("x{2,3}", "xx", true);
        check("x{y}", "x{y}", true);
        check("a{,2}", "a{,2}", true);
        check(r"\p{Greek}+", "αβ", true);
        check(r"\x{41}", "A", true);
        check(r"\{a\}", "{a}", true);
    }

    #[test]
    fn all_of_a_text_must_match_and_new_lines_are_characters() {
        check("a|b", "ab", false);
        check("a.b", "a\nb", true);
        assert!(whole_match("(a{1000}){1000}").is_err());
        assert!(whole_match("(").is_err());
        assert!(whole_match("a)|(b").is_err());
    }
}
