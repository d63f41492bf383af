//! A live view on a terminal, shared by the commands that run nodes: a page of figures, a table and recent events.
//!
//! A command fills in a [`Page`]; `draw` lays it out on any size, and `screen` owns the terminal while it shows.

mod draw;
mod screen;

#[cfg(all(test, unix))]
mod terminal_tests;
#[cfg(test)]
mod tests;

pub(crate) use self::draw::last_column;
pub(crate) use self::screen::Screen;

/// What the view shows at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// What is running.
    pub(crate) title: String,
    /// What stands at the right end of the title's line.
    pub(crate) clock: String,
    /// The part of the running time that is over, in thousandths; `None` where there is no end.
    pub(crate) progress: Option<u16>,
    /// Figures of the whole.
    pub(crate) figures: Vec<Cell>,
    /// Bytes in each of the last intervals, the newest last.
    pub(crate) traffic: Vec<u64>,
    /// The table's columns. The last one takes the width that is left.
    pub(crate) columns: Vec<Column>,
    /// The table's rows, a cell for each column.
    pub(crate) rows: Vec<Vec<Cell>>,
    /// What happened, the newest first.
    pub(crate) events: Vec<Cell>,
}

/// A column of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) width: u16,
    pub(crate) is_number: bool,
    /// Where the terminal is narrow, columns of the highest rank go first; those of rank 0 stay.
    pub(crate) rank: u8,
}

/// A text, and whether it is good or bad news.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl ToString, tone: Tone) -> Self {
        Self { text: text.to_string(), tone }
    }
}

/// What a text means, which decides its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// Something works.
    Good,
    /// Something was refused.
    Warning,
    /// Something was punished, or failed.
    Bad,
}

/// A number of bytes with three or four digits and a unit.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut unit, mut divisor) = (0, 1000);
    while count / divisor >= 1000 && unit + 1 < UNITS.len() {
        (unit, divisor) = (unit + 1, divisor * 1000);
    }
    format!("{}.{} {}", count / divisor, count % divisor * 10 / divisor, UNITS[unit])
}
