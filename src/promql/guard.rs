//! Looks an expression's text over before the parser sees it.
//!
//! The parser builds and walks its tree by recursion, so that ten thousand parentheses would
//! overflow the stack: depth and length are bounded here, on the plain text. On the way, quotes and
//! brackets that do not match are reported with their position, which the parser does not give. So
//! are durations that it would take wrongly: it panics on numbers beyond `Duration`, and leaves out
//! parts beyond 32 bits.

use crate::limits;

use super::QueryError;

/// No duration is longer: 31,700 years.
const SECONDS_MAX: f64 = 1e12;

/// Fails where the text is too long, nests too deeply or has unbalanced quotes or brackets.
pub(super) fn check(text: &str) -> Result<(), QueryError> {
    if text.len() > limits::EXPR_BYTES_MAX {
        return Err(QueryError::TooMuch(format!(
            "the expression has {} bytes where {} are allowed",
            text.len(),
            limits::EXPR_BYTES_MAX
        )));
    }
    Guard { text, open: Vec::new(), operators: 0, after_offset: false }.run()
}

struct Guard<'a> {
    text: &'a str,
    /// Brackets that wait for their partner, and where they stand.
    open: Vec<(char, usize)>,
    operators: usize,
    /// Whether the next word is the duration of an `offset`.
    after_offset: bool,
}

impl Guard<'_> {
    fn run(mut self) -> Result<(), QueryError> {
        let mut at = 0;
        while let Some(c) = self.text[at..].chars().next() {
            at = match c {
                '"' | '\'' | '`' => self.string_end(at, c)?,
                '#' => self.text[at..].find('\n').map_or(self.text.len(), |end| at + end),
                c if c.is_alphanumeric() || c == '_' || c == ':' => self.word(at)?,
                c => {
                    self.punctuation(at, c)?;
                    at + c.len_utf8()
                }
            };
        }
        match self.open.last() {
            Some((bracket, at)) => Err(self.error(*at, &format!("unclosed {bracket:?}"))),
            None => Ok(()),
        }
    }

    /// Where the string that begins at `start` ends.
    fn string_end(&self, start: usize, quote: char) -> Result<usize, QueryError> {
        let mut escaped = false;
        for (offset, c) in self.text[start..].char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' if quote != '`' => escaped = true,
                _ if c == quote => return Ok(start + offset + 1),
                _ => {}
            }
        }
        Err(self.error(start, "unterminated quoted string"))
    }

    fn word(&mut self, start: usize) -> Result<usize, QueryError> {
        let rest = &self.text[start..];
        let inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let len = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let is = |keyword| rest[..len].eq_ignore_ascii_case(keyword);
        if ["and", "or", "unless", "atan2"].into_iter().any(is) {
            self.count_operator()?;
        }
        let timed = self.after_offset || matches!(self.open.last(), Some(('[', _)));
        self.after_offset = is("offset");
        if timed { self.duration(start) } else { Ok(start + len) }
    }

    /// Units (`1h30m`) or a number of seconds (`90`, `1.5e3`).
    fn duration(&self, start: usize) -> Result<usize, QueryError> {
        let rest = &self.text[start..];
        let mut before = ' ';
        let ends = |c: char| {
            let exponent = matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
            before = c;
            !(c.is_alphanumeric() || c == '.' || exponent)
        };
        // At least one character, or the scan would stand still.
        let len = rest.find(ends).unwrap_or(rest.len()).max(1);
        let word = &rest[..len];
        let numbers = || word.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        let fits = word.parse::<f64>().map_or_else(
            |_| numbers().all(|digits| digits.parse::<u32>().is_ok()),
            |seconds| (0.0..=SECONDS_MAX).contains(&seconds),
        );
        if fits { Ok(start + len) } else { Err(self.error(start, "duration out of range")) }
    }

    fn punctuation(&mut self, at: usize, c: char) -> Result<(), QueryError> {
        self.after_offset &= matches!(c, '+' | '-') || c.is_whitespace();
        match c {
            '(' | '[' | '{' => self.open(at, c),
            ')' => self.close(at, c, '('),
            ']' => self.close(at, c, '['),
            '}' => self.close(at, c, '{'),
            // Between braces these belong to matchers, which do not nest.
            '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!'
                if !matches!(self.open.last(), Some(('{', _))) =>
            {
                self.count_operator()
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: usize, bracket: char) -> Result<(), QueryError> {
        self.open.push((bracket, at));
        if self.open.len() > limits::EXPR_DEPTH_MAX {
            return Err(QueryError::TooMuch(format!(
                "the expression nests more than {} levels deep",
                limits::EXPR_DEPTH_MAX
            )));
        }
        Ok(())
    }

    fn close(&mut self, at: usize, bracket: char, partner: char) -> Result<(), QueryError> {
        match self.open.pop() {
            Some((open, _)) if open == partner => Ok(()),
            _ => Err(self.error(at, &format!("unexpected {bracket:?}"))),
        }
    }

    fn count_operator(&mut self) -> Result<(), QueryError> {
        self.operators += 1;
        if self.operators > limits::EXPR_OPERATORS_MAX {
            return Err(QueryError::TooMuch(format!(
                "the expression has more than {} operators",
                limits::EXPR_OPERATORS_MAX
            )));
        }
        Ok(())
    }

    /// As Prometheus writes a position: line and column, from 1.
    fn error(&self, at: usize, what: &str) -> QueryError {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        QueryError::Parse(format!("{line}:{column}: {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(check(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn finds_what_does_not_match() {
        check_error("sum(up", "parse error: 1:4: unclosed '('");
        check_error("up)", "parse error: 1:3: unexpected ')'");
        check_error("up\n{a=\"b}", "parse error: 2:4: unterminated quoted string");
        check_error("up[1e99]", "parse error: 1:4: duration out of range");
        check_error("up offset -1e+99", "parse error: 1:12: duration out of range");
        check_error("up[1h9999999999s]", "parse error: 1:4: duration out of range");
        check_error("(]", "parse error: 1:2: unexpected ']'");
    }

    #[test]
    fn strings_and_comments_are_opaque() {
        for text in ["'(((' ", "`\\`", "\"\\\"(\"", "up # (((\n", "{a=~\"(b|c)\"}", "a offset b"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_too_deep_or_long() {
        let too_much = |text: &str| matches!(check(text), Err(QueryError::TooMuch(_)));
        assert!(too_much(&"(".repeat(10_000)));
        assert!(too_much(&"-".repeat(10_000)));
        assert!(too_much(&"a or ".repeat(3_000)));
        assert!(too_much(&" ".repeat(limits::EXPR_BYTES_MAX + 1)));
    }
}
