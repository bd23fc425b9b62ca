//! The effective configuration as TOML, each line with its origin.

use std::fmt::Write;

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
