//! Reading source files: their tokens without tests, and their functions.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, LineColumn, TokenStream, TokenTree};
use syn::{spanned::Spanned, visit::Visit};

/// One token, flat: groups are their delimiters.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) at: LineColumn,
    /// Whether it stands in the braces of a path: `engine::{…}`.
    is_in_path: bool,
}

/// A source file, read once.
pub(crate) struct Source {
    /// Relative to the package, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    syntax: syn::File,
    /// Without what stands under `#[cfg(test)]`.
    pub(crate) tokens: Vec<Token>,
    /// How many lines stand under `#[cfg(test)]`.
    pub(crate) test_lines: usize,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file is readable");
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let stream: TokenStream = text.parse().expect("what syn parses has tokens");
        let mut tokens = Vec::new();
        flatten(stream, false, &mut tokens);
        let (tokens, test_lines) = without_tests(tokens);
        Self { path: name, text, syntax, tokens, test_lines }
    }

    /// The path below `src/`, for files that are part of the package itself.
    pub(crate) fn in_src(&self) -> Option<&str> {
        self.path.strip_prefix("src/")
    }

    /// The module at the top of its tree; none for `lib.rs` and the programs.
    pub(crate) fn module(&self) -> Option<&str> {
        let name = self.in_src()?.split('/').next()?.trim_end_matches(".rs");
        (name != "lib" && name != "bin").then_some(name)
    }

    /// A file of tests alone: `#[cfg(test)] mod tests;` in its parent, or the fakes in `testing`.
    pub(crate) fn is_test(&self) -> bool {
        self.in_src().is_none_or(|path| {
            let mut parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
            parts.any(|part| matches!(part, "tests" | "testing"))
        })
    }

    pub(crate) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// Whether the tokens from `index` on are `words`.
    pub(crate) fn is_at(&self, index: usize, words: &[&str]) -> bool {
        let found = self.tokens.iter().skip(index).map(|token| token.text.as_str());
        found.take(words.len()).eq(words.iter().copied())
    }

    /// Every place where `words` stand in a row.
    pub(crate) fn places<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(move |&index| self.is_at(index, words))
    }

    /// The word before the token at `index`.
    pub(crate) fn before(&self, index: usize) -> &str {
        index.checked_sub(1).map_or("", |index| &self.tokens[index].text)
    }

    /// Whether the word at `index` goes on with a path: `engine::sled`, or `engine::{wal, sled}`.
    pub(crate) fn is_continued(&self, index: usize) -> bool {
        self.tokens[index].is_in_path || self.before(index) == ":"
    }

    pub(crate) fn complaint(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    pub(crate) fn complaint_at(&self, index: usize, what: &str) -> String {
        self.complaint(self.tokens[index].at.line, what)
    }
}

fn flatten(stream: TokenStream, is_in_path: bool, into: &mut Vec<Token>) {
    for tree in stream {
        let at = tree.span().start();
        let TokenTree::Group(group) = tree else {
            into.push(Token { text: tree.to_string(), at, is_in_path });
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        let goes_on = open == "{" && into.last().is_some_and(|token| token.text == ":");
        into.push(Token { text: open.into(), at, is_in_path });
        flatten(group.stream(), is_in_path || goes_on, into);
        into.push(Token { text: close.into(), at: group.span_close().start(), is_in_path });
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

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn sources() -> Vec<Source> {
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

/// A function: where it starts, its name, its lines and its parameters.
pub(crate) struct Function {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) lines: usize,
    pub(crate) parameters: usize,
}

/// Collects the functions that are not tests.
#[derive(Default)]
struct Functions(Vec<Function>);

/// The functions of a file, in order, without those of its test modules.
pub(crate) fn functions(source: &Source) -> Vec<Function> {
    let mut found = Functions::default();
    found.visit_file(&source.syntax);
    found.0
}

impl Functions {
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
