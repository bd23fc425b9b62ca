//! Keeps order: who may know whom, how big things may grow, and which words are banned where.
//!
//! The tables in this file bind; ARCHITECTURE.md tells why they are so, and is checked against them.
//! Code under `#[cfg(test)]` is free of the floors and homes: a test may build what it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, LineColumn, TokenStream, TokenTree};
use syn::{spanned::Spanned, visit::Visit};

/// Module, floor, and the modules that it may import beside those for [`EVERYBODY`].
const FLOORS: &[(&str, u8, &[&str])] = &[
    ("time", 0, &[]),
    ("error_code", 0, &[]),
    ("limits", 0, &[]),
    ("telemetry", 0, &[]),
    ("model", 1, &[]),
    ("supervise", 1, &["telemetry"]),
    ("promql", 2, &["model"]),
    ("alert", 2, &["model"]),
    ("exposition", 2, &["model"]),
    ("wire", 2, &["model"]),
    ("store", 3, &["model", "promql", "telemetry"]),
    ("collect", 3, &["model", "telemetry"]),
    ("probe", 3, &["model", "telemetry"]),
    ("discover", 3, &["model", "telemetry"]),
    ("client", 3, &["model", "wire"]),
    (
        "pipeline",
        4,
        &[
            "alert",
            "collect",
            "discover",
            "exposition",
            "model",
            "probe",
            "promql",
            "store",
            "supervise",
            "telemetry",
        ],
    ),
    ("cli", 4, &["client", "exposition", "model", "promql", "store", "wire"]),
    ("mcp", 4, &["client", "model", "wire"]),
    (
        "monitor",
        5,
        &[
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
    ("control", 6, &["model", "monitor", "promql", "store", "supervise", "telemetry", "wire"]),
    ("web", 6, &["exposition", "model", "monitor", "promql", "supervise", "telemetry"]),
    ("config", 7, &["collect", "model", "pipeline", "store", "telemetry"]),
    (
        "daemon",
        8,
        &[
            "alert",
            "collect",
            "config",
            "control",
            "discover",
            "exposition",
            "model",
            "monitor",
            "pipeline",
            "probe",
            "promql",
            "store",
            "supervise",
            "telemetry",
            "web",
            "wire",
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
    ("anyhow", &["daemon/", "cli/", "mcp/"]),
    ("axum", &["web/"]),
    ("prometheus", &["telemetry/", "exposition/", "supervise/"]),
    ("promql_parser", &["promql/"]),
    ("rmcp", &["probe/", "mcp/"]),
    ("sd_notify", &["daemon/"]),
    ("sled", &["store/engine/sled.rs"]),
    ("sysinfo", &["collect/"]),
    ("tonic", &["wire/", "control/", "client/"]),
    ("tonic_health", &["control/", "client/"]),
    ("tonic_reflection", &["control/"]),
    ("tonic_types", &["wire/", "control/", "client/"]),
    ("tracing_journald", &["telemetry/"]),
    ("tracing_subscriber", &["telemetry/"]),
];

/// Where bytes cross a boundary: the only places that derive `Serialize` or `Deserialize`.
const SERDE_HOMES: &[&str] =
    &["config/", "web/", "store/record.rs", "cli/", "mcp/", "discover/", "telemetry/log.rs"];

const FUNCTION_LINES_MAX: usize = 70;
const FUNCTION_LINES_MEDIAN_MAX: usize = 10;
const FILE_LINES_MAX: usize = 600;
const PARAMETERS_MAX: usize = 5;
const PROGRAM_LINES_MAX: usize = 40;

/// One token, flat: groups are their delimiters.
struct Token {
    text: String,
    at: LineColumn,
}

/// A source file, read once.
struct Source {
    /// Relative to the package, with `/`.
    path: String,
    text: String,
    syntax: syn::File,
    /// Without what stands under `#[cfg(test)]`.
    tokens: Vec<Token>,
    /// How many lines stand under `#[cfg(test)]`.
    test_lines: usize,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file is readable");
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let stream: TokenStream = text.parse().expect("what syn parses has tokens");
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let (tokens, test_lines) = without_tests(tokens);
        Self { path: name, text, syntax, tokens, test_lines }
    }

    /// The path below `src/`, for files that are part of the package itself.
    fn in_src(&self) -> Option<&str> {
        self.path.strip_prefix("src/")
    }

    /// The module at the top of its tree; none for `lib.rs` and the programs.
    fn module(&self) -> Option<&str> {
        let name = self.in_src()?.split('/').next()?.trim_end_matches(".rs");
        (name != "lib" && name != "bin").then_some(name)
    }

    /// A file of tests alone: `#[cfg(test)] mod tests;` in its parent.
    fn is_test(&self) -> bool {
        self.in_src().is_none_or(|path| path.ends_with("/tests.rs") || path.contains("/tests/"))
    }

    fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// Whether the tokens from `index` on are `words`.
    fn is_at(&self, index: usize, words: &[&str]) -> bool {
        let found = self.tokens.iter().skip(index).map(|token| token.text.as_str());
        found.take(words.len()).eq(words.iter().copied())
    }

    /// Every place where `words` stand in a row.
    fn places<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(move |&index| self.is_at(index, words))
    }

    fn complaint(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    fn complaint_at(&self, index: usize, what: &str) -> String {
        self.complaint(self.tokens[index].at.line, what)
    }
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    for tree in stream {
        let at = tree.span().start();
        let TokenTree::Group(group) = tree else {
            into.push(Token { text: tree.to_string(), at });
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        into.push(Token { text: open.into(), at });
        flatten(group.stream(), into);
        into.push(Token { text: close.into(), at: group.span_close().start() });
    }
}

/// Takes each item under `#[cfg(test)]` out, and says how many lines that were.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, usize) {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut lines = 0;
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        kept.push(token);
        let is_test = ["#", "[", "cfg", "(", "test", ")", "]"];
        let tail = kept.len().checked_sub(is_test.len());
        let Some(start) =
            tail.filter(|&start| kept[start..].iter().map(|token| token.text.as_str()).eq(is_test))
        else {
            continue;
        };
        let first = kept[start].at.line;
        kept.truncate(start);
        lines += skip_item(&mut rest) + 1 - first;
    }
    (kept, lines)
}

/// Skips to the end of an item (its `;`, or the end of its first braces); the line of that.
fn skip_item(rest: &mut impl Iterator<Item = Token>) -> usize {
    let mut depth = 0_usize;
    for token in rest {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
            return token.at.line;
        }
    }
    panic!("an item under #[cfg(test)] has no end");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = vec![root.join("build.rs")];
    for folder in ["src", "tests", "benches"] {
        rust_files(&root.join(folder), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| Source::read(&root, path)).collect()
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

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
        let follows = |words: &[&str]| {
            index.checked_sub(words.len()).is_some_and(|start| source.is_at(start, words))
        };
        let is_path = source.is_at(index, &[name, ":", ":"]) && !follows(&[":", ":"]);
        let is_use = source.is_at(index, &[name, ";"]) || source.is_at(index, &[name, "as"]);
        is_path || (is_use && follows(&["use"]))
    })
}

