//! The command `trace diff`: compares two captures.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use peerless_trace::diff::{Difference, Parting, compare};
use peerless_trace::inspect::{Filter, Finding, Findings, json};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::Outcome;
use crate::inspect::{Opening, open};
use crate::output::Output;

/// What to do with traces.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Find the first message in which two captures differ, and what precedes it. The exit code is 1 if they differ
    Diff {
        /// The first capture
        #[arg(value_name = "A")]
        left: PathBuf,
        /// The second capture
        #[arg(value_name = "B")]
        right: PathBuf,
        #[command(flatten)]
        opening: Opening,
        /// Compare only messages that pass this filter, as in `inspect`
        #[arg(long, env = "PEERLESS_FILTER", value_name = "NAME=VALUE[,VALUE...]")]
        filter: Vec<Filter>,
    },
}

/// Runs `trace ..`.
pub(crate) fn run(output: &Output, command: &Command) -> Result<Outcome> {
    let Command::Diff { left, right, opening, filter } = command;
    let findings =
        |path: &PathBuf| Ok::<_, anyhow::Error>(Findings::new(open(path)?, opening.keys(path)?, filter.clone()));
    let difference = compare(&mut findings(left)?, &mut findings(right)?).context("cannot read a capture")?;
    let outcome = if matches!(difference, Difference::None(_)) { Outcome::Success } else { Outcome::Failure };
    output.report(&Report(difference));
    Ok(outcome)
}

struct Report(Difference);

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match &self.0 {
            Difference::None(common) => json!({"same": true, "common": common}),
            Difference::At(parting) => {
                let Parting { common, before, left, right } = &**parting;
                let before: Vec<Value> = before.iter().map(json::object).collect();
                json!({"same": false, "common": common, "before": before,
                    "left": left.as_ref().map(json::object), "right": right.as_ref().map(json::object)})
            }
        };
        value.serialize(serializer)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parting = match &self.0 {
            Difference::None(common) => return write!(f, "the same: {common} findings"),
            Difference::At(parting) => parting,
        };
        writeln!(f, "the same for {} findings, the last of them:", parting.common)?;
        for finding in &parting.before {
            writeln!(f, "  {finding}")?;
        }
        let end = |finding: &Option<Finding>| finding.as_ref().map_or("ends".to_owned(), ToString::to_string);
        writeln!(f, "then the first goes on:\n- {}", end(&parting.left))?;
        write!(f, "and the second:\n+ {}", end(&parting.right))
    }
}
