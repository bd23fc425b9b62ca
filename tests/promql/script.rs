//! Prometheus' test-script format: reading it and running it. There is one more command, for what
//! stands instead of old samples: `roll_up 1h until 1d` keeps rollups of an hour up to that time.

use std::{collections::BTreeMap, time::Duration};

use balefire::{
    model::{HistogramSample, Labels, METRIC_NAME, Matcher, Sample, stale_nan},
    promql::{
        self, Answer, Limits, Point, PointValue, QueryError, SeriesData, Steps, Value,
        testing::Memory,
    },
    time::{Timestamp, parse_duration},
};

/// How far a value may be from the expected one, relative to it.
const TOLERANCE: f64 = 1e-6;

/// A script that is being run.
pub(crate) struct Script<'a> {
    lines: Vec<(usize, &'a str)>,
    at: usize,
    memory: Memory,
    outcome: Outcome,
}

/// What running a script came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Evaluations.
    pub(crate) checked: usize,
    /// Line and reason.
    pub(crate) failures: Vec<(usize, String)>,
}

/// What the lines below an `eval` ask for.
#[derive(Debug, Default)]
struct Expected {
    fails: bool,
    /// A part of the error's message.
    message: Option<String>,
    ordered: bool,
    warns: Option<bool>,
    informs: Option<bool>,
    text: Option<String>,
    scalar: Option<f64>,
    /// `None` where the series has no value at a step.
    series: Vec<(Labels, Vec<Option<f64>>)>,
}

#[derive(Clone, Copy, Debug)]
enum When {
    At(Timestamp),
    Range(Steps),
}

type Check<T = ()> = Result<T, String>;

impl<'a> Script<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        // Indented lines belong to the command above, so the indentation stays.
        let lines = lines.filter(|(_, line)| !line.trim_start().starts_with('#'));
        Self {
            lines: lines.collect(),
            at: 0,
            memory: Memory::default(),
            outcome: Outcome::default(),
        }
    }

    pub(crate) fn run(mut self) -> Outcome {
        while let Some((number, line)) = self.lines.get(self.at).copied() {
            self.at += 1;
            if line.trim().is_empty() {
                continue;
            }
            if let Err(reason) = self.command(line.trim()) {
                self.outcome.failures.push((number, reason));
            }
        }
        self.outcome
    }

    fn command(&mut self, line: &str) -> Check {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // The block is taken even where the command is wrong, so that it is not read as commands.
        let block = self.block();
        match word {
            "clear" => {
                self.memory.clear();
                Ok(())
            }
            "roll_up" => self.roll_up(rest),
            "load" | "load_with_nhcb" => self.load(rest, &block),
            _ if word.starts_with("eval") => {
                self.outcome.checked += 1;
                self.eval(word, rest, &block)
            }
            _ => Err(format!("unknown command {word:?}")),
        }
    }

    /// The lines below a command, up to the next empty one.
    fn block(&mut self) -> Vec<&'a str> {
        let rest = self.lines[self.at..].iter().map(|(_, line)| *line);
        let block: Vec<_> = rest
            .take_while(|line| line.starts_with(char::is_whitespace) && !line.trim().is_empty())
            .collect();
        self.at += block.len();
        block.into_iter().map(str::trim).collect()
    }

    fn load(&mut self, interval: &str, block: &[&str]) -> Check {
        let interval = duration(interval.trim())?;
        for line in block {
            let (labels, values) = series(line)?;
            let mut at = Timestamp::from_millis(0);
            for value in values {
                if let Some(value) = value {
                    self.memory.add(labels.clone(), at, value);
                }
                at = at.plus(interval);
            }
        }
        Ok(())
    }

    fn roll_up(&mut self, rest: &str) -> Check {
        let (resolution, until) =
            rest.split_once(" until ").ok_or_else(|| format!("malformed roll_up: {rest:?}"))?;
        let until = time(until.trim())?;
        self.memory.roll_up(duration(resolution.trim())?, until, until);
        Ok(())
    }

    fn eval(&self, word: &str, rest: &str, block: &[&str]) -> Check {
        let (when, expr) = head(rest)?;
        let expected = expectations(word, block)?;
        let answer = promql::parse(expr).and_then(|query| match when {
            When::At(at) => query.instant(&self.memory, at, &Limits::default()),
            When::Range(steps) => query.range(&self.memory, steps, &Limits::default()),
        });
        let steps = match when {
            When::At(at) => Steps { start: at, end: at, step: Duration::from_secs(1) },
            When::Range(steps) => steps,
        };
        judge(answer, &expected, steps).map_err(|reason| format!("{expr}: {reason}"))
    }
}

fn duration(text: &str) -> Check<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => parse_duration(text).map_err(|error| error.to_string()),
    }
}

/// Time since the epoch, as the scripts write it: a duration, which may be negative.
fn time(text: &str) -> Check<Timestamp> {
    let epoch = Timestamp::from_millis(0);
    match text.strip_prefix('-') {
        Some(before) => Ok(epoch.minus(duration(before)?)),
        None => Ok(epoch.plus(duration(text)?)),
    }
}

