//! The few things that Prometheus reads and the crate `promql-parser` (0.11) does not, put in words that
//! it takes: digits apart by underscores (`1_000`) and offsets of zero (`offset 0s`). Regular expressions
//! are kept from it, since it would compile each: a number stands for each of them, and goes again when
//! the tree is there.

use std::borrow::Cow;

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{Expr, VectorSelector},
    util::unquote_string,
};

const OFFSET: &str = "offset";

/// A text that the parser can read.
pub(super) struct Readable {
    pub(super) text: String,
    /// The regular expressions that numbers stand for.
    pub(super) patterns: Vec<String>,
}

/// The text as the parser can read it.
pub(super) fn readable(text: &str) -> Readable {
    let (mut out, mut patterns, mut copied) = (String::with_capacity(text.len()), Vec::new(), 0);
    for (start, token) in tokens(text) {
        let before = text[..start].trim_end();
        let is_pattern = before.ends_with("=~") || before.ends_with("!~");
        if is_pattern
            && token.starts_with(QUOTES)
            && let Ok(pattern) = unquote_string(token)
        {
            out.push_str(&text[copied..start]);
            out.extend(["\"", &patterns.len().to_string(), "\""]);
            copied = start + token.len();
            patterns.push(pattern);
        }
    }
    out.push_str(&text[copied..]);
    let text = match with_numbers(&out) {
        Cow::Borrowed(_) => out,
        Cow::Owned(text) => text,
    };
    Readable { text, patterns }
}

/// Puts the regular expressions back in their places; each is shown to `check`, whose first error ends it.
pub(super) fn restore<E>(
    expr: &mut Expr,
    patterns: &[String],
    check: &dyn Fn(&Matcher) -> Result<(), E>,
) -> Result<(), E> {
    match expr {
        Expr::VectorSelector(selector) => restore_in(selector, patterns, check),
        Expr::MatrixSelector(matrix) => restore_in(&mut matrix.vs, patterns, check),
        Expr::Unary(unary) => restore(&mut unary.expr, patterns, check),
        Expr::Paren(paren) => restore(&mut paren.expr, patterns, check),
        Expr::Subquery(subquery) => restore(&mut subquery.expr, patterns, check),
        Expr::Binary(binary) => {
            restore(&mut binary.lhs, patterns, check)?;
            restore(&mut binary.rhs, patterns, check)
        }
        Expr::Aggregate(aggregate) => {
            let mut inner = aggregate.param.iter_mut().chain([&mut aggregate.expr]);
            inner.try_for_each(|expr| restore(expr, patterns, check))
        }
        Expr::Call(call) => {
            call.args.args.iter_mut().try_for_each(|expr| restore(expr, patterns, check))
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Ok(()),
    }
}

fn restore_in<E>(
    selector: &mut VectorSelector,
    patterns: &[String],
    check: &dyn Fn(&Matcher) -> Result<(), E>,
) -> Result<(), E> {
    let given = &mut selector.matchers;
    for matcher in given.matchers.iter_mut().chain(given.or_matchers.iter_mut().flatten()) {
        let is_pattern = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
        let number = matcher.value.parse().ok().filter(|_| is_pattern);
        if let Some(pattern) = number.and_then(|number: usize| patterns.get(number)) {
            matcher.value.clone_from(pattern);
            check(matcher)?;
        }
    }
    Ok(())
}

/// Rewrites numbers and offsets; the length stays.
fn with_numbers(text: &str) -> Cow<'_, str> {
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
    tokens(text).filter(|(_, token)| token.starts_with(is_inside))
}

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// Words, strings, comments and single characters, with their places.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (start, rest) = (at, &text[at..]);
        let c = rest.chars().next()?;
        at += match c {
            _ if QUOTES.contains(&c) => string_len(rest, c),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            _ if is_inside(c) => rest.find(|c| !is_inside(c)).unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        Some((start, &text[start..at]))
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
    fn numbers_stand_for_patterns() {
        for (text, expected, patterns) in [
            (r#"{a=~"[[x]"}"#, r#"{a=~"0"}"#, &["[[x]"][..]),
            ("{a !~ `[a&&b]`, b=~'\\''}", r#"{a !~ "0", b=~"1"}"#, &["[a&&b]", "'"]),
            (r#"{a="x.+", b!="[["} + 1"#, r#"{a="x.+", b!="[["} + 1"#, &[]),
        ] {
            let readable = readable(text);
            assert_eq!(readable.text, expected);
            assert_eq!(readable.patterns, patterns);
        }
    }

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
            assert_eq!(readable(text).text, expected);
            assert_eq!(expected.len(), text.len());
        }
    }
}
