//! Prometheus' test-script format: reading it and running it. There is one more command, for what
//! stands instead of old samples: `roll_up 1h until 1d` keeps rollups of an hour up to that time.

use std::time::Duration;

use balefire::{
    model::Labels,
    promql::{
        self, Answer, Kind, Limits, Point, PointValue, Query, QueryError, SeriesData, Steps, Value,
        testing::Memory,
    },
    time::Timestamp,
};

use super::{
    classic,
    expect::Expected,
    judge,
    syntax::{Cell, Check, Row, When, duration, head, row, time},
};

/// A script that is being run.
pub(crate) struct Script<'a> {
    lines: Vec<(usize, &'a str)>,
    at: usize,
    memory: Memory,
    /// Rollups answer a range otherwise than an instant: they are then not compared.
    rolled_up: bool,
    outcome: Outcome,
}

/// What running a script came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Evaluations.
    pub(crate) checked: usize,
    /// The expressions of those that should have an answer.
    pub(crate) answered: Vec<String>,
    pub(crate) failures: Vec<Failure>,
}

/// Something that is not as the script says.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Counted from one.
    pub(crate) line: usize,
    /// Empty where the script itself is wrong.
    pub(crate) expr: String,
    pub(crate) reason: String,
}

impl<'a> Script<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        // Indented lines belong to the command above, so the indentation stays.
        let lines = lines.filter(|(_, line)| !line.trim_start().starts_with('#'));
        Self {
            lines: lines.collect(),
            at: 0,
            memory: Memory::default(),
            rolled_up: false,
            outcome: Outcome::default(),
        }
    }

    pub(crate) fn run(mut self) -> Outcome {
        while let Some((number, line)) = self.lines.get(self.at).copied() {
            self.at += 1;
            if line.trim().is_empty() {
                continue;
            }
            let (expr, result) = self.command(line.trim());
            if let Err(reason) = result {
                self.outcome.failures.push(Failure { line: number, expr, reason });
            }
        }
        self.outcome
    }

    /// The expression, if it is an evaluation, and how it went.
    fn command(&mut self, line: &str) -> (String, Check) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // The block is taken even where the command is wrong, so that it is not read as commands.
        let block = self.block();
        let result = match word {
            "clear" => {
                self.memory.clear();
                self.rolled_up = false;
                Ok(())
            }
            "roll_up" => self.roll_up(rest),
            "load" => self.load(rest, &block).map(drop),
            "load_with_nhcb" => self.load_with_natives(rest, &block),
            _ if word.starts_with("eval") => return self.eval(word, rest, &block),
            _ => Err(format!("unknown command {word:?}")),
        };
        (String::new(), result)
    }

    /// The lines below a command: up to an empty one, or the next command at the margin.
    fn block(&mut self) -> Vec<&'a str> {
        let rest = self.lines[self.at..].iter().map(|(_, line)| *line);
        let ours = |line: &&str| {
            let indented = line.starts_with(char::is_whitespace) || !is_command(line);
            indented && !line.trim().is_empty()
        };
        let block: Vec<_> = rest.take_while(ours).collect();
        self.at += block.len();
        block.into_iter().map(str::trim).collect()
    }

    fn load(&mut self, interval: &str, block: &[&str]) -> Check<Vec<Row>> {
        let rows = block.iter().map(|line| row(line)).collect::<Check<Vec<_>>>()?;
        self.add(interval, &rows)?;
        Ok(rows)
    }

    fn load_with_natives(&mut self, interval: &str, block: &[&str]) -> Check {
        let rows = self.load(interval, block)?;
        self.add(interval, &classic::natives(&rows)?)
    }

    fn add(&mut self, interval: &str, rows: &[Row]) -> Check {
        let interval = duration(interval.trim())?;
        for (labels, cells) in rows {
            let mut at = Timestamp::from_millis(0);
            for cell in cells {
                match cell {
                    Cell::Absent => {}
                    Cell::Float(value) => self.memory.add(labels.clone(), at, *value),
                    Cell::Histogram(histogram, _) => {
                        self.memory.add_histogram(labels.clone(), at, histogram.clone());
                    }
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
        self.rolled_up = true;
        Ok(())
    }

    fn eval(&mut self, word: &str, rest: &str, block: &[&str]) -> (String, Check) {
        let (when, expr) = match head(rest) {
            Ok(head) => head,
            Err(reason) => return (String::new(), Err(reason)),
        };
        self.outcome.checked += 1;
        let result = Expected::read(word, block).and_then(|expected| {
            if expected.fails.is_none() {
                self.outcome.answered.push(expr.to_owned());
            }
            self.judge(when, expr, &expected)
        });
        (expr.to_owned(), result)
    }

    fn judge(&self, when: When, expr: &str, expected: &Expected) -> Check {
        let query = promql::parse(expr);
        let answer = query.clone().and_then(|query| self.answer(&query, when));
        match (answer, query, when) {
            (Err(error), ..) => expected.judge_error(&error.to_string()),
            (Ok(answer), Ok(query), When::At(at)) => {
                judge::answer(answer, expected, when.steps())?;
                // start() and end() are those of the whole query.
                let moves = expr.contains("start()") || expr.contains("end()");
                if expected.ordered || self.rolled_up || moves {
                    return Ok(());
                }
                self.in_range(&query, at, expected).map_err(|why| format!("in a range: {why}"))?;
                self.in_subquery((expr, &query), at, expected)
                    .map_err(|why| format!("in a subquery: {why}"))
            }
            (Ok(answer), ..) => judge::answer(answer, expected, when.steps()),
        }
    }

    fn answer(&self, query: &Query, when: When) -> Result<Answer, QueryError> {
        match when {
            When::At(at) => query.instant(&self.memory, at, &Limits::default()),
            When::Range(steps) => query.range(&self.memory, steps, &Limits::default()),
        }
    }

    /// A range has at an instant what the instant has, whatever its other steps are. Only order is
    /// lost in a range.
    fn in_range(&self, query: &Query, at: Timestamp, expected: &Expected) -> Check {
        if !matches!(query.kind(), Kind::Scalar | Kind::Vector) {
            return Ok(());
        }
        let step = Duration::from_mins(1);
        let steps = Steps { start: at.minus(step), end: at.plus(step), step };
        let answer = self.answer(query, When::Range(steps)).map_err(|error| error.to_string())?;
        let Value::Matrix(matrix) = answer.value else { return Err("it is no matrix".into()) };
        let value = match (query.kind(), slice(matrix, at)) {
            (Kind::Scalar, Value::Vector(vector)) => scalar(&vector)?,
            (_, value) => value,
        };
        judge::value(value, expected, When::At(at).steps())
    }

    /// So has a subquery whose only step is that instant, whenever it is asked.
    fn in_subquery(
        &self,
        (expr, query): (&str, &Query),
        at: Timestamp,
        expected: &Expected,
    ) -> Check {
        let minute = Duration::from_mins(1);
        if query.kind() != Kind::Vector || at.aligned(minute) != at {
            return Ok(());
        }
        let expr = format!("({expr}\n)[1m:1m] @ {}", at.as_secs_f64());
        let query = promql::parse(&expr).map_err(|error| format!("{expr}: {error}"))?;
        let later = When::At(at.plus(7 * minute));
        let answer = self.answer(&query, later).map_err(|error| format!("{expr}: {error}"))?;
        judge::value(answer.value, expected, When::At(at).steps())
    }
}

fn is_command(line: &str) -> bool {
    let word = line.split(char::is_whitespace).next().unwrap_or_default();
    ["load", "clear", "eval", "roll_up"].iter().any(|command| word.starts_with(command))
}

/// What a matrix has at one instant.
fn slice(matrix: Vec<SeriesData>, at: Timestamp) -> Value {
    let mut vector = Vec::new();
    for SeriesData { labels, samples, histograms } in matrix {
        let float = samples.iter().find(|sample| sample.timestamp == at);
        let histogram = histograms.iter().find(|sample| sample.timestamp == at);
        let value = match (float, histogram) {
            (Some(sample), _) => PointValue::Float(sample.value),
            (None, Some(sample)) => PointValue::Histogram(sample.histogram.clone()),
            (None, None) => continue,
        };
        vector.push((labels, Point { timestamp: at, value }));
    }
    Value::Vector(vector)
}

fn scalar(vector: &[(Labels, Point)]) -> Check<Value> {
    match vector {
        [(labels, point)] if labels.is_empty() => {
            let value = point.float().ok_or("a scalar is a histogram")?;
            let timestamp = point.timestamp;
            Ok(Value::Scalar(balefire::model::Sample { timestamp, value }))
        }
        _ => Err(format!("a scalar has become {vector:?}")),
    }
}
