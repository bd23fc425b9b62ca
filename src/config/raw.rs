//! The raw layer: a tree of values, each with the place where it was said.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::Problem;

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In a file.
    File {
        /// The file.
        file: Arc<Path>,
        /// Counted from 1; 0 for the file as a whole.
        line: usize,
    },
    /// In an environment variable.
    Env(String),
    /// On the command line.
    Flag(&'static str),
    /// Nowhere: it is the built-in default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0 } => write!(f, "{}", file.display()),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it was said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value as TOML has them, or the text of an environment variable or a flag, which has no type
/// of its own and is read as whatever its key asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    String(String),
    Untyped(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Node>;

impl Value {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) | Self::Untyped(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Reads TOML; what cannot be read is told, and the rest is read all the same.
pub(super) fn parse(text: &str, file: &Arc<Path>) -> (Table, Vec<Problem>) {
    let source = Source { file, line_starts: line_starts(text) };
    let (table, errors) = DeTable::parse_recoverable(text);
    let problem = |error: &toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let what = error.message().replace('\n', ", ");
        let message = format!("this is not TOML: {what}{}", source.beginning(text, at));
        Problem { origin: source.origin(at), key: String::new(), message }
    };
    (source.table(table.into_inner()), errors.iter().map(problem).collect())
}

/// Where each line begins, in bytes.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

struct Source<'a> {
    file: &'a Arc<Path>,
    line_starts: Vec<usize>,
}

impl Source<'_> {
    fn origin(&self, byte: usize) -> Origin {
        let line = self.line_starts.partition_point(|start| *start <= byte);
        Origin::File { file: Arc::clone(self.file), line }
    }

    /// The key or the header in the line of `byte`, to be found by; never the value, which may be a
    /// secret.
    fn beginning(&self, text: &str, byte: usize) -> String {
        let number = self.line_starts.partition_point(|start| *start <= byte);
        let line = text.lines().nth(number.saturating_sub(1)).unwrap_or_default().trim();
        match line.split_once('=') {
            Some((key, _)) => format!(", in `{} = …`", key.trim()),
            None if line.starts_with('[') => format!(", in `{line}`"),
            None => String::new(),
        }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
            let origin = self.origin(key.span().start);
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            (key.into_owned(), Node { value: self.value(value.into_inner()), origin })
        };
        table.into_iter().map(entry).collect()
    }

    fn value(&self, value: DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                // Beyond TOML's own range: as a float it fails the check of its key.
                .map_or(Value::Float(f64::INFINITY), Value::Integer),
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Datetime(date) => Value::Datetime(date.to_string()),
            DeValue::Array(items) => {
                let item = |item: Spanned<DeValue<'_>>| {
                    let origin = self.origin(item.span().start);
                    Node { value: self.value(item.into_inner()), origin }
                };
                Value::Array(items.into_iter().map(item).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}

/// Lays `over` on `base`: tables are merged key by key; anything else, lists too, is replaced.
pub(super) fn merge(base: &mut Table, over: Table) {
    for (key, node) in over {
        match (base.get_mut(&key), node) {
            (
                Some(Node { value: Value::Table(below), .. }),
                Node { value: Value::Table(above), .. },
            ) => merge(below, above),
            (_, node) => {
                base.insert(key, node);
            }
        }
    }
}

/// Sets the value at `path` (`["targets", "0", "url"]`), making tables on the way; tells where a
/// step of the path cannot be taken.
pub(super) fn insert(table: &mut Table, path: &[&str], node: Node) -> Result<(), String> {
    let [first, rest @ ..] = path else { return Err("it names no key".to_owned()) };
    if rest.is_empty() {
        table.insert((*first).to_owned(), node);
        return Ok(());
    }
    let empty = || Node { value: Value::Table(Table::new()), origin: node.origin.clone() };
    let below = table.entry((*first).to_owned()).or_insert_with(empty);
    match &mut below.value {
        Value::Table(table) => insert(table, rest, node),
        Value::Array(items) => insert_in_list(items, first, rest, node),
        _ => Err(format!("{first:?} is no table")),
    }
}

fn insert_in_list(items: &mut [Node], list: &str, path: &[&str], node: Node) -> Result<(), String> {
    let [index, rest @ ..] = path else { return Err("it names no key".to_owned()) };
    let count = items.len();
    let item = index.parse::<usize>().ok().and_then(|index| items.get_mut(index));
    match item.map(|item| &mut item.value) {
        Some(Value::Table(table)) => insert(table, rest, node),
        Some(_) => Err(format!("{list}[{index}] is no table")),
        None => Err(format!("{list:?} has {count} entries, counted from 0, and no {index:?}")),
    }
}
