//! Runs the scripts of a folder, such as the ones that Prometheus publishes, and knows where we differ
//! from them on purpose.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::script::{Failure, Outcome, Script};

/// Where we differ: file and expression, and why.
pub(crate) type Exceptions = BTreeMap<(String, String), String>;

/// How a folder's scripts went.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// For people.
    pub(crate) text: String,
    pub(crate) checked: usize,
    /// What is wrong, one a line: differences that are not known, and known ones that are none.
    pub(crate) complaints: Vec<String>,
}

/// The scripts of a folder, in order.
pub(crate) fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list the scripts in {}: {error}", folder.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    assert!(!files.is_empty(), "there is no script in {}", folder.display());
    files
}

pub(crate) fn read(file: &Path) -> String {
    fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}

/// A reason at the margin, and below it, indented, `file.test expression` for each it explains.
pub(crate) fn exceptions(text: &str) -> Exceptions {
    let (mut reason, mut out) = (String::new(), Exceptions::new());
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with(char::is_whitespace) {
            line.trim().clone_into(&mut reason);
            continue;
        }
        let (file, expr) = line.trim().split_once(char::is_whitespace).unwrap_or((line, ""));
        assert!(!expr.is_empty() && !reason.is_empty(), "an exception needs it all: {line:?}");
        let before = out.insert((file.into(), expr.trim().into()), reason.clone());
        assert!(before.is_none(), "an exception stands twice: {line:?}");
    }
    out
}

pub(crate) fn run(folder: &Path, exceptions: &Exceptions) -> Report {
    let mut report = Report::default();
    for file in scripts(folder) {
        let outcome = Script::new(&read(&file)).run();
        report.add(&file, &outcome, exceptions);
    }
    report
}

impl Report {
    fn add(&mut self, file: &Path, outcome: &Outcome, exceptions: &Exceptions) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_known =
            |failure: &&Failure| exceptions.contains_key(&(name.clone(), failure.expr.clone()));
        let (known, unknown): (Vec<_>, Vec<_>) = outcome.failures.iter().partition(is_known);
        let total = outcome.checked;
        self.checked += total;
        let passed = total.saturating_sub(outcome.failures.len());
        let _ = write!(self.text, "{name}: {passed} of {total}");
        if !known.is_empty() {
            let _ = write!(self.text, ", {} differ as known", known.len());
        }
        self.text.push('\n');
        for Failure { line, expr, reason } in unknown {
            let place = file.display();
            self.complaints.push(format!("{place}:{line}: {expr}: {reason}"));
        }
        let used: BTreeSet<&str> = known.iter().map(|failure| failure.expr.as_str()).collect();
        let idle =
            exceptions.keys().filter(|(file, expr)| *file == name && !used.contains(&**expr));
        let idle =
            idle.map(|(_, expr)| format!("{name}: {expr}: the exception is no longer needed"));
        self.complaints.extend(idle);
    }
}
