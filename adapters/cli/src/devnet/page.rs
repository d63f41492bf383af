//! The board as a page of the view.

use std::time::Duration;

use super::board::{Board, Kind, Name};
use crate::view::{Cell, Column, Page, Tone, bytes, last_column};

const fn number(title: &'static str, width: u16, rank: u8) -> Column {
    Column { title, width, is_number: true, rank }
}

const COLUMNS: [Column; 8] = [
    Column { title: "node", width: 8, is_number: false, rank: 0 },
    Column { title: "id", width: 9, is_number: false, rank: 5 },
    number("table", 5, 3),
    number("in", 3, 0),
    number("out", 3, 0),
    number("received", 9, 2),
    number("sent", 9, 4),
    last_column("last"),
];

/// What the view shows of a network that runs for `duration`.
pub(super) fn page(board: &Board, duration: Duration) -> Page {
    let progress = board.progress();
    let (elapsed, total) = (board.elapsed().min(duration), duration.as_millis().max(1));
    let rows = board.rows.iter().enumerate().map(|(i, row)| {
        let snapshot = &row.snapshot;
        let is_alone = snapshot.inbound.is_empty() && snapshot.outbound.is_empty();
        vec![
            Cell::new(Name::Honest(i), if is_alone { Tone::Plain } else { Tone::Good }),
            Cell::new(format_args!("{:?}", row.contact.id()), Tone::Plain),
            Cell::new(snapshot.table, Tone::Plain),
            Cell::new(snapshot.inbound.len(), Tone::Plain),
            Cell::new(snapshot.outbound.len(), Tone::Plain),
            Cell::new(bytes(snapshot.received), Tone::Plain),
            Cell::new(bytes(snapshot.sent), Tone::Plain),
            row.last
                .as_ref()
                .map_or_else(|| Cell::new("starting", Tone::Plain), |(kind, text)| Cell::new(text, tone(*kind))),
        ]
    });
    Page {
        title: format!("peerless devnet  {} nodes on 127.0.0.1", board.rows.len()),
        clock: format!("{:.1} of {:.0} s, q ends it", elapsed.as_secs_f64(), duration.as_secs_f64()),
        progress: Some((elapsed.as_millis() * 1000 / total).try_into().unwrap_or(1000)),
        figures: progress.figures(),
        traffic: board.traffic().collect(),
        columns: COLUMNS.to_vec(),
        rows: rows.collect(),
        events: board.recent.iter().map(|note| Cell::new(note, tone(note.kind()))).collect(),
    }
}

fn tone(kind: Kind) -> Tone {
    match kind {
        Kind::Found => Tone::Plain,
        Kind::Connected => Tone::Good,
        Kind::Refused => Tone::Warning,
        Kind::Banned => Tone::Bad,
    }
}
