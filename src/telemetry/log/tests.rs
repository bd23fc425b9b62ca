use std::fs::read_to_string;

use super::*;

fn logging_to(dir: &std::path::Path, format: LogFormat) -> (Dispatch, LogHandle, PathBuf) {
    let path = dir.join("x.log");
    let options = LogOptions { file: Some(path.clone()), format, ..LogOptions::default() };
    let (dispatch, handle) = build(&options, true).unwrap();
    (dispatch, handle, path)
}

#[test]
fn text_lines_have_time_level_message_and_fields() {
    let dir = tempfile::tempdir().unwrap();
    let (dispatch, handle, path) = logging_to(dir.path(), LogFormat::Text);
    tracing::dispatcher::with_default(&dispatch, || {
        tracing::info!(task = "ingest", "task started");
        tracing::debug!("not of interest");
    });
    let text = read_to_string(path).unwrap();
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    let message = rest.trim_start();
    assert!(message.starts_with("INFO ") && message.contains("task started"), "{text}");
    assert!(text.ends_with("task=\"ingest\"\n") && !text.contains('\x1b'), "{text}");
    assert_eq!(handle.0.lines_lost.get(), 0);
}

#[test]
fn json_lines_are_objects() {
    let dir = tempfile::tempdir().unwrap();
    let (dispatch, _, path) = logging_to(dir.path(), LogFormat::Json);
    tracing::dispatcher::with_default(&dispatch, || tracing::warn!(port = 9494, "port is taken"));
    let line: serde_json::Value = serde_json::from_str(&read_to_string(path).unwrap()).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "port is taken");
    assert_eq!(line["port"], 9494);
}

#[test]
fn the_filter_changes_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (dispatch, handle, path) = logging_to(dir.path(), LogFormat::Text);
    tracing::dispatcher::with_default(&dispatch, || {
        tracing::debug!("unheard");
        assert_eq!(handle.set_filter("warn,balefire=debug").unwrap(), "info");
        tracing::debug!("heard");
        assert_eq!(handle.set_filter("off").unwrap(), "warn,balefire=debug");
        tracing::error!("hushed");
    });
    let text = read_to_string(path).unwrap();
    assert!(text.contains("heard") && !text.contains("unheard") && !text.contains("hushed"));
    assert_eq!(handle.filter(), "off");
}

#[test]
fn rmcp_is_heard_only_where_the_filter_names_it() {
    for (filter, expected) in [
        ("info", "info,rmcp=error"),
        ("info,rmcp::service=debug", "info,rmcp::service=debug"),
        ("off", "off"),
    ] {
        let expected = EnvFilter::builder().parse(expected).unwrap();
        assert_eq!(parse_filter(filter).unwrap().to_string(), expected.to_string());
    }
}

#[test]
fn a_wrong_filter_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_dispatch, handle, _) = logging_to(dir.path(), LogFormat::Text);
    for filter in ["", "inof", "info,", "balefire=loud", "info,verbose"] {
        let error = handle.set_filter(filter).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert!(error.to_string().contains("write off, error, warn"), "{error}");
    }
    assert_eq!(handle.filter(), "info");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let file = Some(PathBuf::from("/nonexistent/x.log"));
    let error = build(&LogOptions { file, ..LogOptions::default() }, false).unwrap_err();
    assert!(error.to_string().starts_with("cannot open log file /nonexistent/x.log: "), "{error}");
}

#[test]
fn the_journal_is_known_by_device_and_inode() {
    assert!(output::names_file("9:1234", 9, 1234));
    for other in ["", "9", "9:1235", "8:1234", "9:1234:5", "a:b"] {
        assert!(!output::names_file(other, 9, 1234), "{other:?}");
    }
}

#[test]
fn lost_lines_are_an_own_metric() {
    let dir = tempfile::tempdir().unwrap();
    let (_dispatch, handle, _) = logging_to(dir.path(), LogFormat::Text);
    let telemetry = Telemetry::new();
    handle.publish(&telemetry);
    assert_eq!(telemetry.gather()[0].name(), "balefire_log_lines_lost_total");
}

#[test]
fn every_id_of_the_journal_is_explained_in_the_catalog() {
    let catalog = include_str!("../../../packaging/balefire.catalog");
    let ids: Vec<_> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(ids, output::CATALOGUED.map(|(_, id)| id));
}
