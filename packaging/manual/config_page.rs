//! `balefire.toml(5)`, from the commented file that is installed. That the file names every key is
//! checked where keys are read, in `src/config`.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// Where the file may lie.
const SYNOPSIS: [&str; 2] = ["/etc/balefire/balefire.toml", "~/.config/balefire/balefire.toml"];

/// What is between two empty lines of the file, by the kind of its lines and in their order.
#[derive(Debug, Default, PartialEq)]
struct Block<'a> {
    /// `[http]`
    table: Option<&'a str>,
    /// Comments; an empty one parts paragraphs.
    prose: Vec<&'a str>,
    /// `listen = "127.0.0.1:9494"`
    keys: Vec<&'a str>,
    /// `[[targets]]` and its keys, which stand together.
    example: Vec<&'a str>,
}

/// The page as roff.
pub(super) fn page(file: &str, date: &str) -> String {
    let blocks: Vec<Block<'_>> = file.split("\n\n").map(block).collect();
    let mut roff = Roff::new();
    head(&mut roff, date);
    let mut in_description = true;
    for (n, block) in blocks.iter().enumerate() {
        if in_description && !(block.keys.is_empty() && block.table.is_none()) {
            in_description = false;
            roff.control("SH", ["KEYS"]);
        }
        if let Some(table) = block.table.or_else(|| list_begins(&blocks, n)) {
            roff.control("SS", [table]);
        }
        body(&mut roff, block);
    }
    foot(&mut roff);
    roff.render()
}

fn head(roff: &mut Roff, date: &str) {
    let source = concat!("Balefire ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["balefire.toml", "5", date, source, "Balefire"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("balefire.toml - the configuration of balefired")]);
    roff.control("SH", ["SYNOPSIS"]);
    for (n, place) in SYNOPSIS.into_iter().enumerate() {
        if n > 0 {
            roff.control("br", []);
        }
        roff.text([bold(place)]);
    }
    roff.control("SH", ["DESCRIPTION"]);
}

fn foot(roff: &mut Roff) {
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("balefire"), roman("(1), "), bold("balefired"), roman("(8)")]);
}

fn block(text: &str) -> Block<'_> {
    let mut block = Block::default();
    for line in text.lines() {
        let active = line.strip_prefix('#').unwrap_or(line);
        let is_prose = line == "#" || line.starts_with("# ");
        if is_prose {
            block.prose.push(active.trim_start());
        } else if active.starts_with("[[") || !block.example.is_empty() {
            block.example.push(active);
        } else if active.starts_with('[') {
            block.table = Some(active);
        } else if !active.is_empty() {
            block.keys.push(active);
        }
    }
    block
}

/// `[[targets]]`, where the first example of it comes next.
fn list_begins<'a>(blocks: &[Block<'a>], n: usize) -> Option<&'a str> {
    let only_prose = |block: &Block<'_>| block.keys.is_empty() && block.example.is_empty();
    let next = blocks.get(n + 1)?;
    next.example.first().copied().filter(|_| only_prose(&blocks[n]))
}

fn body(roff: &mut Roff, block: &Block<'_>) {
    if block.keys.is_empty() {
        paragraphs(roff, &block.prose);
        example(roff, &block.example);
        return;
    }
    for (n, key) in block.keys.iter().enumerate() {
        roff.control(if n == 0 { "TP" } else { "TQ" }, []);
        let (name, value) = key.split_once(" = ").unwrap_or((*key, ""));
        roff.text([bold(name), roman(" = "), italic(value)]);
    }
    for line in &block.prose {
        roff.text(inlines(line));
    }
}

fn paragraphs(roff: &mut Roff, prose: &[&str]) {
    for paragraph in prose.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()) {
        roff.control("PP", []);
        for line in paragraph {
            roff.text(inlines(line));
        }
    }
}

fn example(roff: &mut Roff, lines: &[&str]) {
    if lines.is_empty() {
        return;
    }
    roff.control("RS", ["4"]);
    roff.control("EX", []);
    for line in lines {
        roff.text([roman(*line)]);
    }
    roff.control("EE", []);
    roff.control("RE", []);
}

/// A line of prose, what stands in backticks bold.
fn inlines(line: &str) -> Vec<Inline> {
    let parts = line.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Some words.\n#\n# `More` of them.\n\n# The place.\n#dir = \"/a-b\"\n\n\
                        [log]\n# What is told.\n#level = \"info\"\n#format = \"text\"\n\n\
                        # What is watched.\n\n# A server.\n#[[targets]]\n#name = \"x\"\n";

    #[track_caller]
    fn check(file: &str, body: &str) {
        let page = page(file, "2026-01-01");
        let page = page.split_once(".SH DESCRIPTION\n").unwrap().1;
        assert_eq!(page.split_once(".SH \"SEE ALSO\"").unwrap().0, body);
    }

    #[test]
    fn tables_keys_and_examples_are_told_apart() {
        check(
            FILE,
            ".PP\nSome words.\n.PP\n\\fBMore\\fR of them.\n.SH KEYS\n\
             .TP\n\\fBdir\\fR = \\fI\"/a\\-b\"\\fR\nThe place.\n\
             .SS [log]\n.TP\n\\fBlevel\\fR = \\fI\"info\"\\fR\n.TQ\n\\fBformat\\fR = \\fI\"text\"\\fR\nWhat is told.\n\
             .SS [[targets]]\n.PP\nWhat is watched.\n\
             .PP\nA server.\n.RS 4\n.EX\n[[targets]]\nname = \"x\"\n.EE\n.RE\n",
        );
    }

    #[test]
    fn every_line_of_the_file_is_told() {
        let file = include_str!("../balefire.toml");
        let mut page = page(file, "2026-01-01").replace("\\*(Aq", "'");
        for markup in ["\\fR", "\\fB", "\\fI", "\\"] {
            page = page.replace(markup, "");
        }
        for line in file.lines().filter(|line| !line.is_empty() && *line != "#") {
            let told = line.trim_start_matches(['#', ' ']).replace('`', "");
            assert!(page.contains(&told), "{told:?}");
        }
    }
}
