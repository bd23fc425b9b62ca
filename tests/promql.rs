//! Runs PromQL scripts in the format of Prometheus' own (promql/promqltest): `load`, `clear`,
//! `eval instant`, `eval range`, with the expected result or failure below.
//!
//! Our scripts stand in `tests/promql/`; `tests/promql/published FOLDER` runs further ones, such as
//! Prometheus' own. To add a test, write a script; no Rust is needed.

use std::{env, fs, path::Path};

#[path = "promql/classic.rs"]
mod classic;
#[path = "promql/coverage.rs"]
mod coverage;
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
    let Report { checked, complaints, .. } = report;
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
        let report = published::run(Path::new(&folder), &exceptions);
        println!("{}", report.text);
        check(&report);
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
        ("eval instant at 0 vector(1)\n  1", "expected a scalar"),
        (
            "load 1m\n  a 1 2 3\neval range from 0 to 1m step 1m a\n  a 1 2 3",
            "than there are steps",
        ),
        (
            "load 1m\n  a {{count:1}}\neval instant at 0 a[1m]\n  a 1",
            "expected 1, got {{schema:0 count:1",
        ),
        ("load 1m\n  a 1\neval instant at 0 a\n  a {{count:1}}", "expected {{schema:0 count:1"),
        (
            "load 1m\n  a {{count:1 buckets:[1]}}\neval instant at 0 a[1m]\n  a {{count:1 offset:1 buckets:[1]}}",
            "offset:0 buckets:[1]",
        ),
        ("load 1m\n  a {{buckets:[1}}", "malformed histogram"),
        ("load 1m\n  a {{shape:1}}", "unknown part"),
        ("load_with_nhcb 1m\n  a_bucket{le=\"1\"} 2\n  a_bucket{le=\"+Inf\"} 1", "does not add up"),
        ("eval instant at 0 (\n  expect fail msg: no such words", "should fail with"),
        (
            "load 1m\n  a 1x3\neval instant at 1m rate(a[5m])\n  expect info msg: PromQL info: other\n  {} 0",
            "there should be the info",
        ),
    ] {
        let failures = Script::new(wrong).run().failures;
        assert_eq!(failures.len(), 1, "{wrong}: {failures:?}");
        assert!(failures[0].reason.contains(reason), "{wrong}: {failures:?}");
    }
}

/// What stands behind `x`, `+` and `-`, and what `load_with_nhcb` makes, is what it is meant to be.
#[test]
fn histograms_are_read() {
    let load = [
        "load 1m",
        "  a {{schema:1 count:4 sum:5 z_bucket:1 z_bucket_w:0.5 buckets:[1 2]}}+{{schema:2 count:2 sum:1 buckets:[1 0 0 1]}}x2",
        "  b {{count:3 buckets:[3]}}-{{count:1 buckets:[1] counter_reset_hint:gauge}}x1 _ stale",
        "load_with_nhcb 1m",
        r#"  c_bucket{k="v",le="0.5"} 1"#,
        r#"  c_bucket{k="v",le="2"} 3"#,
        r#"  c_bucket{k="v",le="+Inf"} 7"#,
        r#"  c_sum{k="v"} 20"#,
        r#"  c_count{k="v"} 7"#,
        "eval instant at 2m a[3m]",
        "  expect range vector from 0 to 2m step 1m",
        "  a {{schema:1 count:4 sum:5 z_bucket:1 z_bucket_w:0.5 buckets:[1 2]}} {{schema:1 count:6 sum:6 z_bucket:1 z_bucket_w:0.5 buckets:[2 2 1]}} {{schema:1 count:8 sum:7 z_bucket:1 z_bucket_w:0.5 buckets:[3 2 2]}}",
        "eval instant at 2m b[3m]",
        "  expect range vector from 0 to 2m step 1m",
        "  b {{count:3 buckets:[3]}} {{count:2 buckets:[2]}}",
        "eval instant at 0 c[1m]",
        r#"  c{k="v"} {{schema:-53 count:7 sum:20 custom_values:[0.5 2] buckets:[1 2 4]}}"#,
    ];
    let failures = Script::new(&load.join("\n")).run().failures;
    assert!(failures.is_empty(), "{failures:#?}");
}

/// An exception hides one evaluation, not one too many, and not for longer than it must.
#[test]
fn exceptions_are_used_or_reported() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.test"),
        "eval instant at 0 1\n  2\n\neval instant at 0 3\n  3\n",
    )
    .unwrap();
    let complaints = |exceptions: &str| {
        published::run(folder.path(), &published::exceptions(exceptions)).complaints.join("\n")
    };
    assert_eq!(complaints("They count otherwise.\n  a.test 1\n"), "");
    assert!(complaints("").contains("a.test:1: 1: expected 2, got 1"));
    let idle = complaints("They count otherwise.\n  a.test 1\n  a.test 3\n  b.test 1\n");
    assert_eq!(idle, "a.test: 3: the exception is no longer needed");
}
