//! Whether our scripts have an answer to each function, aggregation, operator and modifier.

use std::{collections::BTreeSet, path::Path};

use balefire::promql::FUNCTIONS;

use super::{
    published::{read, scripts},
    script::Script,
};

const AGGREGATIONS: &[&str] = &[
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];

const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless",
];

const MODIFIERS: &[&str] = &[
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "by",
    "without",
    "offset",
    "@",
    "start",
    "end",
    "[",
    ":",
];

#[test]
fn our_scripts_have_it_all() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let texts: Vec<String> = scripts(&folder).iter().map(|file| read(file)).collect();
    let answered: Vec<String> =
        texts.iter().flat_map(|text| Script::new(text).run().answered).collect();
    let seen: BTreeSet<&str> = answered.iter().flat_map(|expr| tokens(expr)).collect();
    let functions = FUNCTIONS.iter().map(|function| function.name);
    let others = [AGGREGATIONS, OPERATORS, MODIFIERS].concat();
    let missing: Vec<&str> =
        functions.chain(others).filter(|token| !seen.contains(token)).collect();
    assert!(missing.is_empty(), "no script has an answer to {missing:?}");
}

/// The words and signs of an expression outside strings and matchers.
fn tokens(expr: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' | '\'' | '`' => closing(rest, first),
            '{' => closing(rest, '}'),
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ if ["==", "!=", ">=", "<="].contains(&rest.get(..2).unwrap_or_default()) => 2,
            _ => first.len_utf8(),
        };
        out.push(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn closing(text: &str, last: char) -> usize {
    text.char_indices().skip(1).find(|(_, c)| *c == last).map_or(text.len(), |(at, _)| at + 1)
}

#[test]
fn matchers_and_strings_are_no_operators() {
    assert_eq!(tokens("a{b!=\"c\"}>=1"), ["a", "{b!=\"c\"}", ">=", "1"]);
    assert_eq!(
        tokens("f('a+b', x[1m:])"),
        ["f", "(", "'a+b'", ",", " ", "x", "[", "1m", ":", "]", ")"]
    );
}
