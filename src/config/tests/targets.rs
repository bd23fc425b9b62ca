//! `[[targets]]`: what is read, and what is refused.

use super::*;
use crate::model::{Check, TargetSource};

#[test]
fn targets_of_every_kind_are_read() {
    let config = load(
        r#"
        [[targets]]
        name = "time"
        kind = "mcp"
        command = ["mcp-server-time"]
        env = { LANG = "C" }
        [[targets]]
        name = "docs"
        kind = "mcp"
        url = "http://127.0.0.1:3001/mcp"
        [[targets]]
        name = "site"
        kind = "http"
        url = "https://example.org"
        interval = "5s"
        expected_status = [200, 301]
        [[targets]]
        name = "db"
        kind = "tcp"
        address = "[::1]:5432"
        timeout = "2s"
        retries = 0
        "#,
    );
    let targets = &config.probing.targets;
    let shown: Vec<String> = targets
        .iter()
        .map(|t| {
            let transport = t.check.transport();
            format!("{} {transport} {:?} {:?} {}", t.name, t.interval, t.timeout, t.retries)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "time stdio 900s 10s 2",
            "docs streamable-http 60s 10s 2",
            "site https 5s 5s 0",
            "db tcp 60s 2s 0",
        ]
    );
    assert!(
        targets
            .iter()
            .all(|t| t.probed && t.source == TargetSource::Config(config.file.clone().unwrap()))
    );
}

#[test]
fn probe_defaults_hold_for_targets_that_say_nothing() {
    let config = load(
        "[probe]\ninterval = \"2m\"\ntimeout = \"3s\"\nretries = 1\n\
         [[targets]]\nname = \"a\"\nkind = \"tcp\"\naddress = \"h:1\"\n",
    );
    let target = &config.probing.targets[0];
    assert_eq!(target.interval, Duration::from_mins(2));
    assert_eq!((target.timeout, target.retries), (Duration::from_secs(3), 1));
}

#[test]
fn a_target_needs_a_name_a_kind_and_something_to_check() {
    check(
        "[[targets]]\n",
        &[
            "balefire.toml:1: targets[0].name: is missing; write a name of your choice",
            "balefire.toml:1: targets[0].kind: is missing; write \"mcp\", \"http\" or \"tcp\"",
        ],
    );
    check(
        "[[targets]]\nname = \"a\"\nkind = \"mcp\"\nintervall = \"1m\"\n",
        &[
            "balefire.toml:1: targets[0]: an MCP server has neither command nor url; write command = \
         [\"program\", \"argument\"] for one that is spawned, or url = \"http://…\" for one that runs",
        ],
    );
    check(
        "[[targets]]\nname = \"a\"\nkind = \"http\"\n",
        &["balefire.toml:1: targets[0].url: is missing; write \"http://…\" or \"https://…\""],
    );
    check(
        "[[targets]]\nname = \"a\"\nkind = \"tcp\"\nurl = \"http://x\"\n",
        &[
            "balefire.toml:1: targets[0].address: is missing; write \"host:port\"",
            "balefire.toml:4: targets[0].url: unknown key; known here: name, kind, address, interval, \
         timeout, retries",
        ],
    );
}

#[test]
fn target_names_are_unique_plain_and_not_reserved() {
    let target =
        |name: &str| format!("[[targets]]\nname = {name:?}\nkind = \"tcp\"\naddress = \"h:1\"\n");
    for name in ["all", "system", "balefire"] {
        check(
            &target(name),
            &[&format!(
                "balefire.toml:2: targets[0].name: {name:?} is reserved; choose another name"
            )],
        );
    }
    for name in ["", "a b", "-a", "ä", "a/b", &"x".repeat(65)] {
        check(
            &target(name),
            &[&format!(
                "balefire.toml:2: targets[0].name: {name:?} cannot be a name; use letters, digits, '-', \
             '_' and '.', a letter or digit first, 64 at most"
            )],
        );
    }
    check(
        &(target("a") + &target("a")),
        &["balefire.toml:6: targets[1].name: \"a\" is the name of another target, at \
           balefire.toml:2; choose one of its own"],
    );
}

#[test]
fn kinds_that_come_later_and_kinds_that_never_will() {
    let target = |kind: &str| format!("[[targets]]\nname = \"a\"\nkind = \"{kind}\"\nx = 1\n");
    check(
        &target("dns"),
        &[
            "balefire.toml:3: targets[0].kind: kind \"dns\" comes with a later version; use mcp, http, tcp",
        ],
    );
    check(
        &target("htp"),
        &["balefire.toml:3: targets[0].kind: \"htp\": unknown kind; did you mean \"http\"?"],
    );
}

