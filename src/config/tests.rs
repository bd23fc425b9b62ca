mod targets;

use std::{collections::BTreeMap, fs, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A home with files in it, and what is around the process.
struct Home {
    dir: TempDir,
    around: Surroundings,
    overrides: Overrides,
}

impl Home {
    fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = BTreeMap::from([("HOME".to_owned(), dir.path().display().to_string())]);
        let around = Surroundings { env, is_root: false, root_dir: dir.path().into() };
        let home = Self { dir, around, overrides: Overrides::default() };
        home.with_file("balefire.toml", toml)
    }

    fn with_file(self, name: &str, content: &str) -> Self {
        let dir = self.dir.path().join(".config/balefire");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), content).unwrap();
        self
    }

    fn with_env(mut self, name: &str, value: &str) -> Self {
        self.around.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Result<Config, Problems> {
        Config::load_in(&self.overrides, &self.around)
    }

    /// The problems, the folder's name left out.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/.config/balefire/", self.dir.path().display());
        let problems = self.load().expect_err("something is wrong").to_string();
        problems.replace(&folder, "").lines().map(str::to_owned).collect()
    }
}

#[track_caller]
fn load(toml: &str) -> Config {
    Home::new(toml).load().unwrap_or_else(|problems| panic!("{problems}"))
}

/// Checks that just these things are wrong with `toml`.
#[track_caller]
fn check(toml: &str, problems: &[&str]) {
    assert_eq!(Home::new(toml).problems(), problems);
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let around = Surroundings {
        env: BTreeMap::from([("HOME".to_owned(), "/nonexistent".to_owned())]),
        ..Surroundings::default()
    };
    let config = Config::load_in(&Overrides::default(), &around).unwrap();
    assert_eq!(config.file, None);
    assert_eq!(config.state_dir, Path::new("/nonexistent/.local/state/balefire"));
    assert_eq!(config.socket, Path::new("/nonexistent/.local/state/balefire/run/control.sock"));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9494");
    assert!(!config.http.explicit);
    assert_eq!(config.collect.interval, Duration::from_secs(30));
    assert_eq!(config.alerting.interval, Duration::from_secs(30));
    assert_eq!(config.alerting.cooldown, Duration::from_mins(5));
    assert_eq!(config.cleanup_interval, Duration::from_hours(24));
    assert_eq!(config.storage, crate::store::Options::default());
    assert_eq!(config.probing.home.as_deref(), Some(Path::new("/nonexistent")));
    assert_eq!(config.log, LogOptions::default());
}