/// `instant at T EXPR` or `range from T to T step D EXPR`.
fn head(text: &str) -> Check<(When, &str)> {
    let malformed = || format!("malformed eval: {text:?}");
    let mut rest = text;
    let mut word = || {
        let (word, after) = rest.trim_start().split_once(char::is_whitespace)?;
        rest = after;
        Some(word)
    };
    match (word(), word()) {
        (Some("instant"), Some("at")) => {
            let at = time(word().ok_or_else(malformed)?)?;
            Ok((When::At(at), rest.trim()))
        }
        (Some("range"), Some("from")) => {
            let start = time(word().ok_or_else(malformed)?)?;
            word().filter(|to| *to == "to").ok_or_else(malformed)?;
            let end = time(word().ok_or_else(malformed)?)?;
            word().filter(|step| *step == "step").ok_or_else(malformed)?;
            let step = duration(word().ok_or_else(malformed)?)?;
            Ok((When::Range(Steps { start, end, step }), rest.trim()))
        }
        _ => Err(malformed()),
    }
}

fn expectations(word: &str, block: &[&str]) -> Check<Expected> {
    let mut expected = Expected {
        fails: word == "eval_fail",
        ordered: word == "eval_ordered",
        warns: (word == "eval_warn").then_some(true),
        informs: (word == "eval_info").then_some(true),
        ..Expected::default()
    };
    for line in block {
        expect_line(&mut expected, line)?;
    }
    Ok(expected)
}

fn expect_line(expected: &mut Expected, line: &str) -> Check {
    if let Some(message) = line.strip_prefix("expected_fail_message ") {
        expected.message = Some(message.trim().to_owned());
    } else if let Some(annotation) = line.strip_prefix("expect ") {
        expect_annotation(expected, annotation)?;
    } else if let Ok(value) = number(line) {
        expected.scalar = Some(value);
    } else if line.starts_with('"') {
        expected.text = Some(unquote(line)?);
    } else if !line.starts_with("expected_fail_regexp") {
        expected.series.push(series(line)?);
    }
    Ok(())
}

fn expect_annotation(expected: &mut Expected, text: &str) -> Check {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match word {
        "fail" => {
            expected.fails = true;
            let message = rest.trim().strip_prefix("msg:").map(|text| text.trim().to_owned());
            expected.message = message;
        }
        "warn" => expected.warns = Some(true),
        "no_warn" => expected.warns = Some(false),
        "info" => expected.informs = Some(true),
        "no_info" => expected.informs = Some(false),
        "ordered" => expected.ordered = true,
        "string" => expected.text = Some(unquote(rest.trim())?),
        _ => return Err(format!("unknown expectation {text:?}")),
    }
    Ok(())
}

fn unquote(text: &str) -> Check<String> {
    match promql::parse(text).and_then(|query| {
        query.instant(&Memory::default(), Timestamp::from_millis(0), &Limits::default())
    }) {
        Ok(Answer { value: Value::String(_, text), .. }) => Ok(text),
        _ => Err(format!("malformed string {text:?}")),
    }
}

/// `name{label="value"} values …`.
fn series(line: &str) -> Check<(Labels, Vec<Option<f64>>)> {
    let end = line.rfind('}').map_or_else(|| line.find(char::is_whitespace), |end| Some(end + 1));
    let (name, values) = line.split_at(end.unwrap_or(line.len()));
    let mut out = Vec::new();
    for word in values.split_whitespace() {
        out.extend(sequence(word)?);
    }
    Ok((labels(name)?, out))
}

fn labels(text: &str) -> Check<Labels> {
    if text.trim() == "{}" {
        return Ok(Labels::empty());
    }
    let matchers = promql::parse_selector(text).map_err(|error| format!("{text:?}: {error}"))?;
    let pairs = matchers.iter().map(|matcher: &Matcher| (matcher.name(), matcher.value()));
    let pairs: BTreeMap<_, _> = pairs.collect();
    debug_assert!(pairs.contains_key(METRIC_NAME) || !pairs.is_empty());
    Labels::new(pairs).map_err(|error| error.to_string())
}

/// `1`, `_`, `stale`, `1x3` (1 and three more), `1+2x3` (growing by 2), `_x3`.
fn sequence(word: &str) -> Check<Vec<Option<f64>>> {
    let (base, times) = match word.rsplit_once('x') {
        Some((base, times)) => (base, Some(times.parse::<u32>().map_err(|e| e.to_string())?)),
        None => (word, None),
    };
    if base == "_" {
        // Unlike values, `_x3` is three in all.
        return Ok(vec![None; times.unwrap_or(1) as usize]);
    }
    let times = times.unwrap_or(0);
    let (start, growth) = match split_growth(base) {
        Some((start, growth)) => (number(start)?, number(growth)?),
        None => (number(base)?, 0.0),
    };
    let value = |index| if growth == 0.0 { start } else { growth.mul_add(f64::from(index), start) };
    Ok((0..=times).map(|index| Some(value(index))).collect())
}

