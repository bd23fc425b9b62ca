//! Runs PromQL scripts in the format of Prometheus' own (promql/promqltest): `load`, `clear`,
//! `eval instant`, `eval range`, with the expected result or failure below.
//!
//! Our scripts stand in `tests/promql/`; `tests/promql/published FOLDER` runs further ones, such as
//! Prometheus' own. To add a test, write a script; no Rust is needed.

use std::{env, path::Path};

#[path = "promql/classic.rs"]
mod classic;
#[path = "promql/distribution.rs"]
mod distribution;
#[path = "promql/expect.rs"]
mod expect;
#[path = "promql/judge.rs"]
mod judge;
#[path = "promql/properties.rs"]
mod properties;
#[path = "promql/published.rs"]
mod published;
#[path = "promql/rollups.rs"]
mod rollups;
#[path = "promql/script.rs"]
mod script;
#[path = "promql/syntax.rs"]
mod syntax;

use published::{Exceptions, Report};
use script::Script;

/// Reports all failures at once, each with file and line.
fn check(report: &Report) {
    let Report { text, checked, complaints } = report;
    println!("{text}");
    assert!(complaints.is_empty(), "{} of {checked}:\n{}", complaints.len(), complaints.join("\n"));
    assert!(*checked > 0, "the scripts evaluate nothing");
}

#[test]
fn our_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    check(&published::run(&folder, &Exceptions::new()));
}

#[test]
fn published_scripts() {
    if let Some(folder) = env::var_os("PROMQL_SCRIPTS") {
        let exceptions = published::exceptions(include_str!("promql/published-exceptions.txt"));
        check(&published::run(Path::new(&folder), &exceptions));
    }
}

/// The harness itself must be able to fail.
#[test]
fn a_wrong_expectation_is_reported() {
    for (wrong, reason) in [
        ("eval instant at 0 1\n  2", "expected 2, got 1"),
        ("load 1m\n  a 1\neval instant at 0 a\n  b 1", "unexpected series a"),
        ("load 1m\n  a 1\neval instant at 0 b\n  a 1", "missing series a"),
        ("load 1m\n  a 1\neval instant at 0 a\n  a 2", "expected 2, got 1"),
        ("load 1m\n  a 1x3\neval range from 0 to 2m step 1m a\n  a 1 1 2", "expected 2, got 1"),
        ("eval instant at 0 1\n  expect fail", "should fail"),
        ("eval instant at 0 (", "parse error"),
        ("load 1m\n  a 1x3\neval instant at 1m rate(a[5m])\n  expect no_info\n  {} 0", "no info"),
        ("roll_up 1h", "malformed roll_up"),
        (
            "load 1m\n  a 1x19\nroll_up 5m until 5m\neval instant at 15m a\n  expect info\n  a 1",
            "there should be",
        ),
        ("nonsense", "unknown command"),
    ] {
        let failures = Script::new(wrong).run().failures;
        assert_eq!(failures.len(), 1, "{wrong}: {failures:?}");
        assert!(failures[0].reason.contains(reason), "{wrong}: {failures:?}");
    }
}
