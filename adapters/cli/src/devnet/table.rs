//! The board drawn for a terminal, over and over in the same place.

use std::fmt::Write;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

use super::board::{Board, Name};

/// Nodes shown; the rest is counted.
const ROWS_MAX: usize = 16;
/// Narrower terminals, and those that do not know their width, are taken to have this.
const WIDTH_MIN: u16 = 80;

/// Where the last drawing stands.
#[derive(Default)]
pub(super) struct Screen {
    /// Lines to go back before the next one.
    lines: usize,
}

impl Screen {
    /// The text that replaces the last drawing by one of `board`.
    pub(super) fn draw(&mut self, board: &Board) -> String {
        let drawing = draw(board);
        let mut text = String::new();
        if self.lines > 0 {
            // Up, and clear to the end of the screen.
            let _ = write!(text, "\x1b[{}A\x1b[J", self.lines);
        }
        text.push_str(&drawing);
        self.lines = drawing.lines().count();
        text
    }
}

/// The board as text, without a line end at its end.
fn draw(board: &Board) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    let width = table.width().unwrap_or(0).max(WIDTH_MIN);
    table.set_width(width);
    let header = ["node", "id", "port", "table", "in", "out", "datagrams", "frames", "last"];
    table.set_header(header.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for (i, row) in board.rows.iter().take(ROWS_MAX).enumerate() {
        let numbers = [
            usize::from(row.contact.tcp()),
            row.snapshot.table,
            row.snapshot.inbound.len(),
            row.snapshot.outbound.len(),
        ];
        let mut cells = vec![Cell::new(Name::Honest(i)), Cell::new(format!("{:?}", row.contact.id()))];
        cells.extend(numbers.map(Cell::new));
        cells.extend([row.snapshot.datagrams, row.snapshot.frames].map(Cell::new));
        cells.push(last(&row.last));
        table.add_row(cells);
    }
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.to_string();
    if let Some(hidden) = board.rows.len().checked_sub(ROWS_MAX).filter(|hidden| *hidden > 0) {
        let _ = write!(text, "\n… and {hidden} more");
    }
    for line in std::iter::once(board.progress().to_string()).chain(board.recent.iter().map(ToString::to_string)) {
        // A line that wraps would not be drawn over.
        let line: String = line.chars().take(width.into()).collect();
        let _ = write!(text, "\n{line}");
    }
    text
}

/// What happened last, in a colour that says whether it is good.
fn last(text: &str) -> Cell {
    let cell = Cell::new(text);
    match text.split(' ').next() {
        Some("connected") => cell.fg(Color::Green),
        Some("refused") => cell.fg(Color::Yellow),
        Some("banned") => cell.fg(Color::Red),
        _ => cell,
    }
}
