//! The commands `enr ..`: show, compare, check and sign node records (EIP-778).

use anyhow::Result;
use clap::Subcommand;
use data_encoding::BASE64URL_NOPAD;
use peerless::wire::enr::Record;

use crate::Outcome;
use crate::output::Output;

mod decoded;
mod diff;
mod lint;
mod meaning;
mod show;
mod sign;
mod source;

#[cfg(test)]
mod tests;

use decoded::Decoded;
pub(crate) use show::Report;

/// What to do with a record: `enr:…`, base64 or hexadecimal digits, a file with either or the raw record, or `-` for stdin.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show all entries of a record, valid or not. The exit code is 1 if it is not valid
    Show {
        /// The record
        #[arg(value_name = "TEXT|HEX|FILE", allow_hyphen_values = true)]
        record: String,
    },
    /// Compare two records. The exit code is 1 if they differ
    Diff {
        /// The first record
        #[arg(value_name = "A", allow_hyphen_values = true)]
        before: String,
        /// The second record
        #[arg(value_name = "B", allow_hyphen_values = true)]
        after: String,
    },
    /// Check a record, and say what clients make of what is found. The exit code is 1 if they refuse it
    Lint {
        /// The record
        #[arg(value_name = "TEXT|HEX|FILE", allow_hyphen_values = true)]
        record: String,
    },
    /// Sign a new record, or a changed one
    Sign(Box<sign::Arguments>),
}

/// Runs `enr ..`.
pub(crate) fn run(output: &Output, command: &Command) -> Result<Outcome> {
    let is_good = match command {
        Command::Show { record } => {
            let report = Report::new(&Decoded::new(&source::read(record)?.raw));
            output.report(&report);
            report.is_valid()
        }
        Command::Diff { before, after } => {
            let (before, after) = (source::read(before)?.raw, source::read(after)?.raw);
            let difference = diff::Difference::new(&Decoded::new(&before), &Decoded::new(&after));
            output.report(&difference);
            difference.is_same()
        }
        Command::Lint { record } => {
            let source = source::read(record)?;
            let report = lint::Report::new(&Decoded::new(&source.raw), source.is_padded);
            output.report(&report);
            !report.has_errors()
        }
        Command::Sign(arguments) => {
            output.report(&report(&arguments.sign()?));
            true
        }
    };
    Ok(if is_good { Outcome::Success } else { Outcome::Failure })
}

/// The report about a valid record.
pub(crate) fn report(record: &Record) -> Report {
    Report::new(&Decoded::new(record.as_bytes()))
}

/// The name and version of a node's software, if its record says it (EIP-7636).
pub(crate) fn client_name(record: &Record) -> Option<String> {
    let decoded = Decoded::entries_of(record);
    let entry = decoded.iter().find(|entry| entry.key == b"client")?;
    Some(meaning::client(entry.value).ok()?.join("/"))
}

/// The `enr:` text of bytes that may be no record.
fn text(raw: &[u8]) -> String {
    format!("enr:{}", BASE64URL_NOPAD.encode(raw))
}
