//! Where clients declare MCP servers; one file per client. Reads files, runs nothing.
//!
//! A client is a row of `CLIENTS`: its name, the files it has, and how they are read. What the
//! clients share is in `declaration` (one server's entry) and `placeholder` (`${VAR}`). Whether a
//! server is ever started is not decided here: those that would have to be spawned are found with
//! `probed` false, and somebody adopts them.

mod claude_code;
mod claude_desktop;
mod declaration;
mod file;
mod placeholder;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    limits,
    model::{Target, TargetSource},
};

use declaration::Declaration;

/// What the clients' files declare.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The servers, `probed` set to false for stdio; names made unique.
    pub targets: Vec<Target>,
    /// Files that could not be read as they should be.
    pub problems: Vec<Problem>,
}

/// A file that could not be read as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line where it is known, and what is wrong.
    pub message: String,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// A person's home.
    pub home: PathBuf,
    /// Where system-wide files lie: `/etc`.
    pub etc: PathBuf,
    /// The variables that placeholders name.
    pub variables: BTreeMap<String, String>,
}

impl Places {
    /// Below `home` and `/etc`, with the variables of this process.
    pub fn of(home: &Path) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables = std::env::vars_os().filter_map(text).collect();
        Self { home: home.to_owned(), etc: PathBuf::from("/etc"), variables }
    }
}

/// A client and its files.
struct Client {
    /// `claude-code` …
    name: &'static str,
    /// The files it may have.
    files: fn(&Places) -> Vec<PathBuf>,
    /// Reads one of them.
    read: fn(&[u8], &mut Reading<'_>) -> Result<(), serde_json::Error>,
}

/// Every client that is known. One more is one file and one row.
const CLIENTS: [Client; 2] = [claude_code::CLIENT, claude_desktop::CLIENT];

/// A file while it is read.
struct Reading<'a> {
    file: &'a Path,
    variables: &'a BTreeMap<String, String>,
    declarations: Vec<Declaration>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn problem(&mut self, message: String) {
        self.problems.push(Problem { file: self.file.to_owned(), message });
    }
}

/// Reads the files of every known client below `home`. Blocking.
pub fn discover(home: &Path) -> Found {
    discover_in(&Places::of(home))
}

/// Reads the files of every known client in `places`. Blocking.
pub fn discover_in(places: &Places) -> Found {
    let mut found = Found::default();
    let mut names = BTreeSet::new();
    for client in &CLIENTS {
        for file in (client.files)(places) {
            read_file(client, &file, places, (&mut found, &mut names));
        }
    }
    found
}

fn read_file(
    client: &Client,
    file: &Path,
    places: &Places,
    (found, names): (&mut Found, &mut BTreeSet<String>),
) {
    let (declarations, variables) = (Vec::new(), &places.variables);
    let problems = Vec::new();
    let mut reading = Reading { file, variables, declarations, problems };
    match file::read(file) {
        Ok(None) => return,
        Ok(Some(bytes)) => {
            if let Err(error) = (client.read)(&bytes, &mut reading) {
                reading.problem(file::json_problem(&error));
            }
        }
        Err(message) => reading.problem(message),
    }
    for declaration in std::mem::take(&mut reading.declarations) {
        if found.targets.len() >= limits::TARGETS_MAX {
            reading.problem(format!(
                "more than {} servers: the rest is left out",
                limits::TARGETS_MAX
            ));
            break;
        }
        let name = unique_name(&declaration, names);
        let source = TargetSource::Discovered { client: client.name, file: file.to_owned() };
        found.targets.push(declaration.into_target(name, source));
    }
    found.problems.append(&mut reading.problems);
}

/// `name`, else `name@project`, else the first of `name-2`, `name-3` … that is free.
fn unique_name(declaration: &Declaration, names: &mut BTreeSet<String>) -> String {
    let Declaration { name, project, .. } = declaration;
    let project = project.as_deref().and_then(Path::file_name);
    let at_project = project.map(|project| format!("{name}@{}", project.to_string_lossy()));
    let base = at_project.clone().unwrap_or_else(|| name.clone());
    let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
    let mut candidates = std::iter::once(name.clone()).chain(at_project).chain(numbered);
    let free = candidates.find(|candidate| !names.contains(candidate));
    let free = free.expect("numbers do not run out before targets do");
    names.insert(free.clone());
    free
}

#[cfg(test)]
mod tests;
