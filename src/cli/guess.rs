//! Which format a text is in.

/// What a text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    Json,
    Csv,
    Influx,
    /// The text format or OpenMetrics: only the end tells which.
    Prometheus,
}

/// By how a text begins; `None` where that says nothing.
pub(super) fn guess(beginning: &[u8]) -> Option<Guess> {
    let text = String::from_utf8_lossy(beginning);
    if text.starts_with("# Balefire line protocol") {
        return Some(Guess::Influx);
    }
    let mut lines = text.lines().map(str::trim_start);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let name = line.find(['{', ' ', ',', '\t']).unwrap_or(line.len());
    Some(match line[name..].chars().next() {
        Some('{') if name == 0 => Guess::Json,
        Some('{') => Guess::Prometheus,
        _ if line.starts_with("timestamp,series,value") => Guess::Csv,
        _ if line.contains('=') => Guess::Influx,
        _ => Guess::Prometheus,
    })
}

/// By the end of a file's name; `None` where that says nothing.
pub(super) fn guess_by_name(extension: &str) -> Option<Guess> {
    Some(match extension.to_ascii_lowercase().as_str() {
        "json" | "jsonl" | "ndjson" => Guess::Json,
        "csv" => Guess::Csv,
        "influx" | "lp" | "line" => Guess::Influx,
        "prom" | "om" | "openmetrics" => Guess::Prometheus,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Guess>) {
        assert_eq!(guess(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn each_format_begins_in_its_way() {
        check("{\"labels\":{", Some(Guess::Json));
        check("timestamp,series,value,detail\n", Some(Guess::Csv));
        check("# Balefire line protocol 1\n# TYPE a gauge\n", Some(Guess::Influx));
        check("# by telegraf\ncpu,host=a usage=1,idle=2 17\n", Some(Guess::Influx));
        check("cpu value=1\n", Some(Guess::Influx));
        check("# TYPE a gauge\na{b=\"c=d\"} 1\n", Some(Guess::Prometheus));
        check("\n  up 1 1700000000\n", Some(Guess::Prometheus));
        check("# a remark\n\n", None);
        assert_eq!(guess(b"\xff\xfe up=1"), Some(Guess::Influx));
    }

    #[test]
    fn names_tell_too() {
        assert_eq!(guess_by_name("JSONL"), Some(Guess::Json));
        assert_eq!(guess_by_name("txt"), None);
    }
}
