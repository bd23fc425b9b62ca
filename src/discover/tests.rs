use std::fs;

use crate::model::{Check, Secret};

use super::*;

const CODE: &str = "home/.claude.json";
const MANAGED: &str = "etc/claude-code/managed-mcp.json";
const DESKTOP: &str = "home/.config/Claude/claude_desktop_config.json";

/// What is found where these files are all there is.
fn find(files: &[(&str, &str)]) -> Found {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let variables = [("KEY", "sk-1"), ("PORT", "3001")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (home, etc) = (root.path().join("home"), root.path().join("etc"));
    discover_in(&Places { home, etc, variables })
}

#[track_caller]
fn check_names(found: &Found, expected: &[&str]) {
    assert_eq!(found.problems, []);
    let names: Vec<_> = found.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, expected);
}

/// The one thing that is wrong with Claude Code's file.
#[track_caller]
fn check_problem(text: &str, expected: &str) {
    let found = find(&[(CODE, text)]);
    let messages: Vec<_> = found.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(messages, [expected]);
    assert!(found.problems[0].file.ends_with(".claude.json"));
}

#[test]
fn no_files_are_no_problem() {
    assert_eq!(find(&[]), Found::default());
}

#[test]
fn finds_a_server_with_all_it_has() {
    let found = find(&[(
        CODE,
        r#"{"history": [1, 2], "mcpServers": {"time": {"type": "stdio", "command": "uvx",
            "args": ["mcp-server-time", "--key=${KEY}"], "env": {"TOKEN": "${KEY}"}}}}"#,
    )]);
    check_names(&found, &["time"]);
    let target = &found.targets[0];
    let check = Check::McpStdio {
        command: ["uvx", "mcp-server-time", "--key=sk-1"].map(str::to_owned).into(),
        env: [("TOKEN".to_owned(), Secret::new("sk-1"))].into(),
        cwd: None,
    };
    assert_eq!(target.check, check);
    assert!(!target.probed, "it would have to be spawned");
    assert_eq!((target.interval.as_secs(), target.timeout.as_secs(), target.retries), (900, 10, 2));
    assert!(matches!(&target.source, TargetSource::Discovered { client: "claude-code", .. }));
    assert!(!format!("{:?}", target.check).contains("TOKEN\": \"sk"), "values are secret");
}

#[test]
fn names_are_made_unique() {
    let server = r#"{"command": "a"}"#;
    let code = format!(
        r#"{{"mcpServers": {{"a": {server}}}, "projects": {{"/p/x": {{"mcpServers": {{"a": {server}}}}},
            "/q/x": {{"mcpServers": {{"a": {server}}}}}, "/r": {{"mcpServers": {{"b": {server}}}}}, "/s": {{}}}}}}"#
    );
    let other = format!(r#"{{"mcpServers": {{"a": {server}}}}}"#);
    let found = find(&[(CODE, &code), (MANAGED, &other), (DESKTOP, &other)]);
    check_names(&found, &["a", "a@x", "a@x-2", "b", "a-2", "a-3"]);
    let Check::McpStdio { cwd, .. } = &found.targets[1].check else { panic!("it is stdio") };
    assert_eq!(cwd.as_deref(), Some(Path::new("/p/x")), "a project's servers start there");
}

