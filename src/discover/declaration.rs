//! One server's entry in an `mcpServers` object, the shape that most clients share.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use http::Uri;
use serde_json::{Map, Value};

use crate::{
    limits,
    model::{Check, Secret, Target, TargetSource},
};

use super::{Reading, placeholder};

/// How it is probed where nobody says otherwise; whoever takes the targets in may.
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRIES: u32 = 2;

/// A server as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declaration {
    pub(super) name: String,
    /// The project that it is declared for.
    pub(super) project: Option<PathBuf>,
    pub(super) check: Check,
    /// Whether it may be called without being asked for: it runs already, on this host.
    pub(super) probed: bool,
}

impl Declaration {
    pub(super) fn into_target(self, name: String, source: TargetSource) -> Target {
        let interval = self.check.usual_interval();
        let Self { check, probed, .. } = self;
        Target { name, check, interval, timeout: TIMEOUT, retries: RETRIES, source, probed }
    }
}

/// How a client writes its entries.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    /// Whether `${VAR}` is filled in.
    pub(super) expands: bool,
    /// Where the servers start, where the entry does not say.
    pub(super) project: Option<PathBuf>,
    /// What leads to the entries, for messages: `mcpServers`.
    pub(super) path: String,
}

/// Reads all entries of `servers`; what is wrong is named by its key, the rest is taken.
pub(super) fn read_servers(servers: &Value, dialect: &Dialect, reading: &mut Reading<'_>) {
    if servers.is_null() {
        return;
    }
    let Some(servers) = servers.as_object() else {
        return reading.problem(wrong(&dialect.path, "an object of servers", servers));
    };
    for (name, entry) in servers {
        let mut entry_reading =
            Entry { path: format!("{}.{name}", dialect.path), dialect, reading, complete: true };
        match entry_reading.read(name, entry) {
            Ok(declaration) => reading.declarations.push(declaration),
            Err(message) => reading.problem(message),
        }
    }
}

/// An entry while it is read.
struct Entry<'a, 'r> {
    path: String,
    dialect: &'a Dialect,
    reading: &'a mut Reading<'r>,
    /// Whether all placeholders were filled in.
    complete: bool,
}

impl Entry<'_, '_> {
    fn read(&mut self, name: &str, entry: &Value) -> Result<Declaration, String> {
        if name.is_empty() || name.len() > limits::LABEL_VALUE_BYTES_MAX {
            return Err(format!("{}: the server's name is empty or too long", self.path));
        }
        let fields = entry.as_object().ok_or_else(|| wrong(&self.path, "an object", entry))?;
        let kind = self.text(fields, "type")?;
        let (check, callable) = match kind.as_deref() {
            Some("stdio") => (self.stdio(fields)?, false),
            Some("http" | "streamable-http" | "streamableHttp") => (self.http(fields)?, true),
            Some("sse") => (self.http(fields)?, false),
            Some(other) => {
                return Err(format!("{}.type: unknown transport {other:?}", self.path));
            }
            None if fields.contains_key("command") => (self.stdio(fields)?, false),
            None if fields.contains_key("url") => (self.http(fields)?, true),
            None => return Err(format!("{}: neither \"command\" nor \"url\"", self.path)),
        };
        let disabled = fields.get("disabled").and_then(Value::as_bool).unwrap_or(false);
        let probed = callable && self.complete && !disabled && is_loopback(&check);
        let project = self.dialect.project.clone();
        Ok(Declaration { name: name.to_owned(), project, check, probed })
    }

    fn stdio(&mut self, fields: &Map<String, Value>) -> Result<Check, String> {
        let program = self.text(fields, "command")?;
        let program = program.filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| format!("{}.command: missing", self.path))?;
        let mut command = vec![program];
        command.extend(self.list(fields, "args")?);
        let cwd = self.text(fields, "cwd")?.map(PathBuf::from);
        let cwd = cwd.or_else(|| self.dialect.project.clone());
        Ok(Check::McpStdio { command, env: self.secrets(fields, "env")?, cwd })
    }

    fn http(&mut self, fields: &Map<String, Value>) -> Result<Check, String> {
        let url = self.text(fields, "url")?;
        let url = url.ok_or_else(|| format!("{}.url: missing", self.path))?;
        if !url.starts_with("http://") && !url.starts_with("https://") && self.complete {
            return Err(format!("{}.url: begin it with http:// or https://", self.path));
        }
        Ok(Check::McpHttp { url, headers: self.secrets(fields, "headers")? })
    }

    fn text(&mut self, fields: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
        let path = format!("{}.{key}", self.path);
        match fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.expanded(value, &path).map(Some),
        }
    }

    fn list(&mut self, fields: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
        let path = format!("{}.{key}", self.path);
        match fields.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let item = |(index, item)| self.expanded(item, &format!("{path}[{index}]"));
                items.iter().enumerate().map(item).collect()
            }
            Some(other) => Err(wrong(&path, "a list of texts", other)),
        }
    }

    fn secrets(
        &mut self,
        fields: &Map<String, Value>,
        key: &str,
    ) -> Result<BTreeMap<String, Secret>, String> {
        let path = format!("{}.{key}", self.path);
        match fields.get(key) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Object(entries)) => {
                let entry = |(name, value): (&String, &Value)| {
                    let value = self.expanded(value, &format!("{path}.{name}"))?;
                    Ok((name.clone(), Secret::new(value)))
                };
                entries.iter().map(entry).collect()
            }
            Some(other) => Err(wrong(&path, "an object of texts", other)),
        }
    }

    /// A text with its placeholders filled in; one that cannot be stays, and is reported.
    fn expanded(&mut self, value: &Value, path: &str) -> Result<String, String> {
        let text = value.as_str().ok_or_else(|| wrong(path, "a text", value))?;
        if !self.dialect.expands {
            return Ok(text.to_owned());
        }
        placeholder::expand(text, self.reading.variables).or_else(|missing| {
            self.complete = false;
            let name = missing.0;
            self.reading.problem(format!(
                "{path}: ${{{name}}} is not set in Balefire's environment, so the server cannot be probed"
            ));
            Ok(text.to_owned())
        })
    }
}

/// Says what stands where something else should; never the value, which may be a secret.
fn wrong(path: &str, wanted: &str, got: &Value) -> String {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{path}: expected {wanted}, found {got}")
}

/// Whether a check calls upon this host only.
fn is_loopback(check: &Check) -> bool {
    let Check::McpHttp { url, .. } = check else { return false };
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