/// The sign that separates start and growth is not the first one and not an exponent's.
fn split_growth(text: &str) -> Option<(&str, &str)> {
    let signs = text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    let (at, _) = signs.into_iter().find(|(at, _)| !text[..*at].ends_with(['e', 'E']))?;
    Some(text.split_at(at))
}

fn number(text: &str) -> Check<f64> {
    if text == "stale" {
        return Ok(stale_nan());
    }
    text.parse().map_err(|_| format!("malformed number {text:?}"))
}

fn judge(answer: Result<Answer, QueryError>, expected: &Expected, steps: Steps) -> Check {
    let answer = match (answer, expected.fails) {
        (Ok(_), true) => return Err("should fail, but does not".into()),
        (Err(error), true) => return judge_error(&error, expected),
        (Err(error), false) => return Err(error.to_string()),
        (Ok(answer), false) => answer,
    };
    judge_notes("warning", expected.warns, &answer.warnings)?;
    judge_notes("info", expected.informs, &answer.infos)?;
    match answer.value {
        Value::Scalar(sample) => {
            let wanted = expected.scalar.ok_or("a scalar was not expected")?;
            judge_number(Some(wanted), Some(sample.value))
        }
        Value::String(_, text) if Some(&text) == expected.text.as_ref() => Ok(()),
        Value::String(_, text) => Err(format!("expected {:?}, got {text:?}", expected.text)),
        Value::Vector(vector) => {
            let one = |(labels, Point { timestamp, value })| {
                let (mut samples, mut histograms) = (Vec::new(), Vec::new());
                match value {
                    PointValue::Float(value) => samples.push(Sample { timestamp, value }),
                    PointValue::Histogram(histogram) => {
                        histograms.push(HistogramSample { timestamp, histogram });
                    }
                }
                SeriesData { labels, samples, histograms }
            };
            let series: Vec<_> = vector.into_iter().map(one).collect();
            judge_series(&series, expected, steps)
        }
        Value::Matrix(matrix) => judge_series(&matrix, expected, steps),
    }
}

fn judge_error(error: &QueryError, expected: &Expected) -> Check {
    match &expected.message {
        Some(message) if !error.to_string().contains(message) => {
            Err(format!("should fail with {message:?}, but fails with {error}"))
        }
        _ => Ok(()),
    }
}

fn judge_notes(what: &str, wanted: Option<bool>, notes: &[String]) -> Check {
    match wanted {
        Some(true) if notes.is_empty() => Err(format!("there should be a {what}")),
        Some(false) if !notes.is_empty() => Err(format!("there should be no {what}: {notes:?}")),
        _ => Ok(()),
    }
}

fn judge_series(series: &[SeriesData], expected: &Expected, steps: Steps) -> Check {
    if expected.ordered {
        let got: Vec<_> = series.iter().map(|series| &series.labels).collect();
        let wanted: Vec<_> = expected.series.iter().map(|(labels, _)| labels).collect();
        if got != wanted {
            return Err(format!("expected the order {wanted:?}, got {got:?}"));
        }
    }
    // A scalar over a range is a series without labels.
    let scalar = expected.scalar.map(|value| (Labels::empty(), vec![Some(value)]));
    let wanted: BTreeMap<_, _> = expected.series.iter().cloned().chain(scalar).collect();
    for series in series {
        let values = wanted
            .get(&series.labels)
            .ok_or_else(|| format!("unexpected series {}: {:?}", series.labels, series.samples))?;
        judge_values(values, series, steps).map_err(|why| format!("{}: {why}", series.labels))?;
    }
    let missing = |labels: &&Labels| series.iter().all(|series| series.labels != **labels);
    match wanted.keys().find(missing) {
        Some(labels) => Err(format!("missing series {labels}")),
        None => Ok(()),
    }
}

fn judge_values(wanted: &[Option<f64>], series: &SeriesData, steps: Steps) -> Check {
    let mut at = steps.start;
    let mut wanted = wanted.iter();
    while at <= steps.end {
        let got = series.samples.iter().find(|sample| sample.timestamp == at);
        let value = wanted.next().copied().flatten();
        judge_number(value, got.map(|sample| sample.value))
            .map_err(|why| format!("at {} ms: {why}", at.as_millis()))?;
        at = at.plus(steps.step);
    }
    Ok(())
}

fn judge_number(wanted: Option<f64>, got: Option<f64>) -> Check {
    let (Some(wanted), Some(got)) = (wanted, got) else {
        return if wanted == got {
            Ok(())
        } else {
            Err(format!("expected {wanted:?}, got {got:?}"))
        };
    };
    let close = (wanted - got).abs() <= TOLERANCE * wanted.abs().max(got.abs());
    if close || wanted.to_bits() == got.to_bits() || (wanted.is_nan() && got.is_nan()) {
        return Ok(());
    }
    Err(format!("expected {wanted}, got {got}"))
}