#[test]
fn values_of_targets_are_checked() {
    let check_line = |line: &str, message: &str| {
        let kind = if line.starts_with("address") { "tcp" } else { "http" };
        let url = if line.starts_with("url") || kind == "tcp" { "" } else { "url = \"http://h/\"" };
        let toml = format!("[[targets]]\nname = \"a\"\nkind = \"{kind}\"\n{line}\n{url}\n");
        let key = line.split(' ').next().unwrap();
        check(&toml, &[&format!("balefire.toml:4: targets[0].{key}: {message}")]);
    };
    check_line("url = \"ftp://h\"", "is no URL that begins with \"http://\" or \"https://\"");
    check_line("url = \"h\"", "is no URL that begins with \"http://\" or \"https://\"");
    check_line(
        "url = \"http://u:p@h/\"",
        "holds a user and a password, which would be shown; use headers or bearer_token_file",
    );
    check_line("expected_status = []", "is empty; write [200]");
    check_line("expected_status = [200, 700]", "700 is no HTTP status; write 100 to 599");
    check_line("expected_status = [\"ok\"]", "entry 1: is a text; write a whole number");
    check_line("headers = { \"a b\" = \"x\" }", "\"a b\" cannot be the name of a header");
    check_line(
        "headers = { a = \"x\\ny\" }",
        "the value of \"a\" has a character that a header cannot have",
    );
    check_line("headers = { a = 5 }", "a: is a whole number; write a text in quotes");
    check_line("retries = 11", "11 is too much; write 10 or less");
    check_line(
        "bearer_token_file = \"token\"",
        "\"token\" is neither an absolute path nor, outside of systemd, a credential; write a path \
         that begins with \"/\"",
    );
    check_line(
        "bearer_token_file = \"/nonexistent\"",
        "cannot read /nonexistent: No such file or directory (os error 2)",
    );
    for address in ["h", ":1", "h:0", "h:99999", "::1:5"] {
        check_line(
            &format!("address = \"{address}\""),
            &format!("{address:?} is no host and port; write \"host:port\" or \"[::1]:port\""),
        );
    }
}

#[test]
fn attempts_must_fit_into_the_interval() {
    let target = "[[targets]]\nname = \"a\"\nkind = \"tcp\"\naddress = \"h:1\"\n";
    let fits = load(&format!("{target}interval = \"20s\"\ntimeout = \"9500ms\"\nretries = 1\n"));
    assert_eq!(fits.probing.targets[0].retries, 1);
    check(
        &format!("{target}interval = \"20s\"\ntimeout = \"9s\"\nretries = 2\n"),
        &[
            "balefire.toml:6: targets[0].timeout: 3 × 9s and the pauses between the attempts come to \
           30s125ms, longer than the interval of 20s; write less, or a longer interval",
        ],
    );
    check(
        &format!("{target}timeout = \"61s\"\n"),
        &[
            "balefire.toml:5: targets[0].timeout: 1 × 1m1s and the pauses between the attempts come to 1m1s, longer than the interval of 1m; write less, or a longer interval",
        ],
    );
}

#[test]
fn an_mcp_server_is_spawned_or_called_not_both() {
    check(
        "[[targets]]\nname = \"a\"\nkind = \"mcp\"\ncommand = [\"x\"]\nurl = \"http://h/\"\nretries = true",
        &[
            "balefire.toml:1: targets[0]: an MCP server has both command and url; write command = \
             [\"program\", \"argument\"] for one that is spawned, or url = \"http://…\" for one that runs",
            "balefire.toml:6: targets[0].retries: is true or false; write a whole number",
        ],
    );
    let command = |line: &str, message: &str| {
        check(
            &format!("[[targets]]\nname = \"a\"\nkind = \"mcp\"\n{line}\n"),
            &[&format!("balefire.toml:4: targets[0].{message}")],
        );
    };
    command("command = \"x\"", "command: is a text; write a list in [ ]");
    command("command = []", "command: names no program; write [\"program\", …]");
    command("command = [\"\"]", "command: names no program; write [\"program\", …]");
}

#[test]
fn secrets_that_cannot_be_read_are_told() {
    let home = Home::new(
        "[[targets]]\nname = \"a\"\nkind = \"mcp\"\nurl = \"http://h/\"\n\
         bearer_token_file = \"empty\"\nheaders = { authorization = \"Basic x\" }\n\
         [[targets]]\nname = \"b\"\nkind = \"mcp\"\ncommand = [\"x\"]\n\
         env_files = { KEY = \"missing\" }\nenv = { \"A=B\" = \"x\" }\n",
    );
    let home = home.with_file("empty", "\n");
    let folder = home.dir.path().join(".config/balefire").display().to_string();
    let home = home.with_env("CREDENTIALS_DIRECTORY", &folder);
    assert_eq!(
        home.problems(),
        [
            "balefire.toml:5: targets[0].bearer_token_file: headers have an Authorization already; \
             remove one of the two",
            "balefire.toml:5: targets[0].bearer_token_file: empty is empty; write the secret into it",
            "balefire.toml:11: targets[1].env_files: KEY: cannot read missing: No such file or \
             directory (os error 2)",
            "balefire.toml:12: targets[1].env: \"A=B\" cannot be the name of an environment variable",
        ]
    );
}

