//! Runs PromQL scripts in the format of Prometheus' own (promql/promqltest): `load`, `clear`,
//! `eval instant`, `eval range`, with the expected result or failure below.
//!
//! Our scripts stand in `tests/promql/`; the environment variable `PROMQL_SCRIPTS` names a folder of
//! further ones. To add a test, write a script; no Rust is needed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[path = "promql/properties.rs"]
mod properties;
#[path = "promql/rollups.rs"]
mod rollups;
#[path = "promql/script.rs"]
mod script;

use script::Script;

/// The scripts of a folder, in order.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list the scripts in {}: {error}", folder.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    files
}

/// Runs all scripts of a folder and reports all failures at once, each with file and line.
fn run_all(folder: &Path) {
    let files = scripts(folder);
    assert!(!files.is_empty(), "there is no script in {}", folder.display());
    let mut checked = 0;
    let mut failures = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let outcome = Script::new(&text).run();
        checked += outcome.checked;
        let place = |(line, what): (usize, String)| format!("{}:{line}: {what}", file.display());
        failures.extend(outcome.failures.into_iter().map(place));
    }
    assert!(failures.is_empty(), "{} of {checked}:\n{}", failures.len(), failures.join("\n"));
    assert!(checked > 0, "the scripts evaluate nothing");
}

#[test]
fn our_scripts() {
    run_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql"));
}

#[test]
fn further_scripts() {
    if let Some(folder) = env::var_os("PROMQL_SCRIPTS") {
        run_all(Path::new(&folder));
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
        assert!(failures[0].1.contains(reason), "{wrong}: {failures:?}");
    }
}
