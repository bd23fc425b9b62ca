//! What the lines below an `eval` ask for.

use balefire::promql::Steps;
use regex::Regex;

use super::syntax::{Check, Row, number, quoted, row, steps};

#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// The failure that should come.
    pub(crate) fails: Option<Pattern>,
    pub(crate) ordered: bool,
    pub(crate) warnings: Notes,
    pub(crate) infos: Notes,
    pub(crate) text: Option<String>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<Row>,
    /// Where the values stand that a range selector by itself has at an instant.
    pub(crate) window: Option<Steps>,
}

/// What is asked of warnings, or of infos.
#[derive(Debug, Default)]
pub(crate) enum Notes {
    #[default]
    Whatever,
    None,
    /// Each pattern has its note, and each note its pattern.
    These(Vec<Pattern>),
}

#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    Any,
    Message(String),
    Regex(Regex),
}

impl Expected {
    pub(crate) fn read(word: &str, block: &[&str]) -> Check<Self> {
        let mut expected = Self::default();
        match word {
            "eval" => {}
            "eval_fail" => expected.fails = Some(Pattern::Any),
            "eval_ordered" => expected.ordered = true,
            "eval_warn" => expected.warnings.push(Pattern::Any),
            "eval_info" => expected.infos.push(Pattern::Any),
            _ => return Err(format!("unknown command {word:?}")),
        }
        block.iter().try_for_each(|line| expected.line(line))?;
        Ok(expected)
    }

    fn line(&mut self, line: &str) -> Check {
        if let Some(message) = line.strip_prefix("expected_fail_message ") {
            self.fails = Some(Pattern::Message(message.trim().to_owned()));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp ") {
            self.fails = Some(Pattern::regex(pattern)?);
        } else if let Some(rest) = line.strip_prefix("expect ") {
            self.expect(rest.trim())?;
        } else if let Ok(value) = number(line) {
            self.scalar = Some(value);
        } else if line.starts_with('"') {
            self.text = Some(quoted(line)?.0);
        } else {
            self.series.push(row(line)?);
        }
        Ok(())
    }

    fn expect(&mut self, text: &str) -> Check {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match word {
            "fail" => self.fails = Some(Pattern::read(rest)?),
            "warn" => self.warnings.push(Pattern::read(rest)?),
            "info" => self.infos.push(Pattern::read(rest)?),
            "no_warn" => self.warnings = Notes::None,
            "no_info" => self.infos = Notes::None,
            "ordered" => self.ordered = true,
            "string" => self.text = Some(quoted(rest.trim())?.0),
            "range" => {
                let window = rest.trim().strip_prefix("vector ");
                self.window = Some(steps(window.ok_or_else(|| format!("malformed: {text:?}"))?)?);
            }
            _ => return Err(format!("unknown expectation {text:?}")),
        }
        Ok(())
    }

    /// Whether this is the failure that should come.
    pub(crate) fn judge_error(&self, error: &str) -> Check {
        match &self.fails {
            None => Err(error.to_owned()),
            Some(pattern) if pattern.is_within(error) => Ok(()),
            Some(pattern) => Err(format!("should fail with {pattern}, but fails with {error:?}")),
        }
    }
}

impl Notes {
    fn push(&mut self, pattern: Pattern) {
        match self {
            Self::These(patterns) => patterns.push(pattern),
            _ => *self = Self::These(vec![pattern]),
        }
    }

    pub(crate) fn judge(&self, kind: &str, notes: &[String]) -> Check {
        let patterns = match self {
            Self::Whatever => return Ok(()),
            Self::None if notes.is_empty() => return Ok(()),
            Self::None => return Err(format!("there should be no {kind}: {notes:?}")),
            Self::These(patterns) => patterns,
        };
        if let Some(missing) = patterns.iter().find(|p| !notes.iter().any(|note| p.matches(note))) {
            return Err(format!("there should be the {kind} {missing}, and is {notes:?}"));
        }
        match notes.iter().find(|note| !patterns.iter().any(|pattern| pattern.matches(note))) {
            Some(note) => Err(format!("unexpected {kind} {note:?}")),
            None => Ok(()),
        }
    }
}

impl Pattern {
    /// Nothing, `msg:TEXT` or `regex:TEXT`.
    fn read(text: &str) -> Check<Self> {
        match text.trim().split_once(':') {
            None if text.trim().is_empty() => Ok(Self::Any),
            Some(("msg", message)) => Ok(Self::Message(without_places(message))),
            Some(("regex", pattern)) => Self::regex(pattern),
            _ => Err(format!("unknown pattern {text:?}")),
        }
    }

    fn regex(text: &str) -> Check<Self> {
        Regex::new(text.trim()).map(Self::Regex).map_err(|error| error.to_string())
    }

    fn matches(&self, note: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Message(message) => *message == without_places(note),
            Self::Regex(regex) => regex.is_match(&without_places(note)),
        }
    }

    /// Failures say where they come from, too: their message may be a part.
    fn is_within(&self, error: &str) -> bool {
        match self {
            Self::Message(message) => error.contains(message),
            _ => self.matches(error),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("(any)"),
            Self::Message(text) => write!(f, "{text:?}"),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

/// Prometheus ends a note with its place in the expression, such as ` (1:6)`; ours have none.
fn without_places(text: &str) -> String {
    let text = text.trim();
    let place = |place: &str| {
        let place = place.strip_suffix(')').and_then(|place| place.split_once(':'));
        place.is_some_and(|(line, column)| {
            line.parse::<u32>().is_ok() && column.parse::<u32>().is_ok()
        })
    };
    match text.rsplit_once(" (") {
        Some((before, last)) if place(last) => before.to_owned(),
        _ => text.to_owned(),
    }
}
