//! Keeps order: who may know whom, how big things may grow, and which words are banned where.
//!
//! The tables in this file bind; ARCHITECTURE.md tells why they are so, and is checked against them.
//! Code under `#[cfg(test)]` is free of the floors and homes: a test may build what it needs.

#[path = "tidy/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use source::{Function, Source, functions, root, sources};

/// Module, floor, and the modules that it may import beside those for [`EVERYBODY`].
const FLOORS: &[(&str, u8, &[&str])] = &[
    ("time", 0, &[]),
    ("error_code", 0, &[]),
    ("limits", 0, &[]),
    ("telemetry", 0, &[]),
    ("access", 1, &[]),
    ("model", 1, &[]),
    ("supervise", 1, &["telemetry"]),
    ("promql", 2, &["model"]),
    ("alert", 2, &["model"]),
    ("exposition", 2, &["model"]),
    ("wire", 2, &["model"]),
    ("store", 3, &["access", "model", "promql", "telemetry"]),
    ("collect", 3, &["model", "telemetry"]),
    ("probe", 3, &["model", "telemetry"]),
    ("discover", 3, &["model"]),
    ("client", 3, &["wire"]),
    (
        "pipeline",
        4,
        &[
            "alert",
            "collect",
            "exposition",
            "model",
            "probe",
            "promql",
            "store",
            "supervise",
            "telemetry",
        ],
    ),
    ("mcp", 4, &["access", "client", "model", "wire"]),
    ("agent", 5, &["client", "discover", "model", "pipeline", "probe", "supervise", "wire"]),
    (
        "monitor",
        5,
        &[
            "access",
            "alert",
            "discover",
            "exposition",
            "model",
            "pipeline",
            "probe",
            "promql",
            "store",
            "supervise",
            "telemetry",
        ],
    ),
    (
        "control",
        6,
        &["access", "model", "monitor", "promql", "store", "supervise", "telemetry", "wire"],
    ),
    ("web", 6, &["access", "exposition", "model", "monitor", "promql", "supervise", "telemetry"]),
    ("config", 7, &["access", "collect", "model", "pipeline", "store", "telemetry", "web"]),
    ("cli", 8, &["client", "config", "exposition", "model", "store", "wire"]),
    (
        "daemon",
        8,
        &[
            "access",
            "agent",
            "config",
            "control",
            "model",
            "monitor",
            "pipeline",
            "probe",
            "store",
            "supervise",
            "telemetry",
            "web",
        ],
    ),
];

/// What every module may use, save these themselves.
const EVERYBODY: &[&str] = &["time", "error_code", "limits"];

/// The one module that each program is a shell around.
const PROGRAMS: &[(&str, &str)] =
    &[("balefired", "daemon"), ("balefire", "cli"), ("balefire-mcp", "mcp")];

/// Crates, and the only places below `src/` that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["daemon/", "mcp/"]),
    ("axum", &["web/"]),
    ("prometheus", &["telemetry/", "exposition/", "supervise/"]),
    ("promql_parser", &["promql/"]),
    ("rmcp", &["probe/", "mcp/"]),
    ("sd_notify", &["daemon/"]),
    ("sled", &["store/engine/sled.rs"]),
    ("sysinfo", &["collect/"]),
    ("tonic", &["wire/", "control/", "client/"]),
    ("tonic_health", &["control/"]),
    ("tonic_reflection", &["control/"]),
    ("tonic_types", &["wire/", "client/"]),
    ("tracing_journald", &["telemetry/"]),
    // The shim has no telemetry, but logs where somebody asks it to.
    ("tracing_subscriber", &["telemetry/", "mcp/args.rs"]),
];

/// Where bytes cross a boundary: the only places that derive `Serialize` or `Deserialize`.
const SERDE_HOMES: &[&str] = &["cli/", "mcp/", "discover/"];

const FUNCTION_LINES_MAX: usize = 70;
const FUNCTION_LINES_MEDIAN_MAX: usize = 10;
const FILE_LINES_MAX: usize = 600;
const PARAMETERS_MAX: usize = 5;
const PROGRAM_LINES_MAX: usize = 40;

