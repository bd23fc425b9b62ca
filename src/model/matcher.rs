//! Tests on one label.

use std::{fmt, sync::Arc};

use super::{Labels, pattern::Pattern};

/// How a [`Matcher`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// A test on one label. An absent label has the empty value, as in Prometheus; expressions are
/// anchored at both ends.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// Shared, since a copy would have to learn anew what it has learnt of texts.
    pattern: Option<Arc<Pattern>>,
}

/// A regular expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression {pattern:?} for label {name:?}: {reason}")]
pub struct InvalidMatcher {
    name: String,
    pattern: String,
    reason: String,
}

impl Matcher {
    /// A matcher; fails where `value` should be a regular expression and is none.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, InvalidMatcher> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(compiled(&name, &value)?)),
        };
        Ok(Self { name, op, value, pattern })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The label it tests.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or the pattern, as it was written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label's value passes; `""` stands for an absent label.
    pub fn matches(&self, value: &str) -> bool {
        let regex = || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(value));
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => regex(),
            MatchOp::NotRegex => !regex(),
        }
    }
}

fn compiled(name: &str, pattern: &str) -> Result<Pattern, InvalidMatcher> {
    Pattern::new(pattern).map_err(|reason| InvalidMatcher {
        name: name.to_owned(),
        pattern: pattern.to_owned(),
        reason,
    })
}

/// Whether labels pass all matchers.
pub fn matches_all(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(op: MatchOp, pattern: &str, value: &str, expected: bool) {
        assert_eq!(Matcher::new("job", op, pattern).unwrap().matches(value), expected);
    }

    #[test]
    fn compares_as_prometheus_does() {
        check(MatchOp::Equal, "node", "node", true);
        check(MatchOp::Equal, "", "", true);
        check(MatchOp::NotEqual, "node", "", true);
        check(MatchOp::Regex, "no", "node", false);
        check(MatchOp::Regex, "no.*|x", "node", true);
        check(MatchOp::Regex, "a.b", "a\nb", true);
        check(MatchOp::NotRegex, ".+", "", true);
    }

    #[test]
    fn refuses_broken_and_monstrous_patterns() {
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
        assert!(Matcher::new("a", MatchOp::Regex, "((x{100}){100}){100}").is_err());
    }

    #[test]
    fn an_absent_label_is_empty() {
        let labels = Labels::of("up", []);
        assert!(matches_all(&[Matcher::equal("job", "")], &labels));
        assert!(!matches_all(&[Matcher::equal("job", "node")], &labels));
    }
}
