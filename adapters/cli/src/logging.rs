//! Log lines: `tracing`, to stderr, at geth's levels.

use std::io::{self, IsTerminal as _, Write, stderr};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::output::has_colour;

/// How a log line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Log lines that wait for the end of a live view, or `None` while there is none.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
/// Of more than this, the first ones are written.
const HELD_BYTES_MAX: usize = 1 << 20;

/// Holds log lines back where they would be written over a live view, until [`release`].
pub(crate) fn hold() {
    if stderr().is_terminal() {
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }
}

/// Writes the lines that were held back.
pub(crate) fn release() {
    if let Some(lines) = HELD.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // With stderr closed there is no log.
        let _ = stderr().write_all(&lines);
    }
}

/// Stderr, or what is held back from it.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *HELD.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => {
                if held.len() + bytes.len() <= HELD_BYTES_MAX {
                    held.extend_from_slice(bytes);
                }
                Ok(bytes.len())
            }
            None => stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

/// Starts logging. The variable `RUST_LOG`, if set, overrides `verbosity`.
pub(crate) fn start(verbosity: u8, format: Format) {
    let level = match verbosity {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lines)
        .with_ansi(has_colour(&stderr()))
        .with_target(false);
    match format {
        Format::Text => builder.init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
}