#[test]
fn keys_are_read() {
    let config = load(
        r#"
        socket_group = "ops"
        [global]
        scrape_interval = "1s"
        external_labels = { site = "home" }
        [http]
        listen = "[::1]:0"
        [log]
        level = "info,balefire::probe=debug"
        max_size = "1MiB"
        [alerting]
        histogram_buckets = [1, 2.5]
        [storage]
        retention = "200d"
        size_max = "10GiB"
        out_of_order_window = "0s"
        series_max = 10_000_000
        power_cut_loses_up_to = "500ms"
        "#,
    );
    assert_eq!(config.socket_group.as_deref(), Some("ops"));
    assert_eq!(config.collect.interval, Duration::from_secs(1));
    assert_eq!(config.external_labels.to_string(), r#"{site="home"}"#);
    assert!(config.http.explicit);
    assert_eq!(config.log.max_size, 1 << 20);
    assert_eq!(config.alerting.histogram_buckets, [1.0, 2.5]);
    let kept = [200, 200, 730].map(|days| Duration::from_hours(days * 24));
    let storage = &config.storage;
    // What is not said follows where it must: rollups outlive what they are made of.
    assert_eq!([storage.retention, storage.retention_5m, storage.retention_1h], kept);
    assert_eq!(storage.size_max, Some(10 << 30));
    assert_eq!(storage.out_of_order_window, Duration::ZERO);
    assert_eq!(storage.series_max, 10_000_000);
    assert_eq!(storage.power_cut_loses_up_to, Duration::from_millis(500));
}

#[test]
fn who_may_do_what_is_read() {
    use crate::access::{Group, Peer, Surroundings};
    let config = load("[access]\nadmin = [\"root\", \"@wheel\"]\nnone = [\"1001\"]");
    let group = Group { gid: 10, name: "wheel".to_owned() };
    let around = Surroundings { uid: 1, group: Group { gid: 10, name: String::new() } };
    let roles = |uid| {
        let peer = Peer { uid, groups: [group.clone()].into(), ..Peer::unknown() };
        config.access.roles(&peer, &around).to_string()
    };
    assert_eq!([roles(1000), roles(1001), roles(1)], ["admin", "none", "admin"]);
    check(
        "[access]\nviewer = [\"ada\", \"two words\"]\nadmins = []",
        &[
            "balefire.toml:2: access.viewer: \"two words\" names nobody; write a user (\"ada\", \"1000\") or \
             a group (\"@wheel\", \"@998\")",
            "balefire.toml:3: access.admins: unknown key; did you mean \"admin\"?",
        ],
    );
}

#[test]
fn what_a_reload_changed_is_told_by_key() {
    let old = load("[log]\nlevel = \"info\"\n[access]\nadmin = [\"ada\"]");
    let new = load("[log]\nlevel = \"debug\"\n[access]\nadmin = [\"ada\"]");
    let mut new = Config { state_dir: old.state_dir.clone(), ..new };
    // Each has a home of its own, and places below it.
    new.effective.retain(|entry| !entry.section.is_empty());
    let mut old = old;
    old.effective.retain(|entry| !entry.section.is_empty());
    let told = differences(&old, &new);
    assert_eq!(told, ("log.level = \"info\"".into(), "log.level = \"debug\"".into()));
    assert_eq!(differences(&new, &new), (String::new(), String::new()));
}

#[test]
fn what_may_come_late_follows_a_short_retention() {
    let storage = load("[storage]\nretention = \"1h\"").storage;
    assert_eq!(storage.out_of_order_window, Duration::from_hours(1));
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    check(
        "evironment = \"prod\"\n[log]\nlevel = \"loud\"\nmax_files = \"many\"\n[global]\nscrape_interval = \"30\"\n",
        &[
            "balefire.toml:1: evironment: unknown key; did you mean \"environment\"?",
            "balefire.toml:3: log.level: invalid log level \"loud\": \"loud\" is no level; write off, \
             error, warn, info, debug or trace, or directives such as \"info,balefire::probe=debug\"",
            "balefire.toml:4: log.max_files: is a text; write a whole number",
            "balefire.toml:6: global.scrape_interval: invalid duration \"30\": write a number and a \
             unit, such as \"30s\", \"5m\", \"1h30m\" or \"250ms\"",
        ],
    );
}

#[test]
fn broken_toml_is_told_with_the_rest() {
    check(
        "[http\nlisten = 5\n[log]\nlevel = \nlevl = \"info\"\nmax_files = true\n",
        &[
            "balefire.toml:1: this is not TOML: unclosed table, expected `]`, in `[http`",
            "balefire.toml:4: this is not TOML: string values must be quoted, expected literal \
             string, in `level = …`",
            "balefire.toml:5: log.levl: unknown key; did you mean \"level\"?",
            "balefire.toml:6: log.max_files: is true or false; write a whole number",
        ],
    );
    check(
        "socket_group = \"a\"\nsocket_group = \"b\"\n",
        &["balefire.toml:2: this is not TOML: duplicate key, in `socket_group = …`"],
    );
}

#[test]
fn wrong_types_are_named() {
    check("http = 5", &["balefire.toml:1: http: is a whole number; write a table"]);
    check(
        "targets = 5",
        &["balefire.toml:1: targets: is a whole number; write [[targets]] for each"],
    );
    check("targets = [5]", &["balefire.toml:1: targets[0]: is a whole number; write a table"]);
    check(
        "state_dir = \"here\"",
        &[
            "balefire.toml:1: state_dir: \"here\" is no absolute path; write one that begins with \"/\"",
        ],
    );
    check("socket = 2020-01-01", &["balefire.toml:1: socket: is a date; write a path in quotes"]);
}

#[test]
fn values_out_of_bounds_are_refused() {
    check(
        "[global]\nscrape_interval = \"999ms\"",
        &["balefire.toml:2: global.scrape_interval: \"999ms\" is too little; write \"1s\" or more"],
    );
    check(
        "[http]\nlisten = \"0.0.0.0:9494\"",
        &[
            "balefire.toml:2: http.listen: 0.0.0.0:9494 can be reached from elsewhere, which needs TLS: \
         give cert_file and key_file in [http.tls_server_config], or write \"127.0.0.1:9494\"",
        ],
    );
    check(
        "[alerting]\nhistogram_buckets = [1, 1]",
        &["balefire.toml:2: alerting.histogram_buckets: is not in order; write each bound larger \
         than the one before"],
    );
    check(
        "[storage]\nretention = \"2h\"\ncleanup_interval = \"3h\"",
        &["balefire.toml:3: storage.cleanup_interval: \"3h\" is too much; write \"2h\" or less"],
    );
    check(
        "[storage]\nretention = \"7d\"\nretention_5m = \"3d\"\nsize_max = \"1MiB\"",
        &[
            "balefire.toml:3: storage.retention_5m: \"3d\" is less than retention, \"7d\"; write \"7d\" \
             or more",
            "balefire.toml:4: storage.size_max: \"1MiB\" is too little; write \"64MiB\" or more",
        ],
    );
    check(
        "[storage]\nretention_1h = \"90d\"",
        &[
            "balefire.toml:2: storage.retention_1h: \"90d\" is less than retention_5m, \"180d\"; write \
         \"180d\" or more",
        ],
    );
    check(
        "[storage]\nout_of_order_window = \"25h\"\nseries_max = 0\npower_cut_loses_up_to = \"2m\"",
        &[
            "balefire.toml:2: storage.out_of_order_window: \"1d1h\" is too much; write \"1d\" or less",
            "balefire.toml:3: storage.series_max: 0 is too little; write 1 or more",
            "balefire.toml:4: storage.power_cut_loses_up_to: \"2m\" is too much; write \"1m\" or less",
        ],
    );
    check(
        "[storage]\nretention = \"6h\"\nout_of_order_window = \"7h\"\nseries_max = 10_000_001",
        &[
            "balefire.toml:3: storage.out_of_order_window: \"7h\" is too much; write \"6h\" or less",
            "balefire.toml:4: storage.series_max: 10000001 is too much; write 10000000 or less",
        ],
    );
    check(
        "[global]\nexternal_labels = { __name__ = \"x\" }",
        &[
            "balefire.toml:2: global.external_labels: __name__ is the metric's name; use another label",
        ],
    );
    check(
        "[log]\nmax_size = 99999999999999999999",
        &["balefire.toml:2: log.max_size: is a number; write a size such as \"10MiB\""],
    );
    let long = format!("/{}/control.sock", "x".repeat(100));
    check(
        &format!("socket = \"{long}\""),
        &[&format!(
            "balefire.toml:1: socket: {long} is too long for a socket: 114 bytes where 107 are allowed; \
         name a shorter path"
        )],
    );
}

#[test]
fn collectors_are_named_or_refused() {
    check(
        "[collect]\nenabled = [\"no-such\"]\n",
        &[&format!(
            "balefire.toml:2: collect.enabled: \"no-such\": {}",
            section::unknown(
                "collector",
                "no-such",
                &crate::collect::COLLECTORS.iter().map(|row| row.name).collect::<Vec<_>>()
            )
        )],
    );
}

#[test]
fn what_comes_later_is_said_to() {
    check(
        "scrape_configs = []\n[[remote_write]]\nurl = \"http://x\"",
        &[
            "balefire.toml:1: scrape_configs: comes with a later version; remove it for now",
            "balefire.toml:2: remote_write: comes with a later version; remove it for now",
        ],
    );
}

#[test]
fn later_layers_count_more() {
    let home = Home::new("environment = \"prod\"\n[log]\nlevel = \"warn\"\nformat = \"json\"\n")
        .with_file(
            "balefire.prod.toml",
            "[log]\nlevel = \"error\"\n[global]\nscrape_interval = \"5s\"\n",
        )
        .with_env("BALEFIRE__GLOBAL__SCRAPE_INTERVAL", "6s")
        .with_env("BALEFIRE__HTTP__LISTEN", "127.0.0.1:1");
    let home = Home {
        overrides: Overrides { listen: Some("127.0.0.1:2".to_owned()), ..Overrides::default() },
        ..home
    };
    let config = home.load().unwrap();
    assert_eq!(config.log.level, "error");
    assert_eq!(config.log.format, crate::telemetry::LogFormat::Json);
    assert_eq!(config.collect.interval, Duration::from_secs(6));
    assert_eq!(config.http.listen.port(), 2);
    assert_eq!(config.external_labels.get("environment"), Some("prod"));

    let home = home.with_env("BALEFIRE_ENVIRONMENT", "test");
    assert_eq!(home.load().unwrap().log.level, "warn", "no overlay for test");
}

#[test]
fn problems_name_the_layer() {
    let home = Home::new("environment = \"prod\"\n")
        .with_file("balefire.prod.toml", "environment = \"test\"\n[log]\nlevel = 5\n")
        .with_env("BALEFIRE__GLOBAL__SCRAPE_INTERVALL", "6s")
        .with_env("BALEFIRE__TARGETS__0__URL", "http://x");
    let home = Home {
        overrides: Overrides { listen: Some("here".to_owned()), ..Overrides::default() },
        ..home
    };
    assert_eq!(
        home.problems(),
        [
            "balefire.prod.toml:1: environment: an overlay cannot set it; remove it here, and set it in the base file",
            "balefire.prod.toml:3: log.level: is a whole number; write a text in quotes",
            "environment variable BALEFIRE__GLOBAL__SCRAPE_INTERVALL: global.scrape_intervall: unknown key; did you mean \"scrape_interval\"?",
            "environment variable BALEFIRE__TARGETS__0__URL: targets: is a table; write [[targets]] for each",
            "flag --listen: http.listen: \"here\" is no address and port; write one such as \"127.0.0.1:9494\"",
        ]
    );
}

#[test]
fn an_environment_is_no_path() {
    let home = Home::new("").with_env("BALEFIRE_ENVIRONMENT", "../x");
    assert_eq!(
        home.problems(),
        ["environment variable BALEFIRE_ENVIRONMENT: environment: \"../x\" is no name for an \
         environment; use letters, digits, '-' and '_'",]
    );
}

#[test]
fn hosts_and_limits_are_checked() {
    check(
        "[http]\nexternal_hosts = [\"box.lan\", \"https://box.lan\"]",
        &["balefire.toml:2: http.external_hosts: \"https://box.lan\" is no host; write a name \
         without scheme and port, \"box.example.com\""],
    );
    check(
        "[limits]\nhttp_burst = 0",
        &["balefire.toml:2: limits.http_burst: 0 is too little; write 1 or more"],
    );
}

/// A folder with a certificate of its own, its key, and other files.
fn secrets() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["box.lan".to_owned()]).unwrap();
    let key = own.signing_key.serialize_pem();
    for (name, text) in
        [("time-key", "x"), ("docs-token", "x"), ("http.crt", &own.cert.pem()), ("http.key", &key)]
    {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn certificates_are_looked_at_with_everything_else() {
    let secrets = secrets();
    let table = |keys: &str| {
        let keys = keys.replace("DIR", &secrets.path().display().to_string());
        Home::new(&format!("[http]\nlisten = \"0.0.0.0:9494\"\n[http.tls_server_config]\n{keys}"))
    };
    let wrong = |keys: &str| {
        let folder = secrets.path().display().to_string();
        table(keys).problems().iter().map(|p| p.replace(&folder, "DIR")).collect::<Vec<_>>()
    };
    let pair = "cert_file = \"DIR/http.crt\"\nkey_file = \"DIR/http.key\"\n";
    let config = table(pair).load().unwrap();
    assert_eq!(config.http.tls.unwrap().client_ca_file, None);
    let clients = format!("{pair}client_ca_file = \"DIR/http.crt\"\n");
    let required = format!("{clients}client_auth_type = \"RequireAndVerifyClientCert\"");
    assert!(table(&required).load().unwrap().http.tls.unwrap().client_ca_file.is_some());
    let section = "http.tls_server_config";
    assert_eq!(
        wrong("cert_file = \"DIR/http.crt\""),
        [format!("balefire.toml:3: {section}.key_file: is missing; write a path in quotes")]
    );
    assert_eq!(
        wrong("cert_file = \"DIR/time-key\"\nkey_file = \"DIR/http.key\""),
        [format!("balefire.toml:3: {section}.cert_file: DIR/time-key holds no certificate in PEM")]
    );
    assert_eq!(
        wrong("cert_file = \"http.crt\"\nkey_file = \"DIR/http.key\""),
        [format!(
            "balefire.toml:4: {section}.cert_file: \"http.crt\" is neither an absolute path nor, outside \
             of systemd, a credential; write a path that begins with \"/\""
        )]
    );
    for (keys, part) in [
        (clients.as_str(), "asks nobody for a certificate"),
        (
            &format!("{pair}client_auth_type = \"RequireAndVerifyClientCert\""),
            "needs client_ca_file",
        ),
        (&format!("{pair}client_auth_type = \"VerifyClientCertIfGiven\""), "is not known here"),
    ] {
        let problems = wrong(keys);
        assert!(problems.len() == 1 && problems[0].contains(part), "{problems:?}");
    }
}

#[test]
fn certificates_may_be_credentials() {
    let secrets = secrets();
    let toml = "[http]\ntls_server_config = { cert_file = \"http.crt\", key_file = \"http.key\" }";
    let home =
        Home::new(toml).with_env("CREDENTIALS_DIRECTORY", &secrets.path().display().to_string());
    let tls = home.load().unwrap().http.tls.unwrap();
    assert_eq!(tls.cert_file, secrets.path().join("http.crt"));
}

#[test]
fn a_named_file_must_be_there() {
    let home = Home::new("").with_env("BALEFIRE_CONFIG", "/nonexistent/balefire.toml");
    assert_eq!(
        home.problems(),
        ["/nonexistent/balefire.toml: cannot be read: No such file or directory (os error 2)",]
    );
}

#[test]
fn what_is_printed_is_a_configuration_again() {
    let toml = "socket_group = \"ops\"\n[http]\nlisten = \"127.0.0.1:1\"\n\
                [[targets]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://h/\"\nheaders = { K = \"s3cret\" }\n";
    let config = load(toml);
    let shown = print_config(&config);
    assert!(shown.contains("listen = \"127.0.0.1:1\"  # "), "{shown}");
    assert!(shown.contains("balefire.toml:3\n") && shown.contains("level = \"info\"  # default"));
    assert!(!shown.contains("s3cret"), "{shown}");
    let again = load(&shown);
    assert_eq!(again.probing.targets[0].name, "a");
    assert_eq!((again.http, again.storage, again.log), (config.http, config.storage, config.log));
}

/// The packaged file with every key made active.
fn packaged() -> String {
    let text = include_str!("../../packaging/balefire.toml");
    let active = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    text.lines().map(|line| active(line) + "\n").collect()
}

#[test]
fn the_packaged_file_is_right_as_it_is() {
    let config = load(include_str!("../../packaging/balefire.toml"));
    assert_eq!(config.storage, store::Options::default());
}

#[test]
fn the_packaged_file_names_every_key_and_its_default() {
    let secrets = secrets();
    let folder = secrets.path().display().to_string();
    let full = load(&packaged().replace("/etc/balefire/secrets", &folder));
    assert_eq!(full.probing.targets.len(), 4);

    let keys = |config: &Config| -> Vec<(String, &'static str, String)> {
        let plain = |e: &&Effective| !e.section.starts_with("targets");
        let rows = config.effective.iter().filter(plain);
        rows.map(|e| (e.section.clone(), e.key, e.value.clone())).collect()
    };
    let stands_for_itself = ["state_dir", "socket", "spawn_socket", "external_labels"];
    for (section, key, value) in keys(&load("")) {
        let said = full.effective.iter().find(|e| e.section == section && e.key == key).unwrap();
        assert_ne!(said.origin, Origin::Default, "{section} {key} is not in the packaged file");
        if !stands_for_itself.contains(&key) {
            assert_eq!(said.value, value, "{section} {key}");
        }
    }
}

/// What can stand in a table, as the complaint about a key that cannot tells it.
fn known_keys(table: &str) -> Vec<String> {
    let problems = Home::new(&format!("{table}\nno_such_key_at_all = 1\n")).problems();
    let told = problems.iter().find_map(|problem| problem.split_once("; known here: "));
    told.unwrap_or_else(|| panic!("{problems:?}")).1.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_packaged_file_names_keys_without_a_default_too() {
    let packaged = packaged();
    let written = |key: &str| packaged.lines().any(|line| line.starts_with(&format!("{key} = ")));
    let target = "[[targets]]\nname = \"a\"\nkind = ";
    let kinds = [
        format!("{target}\"mcp\"\ncommand = [\"x\"]"),
        format!("{target}\"mcp\"\nurl = \"http://h/\""),
        format!("{target}\"http\"\nurl = \"http://h/\""),
        format!("{target}\"tcp\"\naddress = \"h:1\""),
    ];
    for table in known_keys("") {
        let is_list = packaged.contains(&format!("[[{table}]]"));
        let is_table = packaged.contains(&format!("\n[{table}]\n"));
        assert!(is_list || is_table || written(&table), "{table} is not in the packaged file");
        if is_table {
            for key in known_keys(&format!("[{table}]")) {
                assert!(written(&key), "{table}.{key} is not in the packaged file");
            }
        }
    }
    for key in kinds.iter().flat_map(|kind| known_keys(kind)) {
        assert!(written(&key), "targets: {key} is not in the packaged file");
    }
}

#[test]
fn a_deep_tree_is_refused() {
    for toml in [
        format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("a = {}1{}", "{a=".repeat(100_000), "}".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
    ] {
        assert!(Home::new(&toml).load().is_err(), "{}…", &toml[..20]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Texts made of what configurations are made of find more than arbitrary ones.
    #[test]
    fn no_text_makes_it_panic(words in proptest::collection::vec(
        prop_oneof![
            Just("[[targets]]\n"), Just("[http]\n"), Just("name"), Just("kind"), Just("headers"),
            Just(" = "), Just("\"mcp\""), Just("\"30s\""), Just("\""), Just("["), Just("]"),
            Just("{"), Just("}"), Just("."), Just("\n"), Just("5"), Just("-1e999"), Just("ä"),
            Just("timeout"), Just("targets"), Just("environment"), Just(","), Just("2020-01-01"),
        ],
        0..40,
    )) {
        let _ = Home::new(&words.concat()).load();
    }
}