#[test]
fn variables_reach_into_lists() {
    let target = "[[targets]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://h/\"\n";
    let home = Home::new(target)
        .with_env("BALEFIRE__TARGETS__0__URL", "http://other/")
        .with_env("BALEFIRE__TARGETS__0__EXPECTED_STATUS", "204")
        .with_env("BALEFIRE__TARGETS__0__HEADERS__X_TEAM", "ops");
    let config = home.load().unwrap();
    let Check::Http { url, headers, expected_status } = &config.probing.targets[0].check else {
        panic!()
    };
    assert_eq!((url.as_str(), expected_status.as_slice()), ("http://other/", &[204][..]));
    assert_eq!(headers["x-team"].reveal(), "ops");

    let home = Home::new(target)
        .with_env("BALEFIRE__TARGETS__7__URL", "x")
        .with_env("BALEFIRE__TARGETS__0__URL__X", "x");
    assert_eq!(
        home.problems(),
        [
            "environment variable BALEFIRE__TARGETS__0__URL__X: targets.0.url.x: \"url\" is no table",
            "environment variable BALEFIRE__TARGETS__7__URL: targets.7.url: \"targets\" has 1 \
             entries, counted from 0, and no \"7\"",
        ]
    );
}

#[test]
fn secrets_come_from_files_credentials_and_the_environment() {
    let target = "[[targets]]\nname = \"a\"\nkind = \"mcp\"\n";
    let home = Home::new(&format!(
        "{target}url = \"http://h/\"\nbearer_token_file = \"token\"\n\
         {}command = [\"x\"]\nenv_files = {{ KEY = \"token\" }}\n",
        target.replace("\"a\"", "\"b\"")
    ));
    let home = home.with_file("token", " s3cret\n");
    let folder = home.dir.path().join(".config/balefire").display().to_string();
    let home = home
        .with_env("CREDENTIALS_DIRECTORY", &folder)
        .with_env("BALEFIRE__TARGETS__1__ENV__API_KEY", "s3cret too");
    let config = home.load().unwrap_or_else(|problems| panic!("{problems}"));
    let Check::McpHttp { headers, .. } = &config.probing.targets[0].check else { panic!() };
    assert_eq!(headers["Authorization"].reveal(), "Bearer s3cret");
    let Check::McpStdio { env, .. } = &config.probing.targets[1].check else { panic!() };
    assert_eq!(env["KEY"].reveal(), "s3cret");
    assert_eq!(env["API_KEY"].reveal(), "s3cret too");
    let shown = print_config(&config);
    assert!(!shown.contains("s3cret") && shown.contains("API_KEY = \"<redacted>\""), "{shown}");
}

/// Of the helper that starts them: one target, and nothing that is wrong elsewhere.
#[test]
fn one_target_is_read_by_its_name() {
    let text = r#"
        environment = 7
        [[targets]]
        name = "broken"
        kind = "mcp"
        command = []
        [[targets]]
        name = "time"
        kind = "mcp"
        command = ["mcp-server-time"]
        cwd = "/srv"
        "#;
    let read = |name| spawned_target(Path::new("/etc/b.toml"), text, name);
    let Ok(Check::McpStdio { command, cwd, .. }) = read("time") else { panic!("it is stdio") };
    assert_eq!((command, cwd), (vec!["mcp-server-time".to_owned()], Some("/srv".into())));
    let broken = "/etc/b.toml:6: targets[0].command: names no program; write [\"program\", …]";
    assert_eq!(read("broken").unwrap_err(), broken);
    assert_eq!(read("tim").unwrap_err(), "/etc/b.toml has no target of this name");
    let torn = spawned_target(Path::new("/etc/b.toml"), "[[targets]", "time").unwrap_err();
    assert!(torn.contains("this is not TOML"), "{torn}");
}

#[test]
fn the_spawn_socket_is_the_systems_where_it_is_there() {
    let of = |config: &str| load(config).probing.spawn_socket;
    assert_eq!(of(""), None);
    assert_eq!(of("[probe]\nspawn_socket = \"/run/s\"").as_deref(), Some(Path::new("/run/s")));
    let home = Home::new("").with_env("STATE_DIRECTORY", "/var/lib/balefire");
    assert_eq!(home.load().unwrap().probing.spawn_socket, None);
    let socket = home.dir.path().join("run/balefire/spawn.sock");
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    fs::write(socket, "").unwrap();
    let usual = Path::new("/run/balefire/spawn.sock");
    assert_eq!(home.load().unwrap().probing.spawn_socket.as_deref(), Some(usual));
    let off = home.with_env("BALEFIRE__PROBE__SPAWN_SOCKET", "");
    assert_eq!(off.load().unwrap().probing.spawn_socket, None);
    let relative = "balefire.toml:2: probe.spawn_socket: \"s\" cannot be a socket's path; write an \
                    absolute one of 107 bytes at most, or \"\"";
    check("[probe]\nspawn_socket = \"s\"\n", &[relative]);
}