#[test]
fn serde_derives_stand_where_bytes_cross() {
    check_each(|source| {
        let Some(path) = source.in_src() else { return Vec::new() };
        let strays = source.places(&["derive", "("]).filter(|&at| {
            let words = source.tokens[at..].iter().map(|token| token.text.as_str());
            !is_home(path, SERDE_HOMES)
                && words
                    .take_while(|&word| word != ")")
                    .any(|word| matches!(word, "Serialize" | "Deserialize"))
        });
        strays
            .map(|at| source.complaint_at(at, "a serde derive away from every boundary"))
            .collect()
    });
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
        let lines = source.lines() - source.test_lines;
        (lines > FILE_LINES_MAX)
            .then(|| source.complaint(1, &format!("{lines} lines without tests")))
    }));
}

/// A function: where it starts, its name, its lines and its parameters.
struct Function {
    line: usize,
    name: String,
    lines: usize,
    parameters: usize,
}

/// Collects the functions that are not tests.
#[derive(Default)]
struct Functions(Vec<Function>);

impl Functions {
    fn of(source: &Source) -> Vec<Function> {
        let mut found = Self::default();
        found.visit_file(&source.syntax);
        found.0
    }

    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.span().start().line;
        let parameters =
            signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count();
        let lines = block.span().end().line - line + 1;
        self.0.push(Function { line, name: signature.ident.to_string(), lines, parameters });
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let argument = attribute.parse_args::<syn::Path>();
    attribute.path().is_ident("cfg") && argument.is_ok_and(|path| path.is_ident("test"))
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !module.attrs.iter().any(is_cfg_test) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[test]
fn functions_stay_small() {
    check(sources().iter().flat_map(|source| {
        let long = Functions::of(source).into_iter().filter_map(|function| {
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
    let mut lines: Vec<usize> =
        own.flat_map(Functions::of).map(|function| function.lines).collect();
    lines.sort_unstable();
    let median = lines[lines.len() / 2];
    assert!(median <= FUNCTION_LINES_MEDIAN_MAX, "the median function has {median} lines");
}

#[test]
fn every_dependency_is_accounted_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    let manifest: toml::Table = manifest.parse().expect("cargo reads it, too");
    let account = fs::read_to_string(root().join("docs/dependencies.md")).expect("it is there");
    let tables = ["dependencies", "build-dependencies", "dev-dependencies"];
    let names =
        tables.iter().flat_map(|table| manifest[*table].as_table().expect("a table").keys());
    let missing =
        names.filter(|name| *name != "balefire" && !account.contains(&format!("`{name}`")));
    check(missing.map(|name| format!("docs/dependencies.md: no line for `{name}`")));
}