/// Fails with every complaint, one a line.
#[track_caller]
fn check(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Runs `inspect` over what is not a test.
#[track_caller]
fn check_each<C: IntoIterator<Item = String>>(inspect: impl Fn(&Source) -> C) {
    check(sources().iter().filter(|source| !source.is_test()).flat_map(inspect));
}

/// The top-level modules that a source names after `root::`, with where.
fn edges(source: &Source, root: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for index in source.places(&[root, ":", ":"]) {
        let head = index + 3;
        if source.is_at(head, &["{"]) {
            found.extend(group_heads(source, head));
        } else {
            found.push(head);
        }
    }
    found.into_iter().map(|index| (source.tokens[index].text.clone(), index)).collect()
}

/// The first word of each entry in the braces of a `use`.
fn group_heads(source: &Source, open: usize) -> Vec<usize> {
    let (mut depth, mut heads) = (0_usize, Vec::new());
    for (index, token) in source.tokens.iter().enumerate().skip(open) {
        let starts_entry =
            depth == 1 && matches!(source.tokens[index - 1].text.as_str(), "{" | ",");
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            _ if starts_entry => heads.push(index),
            _ => {}
        }
    }
    heads
}

fn may_import(module: &str, other: &str) -> bool {
    let row = FLOORS.iter().find(|row| row.0 == module);
    let common = EVERYBODY.contains(&other) && !EVERYBODY.contains(&module);
    module == other || common || row.is_some_and(|row| row.2.contains(&other))
}

#[test]
fn modules_import_only_what_the_table_allows() {
    check_each(|source| {
        let Some(module) = source.module() else { return Vec::new() };
        edges(source, "crate")
            .into_iter()
            .filter(|(other, _)| !may_import(module, other))
            .map(|(other, at)| {
                source.complaint_at(at, &format!("`{module}` may not know `{other}`"))
            })
            .collect()
    });
}

/// `super::super::store` would be an edge that the test above does not see.
#[test]
fn no_path_climbs_out_of_its_module() {
    check_each(|source| {
        let Some(path) = source.in_src() else { return Vec::new() };
        let depth = path.trim_end_matches("/mod.rs").split('/').count();
        let climb: Vec<&str> = ["super", ":", ":"].repeat(depth);
        let complaint = |at| source.complaint_at(at, "reach another module by `crate::`");
        source.places(&climb).map(complaint).collect()
    });
}

#[test]
fn programs_are_shells() {
    check_each(|source| {
        let path = source.in_src().and_then(|path| path.strip_prefix("bin/"));
        let Some(program) = path.map(|path| path.trim_end_matches(".rs")) else {
            return Vec::new();
        };
        let home = PROGRAMS.iter().find(|row| row.0 == program).map_or("", |row| row.1);
        let mut complaints: Vec<String> = edges(source, "balefire")
            .into_iter()
            .filter(|(module, _)| module != home)
            .map(|(module, at)| {
                source.complaint_at(at, &format!("`{program}` may not know `{module}`"))
            })
            .collect();
        if source.lines() > PROGRAM_LINES_MAX {
            complaints.push(source.complaint(1, "a program is a shell around a module"));
        }
        complaints
    });
}

#[test]
fn the_table_leads_downwards() {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().map(|row| (row.0, row.1)).collect();
    check(FLOORS.iter().flat_map(|(module, floor, imports)| {
        let upward = imports.iter().filter(|other| {
            let below = floors.get(**other).expect("a row names modules that have one");
            below >= floor
        });
        upward.map(move |other| format!("`{module}` stands on floor {floor}, not above `{other}`"))
    }));
}

#[test]
fn the_table_has_a_row_for_each_module() {
    let rows: BTreeSet<String> = FLOORS.iter().map(|row| row.0.to_owned()).collect();
    let sources = sources();
    let found = sources.iter().filter_map(|source| source.module().map(str::to_owned)).collect();
    assert_eq!(rows, found, "the modules in the table, and those in src/");
}

