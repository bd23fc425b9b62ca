//! Reads a table key by key. What is known, what is wrong and what holds in the end all come from
//! the reading itself, so that they cannot drift apart.

use std::cell::RefCell;

use super::{
    problem::Problem,
    raw::{Node, Origin, Table, Value},
    setting::Setting,
};

/// A key, the value that holds, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The table: empty for the top, `http`, `targets[0]`.
    pub section: String,
    /// The key in it.
    pub key: &'static str,
    /// The value as TOML, secrets redacted.
    pub value: String,
    /// Where it was said.
    pub origin: Origin,
}

/// What reading comes to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) effective: Vec<Effective>,
}

/// A table that is being read. Each key is taken once; [`Section::finish`] tells what was not.
#[derive(Debug)]
pub(super) struct Section<'a> {
    findings: &'a RefCell<Findings>,
    path: String,
    table: Table,
    origin: Origin,
    known: Vec<&'static str>,
    forgiving: bool,
}

/// A value and where it was said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Said<T> {
    pub(super) fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }
}

impl<'a> Section<'a> {
    /// The whole tree.
    pub(super) fn root(table: Table, findings: &'a RefCell<Findings>) -> Self {
        let (path, origin) = (String::new(), Origin::Default);
        Self { findings, path, table, origin, known: Vec::new(), forgiving: false }
    }

    /// The value of a key, or `default`.
    pub(super) fn take<T: Setting>(&mut self, key: &'static str, default: T) -> Said<T> {
        self.take_if(key, default, |_| Ok(()))
    }

    /// The value of a key where `check` has nothing against it, or `default`.
    pub(super) fn take_if<T: Setting>(
        &mut self,
        key: &'static str,
        default: T,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Said<T> {
        let said = self.optional_if(key, check);
        said.unwrap_or_else(|| self.settle(key, default, Origin::Default))
    }

    /// The value of a key that has no default.
    pub(super) fn optional<T: Setting>(&mut self, key: &'static str) -> Option<Said<T>> {
        self.optional_if(key, |_| Ok(()))
    }

    /// The value of a key that has no default, where `check` has nothing against it.
    pub(super) fn optional_if<T: Setting>(
        &mut self,
        key: &'static str,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Option<Said<T>> {
        let node = self.node(key)?;
        let checked = T::read(&node.value).and_then(|value| check(&value).map(|()| value));
        match checked {
            Ok(value) => Some(self.settle(key, value, node.origin)),
            Err(wrong) => {
                self.problem(key, &node.origin, wrong);
                None
            }
        }
    }

    /// The value of a key that must be there; `help` says what to write.
    pub(super) fn required<T: Setting>(
        &mut self,
        key: &'static str,
        help: &str,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Option<Said<T>> {
        if !self.has(key) {
            self.known.push(key);
            self.problem(key, &self.origin, format!("is missing; write {help}"));
            return None;
        }
        self.optional_if(key, check)
    }

    /// Says that `value` holds for `key`; for defaults that hang on other keys.
    pub(super) fn settle<T: Setting>(
        &self,
        key: &'static str,
        value: T,
        origin: Origin,
    ) -> Said<T> {
        self.findings.borrow_mut().effective.push(Effective {
            section: self.path.clone(),
            key,
            value: value.show(),
            origin: origin.clone(),
        });
        Said { value, origin }
    }

    /// A table below this one; empty where it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let path = join(&self.path, key);
        let below = self.node(key).and_then(|node| self.below(path.clone(), node));
        below.unwrap_or_else(|| Section {
            path,
            origin: self.origin.clone(),
            ..Self::root(Table::new(), self.findings)
        })
    }

    /// The tables of a list (`[[key]]`); what is no table is told and left out.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Array(items) = node.value else {
            let kind = node.value.kind();
            self.problem(key, &node.origin, format!("is {kind}; write [[{key}]] for each"));
            return Vec::new();
        };
        let path = join(&self.path, key);
        let items = items.into_iter().enumerate();
        items.filter_map(|(n, item)| self.below(format!("{path}[{n}]"), item)).collect()
    }

    fn below(&self, path: String, node: Node) -> Option<Section<'a>> {
        let Node { value, origin } = node;
        if let Value::Table(table) = value {
            return Some(Section { path, origin, ..Self::root(table, self.findings) });
        }
        let message = format!("is {}; write a table", value.kind());
        self.findings.borrow_mut().problems.push(Problem { origin, key: path, message });
        None
    }

    fn node(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Whether a key is there and not yet taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Says nothing of keys that nobody takes, where what is known hangs on a key that is wrong.
    pub(super) fn forgive_unknown(&mut self) {
        self.forgiving = true;
    }

    /// Where this table begins.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Tells that something is wrong with `key`.
    pub(super) fn problem(&self, key: &str, origin: &Origin, message: impl Into<String>) {
        let key = join(&self.path, key);
        let problem = Problem { origin: origin.clone(), key, message: message.into() };
        self.findings.borrow_mut().problems.push(problem);
    }

    /// How much is wrong so far, anywhere.
    pub(super) fn problem_count(&self) -> usize {
        self.findings.borrow().problems.len()
    }

    /// Tells of keys that nobody has taken.
    pub(super) fn finish(self) {
        self.finish_with(|_| None);
    }

    /// Tells of keys that nobody has taken, in the words of `say` where it has any.
    pub(super) fn finish_with(self, say: impl Fn(&str) -> Option<String>) {
        for (key, node) in self.table.iter().filter(|_| !self.forgiving) {
            let message = say(key).unwrap_or_else(|| unknown("key", key, &self.known));
            self.problem(key, &node.origin, message);
        }
    }
}

/// `unknown key; did you mean "interval"?`, or all that there are.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let distance = |known: &&&str| strsim::damerau_levenshtein(word, known);
    let nearest = known.iter().min_by_key(distance);
    match nearest {
        Some(nearest) if distance(&nearest) <= 1 + nearest.len() / 4 => {
            format!("unknown {what}; did you mean {nearest:?}?")
        }
        Some(_) => format!("unknown {what}; known here: {}", known.join(", ")),
        None => format!("unknown {what}; none is known here"),
    }
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.to_owned(),
        (path, "") => path.to_owned(),
        (path, key) => format!("{path}.{key}"),
    }
}
