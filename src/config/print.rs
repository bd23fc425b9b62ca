//! The effective configuration as TOML, each line with its origin.

use std::{collections::BTreeMap, fmt::Write};

use super::{Config, Effective};

/// The configuration that holds, as TOML that can be read again; behind each line stands where it
/// was said. Secrets are redacted.
pub fn print_config(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for entry in &config.effective {
        if entry.section != section {
            section = &entry.section;
            let _ = write!(text, "\n{}\n", header(section));
        }
        let _ = writeln!(text, "{}", line(entry));
    }
    text
}

/// The keys whose values differ, as they were and as they are: `log.level = "info"; …`.
pub fn differences(old: &Config, new: &Config) -> (String, String) {
    let values = |config: &Config| -> BTreeMap<String, String> {
        let name = |entry: &Effective| match entry.section.as_str() {
            "" => entry.key.to_owned(),
            section => format!("{section}.{}", entry.key),
        };
        config.effective.iter().map(|entry| (name(entry), entry.value.clone())).collect()
    };
    let (old, new) = (values(old), values(new));
    let only = |these: &BTreeMap<String, String>, others: &BTreeMap<String, String>| {
        let differ = these.iter().filter(|(key, value)| others.get(*key) != Some(value));
        differ.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("; ")
    };
    (only(&old, &new), only(&new, &old))
}

/// `[http]`; `[[targets]]` for `targets[0]`.
fn header(section: &str) -> String {
    match section.split_once('[') {
        Some((list, _)) => format!("[[{list}]]"),
        None => format!("[{section}]"),
    }
}

fn line(entry: &Effective) -> String {
    format!("{} = {}  # {}", entry.key, entry.value, entry.origin)
}