#[test]
fn the_architecture_tells_the_same_table() {
    let text =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let told: BTreeMap<String, (u8, BTreeSet<String>)> =
        text.lines().filter_map(table_row).collect();
    let binding = FLOORS.iter().map(|(module, floor, imports)| {
        ((*module).to_owned(), (*floor, imports.iter().map(|&name| name.to_owned()).collect()))
    });
    assert_eq!(told, binding.collect(), "ARCHITECTURE.md, and the table in tests/tidy.rs");
}

/// `| floor | module | knows | must not know | may import |`; none for any other line.
fn table_row(line: &str) -> Option<(String, (u8, BTreeSet<String>))> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, floor, module, _, _, imports, _] = cells[..] else { return None };
    let floor = floor.parse().ok()?;
    let imports = imports.split(',').map(|name| name.trim().trim_matches('`'));
    let imports = imports.filter(|name| !matches!(*name, "" | "—")).map(str::to_owned).collect();
    Some((module.trim_matches('`').to_owned(), (floor, imports)))
}

#[test]
fn crates_stay_at_home() {
    check_each(|source| {
        let Some(path) = source.in_src() else { return Vec::new() };
        let away = HOMES.iter().filter(|(_, homes)| !is_home(path, homes));
        away.flat_map(|(name, homes)| {
            root_places(source, name)
                .map(move |at| source.complaint_at(at, &format!("`{name}` belongs in {homes:?}")))
        })
        .collect()
    });
}

fn is_home(path: &str, homes: &[&str]) -> bool {
    homes.iter().any(|home| path.starts_with(home))
}

/// Where `name` is the first word of a path or of a `use`.
fn root_places<'a>(source: &'a Source, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    (0..source.tokens.len()).filter(move |&index| {
        let is_path = source.is_at(index, &[name, ":", ":"]) && !source.is_continued(index);
        let is_use = source.is_at(index, &[name, ";"]) || source.is_at(index, &[name, "as"]);
        is_path || (is_use && source.before(index) == "use")
    })
}

#[test]
fn serde_derives_stand_where_bytes_cross() {
    check_each(|source| {
        let Some(path) = source.in_src() else { return Vec::new() };
        let strays = serde_derives(source).filter(|_| !is_home(path, SERDE_HOMES));
        strays
            .map(|at| source.complaint_at(at, "a serde derive away from every boundary"))
            .collect()
    });
}

/// Where `Serialize` or `Deserialize` is derived.
fn serde_derives(source: &Source) -> impl Iterator<Item = usize> {
    source.places(&["derive", "("]).filter(|&at| {
        let words = source.tokens[at..].iter().map(|token| token.text.as_str());
        words
            .take_while(|&word| word != ")")
            .any(|word| matches!(word, "Serialize" | "Deserialize"))
    })
}

/// A permission that nobody uses invites what nobody meant.
#[test]
fn every_permission_is_used() {
    let sources: Vec<Source> = sources().into_iter().filter(|source| !source.is_test()).collect();
    let within = |home: &'static str| {
        sources.iter().filter(move |source| source.in_src().is_some_and(|p| p.starts_with(home)))
    };
    let imports = FLOORS.iter().flat_map(|(module, _, others)| {
        let used: BTreeSet<String> = sources
            .iter()
            .filter(|source| source.module() == Some(module))
            .flat_map(|source| edges(source, "crate"))
            .map(|(other, _)| other)
            .collect();
        let idle = others.iter().filter(move |other| !used.contains(**other));
        idle.map(move |other| format!("`{module}` does not import `{other}`"))
    });
    let homes = HOMES.iter().flat_map(|(name, homes)| homes.iter().map(move |home| (*name, *home)));
    let homes = homes
        .filter(|(name, home)| {
            !within(home).any(|source| root_places(source, name).next().is_some())
        })
        .map(|(name, home)| format!("`{name}` is not in `{home}`"));
    let serde = SERDE_HOMES
        .iter()
        .filter(|home| !within(home).any(|source| serde_derives(source).next().is_some()))
        .map(|home| format!("no serde derive is in `{home}`"));
    check(imports.chain(homes).chain(serde));
}

