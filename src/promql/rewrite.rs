//! The few things that Prometheus reads and the crate `promql-parser` (0.11) does not, put in words that
//! it takes: digits apart by underscores (`1_000`) and offsets of zero (`offset 0s`). Positions stay.

use std::borrow::Cow;

const OFFSET: &str = "offset";

/// The text as the parser can read it; of the same length.
pub(super) fn readable(text: &str) -> Cow<'_, str> {
    let mut out: Option<String> = None;
    let mut offset: Option<usize> = None;
    for (start, word) in words(text) {
        let end = start + word.len();
        let between = |from: &usize| text[from + OFFSET.len()..start].chars().all(is_sign_or_space);
        let zero = offset.take().filter(|from| is_zero(word) && between(from));
        if word.eq_ignore_ascii_case(OFFSET) {
            offset = Some(start);
        }
        let replacement = match zero {
            Some(from) => (from, " ".repeat(end - from)),
            None if has_underscore(word) => {
                (start, format!("{:<width$}", word.replace('_', ""), width = word.len()))
            }
            None => continue,
        };
        let (from, new) = replacement;
        out.get_or_insert_with(|| text.to_owned()).replace_range(from..end, &new);
    }
    out.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A number with digits apart: between two of them stands one underscore.
fn has_underscore(word: &str) -> bool {
    let apart = |at: usize| {
        let digit = |at: Option<usize>| {
            at.and_then(|at| word.as_bytes().get(at)).is_some_and(u8::is_ascii_hexdigit)
        };
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    let number = word.starts_with(|c: char| c.is_ascii_digit());
    number && word.contains('_') && word.match_indices('_').all(|(at, _)| apart(at))
}

fn is_sign_or_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '+' | '-')
}

/// A duration or a number of seconds that is nothing.
fn is_zero(word: &str) -> bool {
    word.starts_with('0') && !word.contains(|c: char| ('1'..='9').contains(&c))
}

/// Words and numbers outside of strings and comments, with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &text[at..];
            let c = rest.chars().next()?;
            let (len, is_word) = match c {
                '"' | '\'' | '`' => (string_len(rest, c), false),
                '#' => (rest.find('\n').unwrap_or(rest.len()), false),
                _ if is_inside(c) => (rest.find(|c| !is_inside(c)).unwrap_or(rest.len()), true),
                _ => (c.len_utf8(), false),
            };
            let start = at;
            at += len;
            if is_word {
                return Some((start, &text[start..at]));
            }
        }
    })
}

fn is_inside(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ':' | '.')
}

/// How long the string is that a text begins with; all of it, where it does not end.
fn string_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_parser_does_not_take_is_changed() {
        for (text, expected) in [
            ("1_000 + 0x1_F", "1000  + 0x1F "),
            ("a_1 + b_2_c", "a_1 + b_2_c"),
            ("1__0 + 1_", "1__0 + 1_"),
            ("up offset 0s", "up          "),
            ("up OFFSET -0ms + x", "up             + x"),
            ("up offset 10s", "up offset 10s"),
            ("up offset 0.5", "up offset 0.5"),
            ("{a=\"1_000 offset 0s\"} # 1_0", "{a=\"1_000 offset 0s\"} # 1_0"),
            ("'\\'1_0'", "'\\'1_0'"),
            ("sum by (offset) (0 * x)", "sum by (offset) (0 * x)"),
        ] {
            assert_eq!(readable(text), expected);
            assert_eq!(expected.len(), text.len());
        }
    }
}
