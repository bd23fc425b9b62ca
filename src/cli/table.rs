//! Tables without borders, and their colours.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets::NOTHING,
};

use crate::time::Timestamp;

use super::human;

/// How tables look in this run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Whether states have colours.
    pub(super) colour: bool,
    /// Whether long cells are wrapped to the terminal's width.
    pub(super) terminal: bool,
    /// What ages are told from.
    pub(super) now: Timestamp,
}

impl Style {
    /// A table with these headings.
    pub(super) fn table<const N: usize>(&self, headings: [&str; N]) -> Table {
        let mut table = self.plain();
        let bold = |text| {
            let cell = Cell::new(text);
            if self.colour { cell.add_attribute(Attribute::Bold) } else { cell }
        };
        table.set_header(headings.map(bold).to_vec());
        pad(&mut table);
        table
    }

    /// Names and values below each other; rows with an empty value are left out.
    pub(super) fn fields<'a>(&self, rows: impl IntoIterator<Item = (&'a str, Cell)>) -> String {
        let mut table = self.plain();
        for (name, value) in rows {
            if !value.content().is_empty() {
                table.add_row(vec![self.dim(name), value]);
            }
        }
        pad(&mut table);
        self.render(&table)
    }

    /// The text of a table, without blanks at the end of lines; `empty` where it has no rows.
    pub(super) fn finish(&self, table: &Table, empty: &str) -> String {
        if table.is_empty() { empty.to_owned() } else { self.render(table) }
    }

    fn plain(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty();
        }
        if self.colour {
            table.enforce_styling();
        }
        table
    }

    fn render(&self, table: &Table) -> String {
        if self.colour { table.to_string() } else { table.trim_fmt() }
    }

    /// A cell whose colour tells how bad `state` is: of a target, alert, component or severity.
    pub(super) fn state(&self, state: &str) -> Cell {
        let cell = Cell::new(state);
        match colour_of(state).filter(|_| self.colour) {
            Some(colour) => cell.fg(colour),
            None => cell,
        }
    }

    /// A cell that steps back.
    pub(super) fn dim(&self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.add_attribute(Attribute::Dim) } else { cell }
    }

    /// How long ago; `-` for never.
    pub(super) fn age(&self, time: Option<Timestamp>) -> Cell {
        Cell::new(time.map_or_else(|| "-".to_owned(), |time| human::age(time, self.now)))
    }
}

fn pad(table: &mut Table) {
    table.discover_columns();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

/// A cell with a number.
pub(super) fn number(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn colour_of(state: &str) -> Option<Color> {
    match state {
        "healthy" | "running" | "ok" | "resolved" | "yes" => Some(Color::Green),
        "degraded" | "pending" | "late" | "medium" | "auth_required" => Some(Color::Yellow),
        "unhealthy" | "firing" | "restarting" | "stopped" | "critical" | "high" | "no" => {
            Some(Color::Red)
        }
        "unknown" | "maintenance" | "disabled" => Some(Color::DarkGrey),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What tests render with: no colours, no terminal, a fixed time.
    pub(in super::super) const PLAIN: Style =
        Style { colour: false, terminal: false, now: Timestamp::from_secs(1_700_000_000) };

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let mut table = PLAIN.table(["NAME", "STATE"]);
        table.add_row(vec![Cell::new("filesystem"), PLAIN.state("healthy")]);
        table.add_row(vec![Cell::new("time"), PLAIN.state("unhealthy")]);
        let expected = "NAME        STATE\nfilesystem  healthy\ntime        unhealthy";
        assert_eq!(PLAIN.finish(&table, "none"), expected);
    }

    #[test]
    fn colours_are_used_only_where_they_are_wanted() {
        let render = |style: Style| {
            let mut table = style.table(["STATE"]);
            table.add_row(vec![style.state("unhealthy")]);
            style.finish(&table, "")
        };
        assert!(!render(PLAIN).contains('\u{1b}'));
        assert!(render(Style { colour: true, ..PLAIN }).contains('\u{1b}'));
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(PLAIN.finish(&PLAIN.table(["A"]), "nothing fires"), "nothing fires");
    }

    #[test]
    fn fields_leave_out_what_is_empty() {
        let text = PLAIN.fields([("name", Cell::new("time")), ("error", Cell::new(""))]);
        assert_eq!(text, "name  time");
    }
}