/// A row of tokens that may not be, and why.
const BANNED: &[(&[&str], &str)] = &[
    (&["todo", "!"], "unfinished"),
    (&["unimplemented", "!"], "unfinished"),
    (
        &[".", "unwrap", "(", ")"],
        "`unwrap` outside tests: say what holds with `expect`, or pass the error on",
    ),
    (&["#", "[", "allow"], "use `expect` with a reason"),
    (&["#", "!", "[", "allow"], "use `expect` with a reason"),
    (&["unsafe", "{"], "unsafe"),
];

#[test]
fn banned_words_are_absent() {
    check_each(|source| {
        BANNED
            .iter()
            .flat_map(|(words, why)| source.places(words).map(|at| source.complaint_at(at, why)))
            .collect::<Vec<_>>()
    });
}

/// An ignored test is a skip that nobody sees.
#[test]
fn no_test_is_ignored() {
    check(sources().iter().flat_map(|source| {
        let lines = source.text.lines().enumerate();
        let ignored = lines.filter(|(_, line)| line.trim_start().starts_with("#[ignore"));
        ignored.map(|(line, _)| source.complaint(line + 1, "an ignored test")).collect::<Vec<_>>()
    }));
}

#[test]
fn every_file_says_what_it_is_for() {
    check(sources().iter().filter_map(|source| {
        let is_bare = !source.text.starts_with("//!") && !source.path.ends_with("/tests.rs");
        is_bare.then(|| source.complaint(1, "opens without `//!`"))
    }));
}

#[test]
fn files_stay_readable() {
    check(sources().iter().filter_map(|source| {
        let is_unit_test = source.in_src().is_some() && source.is_test();
        let lines = if is_unit_test { 0 } else { source.lines() - source.test_lines };
        (lines > FILE_LINES_MAX)
            .then(|| source.complaint(1, &format!("{lines} lines without tests")))
    }));
}

#[test]
fn functions_stay_small() {
    check(sources().iter().flat_map(|source| {
        let long = functions(source).into_iter().filter_map(|function| {
            let Function { line, name, lines, parameters } = function;
            if lines > FUNCTION_LINES_MAX {
                Some(source.complaint(line, &format!("`{name}` has {lines} lines")))
            } else if parameters > PARAMETERS_MAX {
                Some(source.complaint(line, &format!("`{name}` has {parameters} parameters")))
            } else {
                None
            }
        });
        long.collect::<Vec<_>>()
    }));
}

#[test]
fn half_of_the_functions_are_tiny() {
    let sources = sources();
    let own = sources.iter().filter(|source| !source.is_test());
    let mut lines: Vec<usize> = own.flat_map(functions).map(|function| function.lines).collect();
    lines.sort_unstable();
    let median = lines[lines.len() / 2];
    assert!(median <= FUNCTION_LINES_MEDIAN_MAX, "the median function has {median} lines");
}

#[test]
fn the_account_has_a_line_for_each_dependency_and_no_other() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    let manifest: toml::Table = manifest.parse().expect("cargo reads it, too");
    let tables = ["dependencies", "build-dependencies", "dev-dependencies"];
    let names =
        tables.iter().flat_map(|table| manifest[*table].as_table().expect("a table").keys());
    let names: BTreeSet<&str> =
        names.map(String::as_str).filter(|name| *name != "balefire").collect();
    let account = fs::read_to_string(root().join("docs/dependencies.md")).expect("it is there");
    let told: Vec<&str> = account.lines().flat_map(crates_of_row).collect();
    let unique: BTreeSet<&str> = told.iter().copied().collect();
    assert_eq!(unique, names, "docs/dependencies.md, and Cargo.toml");
    assert_eq!(told.len(), unique.len(), "docs/dependencies.md tells one twice: {told:?}");
}

/// "| `a`, `b` | what for |" has `a` and `b`; any other line has none.
fn crates_of_row(line: &str) -> impl Iterator<Item = &str> {
    let cell = line.strip_prefix("| `").and_then(|rest| rest.split('|').next());
    let names = cell.into_iter().flat_map(|cell| cell.split(','));
    names.map(|name| name.trim().trim_matches('`'))
}
