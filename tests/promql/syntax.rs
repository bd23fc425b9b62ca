//! The words of a script: times, labels, and sequences of values.

use std::{iter::successors, sync::Arc, time::Duration};

use balefire::{
    model::{Histogram, Labels, METRIC_NAME, ResetHint, stale_nan},
    promql::Steps,
    time::{Timestamp, parse_duration},
};

use super::distribution;

pub(crate) type Check<T = ()> = Result<T, String>;

/// A value of a sequence.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// `_`: no sample.
    Absent,
    /// A number, or the staleness marker.
    Float(f64),
    /// A native histogram, with its hint where one is written.
    Histogram(Arc<Histogram>, Option<ResetHint>),
}

/// A series, and its values from one step to the next.
pub(crate) type Row = (Labels, Vec<Cell>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    At(Timestamp),
    Range(Steps),
}

impl When {
    /// The steps of a range; an instant is one step.
    pub(crate) fn steps(self) -> Steps {
        match self {
            Self::At(at) => Steps { start: at, end: at, step: Duration::from_secs(1) },
            Self::Range(steps) => steps,
        }
    }
}

pub(crate) fn duration(text: &str) -> Check<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => parse_duration(text).map_err(|error| format!("{text:?}: {error}")),
    }
}

/// Time since the epoch, as the scripts write it: a duration, which may be negative.
pub(crate) fn time(text: &str) -> Check<Timestamp> {
    let epoch = Timestamp::from_millis(0);
    match text.strip_prefix('-') {
        Some(before) => Ok(epoch.minus(duration(before)?)),
        None => Ok(epoch.plus(duration(text)?)),
    }
}

/// `instant at T EXPR` or `range from T to T step D EXPR`.
pub(crate) fn head(text: &str) -> Check<(When, &str)> {
    let mut words = Words(text);
    let kind = words.take();
    let (when, expr) = match kind {
        Some("instant") => (When::At(words.after("at").and_then(time)?), words.0),
        Some("range") => (When::Range(words.steps()?), words.0),
        _ => return Err(format!("malformed eval: {text:?}")),
    };
    Ok((when, expr.trim()))
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    /// The word after another.
    fn after(&mut self, keyword: &str) -> Check<&'a str> {
        let rest = self.0;
        let found = self.take().filter(|word| *word == keyword).and_then(|_| self.take());
        found.ok_or_else(|| format!("{:?} should be {keyword:?} and a time", rest.trim()))
    }

    fn steps(&mut self) -> Check<Steps> {
        let start = self.after("from").and_then(time)?;
        let end = self.after("to").and_then(time)?;
        let step = self.after("step").and_then(duration)?;
        Ok(Steps { start, end, step })
    }
}

/// `from T to T step D`.
pub(crate) fn steps(text: &str) -> Check<Steps> {
    Words(text).steps()
}

/// `name{label="value"} values …`.
pub(crate) fn row(line: &str) -> Check<Row> {
    let (labels, values) = labels(line)?;
    let mut out = Vec::new();
    for word in words(values) {
        out.extend(sequence(word)?);
    }
    Ok((labels, out))
}

/// The labels that a line begins with, and its rest. They are read here, and not by the code under
/// test: it may be what is wrong.
fn labels(line: &str) -> Check<(Labels, &str)> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    let mut pairs = vec![(METRIC_NAME.to_owned(), name.to_owned())];
    let set = rest.trim_start();
    if set.starts_with('{') && !set.starts_with("{{") {
        rest = label_set(&set[1..], &mut pairs)?;
    }
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort();
    // Names are not checked: an answer may have what nobody can store, such as any text for a name.
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Ok((Labels::from_sorted(&pairs), rest))
}

/// The pairs up to the closing brace; a name in quotes without a value is the metric's.
fn label_set<'a>(text: &'a str, pairs: &mut Vec<(String, String)>) -> Check<&'a str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after) =
            if rest.starts_with(['"', '\'', '`']) { quoted(rest)? } else { bare(rest)? };
        rest = after.trim_start();
        let Some(value) = rest.strip_prefix('=') else {
            pairs.push((METRIC_NAME.to_owned(), name));
            continue;
        };
        let (value, after) = quoted(value.trim_start())?;
        pairs.push((name, value));
        rest = after;
    }
}

fn bare(text: &str) -> Check<(String, &str)> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    match end {
        Some(end) if end > 0 => Ok((text[..end].to_owned(), &text[end..])),
        _ => Err(format!("a label should stand before {text:?}")),
    }
}

/// A text in quotes, and what follows it.
pub(crate) fn quoted(text: &str) -> Check<(String, &str)> {
    let unfinished = || format!("malformed string: {text:?}");
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\'' | '`'));
    let quote = quote.ok_or_else(unfinished)?;
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((out, &text[at + 1..])),
            '\\' if quote != '`' => {
                let (_, escaped) = chars.next().ok_or_else(unfinished)?;
                out.push(unescaped(escaped).ok_or_else(unfinished)?);
            }
            _ => out.push(c),
        }
    }
    Err(unfinished())
}

fn unescaped(c: char) -> Option<char> {
    match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        '\\' | '"' | '\'' => Some(c),
        _ => None,
    }
}

/// Words between spaces; a histogram is one, with the spaces in it.
fn words(text: &str) -> Vec<&str> {
    let mut rest = text.trim();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(word_end(rest));
        out.push(word);
        rest = after.trim_start();
    }
    out
}

fn word_end(text: &str) -> usize {
    let mut inside = false;
    for (at, c) in text.char_indices() {
        inside = match &text[at..] {
            rest if rest.starts_with("{{") => true,
            rest if rest.starts_with("}}") => false,
            _ => inside,
        };
        if !inside && c.is_whitespace() {
            return at;
        }
    }
    text.len()
}

/// `1`, `_`, `stale`, `1x3` (1 and three more), `1+2x3` (growing by 2), `_x3`; histograms likewise.
fn sequence(word: &str) -> Check<Vec<Cell>> {
    if word.starts_with("{{") {
        return distribution::sequence(word);
    }
    let (base, times) = repeated(word)?;
    if base == "_" {
        // Unlike values, `_x3` is three in all.
        return Ok(vec![Cell::Absent; times.unwrap_or(1)]);
    }
    let (start, growth) = match split_growth(base) {
        Some((start, growth)) => (number(start)?, number(growth)?),
        None => (number(base)?, 0.0),
    };
    // A marker that nothing is added to stays one.
    let next = |value: &f64| Some(if growth == 0.0 { *value } else { value + growth });
    Ok(successors(Some(start), next).take(times.unwrap_or(0) + 1).map(Cell::Float).collect())
}

/// `BASExTIMES`.
pub(crate) fn repeated(word: &str) -> Check<(&str, Option<usize>)> {
    match word.rsplit_once('x') {
        Some((base, times)) => {
            let times = times.parse().map_err(|error| format!("{word:?}: {error}"))?;
            Ok((base, Some(times)))
        }
        None => Ok((word, None)),
    }
}

/// The sign that separates start and growth is not the first one and not an exponent's.
fn split_growth(text: &str) -> Option<(&str, &str)> {
    let signs = text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    let (at, _) = signs.into_iter().find(|(at, _)| !text[..*at].ends_with(['e', 'E']))?;
    Some(text.split_at(at))
}

/// A number as Go reads one: `0x1f`, too.
pub(crate) fn number(text: &str) -> Check<f64> {
    if text == "stale" {
        return Ok(stale_nan());
    }
    let malformed = || format!("malformed number {text:?}");
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).map(f64::from).map_err(|_| malformed()),
        None => text.parse().map_err(|_| malformed()),
    }
}
