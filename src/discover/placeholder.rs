//! `${VAR}` and `${VAR:-default}`, as Claude Code expands them.

use std::collections::BTreeMap;

// Variables are named as labels are.
use crate::model::is_label_name;

/// A variable that is not set and has no default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing(pub(super) String);

/// `text` with its placeholders filled in. As in a shell, an empty value takes the default too. What
/// is no placeholder stays as it is.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, Missing> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, placeholder, after)) = next_placeholder(rest) {
        expanded.push_str(before);
        expanded.push_str(&value(placeholder, variables)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What is before, within and after the first `${…}` that names a variable.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut starts = text.match_indices("${").map(|(start, _)| start);
    starts.find_map(|start| {
        let (inside, after) = text[start + 2..].split_once('}')?;
        let name = inside.split(":-").next()?;
        is_label_name(name).then(|| (&text[..start], inside, after))
    })
}

fn value(inside: &str, variables: &BTreeMap<String, String>) -> Result<String, Missing> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let set = variables.get(name).filter(|value| default.is_none() || !value.is_empty());
    let value = set.map(String::as_str).or(default);
    value.map(str::to_owned).ok_or_else(|| Missing(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [("HOME", "/home/me"), ("EMPTY", "")].map(|(n, v)| (n.to_owned(), v.to_owned())).into()
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let expected = expected.map(str::to_owned).map_err(|name| Missing(name.to_owned()));
        assert_eq!(expand(text, &variables()), expected);
    }

    #[test]
    fn fills_in_what_is_known() {
        check("${HOME}/a/${HOME}", Ok("/home/me/a//home/me"));
        check("${PORT:-8080}", Ok("8080"));
        check("${HOME:-/tmp}", Ok("/home/me"));
        check("${EMPTY:-x}${EMPTY}", Ok("x"));
        check("${A:-}", Ok(""));
    }

    #[test]
    fn says_what_is_missing() {
        check("x${TOKEN}", Err("TOKEN"));
    }

    #[test]
    fn leaves_other_texts_alone() {
        check("$HOME ${unfinished $$ {}", Ok("$HOME ${unfinished $$ {}"));
    }

    proptest! {
        #[test]
        fn arbitrary_texts_do_no_harm(text: String) {
            let _ = expand(&text, &variables());
        }
    }
}
