//! Everything that goes to stdout: one report at a time, as text for people or as JSON for programs.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stdout};

use serde::Serialize;
use serde_json::json;

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

    /// Whether a person is looking, so that lines can be drawn over.
    pub(crate) fn is_live(&self) -> bool {
        !self.json && stdout().is_terminal()
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

    /// Prints a line for people; programs do not get it.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.json {
            self.line(&line);
        }
    }

    /// Why the command could not do its work: one line on stderr, and an object for programs.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let text = format!("{error:#}").replace('\n', " ");
        // With stderr closed there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "peerless: {text}");
        if self.json {
            self.line(&json!({ "error": text }));
        }
    }

    fn line(&self, line: &(impl Display + ?Sized)) {
        let mut out = stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            // The reader has gone, as `head` does: nothing that follows can be told.
            std::process::exit(1);
        }
    }
}

/// Milliseconds with microseconds behind the point, as JSON reports give durations.
pub(crate) fn millis(duration: std::time::Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
