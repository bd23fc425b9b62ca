//! Names that look like a mistyped one: what a refusal proposes, on either side of the wire.

/// Names suggested at most.
const SUGGESTIONS_MAX: usize = 5;

/// The names among `known` that resemble `wanted`, the nearest first.
pub fn names<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> =
        known.into_iter().filter_map(|name| Some((distance(wanted, name)?, name))).collect();
    near.sort_unstable();
    near.truncate(SUGGESTIONS_MAX);
    near.into_iter().map(|(_, name)| name).collect()
}

/// `; near: a, b`, or nothing where nothing is near.
pub fn hint<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = names(wanted, known);
    if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) }
}

/// How far `name` is from `wanted`; `None` where they have nothing to do with each other.
fn distance(wanted: &str, name: &str) -> Option<usize> {
    let (wanted, name) = (wanted.to_ascii_lowercase(), name.to_ascii_lowercase());
    let edits = strsim::levenshtein(&wanted, &name);
    if edits <= wanted.len() / 3 {
        return Some(edits);
    }
    if !wanted.is_empty() && (name.contains(&wanted) || wanted.contains(&name)) {
        return Some(edits);
    }
    // `cpu_usage_percent` and `system_cpu_usage` share two words: farther than any typing error.
    let shared = words(&wanted).filter(|word| words(&name).any(|other| other == *word)).count();
    (shared > 0 && 2 * shared >= words(&wanted).count().min(words(&name).count()))
        .then(|| 1000 + edits - shared.min(edits))
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['_', ':', '-', '.', ' ']).filter(|word| word.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] =
        ["node_load1", "system_cpu_usage", "system_memory_usage", "up", "mcp_server_health"];

    #[track_caller]
    fn check(wanted: &str, nearest: Option<&str>) {
        assert_eq!(names(wanted, KNOWN).first().copied(), nearest, "{wanted:?}");
    }

    #[test]
    fn finds_typing_errors_parts_and_shared_words() {
        check("system_cpu_usge", Some("system_cpu_usage"));
        check("cpu_usage", Some("system_cpu_usage"));
        check("cpu_usage_percent", Some("system_cpu_usage"));
        check("MEMORY_usage", Some("system_memory_usage"));
    }

    #[test]
    fn says_nothing_where_nothing_is_near() {
        check("http_requests_total", None);
        check("", None);
        assert_eq!(hint("zzz", KNOWN), "");
    }
}
