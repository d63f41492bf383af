//! The view by cells, on every size, and by an emulator of a terminal, which sees what escapes do.

use std::cell::RefCell;
use std::io::{self, Write};
use std::num::NonZero;
use std::rc::Rc;

use ratatui::backend::TestBackend;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::{Terminal, Viewport};

use super::{Cell, Column, Page, Screen, Tone, bytes, draw, last_column};

const SIZES: [(u16, u16); 3] = [(80, 24), (40, 10), (200, 60)];

/// A page as `devnet` has it: eight nodes, and more events than any terminal has lines.
fn filled(round: u64) -> Page {
    let number = |title, width, rank| Column { title, width, is_number: true, rank };
    let row = |node: usize| {
        let texts = [
            format!("node {node}"),
            "0a1b2c3d…".into(),
            "9".into(),
            "3".into(),
            "12.3 kB".into(),
            format!("last {node}"),
        ];
        texts.map(|text| Cell::new(text, Tone::Plain)).to_vec()
    };
    let event =
        |number: u64| Cell::new(format!("event {number}: node 3 banned hostile 1: wrong MAC of a frame"), Tone::Bad);
    Page {
        title: "peerless devnet  8 nodes on 127.0.0.1".into(),
        clock: format!("{round}.0 of 20 s"),
        progress: Some((round * 50) as u16),
        figures: (0..9).map(|figure| Cell::new(format!("{figure}{figure} figures"), Tone::Good)).collect(),
        traffic: (0..round % 64).map(|at| at * 1000).collect(),
        columns: vec![
            Column { title: "node", width: 8, is_number: false, rank: 0 },
            Column { title: "id", width: 9, is_number: false, rank: 5 },
            number("table", 5, 3),
            number("in", 3, 0),
            number("received", 9, 2),
            last_column("last"),
        ],
        rows: (0..8).map(row).collect(),
        events: (0..100).map(|number| event(round * 100 + number)).collect(),
    }
}

/// The page's lines on a terminal of this size.
fn lines(page: &Page, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::page(frame, page, true)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn everything_fits_on_80_columns_and_24_lines() {
    let lines = lines(&filled(3), 80, 24);
    let text = lines.join("\n");
    assert!(lines[0].starts_with("peerless devnet") && lines[0].ends_with("3.0 of 20 s"), "{text}");
    for part in ["node", "id", "table", "received", "last", "88 figures", "events"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    for node in 0..8 {
        let row = lines.iter().position(|line| line.starts_with(&format!("node {node} ")));
        assert!(row.is_some_and(|row| lines[row].ends_with(&format!("last {node}"))), "{text}");
    }
    assert!(lines.iter().filter(|line| line.starts_with("event ")).count() >= 8, "{text}");
}

#[test]
fn a_small_terminal_keeps_the_title_the_first_rows_and_the_last_events() {
    let lines = lines(&filled(3), 40, 10);
    let text = lines.join("\n");
    assert!(lines[0].starts_with("peerless devnet"), "{text}");
    assert!(text.contains("node 0") && text.contains("more") && text.contains("event 300"), "{text}");
    assert!(!text.contains("0a1b2c3d"), "the id goes first:\n{text}");
    assert!(lines.iter().any(|line| line.starts_with("node 0") && line.ends_with("last 0")), "{text}");
}

#[test]
fn no_size_panics() {
    for width in (1..=90).chain([200, 1000]) {
        for height in (1..=30).chain([60]) {
            lines(&filled(7), width, height);
        }
    }
    lines(&Page::default(), 80, 24);
}

#[test]
fn without_colour_there_is_none() {
    for has_colour in [false, true] {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw::page(frame, &filled(9), has_colour)).unwrap();
        let cells = terminal.backend().buffer().content();
        let coloured = cells.iter().filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset)).count();
        assert_eq!(coloured > 0, has_colour);
    }
}

/// An emulated terminal.
#[derive(Clone)]
struct Emulator(Rc<RefCell<vt100::Parser>>);

impl Write for Emulator {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().process(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_line_scrolls_and_the_terminal_is_as_before() {
    for (width, height) in SIZES {
        let size = |size| NonZero::new(size).unwrap();
        let emulator = Emulator(Rc::new(RefCell::new(vt100::Parser::new(size(height), size(width), 10_000))));
        emulator.clone().write_all(b"$ peerless devnet\r\n").unwrap();
        let before = emulator.0.borrow().screen().contents();
        let area = Rect::new(0, 0, width, height);
        let mut screen = Screen::enter(emulator.clone(), Viewport::Fixed(area), true).unwrap();
        for round in 0..80 {
            screen.show(&filled(round)).unwrap();
            let shown = emulator.0.borrow();
            let rows: Vec<String> = shown.screen().rows(0, width).collect();
            assert!(rows[0].starts_with("peerless devnet"), "{width}x{height}, {round}: {rows:?}");
            assert!(rows.iter().any(|row| row.starts_with(&format!("event {}", round * 100))), "{rows:?}");
            assert_eq!(shown.screen().scrollback_len(), 0, "{width}x{height}");
            assert!(shown.screen().alternate_screen() && shown.screen().hide_cursor());
        }
        drop(screen);
        let after = emulator.0.borrow();
        assert_eq!(after.screen().contents(), before, "{width}x{height}");
        assert_eq!(after.screen().scrollback_len(), 0, "{width}x{height}");
        assert!(!after.screen().alternate_screen() && !after.screen().hide_cursor());
    }
}

#[test]
fn byte_counts_have_few_digits() {
    let counts = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345, "12.3 kB"), (999_999, "999.9 kB")];
    for (count, text) in counts.into_iter().chain([(1_000_000, "1.0 MB"), (u64::MAX, "18446744.0 TB")]) {
        assert_eq!(bytes(count), text);
    }
}
