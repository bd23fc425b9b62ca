//! The layers, from the ground up: base file, overlay, environment, flags.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Overrides,
    problem::Problem,
    raw::{self, Node, Origin, Table, Value},
    surroundings::Surroundings,
};
use crate::limits::CONFIG_BYTES_MAX;

/// What all layers come to.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The base file; `None` where there is none.
    pub(super) file: Option<PathBuf>,
    pub(super) table: Table,
    pub(super) problems: Vec<Problem>,
}

/// Lays all layers one on the other. `default_file` is read where no file is named, and need not
/// be there.
pub(super) fn gather(
    overrides: &Overrides,
    around: &Surroundings,
    default_file: Option<PathBuf>,
) -> Layers {
    let mut layers = Layers::default();
    layers.read_base(named_file(overrides, around), default_file);
    layers.read_overlay(around);
    layers.add_environment(around);
    layers.add_flags(overrides);
    layers
}

/// The file that a flag or `BALEFIRE_CONFIG` names.
pub(super) fn named_file(overrides: &Overrides, around: &Surroundings) -> Option<PathBuf> {
    let by_env = || around.var("BALEFIRE_CONFIG").map(PathBuf::from);
    let named = overrides.config_file.clone().or_else(by_env)?;
    Some(std::path::absolute(&named).unwrap_or(named))
}

impl Layers {
    fn read_base(&mut self, named: Option<PathBuf>, default_file: Option<PathBuf>) {
        let must_be_there = named.is_some();
        let Some(file) = named.or(default_file) else { return };
        if self.read(&file, must_be_there) {
            self.file = Some(file);
        }
    }

    /// `balefire.<environment>.toml` beside the base file; it need not be there.
    fn read_overlay(&mut self, around: &Surroundings) {
        if let Some(name) = around.var("BALEFIRE_ENVIRONMENT") {
            self.set("environment", name, Origin::Env("BALEFIRE_ENVIRONMENT".to_owned()));
        }
        if let Some(name) = around.var("BALEFIRE__ENVIRONMENT") {
            self.set("environment", name, Origin::Env("BALEFIRE__ENVIRONMENT".to_owned()));
        }
        let environment = self.table.get("environment").cloned();
        let Some(Node { value: Value::String(name) | Value::Untyped(name), .. }) = &environment
        else {
            return;
        };
        // Another name is a problem that is told where the key is read.
        if let (Some(base), true) = (&self.file, is_environment(name)) {
            let stem = base.file_stem().unwrap_or_default().to_string_lossy();
            self.read(&base.with_file_name(format!("{stem}.{name}.toml")), false);
        }
        self.refuse_another_environment(environment);
    }

    /// An overlay cannot say which overlay it is.
    fn refuse_another_environment(&mut self, before: Option<Node>) {
        let after = self.table.get("environment");
        if let Some(Node { origin, .. }) = after.filter(|after| Some(*after) != before.as_ref()) {
            self.problems.push(Problem {
                origin: origin.clone(),
                key: "environment".to_owned(),
                message: "an overlay cannot set it; remove it here, and set it in the base file"
                    .to_owned(),
            });
        }
        self.table.extend(before.map(|node| ("environment".to_owned(), node)));
    }

    /// `BALEFIRE__SECTION__KEY=value`; entries of lists have numbers (`BALEFIRE__TARGETS__0__URL`).
    fn add_environment(&mut self, around: &Surroundings) {
        for (name, value) in &around.env {
            let Some(path) = name.strip_prefix("BALEFIRE__") else { continue };
            let origin = Origin::Env(name.clone());
            let node = Node { value: Value::Untyped(value.clone()), origin: origin.clone() };
            let path = key_path(path);
            let steps: Vec<&str> = path.iter().map(String::as_str).collect();
            if let Err(wrong) = raw::insert(&mut self.table, &steps, node) {
                self.problems.push(Problem { origin, key: path.join("."), message: wrong });
            }
        }
    }

    fn add_flags(&mut self, overrides: &Overrides) {
        let flags = [
            ("--state-dir", "state_dir", overrides.state_dir.as_deref().map(absolute)),
            ("--socket", "socket", overrides.socket.as_deref().map(absolute)),
            ("--listen", "http.listen", overrides.listen.clone()),
            ("--log-file", "log.file", overrides.log_file.as_deref().map(absolute)),
        ];
        for (flag, key, value) in flags {
            if let Some(value) = value {
                self.set(key, &value, Origin::Flag(flag));
            }
        }
    }

    fn set(&mut self, key: &str, value: &str, origin: Origin) {
        let node = Node { value: Value::Untyped(value.to_owned()), origin: origin.clone() };
        let steps: Vec<&str> = key.split('.').collect();
        if let Err(message) = raw::insert(&mut self.table, &steps, node) {
            self.problems.push(Problem { origin, key: key.to_owned(), message });
        }
    }

    /// Lays a file over what is there; tells whether it could be read.
    fn read(&mut self, file: &Path, must_be_there: bool) -> bool {
        let shared: Arc<Path> = file.into();
        let problem = |message: String| Problem {
            origin: Origin::File { file: Arc::clone(&shared), line: 0 },
            key: String::new(),
            message,
        };
        match read_bounded(file) {
            Ok(text) => {
                let (table, problems) = raw::parse(&text, &shared);
                raw::merge(&mut self.table, table);
                self.problems.extend(problems);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_be_there => false,
            Err(error) => {
                self.problems.push(problem(format!("cannot be read: {error}")));
                false
            }
        }
    }
}

/// Whether this may be an environment's name, which becomes part of a file's name.
pub(super) fn is_environment(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// `HTTP__LISTEN` is `http`, `listen`. What lies below `env` are names of environment variables, in
/// which case counts; below `headers`, names of headers, which have `-` where a variable has `_`.
fn key_path(name: &str) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    for step in name.split("__") {
        let step = match path.last().map(String::as_str) {
            Some("env" | "env_files") => step.to_owned(),
            Some("headers") => step.to_lowercase().replace('_', "-"),
            _ => step.to_lowercase(),
        };
        path.push(step);
    }
    path
}

/// A flag's path, which the caller means from where they are.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

/// Reads a text file that is not larger than a configuration can be.
pub(super) fn read_bounded(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(file)?.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > CONFIG_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {CONFIG_BYTES_MAX} bytes")));
    }
    Ok(text)
}