#[test]
fn only_what_runs_on_this_host_is_called_at_once() {
    for (entry, probed) in [
        (r#"{"type": "http", "url": "http://127.0.0.1:1/mcp"}"#, true),
        (r#"{"url": "http://localhost:${PORT}/mcp"}"#, true),
        (r#"{"type": "http", "url": "https://[::1]/"}"#, true),
        (r#"{"type": "http", "url": "https://example.com/mcp"}"#, false),
        (r#"{"type": "http", "url": "http://127.0.0.1.example.com/"}"#, false),
        (r#"{"type": "http", "url": "http://127.0.0.1:1/", "disabled": true}"#, false),
        (r#"{"type": "sse", "url": "http://127.0.0.1:1/sse"}"#, false),
    ] {
        let found = find(&[(CODE, &format!(r#"{{"mcpServers": {{"a": {entry}}}}}"#))]);
        check_names(&found, &["a"]);
        assert_eq!(found.targets[0].probed, probed, "{entry}");
        assert_eq!(found.targets[0].interval.as_secs(), 60);
    }
}

#[test]
fn a_placeholder_that_is_not_set_keeps_a_server_from_being_probed() {
    let text = r#"{"mcpServers": {"a": {"url": "http://127.0.0.1/", "headers": {"A": "${NO}"}}}}"#;
    let found = find(&[(CODE, text)]);
    assert!(!found.targets[0].probed);
    let message = &found.problems[0].message;
    assert!(message.starts_with("mcpServers.a.headers.A: ${NO} is not set"), "{message}");
}

#[test]
fn claude_desktop_takes_texts_as_they_are() {
    let text = r#"{"mcpServers": {"a": {"command": "${NO}"}}}"#;
    check_names(&find(&[(DESKTOP, text)]), &["a"]);
}

#[test]
fn broken_json_is_named_by_its_line() {
    check_problem("{\n  \"mcpServers\": {,}\n}", "line 2, column 18: key must be a string");
    check_problem("", "line 1, column 0: EOF while parsing a value");
}

#[test]
fn wrong_shapes_are_named_by_their_key() {
    for (servers, expected) in [
        ("[]", "mcpServers: expected an object of servers, found a list"),
        (r#"{"a": 1}"#, "mcpServers.a: expected an object, found a number"),
        (r#"{"a": {}}"#, r#"mcpServers.a: neither "command" nor "url""#),
        (r#"{"": {"command": "a"}}"#, "mcpServers.: the server's name is empty or too long"),
        (r#"{"a": {"command": ["a"]}}"#, "mcpServers.a.command: expected a text, found a list"),
        (r#"{"a": {"command": ""}}"#, "mcpServers.a.command: missing"),
        (
            r#"{"a": {"command": "a", "args": "b"}}"#,
            "mcpServers.a.args: expected a list of texts, found a text",
        ),
        (
            r#"{"a": {"command": "a", "args": ["b", 1]}}"#,
            "mcpServers.a.args[1]: expected a text, found a number",
        ),
        (
            r#"{"a": {"command": "a", "env": {"B": true}}}"#,
            "mcpServers.a.env.B: expected a text, found a truth value",
        ),
        (r#"{"a": {"type": "http"}}"#, "mcpServers.a.url: missing"),
        (r#"{"a": {"url": "file:///x"}}"#, "mcpServers.a.url: begin it with http:// or https://"),
        (
            r#"{"a": {"type": "carrier-pigeon"}}"#,
            r#"mcpServers.a.type: unknown transport "carrier-pigeon""#,
        ),
    ] {
        check_problem(&format!(r#"{{"mcpServers": {servers}}}"#), expected);
    }
}

#[test]
fn one_bad_entry_does_not_hide_the_others() {
    let found = find(&[
        (CODE, r#"{"mcpServers": {"a": 1, "b": {"command": "b"}}}"#),
        (DESKTOP, "{"),
        (MANAGED, r#"{"mcpServers": {"c": {"command": "c"}}}"#),
    ]);
    let names: Vec<_> = found.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(found.problems.len(), 2);
}

#[test]
fn what_is_no_file_is_a_problem() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join(".claude.json")).unwrap();
    let found = discover_in(&Places { etc: root.path().to_owned(), ..Places::of(root.path()) });
    assert_eq!(found.problems[0].message, "cannot be read: not a regular file");
}

#[test]
fn every_client_has_a_name_and_files_of_its_own() {
    let places = Places::of(Path::new("/home/me"));
    let mut names = BTreeSet::new();
    let mut files = BTreeSet::new();
    for client in &CLIENTS {
        assert!(names.insert(client.name));
        assert!((client.files)(&places).into_iter().all(|file| files.insert(file)));
    }
}
