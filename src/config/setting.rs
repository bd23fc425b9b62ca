//! How one value is read and shown, by its type.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use super::raw::{Node, Value};
use crate::{
    model::Secret,
    telemetry::LogFormat,
    time::{format_duration, parse_duration},
};

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// Reads a value; tells what is wrong with it and what to write instead.
    fn read(value: &Value) -> Result<Self, String>;
    /// The value as TOML, secrets redacted.
    fn show(&self) -> String;
}

fn text<'a>(value: &'a Value, wanted: &str) -> Result<&'a str, String> {
    match value {
        Value::String(text) | Value::Untyped(text) => Ok(text),
        other => Err(format!("is {}; write {wanted}", other.kind())),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        text(value, "a text in quotes").map(str::to_owned)
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Setting for Secret {
    fn read(value: &Value) -> Result<Self, String> {
        text(value, "a text in quotes").map(Self::new)
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for PathBuf {
    fn read(value: &Value) -> Result<Self, String> {
        let path = Self::from(text(value, "a path in quotes")?);
        if path.is_absolute() {
            return Ok(path);
        }
        Err(format!("{:?} is no absolute path; write one that begins with \"/\"", path.display()))
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Boolean(value) => Ok(*value),
            Value::Untyped(text) if text == "true" => Ok(true),
            Value::Untyped(text) if text == "false" => Ok(false),
            other => Err(format!("is {}; write true or false", other.kind())),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A whole number that is not negative.
impl Setting for u64 {
    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Integer(number) => Self::try_from(*number).ok(),
            Value::Untyped(text) => text.parse().ok(),
            other => return Err(format!("is {}; write a whole number", other.kind())),
        };
        number.ok_or_else(|| "write a whole number from 0 on".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for f64 {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Float(number) => Ok(*number),
            Value::Integer(number) => Ok(*number as Self),
            Value::Untyped(text) => text.parse().map_err(|_| "write a number".to_owned()),
            other => Err(format!("is {}; write a number", other.kind())),
        }
    }

    fn show(&self) -> String {
        toml::Value::Float(*self).to_string()
    }
}

impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "a duration in quotes, such as \"30s\" or \"5m\"")?;
        parse_duration(text).map_err(|error| error.to_string())
    }

    fn show(&self) -> String {
        quoted(&format_duration(*self).to_string())
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "an address in quotes, such as \"127.0.0.1:9494\"")?;
        text.parse().map_err(|_| {
            format!("{text:?} is no address and port; write one such as \"127.0.0.1:9494\"")
        })
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for LogFormat {
    fn read(value: &Value) -> Result<Self, String> {
        match text(value, "\"text\" or \"json\"")? {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("unknown format {other:?}; write \"text\" or \"json\"")),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// A size in bytes: `"10MiB"`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(pub(super) u64);

/// As in Prometheus, every unit is a power of 1024.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("KB", 1 << 10),
    ("B", 1),
];

impl Setting for Bytes {
    fn read(value: &Value) -> Result<Self, String> {
        if let Value::Integer(number) = value {
            return u64::read(&Value::Integer(*number)).map(Self);
        }
        let text = text(value, "a size such as \"10MiB\"")?;
        let unit = SIZES.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
        let (number, size) = unit.unwrap_or((text, 1));
        let bytes = number.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(size));
        bytes.map(Self).ok_or_else(|| format!("{text:?} is no size; write one such as \"10MiB\""))
    }

    fn show(&self) -> String {
        let unit = SIZES.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        let (unit, size) = unit.unwrap_or(&("B", 1));
        quoted(&format!("{}{unit}", self.0 / size))
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Result<Self, String> {
        let item = |(n, node): (usize, &Node)| {
            T::read(&node.value).map_err(|wrong| format!("entry {}: {wrong}", n + 1))
        };
        match value {
            Value::Array(items) => items.iter().enumerate().map(item).collect(),
            // An environment variable: a list with commas.
            Value::Untyped(text) => text
                .split(',')
                .filter(|part| !part.trim().is_empty())
                .map(|part| T::read(&Value::Untyped(part.trim().to_owned())))
                .collect(),
            other => Err(format!("is {}; write a list in [ ]", other.kind())),
        }
    }

    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(T::show).collect();
        format!("[{}]", items.join(", "))
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn read(value: &Value) -> Result<Self, String> {
        let Value::Table(table) = value else {
            return Err(format!("is {}; write a table, such as {{ name = \"…\" }}", value.kind()));
        };
        let entry = |(key, node): (&String, &Node)| {
            let value = T::read(&node.value).map_err(|wrong| format!("{key}: {wrong}"))?;
            Ok((key.clone(), value))
        };
        table.iter().map(entry).collect()
    }

    fn show(&self) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let entry = |(key, value): (&String, &T)| {
            let plain = !key.is_empty() && key.chars().all(bare);
            let key = if plain { key.clone() } else { quoted(key) };
            format!("{key} = {}", value.show())
        };
        let entries: Vec<String> = self.iter().map(entry).collect();
        if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Setting>(written: &str, shown: Result<&str, &str>) {
        let read = T::read(&Value::Untyped(written.to_owned()));
        let read = read.as_ref().map(T::show).map_err(String::as_str);
        assert_eq!(read, shown.map(str::to_owned), "{written:?}");
    }

    #[test]
    fn texts_without_a_type_are_read_as_their_key_asks() {
        check::<bool>("true", Ok("true"));
        check::<u64>("17", Ok("17"));
        check::<f64>("0.5", Ok("0.5"));
        check::<String>("17", Ok("\"17\""));
        check::<Duration>("90s", Ok("\"1m30s\""));
        check::<Vec<String>>("a, b", Ok("[\"a\", \"b\"]"));
        check::<Vec<u64>>("200,204", Ok("[200, 204]"));
        check::<Vec<u64>>("", Ok("[]"));
        check::<u64>("-1", Err("write a whole number from 0 on"));
        check::<bool>("yes", Err("is a text; write true or false"));
    }

    #[test]
    fn sizes_have_units() {
        check::<Bytes>("10MiB", Ok("\"10MiB\""));
        check::<Bytes>("10MB", Ok("\"10MiB\""));
        check::<Bytes>("2048", Ok("\"2KiB\""));
        check::<Bytes>("1000 B", Ok("\"1000B\""));
        check::<Bytes>("10 apples", Err("\"10 apples\" is no size; write one such as \"10MiB\""));
        let too_large = "\"99999999999GiB\" is no size; write one such as \"10MiB\"";
        check::<Bytes>("99999999999GiB", Err(too_large));
    }

    #[test]
    fn what_is_shown_is_toml() {
        let map = BTreeMap::from([("A B".to_owned(), "x\"y".to_owned())]);
        let shown: toml::Table = format!("map = {}", map.show()).parse().unwrap();
        assert_eq!(shown["map"]["A B"].as_str(), Some("x\"y"));
        assert_eq!(
            BTreeMap::from([("k".to_owned(), Secret::new("s"))]).show(),
            "{ k = \"<redacted>\" }"
        );
    }
}
