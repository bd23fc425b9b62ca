//! The man pages of a program and of its commands, from its arguments.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

/// Which pages tell more, on each page but themselves.
const SEE_ALSO: [(&str, &str); 4] =
    [("balefire", "1"), ("balefire-mcp", "1"), ("balefire.toml", "5"), ("balefired", "8")];

/// The pages by name: `balefire`, `balefire-targets`, `balefire-targets-list` …
pub(super) fn pages(
    command: &Command,
    section: &str,
    date: &str,
) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut all = Vec::new();
    gather(&command, &mut all);
    let named = |command: &Command| {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        Ok((name.to_owned(), page(command, name, section, date)?))
    };
    all.into_iter().map(named).collect()
}

/// A command and all below it.
fn gather<'a>(command: &'a Command, all: &mut Vec<&'a Command>) {
    all.push(command);
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.for_each(|command| gather(command, all));
}

fn page(command: &Command, name: &str, section: &str, date: &str) -> io::Result<Vec<u8>> {
    let source = concat!("Balefire ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).section(section).date(date).source(source);
    let man = man.manual("Balefire");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    notes(command).to_writer(&mut page)?;
    see_also(name).to_writer(&mut page)?;
    Ok(page)
}

/// What stands below the help.
fn notes(command: &Command) -> Roff {
    let mut roff = Roff::new();
    if let Some(text) = command.get_after_help() {
        roff.control("SH", ["NOTES"]);
        for line in text.to_string().lines() {
            roff.text([roman(line)]);
        }
    }
    roff
}

fn see_also(name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (other, section) in SEE_ALSO.into_iter().filter(|(other, _)| *other != name) {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(other), roman(format!("({section})"))]);
    }
    roff.text(line);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(pages: &[(String, Vec<u8>)], name: &str) -> String {
        let page = pages.iter().find(|(other, _)| other == name);
        String::from_utf8(page.expect(name).1.clone()).unwrap()
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages(&balefire::cli::command(), "1", "2026-01-01").unwrap();
        let root = page_of(&pages, "balefire");
        assert!(root.contains("Exit status: 0 fine"), "{root}");
        assert!(root.contains("\\fBbalefire.toml\\fR(5)"), "{root}");
        let list = page_of(&pages, "balefire-targets-list");
        assert!(list.contains("balefire\\-targets\\-list \\- All targets"), "{list}");
        let commands = balefire::cli::command();
        for command in commands.get_subcommands() {
            page_of(&pages, &format!("balefire-{}", command.get_name()));
        }
    }

    #[test]
    fn every_flag_for_people_is_told() {
        let command = balefire::daemon::command();
        let page = page_of(&pages(&command, "8", "2026-01-01").unwrap(), "balefired");
        // What only a unit says is told in the unit.
        let told = command.get_arguments().filter(|argument| !argument.is_hide_set());
        for flag in told.filter_map(|argument| argument.get_long()) {
            let flag = format!("--{flag}").replace('-', "\\-");
            assert!(page.contains(&flag), "{flag}: {page}");
        }
    }
}
