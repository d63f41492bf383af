//! The commands `nodeset ..`: node lists of all clients and crawlers, read in any dialect and written in any.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Subcommand};
use serde::Serialize;

use crate::Outcome;
use crate::files::{self, Overwrite, Readers};
use crate::output::{Output, warn};

mod dialect;
mod diff;
mod filter;
mod info;
mod model;
mod source;
mod time;

#[cfg(test)]
mod tests;

pub(crate) use dialect::{Format, read};
pub(crate) use filter::with_geth_flags;
pub(crate) use model::{Node, NodeSet};
pub(crate) use source::{content, read as read_file};
pub(crate) use time::Time;

use filter::Filters;

/// What to do with node lists. Each may be of any dialect; `-` is stdin.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Count what a list holds
    Info {
        /// The list
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        reading: Lenience,
    },
    /// Keep the nodes that pass all filters
    Filter {
        /// The list
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        filters: Box<Filters>,
        #[command(flatten)]
        reading: Lenience,
        #[command(flatten)]
        sink: Sink,
    },
    /// Join lists: of each node the newest record, the earliest first and the latest last answer, the score of the last check
    Merge {
        /// The lists, the older before the newer
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        reading: Lenience,
        #[command(flatten)]
        sink: Sink,
    },
    /// Compare two lists by the nodes, their sequence numbers, endpoints and entries. The exit code is 1 if they differ
    Diff {
        /// The first list
        #[arg(value_name = "A")]
        before: PathBuf,
        /// The second list
        #[arg(value_name = "B")]
        after: PathBuf,
        #[command(flatten)]
        reading: Lenience,
    },
    /// Write a list in another format
    Convert {
        /// The list
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        reading: Lenience,
        #[command(flatten)]
        sink: Sink,
    },
}

/// What to do with items of a list that are no nodes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Lenience {
    /// Skip what is no node, with a line on stderr each, instead of failing
    #[arg(long, env = "PEERLESS_LENIENT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    lenient: bool,
}

/// Where the resulting list goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sink {
    /// The format [default: by the extension of --out (ndjson, csv, parquet, txt, yaml), or that of the first list]
    #[arg(long, env = "PEERLESS_TO", value_name = "FORMAT")]
    to: Option<Format>,
    /// The file to write; `-` for stdout
    #[arg(long, short, env = "PEERLESS_OUT", value_name = "FILE", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
}

/// Runs `nodeset ..`.
pub(crate) fn run(output: &Output, command: &Command) -> Result<Outcome> {
    match command {
        Command::Info { file, reading } => {
            output.report(&info::Info::new(&source::read(file, reading.lenient)?));
        }
        Command::Filter { file, filters, reading, sink } => {
            sink.check(output, &[vec![file.as_path()], filters.files()].concat())?;
            let read = source::read(file, reading.lenient)?;
            sink.write(output, &filters.apply(read.set)?, Some(read.format))?;
        }
        Command::Merge { files, reading, sink } => {
            let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            sink.check(output, &inputs)?;
            if files.iter().filter(|file| file.as_path() == Path::new("-")).count() > 1 {
                bail!("stdin can be read once");
            }
            let (set, format) = merge(&inputs, *reading)?;
            sink.write(output, &set, format)?;
        }
        Command::Diff { before, after, reading } => {
            let (before, after) = (source::read(before, reading.lenient)?, source::read(after, reading.lenient)?);
            let difference = diff::Difference::new(&before.set, &after.set);
            output.report(&difference);
            return Ok(if difference.is_same() { Outcome::Success } else { Outcome::Failure });
        }
        Command::Convert { file, reading, sink } => {
            sink.check(output, &[file])?;
            if sink.format(output, None).is_none() {
                bail!("name the format by --to, or by the extension of --out");
            }
            sink.write(output, &source::read(file, reading.lenient)?.set, None)?;
        }
    }
    Ok(Outcome::Success)
}

/// Joins lists, and says how many nodes are in several and contradict each other.
fn merge(files: &[&Path], reading: Lenience) -> Result<(NodeSet, Option<Format>)> {
    let mut set = NodeSet::default();
    let mut format = None;
    let mut contradicted: u64 = 0;
    for file in files {
        let read = source::read(file, reading.lenient)?;
        format = format.or(Some(read.format));
        for node in read.set.into_nodes() {
            contradicted += u64::from(set.add(node) == model::Added::Contradicted);
        }
    }
    if contradicted > 0 {
        let what = "nodes have two enode URLs, or two records of one sequence number: the later list's is kept";
        warn(format_args!("{contradicted} {what}"));
    }
    Ok((set, format))
}

#[derive(Serialize)]
struct Written {
    file: String,
    format: Format,
    nodes: usize,
    bytes: usize,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} nodes ({})", self.file, self.nodes, self.format)
    }
}

impl Sink {
    fn is_stdout(&self) -> bool {
        self.out == Path::new("-")
    }

    /// The format to write. With `--json` stdout holds nothing but lines of JSON.
    fn format(&self, output: &Output, of_input: Option<Format>) -> Option<Format> {
        let of_extension =
            || self.out.extension().and_then(|extension| Format::of_extension(&extension.to_string_lossy()));
        let of_json = || (output.is_json() && self.is_stdout()).then_some(Format::Ndjson);
        self.to.or_else(of_extension).or_else(of_json).or(of_input)
    }

    /// Refuses what would write over a file, before anything is read.
    fn check(&self, output: &Output, inputs: &[&Path]) -> Result<()> {
        if self.is_stdout() {
            if output.is_json() && self.to.is_some_and(|format| format != Format::Ndjson) {
                bail!("--json has lines of JSON on stdout: take --to ndjson, or write to a file by --out");
            }
            return Ok(());
        }
        files::check(&self.out, inputs, self.overwrite)
    }

    fn write(&self, output: &Output, set: &NodeSet, of_input: Option<Format>) -> Result<()> {
        let format = self.format(output, of_input).unwrap_or(Format::Ndjson);
        let (bytes, losses) = format.write(set)?;
        if !losses.is_empty() {
            warn(format_args!("the format {format} has no place for: {losses}"));
        }
        if self.is_stdout() {
            let mut out = std::io::stdout().lock();
            if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                // The reader has closed the pipe, as `head` does.
                std::process::exit(1);
            }
            return Ok(());
        }
        let mut file = files::create(&self.out, &[], self.overwrite, Readers::All)?;
        file.write_all(&bytes).with_context(|| format!("cannot write {}", self.out.display()))?;
        let nodes = set.nodes().len();
        output.report(&Written { file: self.out.display().to_string(), format, nodes, bytes: bytes.len() });
        Ok(())
    }
}
