//! The terminal while a view shows: its alternate screen without echo, and its old state after the end, however it comes.

use std::io::{self, Stdout, Write, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{cursor, execute};
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::{Page, draw};
use crate::logging;

/// Whether the process's terminal is in the view's hands. A panic gives it back on the thread where it happens.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// A terminal that shows pages.
pub(crate) struct Screen<W: Write> {
    terminal: Terminal<CrosstermBackend<W>>,
    has_colour: bool,
    is_process_terminal: bool,
}

impl Screen<Stdout> {
    /// Takes the process's terminal until it is dropped, or until a panic.
    ///
    /// # Errors
    /// If there is none, or it refuses.
    pub(crate) fn open(has_colour: bool) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                release();
                report(panic);
            }));
        });
        enable_raw_mode()?;
        IS_SHOWN.store(true, Ordering::SeqCst);
        logging::hold();
        let mut screen = Self::enter(stdout(), Viewport::Fullscreen, has_colour);
        match &mut screen {
            Ok(screen) => screen.is_process_terminal = true,
            Err(_) => release(),
        }
        screen
    }

    /// Whether the user has asked for the end, by `q`, Escape or Ctrl-C, which is a key while the view shows.
    pub(crate) fn is_quit(&self) -> bool {
        // Without a readable terminal there are no keys.
        while event::poll(Duration::ZERO).unwrap_or(false) {
            let Ok(event) = event::read() else { return false };
            if let Event::Key(key) = event
                && key.kind == KeyEventKind::Press
            {
                let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return true;
                }
            }
        }
        false
    }
}

impl<W: Write> Screen<W> {
    /// Enters the alternate screen of the terminal behind `out`.
    pub(super) fn enter(mut out: W, viewport: Viewport, has_colour: bool) -> io::Result<Self> {
        execute!(out, EnterAlternateScreen, cursor::Hide)?;
        let terminal = Terminal::with_options(CrosstermBackend::new(out), TerminalOptions { viewport })?;
        Ok(Self { terminal, has_colour, is_process_terminal: false })
    }

    /// Shows a page in place of the last one.
    ///
    /// # Errors
    /// If the terminal cannot be written to.
    pub(crate) fn show(&mut self, page: &Page) -> io::Result<()> {
        if self.is_process_terminal && !IS_SHOWN.load(Ordering::SeqCst) {
            // A thread has panicked, and its report must stay.
            return Ok(());
        }
        let has_colour = self.has_colour;
        self.terminal.draw(|frame| draw::page(frame, page, has_colour)).map(|_| ())
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if self.is_process_terminal {
            release();
        } else {
            // A terminal that cannot be written to keeps what it has.
            let _ = leave(self.terminal.backend_mut());
        }
    }
}

/// Gives the process's terminal back, once.
fn release() {
    if IS_SHOWN.swap(false, Ordering::SeqCst) {
        // The program ends in either case.
        let _ = leave(&mut stdout());
        let _ = disable_raw_mode();
        logging::release();
    }
}

fn leave(out: &mut impl Write) -> io::Result<()> {
    execute!(out, LeaveAlternateScreen, cursor::Show)
}
