//! The board drawn for a terminal, over and over in the same place.

use std::fmt::Write;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::board::{Board, Name};

/// Nodes shown; the rest is counted.
const ROWS_MAX: usize = 16;

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
    table.set_header(["node", "id", "port", "table", "in", "out", "datagrams", "frames", "last"]);
    for (i, row) in board.rows.iter().take(ROWS_MAX).enumerate() {
        table.add_row([
            Name::Honest(i).to_string(),
            format!("{:?}", row.contact.id),
            row.contact.tcp.to_string(),
            row.snapshot.table.to_string(),
            row.snapshot.inbound.len().to_string(),
            row.snapshot.outbound.len().to_string(),
            row.snapshot.datagrams.to_string(),
            row.snapshot.frames.to_string(),
            row.last.clone(),
        ]);
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
    let width = usize::from(table.width().unwrap_or(u16::MAX));
    for line in std::iter::once(board.progress().to_string()).chain(board.recent.iter().map(ToString::to_string)) {
        // A line that wraps would not be drawn over.
        let line: String = line.chars().take(width).collect();
        let _ = write!(text, "\n{line}");
    }
    text
}
