//! Writes reports to stdout, as text or as JSON.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{IsTerminal, Stdout, Write, stdout};

use serde::Serialize;
use serde_json::json;

use crate::view::Screen;

/// Where reports go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// With `json`, stdout gets nothing but JSON objects.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether reports are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether stdout is a terminal with text for people, which can be drawn over.
    pub(crate) fn is_live(&self) -> bool {
        !self.json && stdout().is_terminal()
    }

    /// Takes the terminal for a live view. `None` if lines are printed instead: stdout is no terminal, or one that cannot
    /// be drawn on.
    pub(crate) fn screen(&self) -> Option<Screen<Stdout>> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        (self.is_live() && !is_dumb).then(|| Screen::open(has_colour(&stdout())).ok()).flatten()
    }

    /// Prints a report: its JSON on one line, or its text.
    pub(crate) fn report<R: Serialize + Display>(&self, report: &R) {
        if self.json {
            self.line(
                &serde_json::to_string(report).unwrap_or_else(|error| json!({"error": error.to_string()}).to_string()),
            );
        } else {
            self.line(report);
        }
    }

    /// Prints a line as text; nothing with `--json`.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.json {
            self.line(&line);
        }
    }

    /// Reports an error: one line on stderr, and with `--json` an object on stdout.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let text = format!("{error:#}").replace('\n', " ");
        // There is no other place to report a closed stderr.
        let _ = writeln!(std::io::stderr(), "peerless: {text}");
        if self.json {
            self.line(&json!({ "error": text }));
        }
    }

    fn line(&self, line: &(impl Display + ?Sized)) {
        let mut out = stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            // The reader has closed the pipe, as `head` does.
            std::process::exit(1);
        }
    }
}

/// Prints a line about what was passed over to stderr, with and without `--json`.
pub(crate) fn warn(line: impl Display) {
    // There is no other place to report a closed stderr.
    let _ = writeln!(std::io::stderr(), "peerless: {line}");
}

/// Whether text on this stream may have colours: it is a terminal, and the user has not set `NO_COLOR`
/// (<https://no-color.org>).
pub(crate) fn has_colour(stream: &impl IsTerminal) -> bool {
    colour(stream.is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

fn colour(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

/// Converts to milliseconds with three decimals, the unit of durations in JSON reports.
pub(crate) fn millis(duration: std::time::Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_pipes_have_no_colour() {
        assert!(colour(true, None) && colour(true, Some(OsStr::new(""))));
        for value in ["1", "0", "yes"] {
            assert!(!colour(true, Some(OsStr::new(value))), "{value}");
        }
        assert!(!colour(false, None));
    }
}
